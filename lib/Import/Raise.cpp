//===- Raise.cpp - raises an exported program into nn ops -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Raiser.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "llvm/ADT/StringExtras.h"

using namespace llvm;
using namespace mlir;
using namespace ns;
using namespace ns::pt2;

//===----------------------------------------------------------------------===//
// Problems
//===----------------------------------------------------------------------===//

llvm::Error Raiser::outside(const Node &node, const Twine &reason) {
  return followsPoison(node) ? llvm::Error::success() : refuse(node, reason);
}

llvm::Error Raiser::refuse(const Node &node, const Twine &reason) {
  problems.push_back(
      ((node.layer.empty() ? "(model)" : node.layer) + ": " + node.target + ": " + reason).str());
  return llvm::Error::success();
}

llvm::Error Raiser::malformed(const Node &node, const Twine &what) const {
  return createStringError("node '" + node.name + "' (" + node.target + "): " + what);
}

llvm::Error Raiser::listProblems() const {
  if (problems.empty())
    return llvm::Error::success();
  std::string text;
  raw_string_ostream os(text);
  os << problems.size() << (problems.size() == 1 ? " op is" : " ops are")
     << " outside the supported families:";
  for (const std::string &problem : problems)
    os << "\n  " << problem;
  return createStringError(text);
}

//===----------------------------------------------------------------------===//
// The walk over the nodes
//===----------------------------------------------------------------------===//

const StringMap<Raiser::Rule> &Raiser::rules() {
  static const StringMap<Rule> table = {
      {"_upsample_bicubic2d_aa",
       {&Raiser::raiseResize, {"input"}, {"output_size", "align_corners", "scale_factors"}}},
      {"_unsafe_view", {&Raiser::raiseReshape, {"self"}, {"size"}}},
      {"_softmax", {&Raiser::raiseSoftmax, {"self"}, {"dim", "half_to_float"}}},
      {"_native_batch_norm_legit_no_training",
       {&Raiser::raiseBatchNorm,
        {"input"},
        {"weight", "bias", "running_mean", "running_var", "momentum", "eps"},
        /*results=*/1}},
      {"adaptive_avg_pool1d", {&Raiser::raiseAdaptivePool, {"self"}, {"output_size"}}},
      {"adaptive_avg_pool2d", {&Raiser::raiseAdaptivePool, {"self"}, {"output_size"}}},
      {"add", {&Raiser::raiseAdd, {"self"}, {"other", "alpha"}}},
      {"alias", {&Raiser::raiseIdentity, {"self"}, {}}},
      {"batch_norm",
       {&Raiser::raiseBatchNorm,
        {"input"},
        {"weight", "bias", "running_mean", "running_var", "training", "momentum", "eps",
         "cudnn_enabled"}}},
      {"cat", {&Raiser::raiseConcat, {}, {"tensors", "dim"}}},
      {"chunk", {&Raiser::raiseSplit, {"self"}, {"chunks", "dim"}}},
      {"clone", {&Raiser::raiseIdentity, {"self"}, {"memory_format"}}},
      {"contiguous", {&Raiser::raiseIdentity, {"self"}, {"memory_format"}}},
      {"conv2d",
       {&Raiser::raiseConvolution,
        {"input", "weight"},
        {"bias", "stride", "padding", "dilation", "groups"}}},
      {"detach", {&Raiser::raiseIdentity, {"self"}, {}}},
      {"div", {&Raiser::raiseDiv, {"self"}, {"other"}}},
      {"dropout", {&Raiser::raiseDropout, {"input"}, {"p", "train"}}},
      {"expand", {&Raiser::raiseExpand, {"self"}, {"size", "implicit"}}},
      {"flatten", {&Raiser::raiseReshape, {"self"}, {"start_dim", "end_dim"}}},
      {"gelu", {&Raiser::raiseGelu, {"self"}, {"approximate"}}},
      {"index", {&Raiser::raiseIndex, {"self"}, {"indices"}}},
      {"layer_norm",
       {&Raiser::raiseLayerNorm,
        {"input"},
        {"normalized_shape", "weight", "bias", "eps", "cudnn_enable"}}},
      {"lift_fresh_copy", {&Raiser::raiseIdentity, {"self"}, {}}},
      {"linear", {&Raiser::raiseLinear, {"input", "weight"}, {"bias"}}},
      {"matmul", {&Raiser::raiseMatmul, {"self", "other"}, {}}},
      {"max_pool2d",
       {&Raiser::raiseMaxPool,
        {"self"},
        {"kernel_size", "stride", "padding", "dilation", "ceil_mode"}}},
      {"mean", {&Raiser::raiseMean, {"self"}, {"dim", "keepdim"}}},
      {"mul", {&Raiser::raiseMul, {"self"}, {"other"}}},
      {"neg", {&Raiser::raiseNeg, {"self"}, {}}},
      {"pad", {&Raiser::raisePad, {"self"}, {"pad", "mode", "value"}}},
      {"permute", {&Raiser::raisePermute, {"self"}, {"dims"}}},
      {"relu", {&Raiser::raiseActivation, {"self"}, {}}},
      {"reshape", {&Raiser::raiseReshape, {"self"}, {"shape"}}},
      {"roll", {&Raiser::raiseRoll, {"self"}, {"shifts", "dims"}}},
      {"scaled_dot_product_attention",
       {&Raiser::raiseAttention,
        {"query", "key", "value"},
        {"attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa"}}},
      {"select", {&Raiser::raiseSelect, {"self"}, {"dim", "index"}}},
      {"sigmoid", {&Raiser::raiseActivation, {"self"}, {}}},
      {"silu", {&Raiser::raiseActivation, {"self"}, {}}},
      {"slice", {&Raiser::raiseSlice, {"self"}, {"dim", "start", "end", "step"}}},
      {"softmax", {&Raiser::raiseSoftmax, {"self"}, {"dim", "dtype"}}},
      {"split", {&Raiser::raiseSplit, {"self"}, {"split_size", "dim"}}},
      {"split_with_sizes", {&Raiser::raiseSplit, {"self"}, {"split_sizes", "dim"}}},
      {"squeeze", {&Raiser::raiseReshape, {"self"}, {"dim"}}},
      {"stack", {&Raiser::raiseStack, {}, {"tensors", "dim"}}},
      {"tanh", {&Raiser::raiseActivation, {"self"}, {}}},
      {"to",
       {&Raiser::raiseIdentity,
        {"self"},
        {"dtype", "device", "layout", "non_blocking", "copy", "memory_format"}}},
      {"transpose", {&Raiser::raiseTranspose, {"self"}, {"dim0", "dim1"}}},
      {"type_as", {&Raiser::raiseIdentity, {"self"}, {"other"}}},
      {"unbind", {&Raiser::raiseUnbind, {"self"}, {"dim"}}},
      {"unflatten", {&Raiser::raiseReshape, {"self"}, {"dim", "sizes"}}},
      {"unsqueeze", {&Raiser::raiseReshape, {"self"}, {"dim"}}},
      {"view", {&Raiser::raiseReshape, {"self"}, {"size"}}},
  };
  return table;
}

