//===- OnnxLayers.cpp - ops that compute -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "OnnxTranslator.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringSwitch.h"

using namespace llvm;
using namespace ns;
using namespace ns::onnx;
using pt2::NamedArgument;

namespace {
const Role kLinearWeight{"linear", 1, "weight"}, kLinearBias{"linear", 2, "bias"};
const Role kConvWeight{"conv", 1, "weight"}, kConvBias{"conv", 2, "bias"};
} // namespace

//===----------------------------------------------------------------------===//
// Matrices
//===----------------------------------------------------------------------===//

Error Translator::linear(const Node &node, std::string input, std::string weight, std::string bias,
                         ArrayRef<int64_t> shape) {
  std::vector<NamedArgument> inputs = {tensor("input", std::move(input)),
                                       tensor("weight", std::move(weight))};
  if (!bias.empty())
    inputs.push_back(tensor("bias", std::move(bias)));
  return emit(node, "linear", std::move(inputs), shape);
}

Error Translator::matMul(const Node &node) {
  const Value *a = operand(node, 0), *b = operand(node, 1);
  if (!a || !b || !a->shape || !b->shape || a->shape->size() < 2 || b->shape->size() < 2)
    return outside(node, "(of other than matrices)");
  const size_t rankA = a->shape->size(), rankB = b->shape->size();
  auto batches = broadcast(ArrayRef(*a->shape).drop_back(2), ArrayRef(*b->shape).drop_back(2));
  if (!batches || (*a->shape)[rankA - 1] != (*b->shape)[rankB - 2])
    return malformed(node, "matrices that do not fit each other");
  SmallVector<int64_t> shape = *batches;
  shape.append({(*a->shape)[rankA - 2], (*b->shape)[rankB - 1]});
  std::string left = use(node, 0);
  if (left.empty())
    return Error::success();
  if (b->name.empty() && b->weight && rankB == 2 && !b->weight->bytes.empty() &&
      scalarType(b->weight->dataType) && b->weight->count() > 0)
    return linear(node, left, useWeight(node, *b->weight, kLinearWeight, !b->transposed), "",
                  shape);
  std::string right = use(node, 1);
  if (right.empty())
    return Error::success();
  if (std::optional<Attention> found = attentionOf(left)) {
    const auto &scores = program.values[left].sizes; // B x H x N x M of query and key
    const SmallVector<int64_t> &query = program.values[found->query].sizes;
    if (scores.size() == 4 && query.size() == 4) {
      SmallVector<int64_t> key(program.values[found->transposedKey].sizes);
      std::swap(key[2], key[3]);
      std::string swapped =
          emitInner(node, "permute",
                    {tensor("self", found->transposedKey), integers("dims", {0, 1, 3, 2})}, key);
      return emit(node, "scaled_dot_product_attention",
                  {tensor("query", found->query), tensor("key", swapped), tensor("value", right),
                   real("scale", found->scale)},
                  shape);
    }
  }
  return emit(node, "matmul", {tensor("self", left), tensor("other", right)}, shape);
}

Error Translator::gemm(const Node &node) {
  const Value *a = operand(node, 0), *b = operand(node, 1), *c = operand(node, 2);
  if (!a || !b || !a->shape || !b->shape || a->shape->size() != 2 || b->shape->size() != 2)
    return malformed(node, "expected two matrices");
  if (integer(node, "transA", 0) || number(node, "alpha", 1) != 1 ||
      (c && number(node, "beta", 1) != 1) || !b->weight || !b->name.empty() ||
      b->weight->bytes.empty() || !scalarType(b->weight->dataType))
    return outside(node, "(that is no linear layer)");
  const bool isOutIn = integer(node, "transB", 0);
  const int64_t in = (*b->shape)[isOutIn ? 1 : 0], out = (*b->shape)[isOutIn ? 0 : 1];
  if ((*a->shape)[1] != in || (c && c->shape && *c->shape != SmallVector<int64_t>{out}))
    return outside(node, "(with operands that do not fit each other)");
  std::string input = use(node, 0);
  std::string bias = c ? use(node, 2, kLinearBias) : droppedBias(node, kLinearBias, out);
  if (input.empty() || (c && bias.empty()))
    return Error::success();
  std::string weight =
      useWeight(node, *b->weight, kLinearWeight, /*transposed=*/isOutIn == b->transposed);
  return linear(node, input, weight, bias, {(*a->shape)[0], out});
}

