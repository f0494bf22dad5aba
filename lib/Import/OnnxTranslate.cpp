//===- OnnxTranslate.cpp - an ONNX model as the importer's program -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "OnnxTranslator.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/ADT/StringExtras.h"

using namespace llvm;
using namespace ns;
using namespace ns::onnx;
using pt2::Argument;
using pt2::NamedArgument;

namespace {
constexpr int64_t kMinOpset = 13, kMaxOpset = 26;
/// Constants of one model beyond this many elements are refused.
constexpr int64_t kMaxConstants = 1 << 22;
constexpr StringLiteral kOutside("onnx.");
} // namespace

static std::string describe(ArrayRef<int64_t> shape) {
  std::string text = shape.empty() ? "a number" : "";
  raw_string_ostream os(text);
  interleave(shape, os, [&](int64_t e) { e == pt2::kProbeBatch ? os << "?" : os << e; }, "x");
  return text;
}

//===----------------------------------------------------------------------===//
// Arguments and calls
//===----------------------------------------------------------------------===//

NamedArgument Translator::tensor(StringRef name, std::string value) {
  return tensors(name, {std::move(value)});
}

NamedArgument Translator::tensors(StringRef name, std::vector<std::string> values) {
  NamedArgument argument{name.str(), {}};
  argument.value.kind = Argument::Kind::Tensors;
  argument.value.names = std::move(values);
  return argument;
}

NamedArgument Translator::integers(StringRef name, ArrayRef<int64_t> values) {
  NamedArgument argument{name.str(), {}};
  argument.value.kind = Argument::Kind::Ints;
  argument.value.ints.assign(values.begin(), values.end());
  return argument;
}

NamedArgument Translator::real(StringRef name, double value) {
  NamedArgument argument{name.str(), {}};
  argument.value.kind = Argument::Kind::Floats;
  argument.value.floats = {value};
  return argument;
}

NamedArgument Translator::flag(StringRef name, bool value) {
  NamedArgument argument{name.str(), {}};
  argument.value.kind = Argument::Kind::Bool;
  argument.value.flag = value;
  return argument;
}

NamedArgument Translator::text(StringRef name, StringRef value) {
  NamedArgument argument{name.str(), {}};
  argument.value.kind = Argument::Kind::String;
  argument.value.text = value.str();
  return argument;
}

void Translator::add(const Node &node, StringRef target, std::vector<NamedArgument> inputs,
                     ArrayRef<std::string> outputs) {
  pt2::Node call;
  call.name = outputs.front();
  call.target =
      target.starts_with(kOutside) ? target.str() : ("torch.ops.aten." + target + ".default").str();
  call.layer = layerOf(node);
  call.inputs = std::move(inputs);
  call.outputs.assign(outputs.begin(), outputs.end());
  for (const std::string &output : outputs)
    producers[output] = program.nodes.size();
  program.nodes.push_back(std::move(call));
}

void Translator::setShape(StringRef name, ArrayRef<int64_t> shape) {
  program.values[name].sizes.assign(shape.begin(), shape.end());
}

Error Translator::emit(const Node &node, StringRef target, std::vector<NamedArgument> inputs,
                       ArrayRef<int64_t> shape) {
  StringRef output = node.outputs.front();
  if (!pt2::countElements(shape) || shape.size() > 8)
    return outside(node, "(a result of " + describe(shape) + ")");
  add(node, target, std::move(inputs), output.str());
  Value value;
  value.name = output.str();
  value.shape.emplace(shape);
  value.outside = followsOutside(node);
  return define(output, std::move(value));
}

bool Translator::followsOutside(const Node &node) const {
  return llvm::any_of(llvm::seq<size_t>(0, node.inputs.size()), [&](size_t i) {
    const Value *value = operand(node, i);
    return value && value->outside;
  });
}

std::string Translator::emitInner(const Node &node, StringRef target,
                                  std::vector<NamedArgument> inputs, ArrayRef<int64_t> shape) {
  std::string name;
  for (unsigned i = 1; name.empty() || values.contains(name) || program.values.contains(name); ++i)
    name = (node.outputs.front() + "_" + target + (i > 1 ? Twine(i) : Twine())).str();
  add(node, target, std::move(inputs), name);
  setShape(name, shape);
  return name;
}