static bool isOtherFloat(ScalarType type) {
  return is_contained({ScalarType::F16, ScalarType::BF16, ScalarType::F64}, type);
}

/// Whether all tensors that a node reads have been raised. Notes those of other element types.
Expected<bool> Raiser::checkTensors(const Node &node) {
  bool known = true;
  for (const NamedArgument &input : node.inputs)
    for (const std::string &name : input.value.names) {
      auto weight = program.weightOfValue.find(name);
      if (weight == program.weightOfValue.end()) {
        auto value = environment.find(name);
        if (value == environment.end())
          return malformed(node, "reads '" + name + "', which no earlier node computes");
        known &= value->second.root != nullptr;
      } else if (const Weight &w = program.weights[weight->second]; isOtherFloat(w.type)) {
        known = false;
        (void)!refuse(node, "weight '" + w.name + "' holds " + nameOf(w.type) +
                                ", expected F32 (export the model after .float())");
      }
    }
  return known;
}

/// Checks what every rule needs of its arguments. False where the node is to be skipped, with the
/// cause noted.
Expected<bool> Raiser::checkOperands(const Node &node, const Rule &rule) {
  for (StringRef name : rule.tensors) {
    const Argument *given = node.find(name);
    if (!given || given->names.size() != 1)
      return malformed(node, "expected one tensor as its argument '" + name + "'");
  }
  for (const NamedArgument &input : node.inputs)
    if (input.value.kind != Argument::Kind::None && !is_contained(rule.tensors, input.name) &&
        !is_contained(rule.others, input.name)) {
      (void)!refuse(node, "its argument '" + input.name + "'");
      return false;
    }
  return true;
}

/// Whether a value that stands for what could not be raised reaches an operand.
bool Raiser::followsPoison(const Node &node) const {
  return any_of(node.inputs, [&](const NamedArgument &input) {
    return any_of(input.value.names, [&](const std::string &name) {
      auto value = environment.find(name);
      return value != environment.end() && poison.contains(value->second.root);
    });
  });
}