/// Attention of opset 23: heads as B x H x N x d, or tokens as B x N x C with the number of heads.
Error Translator::attention(const Node &node) {
  for (size_t i = 4; i < node.inputs.size(); ++i)
    if (operand(node, i))
      return outside(node, "(with a cache)");
  if (node.outputs.size() > 1 || number(node, "softcap", 0) != 0)
    return outside(node, "(with more results, or capped)");
  std::vector<NamedArgument> inputs;
  SmallVector<int64_t> query, value;
  constexpr StringLiteral kNames[] = {"query", "key", "value"};
  for (auto [i, name] : llvm::enumerate(kNames)) {
    const Value *part = operand(node, i);
    if (!part || !part->shape || (part->shape->size() != 4 && part->shape->size() != 3))
      return malformed(node, "expected query, key and value of rank 3 or 4");
    std::string used = use(node, i);
    if (used.empty())
      return Error::success();
    SmallVector<int64_t> shape = *part->shape;
    if (shape.size() == 3) {
      const int64_t heads = integer(node, i == 0 ? "q_num_heads" : "kv_num_heads", 0);
      if (heads < 1 || shape[2] % heads != 0)
        return malformed(node, Twine(heads) + " heads in " + Twine(shape[2]) + " channels");
      SmallVector<int64_t> split = {shape[0], shape[1], heads, shape[2] / heads};
      used = emitInner(node, "reshape", {tensor("self", used), integers("shape", split)}, split);
      shape = {split[0], split[2], split[1], split[3]};
      used =
          emitInner(node, "permute", {tensor("self", used), integers("dims", {0, 2, 1, 3})}, shape);
    }
    (i == 0 ? query : value) = shape;
    inputs.push_back(tensor(name, used));
  }
  if (const Value *mask = operand(node, 3)) {
    const bool isBool = mask->constant && !mask->constant->isFloat;
    if (!mask->constant || !mask->constant->isAll(isBool)) { // else every pair of tokens counts
      std::string used = use(node, 3);
      if (used.empty())
        return Error::success();
      inputs.push_back(tensor("attn_mask", used));
    }
  }
  if (integer(node, "is_causal", 0))
    inputs.push_back(flag("is_causal", true));
  if (const Attribute *scale = node.find("scale"))
    inputs.push_back(real("scale", scale->number));
  SmallVector<int64_t> shape = query;
  shape[3] = value[3];
  if (operand(node, 0)->shape->size() == 4)
    return emit(node, "scaled_dot_product_attention", std::move(inputs), shape);
  std::string heads = emitInner(node, "scaled_dot_product_attention", std::move(inputs), shape);
  std::swap(shape[1], shape[2]);
  heads =
      emitInner(node, "permute", {tensor("self", heads), integers("dims", {0, 2, 1, 3})}, shape);
  shape = {shape[0], shape[1], shape[2] * shape[3]};
  return emit(node, "reshape", {tensor("self", heads), integers("shape", shape)}, shape);
}

//===----------------------------------------------------------------------===//
// Windows
//===----------------------------------------------------------------------===//