const pt2::Node *Translator::made(StringRef value, StringRef target) const {
  auto found = producers.find(value);
  if (found == producers.end())
    return nullptr;
  const pt2::Node &call = program.nodes[found->second];
  return call.target == ("torch.ops.aten." + target + ".default").str() ? &call : nullptr;
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

Error Translator::malformed(const Node &node, const Twine &what) const {
  return createStringError("node '" + node.name + "' (" + node.opType + "): " + what);
}

Error Translator::define(StringRef name, Value value) {
  if (name.empty())
    return Error::success();
  if (value.constant)
    constantElements += value.constant->bits.size();
  if (constantElements > kMaxConstants)
    return createStringError("value '" + name + "': the graph computes more than " +
                             Twine(kMaxConstants) + " constants");
  if (value.shape && value.name == name)
    setShape(name, *value.shape);
  if (!values.try_emplace(name, std::move(value)).second)
    return createStringError("value '" + name + "' is computed twice");
  return Error::success();
}

Error Translator::outside(const Node &node, const Twine &reason) {
  ++problems;
  std::string target =
      (kOutside + (node.domain.empty() ? "" : node.domain + ".") + node.opType).str();
  std::string why = reason.str();
  if (!why.empty())
    target += " " + why;
  std::vector<std::string> results;
  for (StringRef output : node.outputs)
    if (!output.empty())
      results.push_back(output.str());
  add(node, target, {}, results);
  for (StringRef output : node.outputs)
    if (!output.empty() && !values.contains(output)) {
      Value value;
      value.name = output.str();
      value.outside = true;
      if (auto claim = claims.find(output); claim != claims.end() && claim->second->dims) {
        SmallVector<int64_t> shape;
        for (const Dimension &dim : *claim->second->dims)
          shape.push_back(extentOf(dim).value_or(0));
        if (pt2::countElements(shape))
          value.shape = shape;
      }
      if (Error error = define(output, std::move(value)))
        return error;
    }
  return Error::success();
}

const Translator::Value *Translator::operand(const Node &node, size_t index) const {
  if (index >= node.inputs.size() || node.inputs[index].empty())
    return nullptr;
  auto found = values.find(node.inputs[index]);
  return found == values.end() ? nullptr : &found->second;
}

const Constant *Translator::constant(const Node &node, size_t index) const {
  const Value *value = operand(node, index);
  return value ? value->constant.get() : nullptr;
}

std::optional<SmallVector<int64_t>> Translator::list(const Node &node, size_t index,
                                                     StringRef attribute, bool &known) const {
  if (operand(node, index)) {
    const Constant *given = constant(node, index);
    known &= given && !given->isFloat;
    return given && !given->isFloat ? std::optional(given->integers()) : std::nullopt;
  }
  if (const Attribute *given = node.find(attribute))
    return SmallVector<int64_t>(given->integers.begin(), given->integers.end());
  return std::nullopt;
}

int64_t Translator::integer(const Node &node, StringRef attribute, int64_t otherwise) {
  const Attribute *found = node.find(attribute);
  return found ? found->integer : otherwise;
}

double Translator::number(const Node &node, StringRef attribute, double otherwise) {
  const Attribute *found = node.find(attribute);
  return found ? found->number : otherwise;
}

std::optional<int64_t> Translator::dimension(int64_t dim, size_t rank) {
  const int64_t extent = rank;
  if (dim < -extent || dim >= extent)
    return std::nullopt;
  return dim < 0 ? dim + extent : dim;
}

/// The extent of a dimension of the file; nothing for a name other than the batch's.
std::optional<int64_t> Translator::extentOf(const Dimension &dimension) const {
  if (dimension.value >= 0)
    return dimension.value;
  return !dimension.name.empty() && dimension.name == batch ? std::optional(pt2::kProbeBatch)
                                                            : std::nullopt;
}

//===----------------------------------------------------------------------===//
// The walk over the nodes
//===----------------------------------------------------------------------===//

const StringMap<Translator::Handler> &Translator::handlers() {
  using T = Translator;
  static const StringMap<Handler> table = {
      {"Add", &T::binary},
      {"Attention", &T::attention},
      {"AveragePool", &T::pool},
      {"BatchNormalization", &T::batchNorm},
      {"Cast", &T::cast},
      {"CastLike", &T::cast},
      {"Concat", &T::concat},
      {"Conv", &T::convolution},
      {"Div", &T::binary},
      {"Dropout", &T::identity},
      {"Erf", &T::unary},
      {"Exp", &T::unary},
      {"Expand", &T::expand},
      {"Flatten", &T::flatten},
      {"Gather", &T::gather},
      {"GatherND", &T::gatherND},
      {"Gelu", &T::gelu},
      {"Gemm", &T::gemm},
      {"GlobalAveragePool", &T::globalAverage},
      {"HardSigmoid", &T::unary},
      {"HardSwish", &T::unary},
      {"Identity", &T::identity},
      {"IsNaN", &T::isNaN},
      {"LayerNormalization", &T::layerNorm},
      {"MatMul", &T::matMul},
      {"MaxPool", &T::pool},
      {"Mul", &T::binary},
      {"Neg", &T::unary},
      {"Pad", &T::pad},
      {"Pow", &T::binary},
      {"ReduceMean", &T::mean},
      {"Relu", &T::unary},
      {"Reshape", &T::reshape},
      {"SequenceAt", &T::sequenceAt},
      {"Shape", &T::shapeOf},
      {"Sigmoid", &T::unary},
      {"Slice", &T::slice},
      {"Softmax", &T::softmax},
      {"Split", &T::split},
      {"SplitToSequence", &T::splitToSequence},
      {"Sqrt", &T::unary},
      {"Squeeze", &T::squeeze},
      {"Sub", &T::binary},
      {"Swish", &T::unary},
      {"Tanh", &T::unary},
      {"Transpose", &T::transpose},
      {"Unsqueeze", &T::unsqueeze},
      {"Where", &T::where},
  };
  return table;
}

Error Translator::addInputs() {
  for (const Tensor &tensor : model.initializers)
    if (Error error = addInitializer(tensor))
      return error;
  const ValueInfo *image = nullptr;
  for (const ValueInfo &input : model.inputs) {
    if (values.contains(input.name)) // files of IR version 3 list weights, too
      continue;
    if (image)
      return createStringError("expected one input, the image, found '" + image->name + "' and '" +
                               input.name + "'");
    image = &input;
  }
  if (!image || image->name.empty())
    return createStringError("expected one input, the image, found none");
  if (!image->dims || image->dims->size() != 4)
    return createStringError("input '" + image->name +
                             "': expected an image, batch x channels x height x width");
  const Dimension &first = image->dims->front();
  batch = first.name;
  Value value;
  value.name = image->name.str();
  value.shape.emplace();
  for (const Dimension &dim : *image->dims) {
    const int64_t extent = &dim == &first && dim.value < 0 ? pt2::kProbeBatch : dim.value;
    if (extent < 1)
      return createStringError("input '" + image->name + "': extent '" + dim.name.take_front(40) +
                               "': expected only the batch to be dynamic");
    value.shape->push_back(extent);
  }
  if (!pt2::countElements(*value.shape))
    return createStringError("input '" + image->name + "': more pixels than any memory holds");
  if (Error error = define(image->name, std::move(value)))
    return error;
  pt2::TensorMeta &meta = program.values[image->name];
  // A type of no number here is reported as no float32.
  meta.type = scalarType(image->dataType).value_or(pt2::ScalarType::U8);
  if (first.value < 0)
    meta.symbol = first.name.empty() ? "batch" : first.name.str();
  program.imageName = image->name.str();
  return Error::success();
}

/// Evaluates a node whose operands are all known.
Expected<bool> Translator::fold(const Node &node) {
  SmallVector<std::shared_ptr<const Constant>> known;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Value *value = operand(node, i);
    known.push_back(value ? value->constant : nullptr);
    if (value && !known.back() && value->weight && node.opType == "ScatterND" &&
        !isParameter(*value->weight)) // a mask in the making
      if (std::optional<Constant> constant = Constant::of(*value->weight))
        known.back() = std::make_shared<const Constant>(std::move(*constant));
    if (value && !known.back())
      return false;
  }
  SmallVector<const Constant *> operands;
  for (const std::shared_ptr<const Constant> &constant : known)
    operands.push_back(constant.get());
  if (node.outputs.size() != 1 || !node.domain.empty())
    return false;
  Value value;
  if (std::optional<Constant> result = evaluate(node, operands)) {
    value.shape.emplace(result->shape.begin(), result->shape.end());
    // Elements that an op leaves as they are may be asked for as a tensor, an index, later.
    for (size_t i = 0; i < operands.size(); ++i)
      if (operands[i] && operands[i]->bits == result->bits && result->shape == result->stored)
        value.weight = operand(node, i)->weight;
    value.constant = std::make_shared<const Constant>(std::move(*result));
  } else if (const Attribute *tensor = node.find("value");
             node.opType == "Constant" && tensor && tensor->tensor) {
    value.shape.emplace(tensor->tensor->dims.begin(), tensor->tensor->dims.end());
    value.weight = tensor->tensor.get();
  } else {
    return false;
  }
  // Longer lists of floats are weights as well.
  if (const Attribute *tensor = node.find("value"); node.opType == "Constant" && tensor)
    value.weight = tensor->tensor.get();
  if (Error error = define(node.outputs.front(), std::move(value)))
    return error;
  return true;
}