/// A value of the shape that the archive claims, so that what follows is looked at, too. A feature
/// map is laid out as one, B x (H * W) x C, and so are windows (B * windows) x N x C; what has
/// other dimensions is laid out as it is.
Raiser::View Raiser::makePoison(const Node &node, ArrayRef<int64_t> shape) {
  const bool isMap = shape.size() == 4 && shape[0] == kProbeBatch,
             isWindows = shape.size() == 3 && shape[0] % kProbeBatch == 0;
  SmallVector<int64_t> root(shape);
  if (isWindows)
    root = {kProbeBatch, shape[0] / kProbeBatch * shape[1], shape[2]};
  if (isMap)
    root = {shape[0], shape[2] * shape[3], shape[1]};
  Value value = defer(root, Unknown());
  placeholders.erase(value); // an operand like any other
  poison.insert(value);
  IndexMap map =
      isMap ? channelsFirst(root, shape.drop_front(2)) : *IndexMap::identity(root).reshape(shape);
  return {value, map, &node};
}

/// Results that a rule did not define become poison, or null where the archive claims no shape;
/// those that it did must have the shape that it claims.
llvm::Error Raiser::checkResults(const Node &node) {
  for (const std::string &name : node.outputs) {
    View &result = environment[name];
    if (auto claim = program.values.find(name); !result.root && claim != program.values.end()) {
      if (problems.empty())
        (void)!refuse(node, "no nn op stands for it");
      result = makePoison(node, claim->second.sizes);
      continue;
    }
    if (result.root && result.map.shape() != claimedShape(name))
      return malformed(node, "its result '" + name + "' is " + describe(claimedShape(name)) +
                                 " by the archive, " + describe(result.map.shape()) +
                                 " by its operands");
    if (!result.root || program.values.find(name)->second.type == ScalarType::F32 ||
        deferred<Constant>(result.root) || deferred<Unknown>(result.root))
      continue;
    (void)!outside(node, "computes " + nameOf(program.values.find(name)->second.type) +
                             ", expected F32 (export the model after .float())");
    result = makePoison(node, claimedShape(name));
  }
  return llvm::Error::success();
}

llvm::Error Raiser::raiseNode(const Node &node) {
  StringRef target = node.target;
  // Arithmetic on sizes and assertions about them: shapes come from the archive and are checked
  // against the operands.
  if (node.outputs.empty() &&
      (target.starts_with("_operator.") || target.starts_with("torch.ops.aten.sym_") ||
       target.starts_with("torch.ops.aten._assert")))
    return llvm::Error::success();
  target.consume_front("torch.ops.");
  auto [space, rest] = target.split('.');
  StringRef op = rest.split('.').first;
  auto rule = rules().find(op);
  const bool inFamily = space == "aten" && !node.outputs.empty() &&
                        (rule != rules().end() || (isFoldable(op) && node.outputs.size() == 1));
  if (!inFamily) {
    (void)!refuse(node, "no nn op stands for it");
    return checkResults(node);
  }
  ArrayRef<std::string> results(node.outputs);
  if (rule != rules().end() && rule->second.results != 0)
    results = results.take_front(rule->second.results);
  for (const std::string &name : results) {
    auto meta = program.values.find(name);
    if (meta == program.values.end() || program.weightOfValue.contains(name) ||
        environment.contains(name))
      return malformed(node,
                       "its result '" + name + "' has no shape in the archive, or is there twice");
    if (isOtherFloat(meta->second.type)) {
      (void)!refuse(node, "computes " + nameOf(meta->second.type) +
                              ", expected F32 (export the model after .float())");
      return checkResults(node);
    }
  }
  Expected<bool> known = checkTensors(node);
  if (!known)
    return known.takeError();
  if (!*known)
    return checkResults(node);
  Expected<bool> folded = node.outputs.size() == 1 ? fold(node, op) : false;
  if (!folded)
    return folded.takeError();
  if (!*folded) {
    if (rule == rules().end()) {
      (void)!outside(node, "no nn op stands for it");
      return checkResults(node);
    }
    Expected<bool> ready = checkOperands(node, rule->second);
    if (!ready)
      return ready.takeError();
    if (*ready)
      if (llvm::Error error = (this->*rule->second.raise)(node))
        return error;
  }
  return checkResults(node);
}

