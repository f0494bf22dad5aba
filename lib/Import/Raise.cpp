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
// Values
//===----------------------------------------------------------------------===//

SmallVector<int64_t> Raiser::shapeOf(Value value) {
  SmallVector<int64_t> shape(typeOf(value).getShape());
  for (int64_t &extent : shape)
    extent = ShapedType::isDynamic(extent) ? kProbeBatch : extent;
  return shape;
}

RankedTensorType Raiser::withChannels(Value value, int64_t channels) {
  SmallVector<int64_t> shape(typeOf(value).getShape());
  shape.back() = channels;
  return typeOf(value).clone(shape);
}

std::string Raiser::describe(ArrayRef<int64_t> shape) {
  std::string text = shape.empty() ? "a number" : "";
  raw_string_ostream os(text);
  interleave(
      shape, os, [&](int64_t extent) { extent == kProbeBatch ? os << "?" : os << extent; }, "x");
  return text;
}

void Raiser::define(const Node &node, Value value) {
  define(node, value, IndexMap::identity(shapeOf(value)));
}

Value Raiser::load(size_t index) {
  index = program.weights[index].canonical;
  Value &value = loaded[index];
  if (!value) {
    const Weight &weight = program.weights[index];
    auto type = RankedTensorType::get(weight.sizes, builder.getF32Type());
    value = nn::LoadParamOp::create(builder, NameLoc::get(builder.getStringAttr(weight.name)), type,
                                    weight.name);
  }
  return value;
}

Value Raiser::addBuffer(const Node &node, StringRef name, ArrayRef<int64_t> shape,
                        ArrayRef<double> elements) {
  Weight weight;
  weight.name = node.layer.empty() ? name.str() : (node.layer + "." + name).str();
  const std::string base = weight.name;
  for (unsigned i = 1;
       llvm::any_of(program.weights, [&](const Weight &w) { return w.name == weight.name; }); ++i)
    weight.name = base + "_" + std::to_string(i);
  weight.kind = Weight::Kind::Constant;
  weight.sizes.assign(shape.begin(), shape.end());
  weight.strides.assign(shape.size(), 1);
  for (size_t dim = shape.size(); dim-- > 1;)
    weight.strides[dim - 1] = weight.strides[dim] * shape[dim];
  program.computed.push_back(
      std::make_unique<const std::vector<float>>(elements.begin(), elements.end()));
  const std::vector<float> &values = *program.computed.back();
  weight.record.bytes =
      StringRef(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(float));
  weight.inMemory = true;
  weight.canonical = program.weights.size();
  program.weights.push_back(std::move(weight));
  return load(program.weights.size() - 1);
}

Raiser::View Raiser::viewOf(StringRef name) {
  auto weight = program.weightOfValue.find(name);
  if (weight == program.weightOfValue.end())
    return environment.find(name)->second;
  const Weight &tensor = program.weights[weight->second];
  const bool isNumber = tensor.kind == Weight::Kind::Constant && tensor.sizes.empty();
  Value value = tensor.type == ScalarType::F32 && !isNumber ? load(weight->second)
                                                            : constantOf(weight->second);
  return {value, IndexMap::identity(shapeOf(value))};
}

Value Raiser::defer(ArrayRef<int64_t> shape, Deferred what) {
  SmallVector<int64_t> extents(shape);
  for (int64_t &extent : extents)
    extent = extent == kProbeBatch ? ShapedType::kDynamic : extent;
  Value value = UnrealizedConversionCastOp::create(
                    builder, builder.getUnknownLoc(),
                    TypeRange(RankedTensorType::get(extents, builder.getF32Type())), ValueRange())
                    .getResult(0);
  placeholders[value] = std::make_unique<Deferred>(std::move(what));
  return value;
}

Value Raiser::force(Value root, const Node &node) {
  if (!isDeferred(root))
    return root;
  if (Value known = forced.lookup(root))
    return known;
  const Scaled *scaled = deferred<Scaled>(root);
  Value value = scaled ? force(scaled->value, node) : Value();
  if (!value)
    return nullptr;
  value = emit<nn::ScaleOp>(node, value.getType(), value, APFloat(scaled->factor));
  forced[root] = value;
  return value;
}

Raiser::View Raiser::view(const Node &node, StringRef argument) {
  return viewOf(node.find(argument)->names.front());
}

Value Raiser::latestTokens() {
  for (Operation &op : reverse(*builder.getInsertionBlock()))
    if (op.getNumResults() == 1 && !isDeferred(op.getResult(0)))
      if (auto type = dyn_cast<RankedTensorType>(op.getResult(0).getType());
          type && type.getRank() > 2 && type.isDynamicDim(0))
        return op.getResult(0);
  llvm_unreachable("the normalized image is such a tensor");
}