Error Translator::translateNode(const Node &node) {
  if (node.opType.empty() || node.outputs.empty() || node.outputs.front().empty())
    return createStringError("node '" + node.name + "': expected an op and a result");
  for (StringRef output : node.outputs)
    if (!output.empty() && (values.contains(output) || program.values.contains(output)))
      return malformed(node, "its result '" + output + "' is computed twice");
  bool ready = true;
  for (StringRef input : node.inputs) {
    auto found = values.find(input);
    if (!input.empty() && found == values.end())
      return malformed(node, "reads '" + input + "', which no earlier node computes");
    ready &= input.empty() || found->second.shape || !found->second.outside;
  }
  Expected<bool> folded = fold(node);
  if (!folded || *folded)
    return folded ? checkValues(node) : folded.takeError();
  auto handler = handlers().find(node.opType);
  const bool known = node.domain.empty() || node.domain == "ai.onnx";
  if (!known || handler == handlers().end())
    return outside(node);
  if (ready || node.opType == "Gather") { // its indices may be those of a plain view
    if (Error error = (this->*handler->second)(node))
      return error;
  }
  for (StringRef output : node.outputs) // what follows from something outside
    if (!output.empty() && !values.contains(output)) {
      Value value;
      value.outside = true;
      if (Error error = define(output, std::move(value)))
        return error;
    }
  return checkValues(node);
}