std::optional<Translator::Window> Translator::windowOf(const Node &node, ArrayRef<int64_t> input,
                                                       ArrayRef<int64_t> kernel) {
  auto fail = [&](const Twine &why) {
    consumeError(outside(node, why));
    return std::nullopt;
  };
  const size_t rank = kernel.size();
  auto listOr = [&](StringRef name, size_t count, int64_t value) {
    const Attribute *found = node.find(name);
    return found ? SmallVector<int64_t>(found->integers.begin(), found->integers.end())
                 : SmallVector<int64_t>(count, value);
  };
  Window window{SmallVector<int64_t>(kernel),
                listOr("strides", rank, 1),
                listOr("pads", 2 * rank, 0),
                listOr("dilations", rank, 1),
                {}};
  if (input.size() != 4 || rank != 2 || window.strides.size() != 2 || window.pads.size() != 4 ||
      window.dilations.size() != 2)
    return fail("(over other than two dimensions)");
  constexpr int64_t kMost = 1 << 20;
  for (ArrayRef<int64_t> numbers : {kernel, ArrayRef(window.strides), ArrayRef(window.dilations)})
    if (llvm::any_of(numbers, [](int64_t n) { return n < 1 || n > kMost; }))
      return fail("(with a kernel, stride or dilation out of range)");
  const Attribute *automatic = node.find("auto_pad");
  const StringRef mode = automatic ? automatic->text : "NOTSET";
  for (size_t i = 0; i < 2; ++i) {
    const int64_t span = (kernel[i] - 1) * window.dilations[i] + 1, extent = input[2 + i];
    int64_t &before = window.pads[i], &after = window.pads[i + 2];
    if (mode == "VALID") {
      before = after = 0;
    } else if (mode == "SAME_UPPER" || mode == "SAME_LOWER") {
      const int64_t wanted = (extent - 1) / window.strides[i] + 1;
      const int64_t total = std::max<int64_t>(0, (wanted - 1) * window.strides[i] + span - extent);
      before = (mode == "SAME_UPPER" ? total : total + 1) / 2, after = total - before;
    }
    if (before != after || before < 0 || before > kMost)
      return fail("(padded differently on two sides)");
    const int64_t room = extent + 2 * before - span;
    if (room < 0)
      return fail("(larger than its image)");
    window.extents.push_back(room / window.strides[i] + 1);
  }
  window.pads.resize(2);
  return window;
}

Error Translator::convolution(const Node &node) {
  const Value *image = operand(node, 0), *weight = operand(node, 1);
  if (!image || !weight || !image->shape || !weight->shape || weight->shape->size() < 3 ||
      image->shape->size() != weight->shape->size())
    return malformed(node, "expected an image and kernels");
  std::optional<Window> window =
      windowOf(node, *image->shape, ArrayRef(*weight->shape).drop_front(2));
  if (!window)
    return Error::success();
  const int64_t groups = integer(node, "group", 1), channels = (*weight->shape)[0];
  if (groups < 1 || (*image->shape)[1] % groups ||
      (*image->shape)[1] / groups != (*weight->shape)[1])
    return malformed(node, "kernels for another number of channels");
  std::string input = use(node, 0), kernel = use(node, 1, kConvWeight);
  const Constant *constantBias = constant(node, 2);
  const bool hasBias = operand(node, 2) && !(constantBias && constantBias->isAll(0));
  std::string bias = hasBias ? use(node, 2, kConvBias) : droppedBias(node, kConvBias, channels);
  if (input.empty() || kernel.empty() || (hasBias && bias.empty()))
    return Error::success();
  std::vector<NamedArgument> inputs = {tensor("input", input), tensor("weight", kernel)};
  if (!bias.empty())
    inputs.push_back(tensor("bias", bias));
  inputs.push_back(integers("stride", window->strides));
  inputs.push_back(integers("padding", window->pads));
  inputs.push_back(integers("dilation", window->dilations));
  inputs.push_back(integers("groups", groups));
  return emit(node, "conv2d", std::move(inputs),
              {(*image->shape)[0], channels, window->extents[0], window->extents[1]});
}

Error Translator::pool(const Node &node) {
  const Value *image = operand(node, 0);
  const Attribute *kernel = node.find("kernel_shape");
  if (!image || !image->shape || !kernel || node.outputs.size() > 1)
    return outside(node, "(without a kernel, or with more results)");
  if (integer(node, "ceil_mode", 0) || integer(node, "storage_order", 0))
    return outside(node, "(with rounded extents or columns first)");
  std::optional<Window> window = windowOf(node, *image->shape, kernel->integers);
  if (!window)
    return Error::success();
  std::string input = use(node, 0);
  if (input.empty())
    return Error::success();
  const bool isMax = node.opType == "MaxPool";
  std::vector<NamedArgument> inputs = {
      tensor("self", input), integers("kernel_size", window->kernel),
      integers("stride", window->strides), integers("padding", window->pads)};
  if (isMax)
    inputs.push_back(integers("dilation", window->dilations));
  else if (llvm::any_of(window->dilations, [](int64_t n) { return n != 1; }))
    return outside(node, "(with a dilation)");
  else
    inputs.push_back(flag("count_include_pad", integer(node, "count_include_pad", 0)));
  return emit(node, isMax ? "max_pool2d" : "avg_pool2d", std::move(inputs),
              {(*image->shape)[0], (*image->shape)[1], window->extents[0], window->extents[1]});
}

