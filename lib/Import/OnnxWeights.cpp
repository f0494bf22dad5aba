//===- OnnxWeights.cpp - what initializers become -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An optimizer transposes the weights of linear layers and renames them, merges initializers that
// are equal (all biases of zeros, all norms at their start), and drops biases of zeros. Trained
// further, those parameters part ways; and the results go back to PyTorch by name. So each use of
// an initializer asks which parameter it is there (OnnxNames.h), and that becomes a weight.
//
//===----------------------------------------------------------------------===//

#include "OnnxTranslator.h"

#include "llvm/ADT/STLExtras.h"

using namespace llvm;
using namespace ns;
using namespace ns::onnx;
using pt2::Weight;

namespace {
/// What a weight is called as a value of the program; node results cannot be called so.
constexpr StringLiteral kValuePrefix("weight ");

/// One element of zero, for weights that have nothing else.
constexpr char kZero[8] = {};
} // namespace

bool Translator::isParameter(const Tensor &tensor) const {
  const Signature::Entry *entry = signature.ofName(tensor.name);
  return entry && entry->kind == pt2::Weight::Kind::Parameter;
}

Error Translator::addInitializer(const Tensor &tensor) {
  Value value;
  value.shape.emplace(tensor.dims.begin(), tensor.dims.end());
  value.weight = &tensor;
  const std::optional<pt2::ScalarType> type = scalarType(tensor.dataType);
  const bool isFloat =
      type == pt2::ScalarType::F32 || type == pt2::ScalarType::F16 || type == pt2::ScalarType::BF16;
  // Floats are weights; a single one that is no parameter is a number.
  if (!isFloat || tensor.count() == 0 || (tensor.count() == 1 && !isParameter(tensor)))
    if (std::optional<Constant> constant = Constant::of(tensor))
      value.constant = std::make_shared<const Constant>(std::move(*constant));
  return define(tensor.name, std::move(value));
}

/// Names that an exporter made up for an initializer that it computed.
static bool isMadeUp(StringRef name) {
  return name.empty() || name.contains("::") || name.starts_with("val_");
}

/// What a convolution with a batch norm folded into it is called: its weight kept the name.
std::string Translator::convolutionName(const Node &node) const {
  const Value *weight = operand(node, 1);
  StringRef name = weight && weight->weight ? weight->weight->name : "";
  return name.consume_back(".weight") ? name.str() : layerOf(node);
}

std::string Translator::parameterName(const Node &node, const Tensor &tensor, Role role) const {
  SmallVector<const Signature::Entry *> weights = callWeights(node, signature);
  const Signature::Entry *only = nullptr;
  unsigned count = 0;
  for (const Signature::Entry *entry : weights)
    if (entry)
      only = entry, ++count;
  if (role.argument >= 0 && callTarget(node).contains(role.target)) {
    if (role.argument < static_cast<int>(weights.size()) && weights[role.argument])
      return weights[role.argument]->name.str();
  } else if (count == 1 && role.member.empty()) {
    return only->name.str();
  } else if (role.target == "conv" && callTarget(node).contains("batch_norm")) {
    return convolutionName(node) + ".folded_" + role.member.str();
  }
  if (signature.ofName(tensor.name))
    return tensor.name.str();
  std::string member = layerOf(node);
  if (!member.empty() && !role.member.empty()) {
    member += "." + role.member.str();
    if (signature.empty() ? isMadeUp(tensor.name) : signature.ofName(member) != nullptr)
      return member;
  }
  return tensor.name.str();
}

/// Elements in row-major order.
static void setStrides(Weight &weight) {
  weight.strides.resize(weight.sizes.size());
  int64_t stride = 1;
  for (size_t i = weight.sizes.size(); i-- > 0; stride *= weight.sizes[i])
    weight.strides[i] = stride;
}

/// Adds a weight, or finds it: the value that stands for it.
std::string Translator::addWeight(Weight weight, const Tensor *source, bool transposed) {
  std::string name = weight.name;
  for (unsigned i = 2;; ++i) { // a name that another initializer has: this is no parameter
    auto [known, isNew] = weightOfName.try_emplace(name, program.weights.size());
    if (isNew)
      break;
    const Source &other = sources[known->second];
    if (other.tensor == source && other.transposed == transposed)
      return kValuePrefix.str() + name;
    name = weight.name + "." + std::to_string(i);
  }
  weight.name = name;
  weight.canonical = program.weights.size();
  const Signature::Entry *entry = signature.ofName(name);
  // What was computed from parameters at export cannot go back to them: it stays as it is.
  const bool keeps = signature.empty() || weight.kind != Weight::Kind::Parameter ||
                     StringRef(name).contains(".folded_");
  weight.kind = entry ? entry->kind : keeps ? weight.kind : Weight::Kind::Buffer;
  const std::string value = kValuePrefix.str() + name;
  program.values[value].type = weight.type;
  setShape(value, weight.sizes);
  program.weightOfValue[value] = program.weights.size();
  program.weights.push_back(std::move(weight));
  sources.push_back({source, transposed});
  return value;
}