/// What the file says of a node's results must be what follows from its operands.
Error Translator::checkValues(const Node &node) {
  for (StringRef output : node.outputs) {
    auto claim = claims.find(output);
    if (output.empty() || claim == claims.end() || !claim->second->dims)
      continue;
    const Value &value = values[output];
    if (!value.shape || value.outside)
      continue;
    const auto &dims = *claim->second->dims;
    bool equal = dims.size() == value.shape->size();
    for (size_t i = 0; equal && i < dims.size(); ++i)
      equal = extentOf(dims[i]).value_or((*value.shape)[i]) == (*value.shape)[i];
    if (!equal && !value.constant) // torch.onnx is wrong about the ranks of its own lists
      return malformed(node, "its result '" + output + "' is " + describe(*value.shape) +
                                 " by its operands, and something else by the file");
  }
  return Error::success();
}

/// Drops calls that the logits do not depend on, and weights that nothing reads and no parameter
/// is.
void Translator::dropUnread() {
  StringSet<> read{program.logitsName};
  std::vector<pt2::Node> kept;
  for (pt2::Node &call : llvm::reverse(program.nodes)) {
    const bool cause = problems && StringRef(call.target).starts_with(kOutside);
    if (!cause && llvm::none_of(call.outputs, [&](auto &name) { return read.contains(name); }))
      continue;
    for (const NamedArgument &input : call.inputs)
      for (const std::string &name : input.value.names)
        read.insert(name);
    kept.push_back(std::move(call));
  }
  std::reverse(kept.begin(), kept.end());
  program.nodes = std::move(kept);
  orderWeights(read);
}

Error Translator::finish() {
  const ValueInfo *logits = nullptr;
  for (const ValueInfo &output : model.outputs)
    if (!logits || output.name == "logits")
      logits = &output;
  if (!logits || (model.outputs.size() > 1 && logits->name != "logits"))
    return createStringError("expected one result, the logits, found " +
                             Twine(model.outputs.size()) + ", none of them called 'logits'");
  auto found = values.find(logits->name);
  if (found == values.end())
    return createStringError("the graph returns '" + logits->name + "', which no node computes");
  program.logitsName = found->second.name.empty() ? logits->name.str() : found->second.name;
  if (!found->second.outside)
    problems = 0; // of nodes that the logits do not depend on
  dropUnread();
  return Error::success();
}

Error Translator::run() {
  if (model.opset < kMinOpset || model.opset > kMaxOpset)
    return createStringError("expected an opset from " + Twine(kMinOpset) + " to " +
                             Twine(kMaxOpset) + ", found " + Twine(model.opset) +
                             ": export the model again, with opset 23 where possible");
  for (const ValueInfo &value : model.values)
    claims[value.name] = &value;
  if (Error error = addInputs())
    return error;
  for (const Node &node : model.nodes)
    if (Error error = translateNode(node))
      return error;
  return finish();
}

Expected<pt2::Program> ns::onnx::translate(Model &model) {
  pt2::Program program;
  if (Error error = Translator(model, program).run())
    return error;
  return program;
}