/// Creates `@forward` and its first op, which normalizes the image.
llvm::Error Raiser::start(ModuleOp module) {
  auto meta = program.values.find(program.imageName);
  if (meta == program.values.end() || meta->second.sizes.size() != 4 ||
      meta->second.type != ScalarType::F32)
    return createStringError("input '" + program.imageName +
                             "': expected a float32 image, batch x channels x height x width");
  SmallVector<int64_t> shape(meta->second.sizes);
  if (meta->second.symbol.empty() || shape[0] != kProbeBatch)
    return createStringError(
        "input '" + program.imageName + "' of shape " + describe(shape) +
        ": expected a dynamic batch; export with dynamic_shapes=({0: torch.export.Dim('batch')},)");
  shape[0] = ShapedType::kDynamic;
  auto type = RankedTensorType::get(shape, builder.getF32Type());
  builder.setInsertionPointToEnd(module.getBody());
  Location loc = NameLoc::get(builder.getStringAttr("image"));
  forward = func::FuncOp::create(builder, loc, "forward",
                                 builder.getFunctionType({type}, {type})); // result: see finish
  Block *body = forward.addEntryBlock();
  builder.setInsertionPointToStart(body);
  Value image = nn::NormalizeOp::create(builder, NameLoc::get(builder.getStringAttr("normalized")),
                                        type, body->getArgument(0), record.mean, record.std);
  environment[program.imageName] = {image, IndexMap::identity(shapeOf(image))};
  return llvm::Error::success();
}

/// Returns the logits, drops ops that nothing reads, and declares the parameters that are left.
llvm::Error Raiser::finish(ModuleOp module) {
  Node node;
  node.name = node.target = "output";
  if (!environment.contains(program.logitsName))
    return createStringError("the graph returns '" + program.logitsName +
                             "', which no node computes");
  Value logits = materialize(environment[program.logitsName], node);
  if (!logits || typeOf(logits).getRank() != 2 || !typeOf(logits).isDynamicDim(0))
    return createStringError("expected logits, batch x classes, found a result of shape " +
                             describe(environment[program.logitsName].map.shape()));
  func::ReturnOp::create(builder, forward.getLoc(), logits);
  forward.setFunctionType(builder.getFunctionType(forward.getArgumentTypes(), {logits.getType()}));
  llvm::StringSet<> used;
  for (Operation &op : make_early_inc_range(reverse(forward.getBody().front()))) {
    if (isOpTriviallyDead(&op))
      op.erase();
    else if (auto load = dyn_cast<nn::LoadParamOp>(op))
      used.insert(load.getParam());
  }
  builder.setInsertionPoint(forward);
  for (Weight &weight : program.weights)
    weight.isFolded = weight.kind == Weight::Kind::Constant && !used.contains(weight.name);
  for (const Weight &weight : program.weights)
    if (!weight.isFolded)
      program.weights[weight.canonical].isFolded = false;
  for (const Weight &weight : program.weights) {
    if (!used.contains(weight.name))
      continue;
    bool buffer = weight.kind != Weight::Kind::Parameter;
    bool noDecay = weight.sizes.size() <= 1 || StringRef(weight.name).ends_with(".bias") ||
                   record.noWeightDecay.contains(weight.name);
    nn::ParamOp::create(builder, NameLoc::get(builder.getStringAttr(weight.name)), weight.name,
                        RankedTensorType::get(weight.sizes, builder.getF32Type()),
                        !buffer && noDecay, buffer);
  }
  std::string complaint;
  ScopedDiagnosticHandler handler(module.getContext(), [&](Diagnostic &d) {
    complaint += (complaint.empty() ? "" : "; ") + d.str();
  });
  if (failed(verify(module)))
    return createStringError("the network does not verify: " + complaint);
  return llvm::Error::success();
}

Expected<OwningOpRef<ModuleOp>> Raiser::run() {
  OwningOpRef<ModuleOp> module = ModuleOp::create(builder.getUnknownLoc(), record.name);
  (*module)->setAttr(nn::NNDialect::kModelAttr, record.attributes);
  flattenVectors();
  if (llvm::Error error = start(*module))
    return error;
  for (const Node &node : program.nodes)
    if (llvm::Error error = raiseNode(node))
      return error;
  if (llvm::Error error = listProblems())
    return error;
  if (llvm::Error error = finish(*module))
    return error;
  return module;
}

Expected<OwningOpRef<ModuleOp>> ns::pt2::raise(Program &program, const ModelRecord &record,
                                               MLIRContext &context) {
  context.loadDialect<func::FuncDialect, nn::NNDialect>();
  return Raiser(program, record, context).run();
}