Error Translator::globalAverage(const Node &node) {
  const Value *image = operand(node, 0);
  if (!image || !image->shape || image->shape->size() != 4)
    return malformed(node, "expected an image");
  std::string input = use(node, 0);
  if (input.empty())
    return Error::success();
  return emit(node, "adaptive_avg_pool2d", {tensor("self", input), integers("output_size", {1, 1})},
              {(*image->shape)[0], (*image->shape)[1], 1, 1});
}

//===----------------------------------------------------------------------===//
// Normalisation and reduction
//===----------------------------------------------------------------------===//

Error Translator::mean(const Node &node) {
  const Value *input = operand(node, 0);
  bool known = true;
  std::optional<SmallVector<int64_t>> axes = list(node, 1, "axes", known);
  if (!input || !input->shape || !known)
    return outside(node, "(along dimensions that are not known)");
  const bool keep = integer(node, "keepdims", 1);
  SmallVector<int64_t> dims, shape;
  for (int64_t axis : axes.value_or(SmallVector<int64_t>())) {
    std::optional<int64_t> dim = dimension(axis, input->shape->size());
    if (!dim || llvm::is_contained(dims, *dim))
      return malformed(node, "dimension " + Twine(axis));
    dims.push_back(*dim);
  }
  if (dims.empty())
    return outside(node, "(along all dimensions)");
  llvm::sort(dims);
  for (auto [i, extent] : llvm::enumerate(*input->shape))
    if (!llvm::is_contained(dims, static_cast<int64_t>(i)))
      shape.push_back(extent);
    else if (keep)
      shape.push_back(1);
  std::string used = use(node, 0);
  if (used.empty())
    return Error::success();
  return emit(node, "mean", {tensor("self", used), integers("dim", dims), flag("keepdim", keep)},
              shape);
}

Error Translator::layerNorm(const Node &node) {
  const Value *input = operand(node, 0);
  if (!input || !input->shape || node.outputs.size() > 1)
    return outside(node, "(with more results)");
  std::optional<int64_t> axis = dimension(integer(node, "axis", -1), input->shape->size());
  if (!axis)
    return malformed(node, "a dimension out of range");
  std::string used = use(node, 0);
  if (used.empty())
    return Error::success();
  std::vector<NamedArgument> inputs = {
      tensor("input", used),
      integers("normalized_shape", ArrayRef(*input->shape).drop_front(*axis))};
  constexpr StringLiteral kMembers[] = {"weight", "bias"};
  for (auto [i, member] : llvm::enumerate(kMembers)) {
    if (!operand(node, i + 1))
      continue;
    std::string parameter = use(node, i + 1, {"layer_norm", static_cast<int>(i) + 2, member});
    if (parameter.empty())
      return Error::success();
    inputs.push_back(tensor(member, parameter));
  }
  inputs.push_back(real("eps", number(node, "epsilon", 1e-5)));
  return emit(node, "layer_norm", std::move(inputs), *input->shape);
}

Error Translator::batchNorm(const Node &node) {
  const Value *input = operand(node, 0);
  if (!input || !input->shape || node.outputs.size() > 1 || integer(node, "training_mode", 0))
    return outside(node, "(in training mode)");
  std::string used = use(node, 0);
  if (used.empty())
    return Error::success();
  std::vector<NamedArgument> inputs = {tensor("input", used)};
  constexpr StringLiteral kMembers[] = {"weight", "bias", "running_mean", "running_var"};
  for (auto [i, member] : llvm::enumerate(kMembers)) {
    std::string parameter = use(node, i + 1, {"batch_norm", static_cast<int>(i) + 1, member});
    if (parameter.empty())
      return Error::success();
    inputs.push_back(tensor(member, parameter));
  }
  inputs.push_back(flag("training", false));
  inputs.push_back(real("momentum", 1 - number(node, "momentum", 0.9)));
  inputs.push_back(real("eps", number(node, "epsilon", 1e-5)));
  return emit(node, "batch_norm", std::move(inputs), *input->shape);
}