Value Raiser::makeSlice(const View &view, const Node &node) {
  SmallVector<int64_t> root = shapeOf(view.root), shape = view.map.shape();
  const int64_t rank = shape.size(), offset = view.map.getOffset(),
                channels = root.empty() ? 1 : root.back();
  SmallVector<int64_t> resultShape(shape);
  if (rank > 0 && typeOf(view.root).isDynamicDim(0) && shape[0] == root[0])
    resultShape[0] = ShapedType::kDynamic;
  auto type = typeOf(view.root).clone(resultShape);
  auto is = [&](ArrayRef<IndexMap::Factor> factors) {
    return view.map == IndexMap(factors, offset);
  };
  if (rank > 1 && root.size() == shape.size() && root[0] == 1 && shape[0] == kProbeBatch &&
      view.map == IndexMap::identity(root).expand(shape)) {
    resultShape[0] = ShapedType::kDynamic;
    return emit<nn::ExpandBatchOp>(node, typeOf(view.root).clone(resultShape), view.root,
                                   latestTokens());
  }
  if (root.size() == 3) {
    const int64_t image = root[1] * channels;
    if (rank == 2 && is({{root[0], image}, {channels, 1}}) && offset % channels == 0)
      return emit<nn::SelectTokenOp>(node, type, view.root, offset / channels);
    if (rank == 3 && is({{root[0], image}, {shape[1], channels}, {channels, 1}}) &&
        offset % channels == 0)
      return emit<nn::SliceTokensOp>(node, type, view.root, offset / channels);
    if (rank == 3 && is({{root[0], image}, {root[1], channels}, {shape[2], 1}}) &&
        offset + shape[2] <= channels)
      return emit<nn::SliceChannelsOp>(node, type, view.root, offset);
  }
  if (root.size() == 2 && rank == 2) {
    if (is({{root[0], channels}, {shape[1], 1}}) && offset + shape[1] <= channels)
      return emit<nn::SliceChannelsOp>(node, type, view.root, offset);
    if (!typeOf(view.root).isDynamicDim(0) && is({{shape[0], channels}, {channels, 1}}) &&
        offset % channels == 0)
      return emit<nn::SliceRowsOp>(node, type, view.root, offset / channels);
  }
  return nullptr;
}

Value Raiser::materialize(const View &given, const Node &node) {
  View view = given;
  view.root = view.root ? force(view.root, view.source ? *view.source : node) : Value();
  if (!view.root || view.map == IndexMap::identity(shapeOf(view.root)))
    return view.root;
  auto &known = slices[view.root];
  for (const auto &[map, value] : known)
    if (map == view.map)
      return value;
  const Node &origin = view.source ? *view.source : node;
  Value value = makeSlice(view, origin);
  if (!value)
    value = makePermutation(view, origin);
  if (value)
    known.emplace_back(view.map, value);
  return value;
}

Value Raiser::operand(const Node &node, StringRef argument) {
  const Argument *given = node.find(argument);
  if (!given || given->names.empty())
    return nullptr;
  View operand = viewOf(given->names.front());
  Value value = materialize(operand, node);
  if (!value)
    (void)!outside(node, cannotMake(argument, operand));
  return value;
}

std::string Raiser::cannotMake(StringRef argument, const View &view) const {
  if (isDeferred(view.root) && !deferred<Scaled>(view.root))
    return ("its '" + argument + "' is " + describe(*placeholders.find(view.root)->second)).str();
  return ("a layout of '" + argument + "' (" + describe(view.map.shape()) + " out of " +
          describe(shapeOf(view.root)) + ") that no nn op makes")
      .str();
}

std::string Raiser::describe(const Deferred &what) {
  static constexpr StringLiteral kNames[] = {"computed from sizes alone",
                                             "computed from the batch size",
                                             "scaled",
                                             "attention scores",
                                             "a sum of attention biases",
                                             "rows of a table",
                                             "a stack of tensors",
                                             "a product of heads",
                                             "heads rotated without their first tokens"};
  static_assert(std::size(kNames) == std::variant_size_v<Deferred>);
  return kNames[what.index()].str();
}

Raiser::View Raiser::rows(const Node &node, StringRef argument) {
  View operand = view(node, argument), found = rowsOf(operand, node);
  if (!found.root)
    (void)!outside(node, cannotMake(argument, operand));
  return found;
}

void Raiser::defineRows(const Node &node, Value value, const View &rows) {
  define(node, value, *rows.map.withRows(shapeOf(rows.root).back(), shapeOf(value).back()));
}

std::optional<int64_t> Raiser::integer(const Node &node, StringRef argument) const {
  const Argument *given = node.find(argument);
  if (!given || given->ints.size() != 1 || given->ints.front() == Argument::kSymbolic)
    return std::nullopt;
  return given->ints.front();
}

std::optional<double> Raiser::number(const Node &node, StringRef argument) const {
  const Argument *given = node.find(argument);
  if (given && given->floats.size() == 1)
    return given->floats.front();
  if (std::optional<int64_t> value = integer(node, argument))
    return static_cast<double>(*value);
  return std::nullopt;
}

std::optional<unsigned> Raiser::dimension(const Node &node, StringRef argument,
                                          unsigned rank) const {
  std::optional<int64_t> dim = integer(node, argument);
  if (!dim || *dim < -static_cast<int64_t>(rank) || *dim >= static_cast<int64_t>(rank))
    return std::nullopt;
  return *dim < 0 ? *dim + rank : *dim;
}

//===----------------------------------------------------------------------===//
// Problems
//===----------------------------------------------------------------------===//

llvm::Error Raiser::outside(const Node &node, const Twine &reason) {
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
        (void)!outside(node, "weight '" + w.name + "' holds " + nameOf(w.type) +
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
      (void)!outside(node, "its argument '" + input.name + "'");
      return false;
    }
  return true;
}

/// Results that a rule did not define become null; those that it did must have the shape that the
/// archive claims.
llvm::Error Raiser::checkResults(const Node &node) {
  for (const std::string &name : node.outputs) {
    View &result = environment[name];
    if (result.root && result.map.shape() != claimedShape(name))
      return malformed(node, "its result '" + name + "' is " + describe(claimedShape(name)) +
                                 " by the archive, " + describe(result.map.shape()) +
                                 " by its operands");
    if (!result.root || program.values.find(name)->second.type == ScalarType::F32 ||
        deferred<Constant>(result.root) || deferred<Unknown>(result.root))
      continue;
    (void)!outside(node, "computes " + nameOf(program.values.find(name)->second.type) +
                             ", expected F32 (export the model after .float())");
    result.root = nullptr;
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
    (void)!outside(node, "no nn op stands for it");
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
      (void)!outside(node, "computes " + nameOf(meta->second.type) +
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