std::string Translator::useWeight(const Node &node, const Tensor &tensor, Role role,
                                  bool transposed) {
  Weight weight;
  weight.name = parameterName(node, tensor, role);
  if (weight.name.empty() || weight.name == "__metadata__" || StringRef(weight.name).contains('\0'))
    weight.name = "unnamed";
  weight.kind =
      role.member.starts_with("running_") ? Weight::Kind::Buffer : Weight::Kind::Parameter;
  weight.type = scalarType(tensor.dataType).value_or(pt2::ScalarType::F32);
  for (int64_t extent : tensor.dims) // a buffer that was unsqueezed for its use is one without that
    if (extent != 1 || !role.member.empty() || signature.empty() || signature.ofName(weight.name))
      weight.sizes.push_back(extent);
  transposed &= weight.sizes.size() == 2;
  setStrides(weight);
  if (transposed) {
    std::swap(weight.sizes[0], weight.sizes[1]);
    std::swap(weight.strides[0], weight.strides[1]);
  }
  weight.record.bytes = tensor.bytes;
  return addWeight(std::move(weight), &tensor, transposed);
}

std::string Translator::use(const Node &node, size_t index, Role role) {
  const Value *value = operand(node, index);
  if (value && !value->name.empty())
    return value->name;
  const Tensor *tensor = value ? value->weight : nullptr;
  std::string used;
  if (tensor && tensor->count() > 0 && scalarType(tensor->dataType) && !tensor->bytes.empty())
    used = useWeight(node, *tensor, role, /*transposed=*/false);
  else if (value && value->constant && !value->constant->bits.empty())
    used = useConstant(node, node.inputs[index], *value->constant);
  if (used.empty()) {
    consumeError(outside(node, "(with an operand that is no weight and not computed)"));
    return "";
  }
  if (value->transposed)
    return emitInner(node, "permute", {this->tensor("self", used), integers("dims", {1, 0})},
                     *value->shape);
  SmallVector<int64_t> shape = *value->shape; // before repetitions
  if (value->constant)
    shape.assign(value->constant->stored.begin(), value->constant->stored.end());
  if (program.values[used].sizes != shape)
    used =
        emitInner(node, "reshape", {this->tensor("self", used), integers("shape", shape)}, shape);
  if (shape != *value->shape)
    used = emitInner(node, "expand", {this->tensor("self", used), integers("size", *value->shape)},
                     *value->shape);
  return used;
}

std::string Translator::useConstant(const Node &node, StringRef name, const Constant &constant) {
  Weight weight;
  weight.name = ("nullspace." + name).str();
  weight.kind = Weight::Kind::Constant;
  weight.type = constant.isFloat ? pt2::ScalarType::F32 : pt2::ScalarType::I64;
  for (int64_t extent : constant.stored)
    if (extent != 1)
      weight.sizes.push_back(extent);
  setStrides(weight);
  if (weightOfName.contains(weight.name))
    return kValuePrefix.str() + weight.name;
  std::string bytes;
  for (size_t i = 0; i < constant.bits.size(); ++i) {
    const float real = static_cast<float>(constant.real(i));
    constant.isFloat ? bytes.append(reinterpret_cast<const char *>(&real), sizeof(real))
                     : bytes.append(reinterpret_cast<const char *>(&constant.bits[i]), 8);
  }
  model.data.push_back(MemoryBuffer::getMemBufferCopy(bytes));
  weight.record.bytes = model.data.back()->getBuffer();
  return addWeight(std::move(weight), nullptr, false);
}

std::string Translator::droppedBias(const Node &node, Role role, int64_t size) {
  SmallVector<const Signature::Entry *> weights = callWeights(node, signature);
  if (!callTarget(node).contains(role.target) ||
      role.argument >= static_cast<int>(weights.size()) || !weights[role.argument] ||
      !pt2::countElements({size}))
    return "";
  Weight bias;
  bias.name = weights[role.argument]->name.str();
  bias.sizes = {size};
  bias.strides = {0};
  bias.record.bytes = StringRef(kZero, sizeof(kZero));
  return addWeight(std::move(bias), nullptr, false);
}

/// Keeps the weights that `read` names, in the order of the model's own, and adds those of its
/// parameters that no node reads.
void Translator::orderWeights(const StringSet<> &read) {
  Node none;
  for (const Tensor &tensor : model.initializers)
    if (signature.ofName(tensor.name) && !weightOfName.contains(tensor.name) &&
        llvm::none_of(sources, [&](const Source &source) { return source.tensor == &tensor; }) &&
        tensor.count() > 0 && scalarType(tensor.dataType) && !tensor.bytes.empty())
      useWeight(none, tensor, {}, false);
  std::vector<Weight> weights;
  for (Weight &weight : program.weights)
    if (read.contains(kValuePrefix.str() + weight.name) || signature.ofName(weight.name))
      weights.push_back(std::move(weight));
  auto order = [&](const Weight &weight) {
    const Signature::Entry *entry = signature.ofName(weight.name);
    return entry ? entry->order : std::numeric_limits<size_t>::max();
  };
  llvm::stable_sort(weights, [&](const Weight &a, const Weight &b) { return order(a) < order(b); });
  program.weights = std::move(weights);
  program.weightOfValue.clear();
  for (auto [i, weight] : llvm::enumerate(program.weights)) {
    weight.canonical = i;
    program.weightOfValue[kValuePrefix.str() + weight.name] = i;
  }
}