Error Translator::softmax(const Node &node) {
  const Value *input = operand(node, 0);
  std::optional<int64_t> dim = input && input->shape
                                   ? dimension(integer(node, "axis", -1), input->shape->size())
                                   : std::nullopt;
  if (!dim)
    return malformed(node, "a dimension out of range");
  std::string used = use(node, 0);
  if (used.empty())
    return Error::success();
  return emit(node, "softmax", {tensor("self", used), integers("dim", *dim)}, *input->shape);
}

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

Error Translator::gelu(const Node &node) {
  const Value *input = operand(node, 0);
  const Attribute *form = node.find("approximate");
  if (!input || !input->shape)
    return malformed(node, "expected a tensor");
  std::string used = use(node, 0);
  if (used.empty())
    return Error::success();
  return emit(node, "gelu", {tensor("self", used), text("approximate", form ? form->text : "none")},
              *input->shape);
}

Error Translator::unary(const Node &node) {
  const Value *input = operand(node, 0);
  if (!input || !input->shape)
    return malformed(node, "expected a tensor");
  if (node.opType == "Swish" && number(node, "alpha", 1) != 1)
    return outside(node, "(with a factor)");
  if (node.opType == "HardSigmoid" && std::abs(number(node, "alpha", 0.2) - 1.0 / 6) > 1e-6)
    return outside(node, "(of another slope than 1/6)");
  std::string used = use(node, 0);
  if (used.empty())
    return Error::success();
  const std::string lower = node.opType.lower();
  StringRef target = StringSwitch<StringRef>(node.opType)
                         .Case("Swish", "silu")
                         .Case("HardSigmoid", "hardsigmoid")
                         .Default(lower);
  return emit(node, target, {tensor("self", used)}, *input->shape);
}

/// Add, Sub, Mul, Div and Pow of two tensors, or of a tensor and a number.
Error Translator::binary(const Node &node) {
  const Value *a = operand(node, 0), *b = operand(node, 1);
  if (!a || !b || !a->shape || !b->shape)
    return malformed(node, "expected two tensors");
  std::optional<SmallVector<int64_t>> shape = broadcast(*a->shape, *b->shape);
  if (!shape)
    return malformed(node, "operands that do not fit each other");
  auto isNumber = [](const Value *v) { return v->constant && v->constant->bits.size() == 1; };
  const StringRef op = node.opType;
  size_t first = 0;
  if ((op == "Add" || op == "Mul") && a->constant && !b->constant)
    std::swap(a, b), first = 1;
  if (op == "Add" && b->constant && b->constant->isAll(0) && *shape == *a->shape)
    return alias(node, *a); // a mask that hides nothing
  // A linear layer's bias: the layer is the program's, whatever became of its product.
  if (op == "Add" && !isNumber(b))
    for (size_t i : {1, 0}) {
      const Value *product = operand(node, 1 - i), *bias = operand(node, i);
      const pt2::Node *layer = made(product->name, "linear");
      if (!layer || layer->find("bias") || *bias->shape != SmallVector<int64_t>{shape->back()})
        continue;
      std::string input = layer->find("input")->names.front(),
                  weight = layer->find("weight")->names.front();
      std::string used = use(node, i, kLinearBias);
      return used.empty() ? Error::success() : linear(node, input, weight, used, *shape);
    }
  std::string left = use(node, first);
  if (left.empty())
    return Error::success();
  const std::string target = op.lower();
  const StringRef second = op == "Pow" ? "exponent" : "other";
  if (isNumber(b) && *shape == *a->shape) {
    const double value = b->constant->real(0);
    return emit(node, target, {tensor("self", left), real(second, value)}, *shape);
  }
  std::string right = use(node, 1 - first);
  if (right.empty())
    return Error::success();
  if (Error error = emit(node, target, {tensor("self", left), tensor(second, right)}, *shape))
    return error;
  if (op != "Mul")
    return Error::success();
  // The last op of an activation that was taken apart: the call stands for the whole of it.
  std::string input;
  auto [activation, form] = activationOf(factorsOf(node.outputs.front()), input);
  if (activation.empty() || program.values[input].sizes != *shape)
    return Error::success();
  pt2::Node &call = program.nodes[producers[node.outputs.front()]];
  call.target = ("torch.ops.aten." + activation + ".default").str();
  call.inputs = {tensor("self", input)};
  if (!form.empty())
    call.inputs.push_back(text("approximate", form));
  return Error::success();
}
