//===- RaiseLayers.cpp - ops that compute -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Raiser.h"

using namespace llvm;
using namespace mlir;
using namespace ns;
using namespace ns::pt2;
using llvm::Error;

//===----------------------------------------------------------------------===//
// Heads
//===----------------------------------------------------------------------===//

IndexMap Raiser::headsMap(ArrayRef<int64_t> tokens, const Heads &heads) {
  const int64_t channels = tokens[2];
  return IndexMap({{tokens[0], tokens[1] * channels},
                   {heads.count, heads.width},
                   {tokens[1], channels},
                   {heads.width, 1}},
                  heads.from);
}

std::optional<Raiser::Heads> Raiser::headsOf(const View &view) {
  SmallVector<int64_t> tokens = shapeOf(view.root);
  if (view.map.rank() != 4 || tokens.size() != 3)
    return std::nullopt;
  Heads heads{view.map.extent(1), view.map.extent(3), view.map.getOffset()};
  if (heads.from + heads.count * heads.width > tokens[2] || view.map != headsMap(tokens, heads))
    return std::nullopt;
  return heads;
}

Value Raiser::headChannels(const View &view, const Heads &heads, const Node &node) {
  std::optional<IndexMap> map =
      IndexMap::identity(shapeOf(view.root)).slice(2, heads.from, heads.count * heads.width);
  return materialize({view.root, *map, view.source}, node);
}

Error Raiser::raiseAttention(const Node &node) {
  for (StringRef flag : {"is_causal", "enable_gqa"})
    if (const Argument *given = node.find(flag); given && given->flag)
      return outside(node, "attention with " + flag);
  if (node.find("attn_mask") || number(node, "dropout_p").value_or(0) != 0)
    return outside(node, "attention with a mask or dropout");
  SmallVector<View, 3> views;
  SmallVector<Heads, 3> heads;
  for (StringRef name : {"query", "key", "value"}) {
    views.push_back(view(node, name));
    std::optional<Heads> found = headsOf(views.back());
    if (!found)
      return outside(node, "its " + name + " is no set of heads of a tensor of tokens");
    heads.push_back(*found);
  }
  const auto [count, width, from] = heads[0];
  const int64_t channels = count * width;
  for (const Heads &other : heads)
    if (other.count != count || other.width != width)
      return outside(node, "heads of query, key and value differ in number or width");
  SmallVector<int64_t> tokens = shapeOf(views[0].root), keys = shapeOf(views[1].root);
  if (tokens[0] != keys[0] ||
      ArrayRef(keys).take_front(2) != ArrayRef(shapeOf(views[2].root)).take_front(2))
    return malformed(node, "query, key and value differ in batch or tokens");
  auto packed = [&](ArrayRef<unsigned> parts) { // parts in order, and nothing else, in one tensor
    for (auto [i, part] : enumerate(parts))
      if (views[part].root != views[parts[0]].root ||
          heads[part].from != static_cast<int64_t>(i) * channels)
        return false;
    return shapeOf(views[parts[0]].root)[2] == static_cast<int64_t>(parts.size()) * channels;
  };
  SmallVector<Value> inputs;
  if (packed({0, 1, 2}))
    inputs = {views[0].root};
  else if (packed({1, 2}))
    inputs = {headChannels(views[0], heads[0], node), views[1].root};
  else
    for (unsigned i : {0, 1, 2})
      inputs.push_back(headChannels(views[i], heads[i], node));
  double scale = number(node, "scale").value_or(1.0 / std::sqrt(static_cast<double>(width)));
  Value result = emit<nn::AttentionOp>(node, withChannels(views[0].root, channels), inputs,
                                       static_cast<uint64_t>(count), APFloat(scale));
  define(node, result, headsMap(shapeOf(result), {count, width, 0}));
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

Error Raiser::raisePatchEmbed(const Node &node) {
  Value input = operand(node, "input"), weight = operand(node, "weight"),
        bias = operand(node, "bias");
  if (!input || !weight || (node.find("bias") && !bias))
    return Error::success();
  SmallVector<int64_t> image = shapeOf(input), kernel = shapeOf(weight);
  if (image.size() != 4 || kernel.size() != 4 || image[1] != kernel[1] ||
      (bias && shapeOf(bias) != ArrayRef(kernel[0])))
    return malformed(node, "a convolution of " + describe(image) + " by " + describe(kernel));
  auto isAll = [&](StringRef argument, int64_t value) {
    const Argument *given = node.find(argument);
    return !given || (given->kind == Argument::Kind::Ints &&
                      llvm::all_of(given->ints, [&](int64_t i) { return i == value; }));
  };
  const Argument *stride = node.find("stride");
  ArrayRef<int64_t> patch = ArrayRef(kernel).drop_front(2);
  if (!stride || ArrayRef(stride->ints) != patch || !isAll("padding", 0) || !isAll("dilation", 1) ||
      !isAll("groups", 1) || image[2] < patch[0] || image[3] < patch[1])
    return outside(
        node, "a convolution that is no patch embedding (stride = kernel, no padding, one group)");
  const int64_t rows = image[2] / patch[0], columns = image[3] / patch[1], channels = kernel[0];
  auto type = RankedTensorType::get({typeOf(input).getDimSize(0), rows * columns, channels},
                                    builder.getF32Type());
  Value tokens = emit<nn::PatchEmbedOp>(node, type, input, weight, bias, patch);
  define(node, tokens,
         IndexMap({{image[0], rows * columns * channels},
                   {channels, 1},
                   {rows, columns * channels},
                   {columns, channels}}));
  return Error::success();
}

Error Raiser::raiseLinear(const Node &node) {
  Value input = operand(node, "input"), weight = operand(node, "weight"),
        bias = operand(node, "bias");
  if (!input || !weight || (node.find("bias") && !bias))
    return Error::success();
  SmallVector<int64_t> rows = shapeOf(input), matrix = shapeOf(weight);
  if (rows.empty() || matrix.size() != 2 || rows.back() != matrix[1] ||
      (bias && shapeOf(bias) != ArrayRef(matrix[0])))
    return malformed(node, "a linear layer " + describe(matrix) + " on " + describe(rows));
  if (rows.size() != 2 && rows.size() != 3)
    return outside(node, "a linear layer on " + describe(rows) + ", expected tokens or features");
  define(node, emit<nn::LinearOp>(node, withChannels(input, matrix[0]), input, weight, bias));
  return Error::success();
}

Error Raiser::raiseLayerNorm(const Node &node) {
  View input = view(node, "input");
  Value gamma = operand(node, "weight"), beta = operand(node, "bias");
  if ((node.find("weight") && !gamma) || (node.find("bias") && !beta))
    return Error::success();
  const Argument *normalized = node.find("normalized_shape");
  const unsigned rank = input.map.rank();
  if (!normalized || normalized->ints.size() != 1 || rank == 0 ||
      normalized->ints.front() != input.map.extent(rank - 1))
    return outside(node, "a normalisation over more than the last dimension");
  const int64_t width = normalized->ints.front();
  for (Value parameter : {gamma, beta})
    if (parameter && shapeOf(parameter) != ArrayRef(width))
      return malformed(node, "a normalisation over " + Twine(width) +
                                 " channels with parameters of " + describe(shapeOf(parameter)));
  APFloat eps(number(node, "eps").value_or(1e-5));
  std::optional<Heads> heads = headsOf(input);
  Value x = heads ? headChannels(input, *heads, node) : operand(node, "input");
  if (!x)
    return Error::success();
  if (beta && !gamma)
    return outside(node, "a normalisation with a bias and no weight");
  if (heads && !beta && heads->count > 1)
    return outside(node, "a normalisation of heads without weight and bias");
  if (!heads && rank != 2 && rank != 3)
    return outside(node, "a normalisation of " + describe(input.map.shape()) +
                             ", expected tokens, features or heads");
  Value result = emit<nn::LayerNormOp>(node, x.getType(), x, beta ? gamma : Value(), beta, eps);
  if (gamma && !beta)
    result = emit<nn::LayerScaleOp>(node, x.getType(), result, gamma);
  if (heads)
    define(node, result, headsMap(shapeOf(result), {heads->count, heads->width, 0}));
  else
    define(node, result);
  return Error::success();
}

Error Raiser::raiseGelu(const Node &node) {
  const Argument *form = node.find("approximate");
  std::optional<nn::GeluApproximation> approximate =
      nn::symbolizeGeluApproximation(form ? form->text : "none");
  if (!approximate)
    return outside(node, "GELU of the form '" + form->text + "'");
  Value input = operand(node, "self");
  if (!input)
    return Error::success();
  if (typeOf(input).getRank() != 2 && typeOf(input).getRank() != 3)
    return outside(node, "GELU of " + describe(shapeOf(input)) + ", expected tokens or features");
  define(node, emit<nn::GeluOp>(node, input.getType(), input, *approximate));
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

Error Raiser::raiseAdd(const Node &node) {
  const Argument *other = node.find("other");
  if (!other || other->names.size() != 1 || (node.find("alpha") && number(node, "alpha") != 1.0))
    return outside(node, "adds a number, or a multiple of a tensor");
  Value lhs = operand(node, "self"), rhs = operand(node, "other");
  if (!lhs || !rhs)
    return Error::success();
  auto isShared = [](Value v) { return typeOf(v).getRank() > 1 && typeOf(v).getDimSize(0) == 1; };
  if (isShared(lhs) && !isShared(rhs))
    std::swap(lhs, rhs);
  SmallVector<int64_t> a = shapeOf(lhs), b = shapeOf(rhs);
  if (a != b && !(isShared(rhs) && a.size() == b.size() &&
                  ArrayRef(a).drop_front() == ArrayRef(b).drop_front()))
    return outside(node, "adds " + describe(b) + " to " + describe(a));
  define(node, emit<nn::AddOp>(node, lhs.getType(), lhs, rhs));
  return Error::success();
}

Error Raiser::raiseMul(const Node &node) {
  Value lhs = operand(node, "self");
  if (!lhs)
    return Error::success();
  if (std::optional<double> factor = number(node, "other")) {
    define(node, emit<nn::ScaleOp>(node, lhs.getType(), lhs, APFloat(*factor)));
    return Error::success();
  }
  const Argument *other = node.find("other");
  if (!other || other->names.size() != 1)
    return malformed(node, "expected a tensor or a number as its argument 'other'");
  Value rhs = operand(node, "other");
  if (!rhs)
    return Error::success();
  if (typeOf(lhs).getRank() == 1)
    std::swap(lhs, rhs);
  SmallVector<int64_t> rows = shapeOf(lhs), gamma = shapeOf(rhs);
  if ((rows.size() != 2 && rows.size() != 3) || gamma != ArrayRef(rows.back()))
    return outside(node, "multiplies " + describe(rows) + " by " + describe(gamma) +
                             ", expected one number for each channel");
  define(node, emit<nn::LayerScaleOp>(node, lhs.getType(), lhs, rhs));
  return Error::success();
}

Error Raiser::raiseDiv(const Node &node) {
  std::optional<double> divisor = number(node, "other");
  if (!divisor || *divisor == 0)
    return outside(node, "divides by a tensor or by zero");
  Value lhs = operand(node, "self");
  if (lhs)
    define(node, emit<nn::ScaleOp>(node, lhs.getType(), lhs, APFloat(1.0 / *divisor)));
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Tokens
//===----------------------------------------------------------------------===//

Error Raiser::raiseConcat(const Node &node) {
  const Argument *tensors = node.find("tensors");
  if (!tensors || tensors->names.empty())
    return malformed(node, "expected a list of tensors");
  constexpr StringLiteral kExpected =
      "a concatenation other than of learned tokens before an image's tokens";
  View image = viewOf(tensors->names.back());
  SmallVector<Value> tokens;
  if (image.map.rank() != 3 || dimension(node, "dim", 3) != 1u)
    return outside(node, kExpected);
  if (raiseJoinedSlices(node, tensors->names, 1))
    return Error::success();
  SmallVector<int64_t> shape = image.map.shape();
  for (const std::string &name : ArrayRef(tensors->names).drop_back()) {
    View prefix = viewOf(name); // the same for every image: an expanded 1 x k x D
    SmallVector<int64_t> learned = shapeOf(prefix.root), expanded = prefix.map.shape();
    if (learned.size() != 3 || learned[0] != 1 ||
        prefix.map != IndexMap::identity(learned).expand(expanded) || expanded.size() != 3 ||
        expanded[0] != shape[0] || expanded[2] != shape[2])
      return outside(node, kExpected);
    tokens.push_back(prefix.root);
    shape[1] += expanded[1];
  }
  Value input = materialize(image, node);
  if (!input || !typeOf(input).isDynamicDim(0))
    return outside(node, kExpected);
  SmallVector<int64_t> type(typeOf(input).getShape());
  type[1] = shape[1];
  define(node, emit<nn::PrependTokensOp>(node, typeOf(input).clone(type), input, tokens));
  return Error::success();
}

Error Raiser::raiseMean(const Node &node) {
  const Argument *keep = node.find("keepdim");
  Value input = operand(node, "self");
  if (!input)
    return Error::success();
  if (typeOf(input).getRank() != 3 || dimension(node, "dim", 3) != 1u || (keep && keep->flag))
    return outside(node, "a mean other than over tokens");
  ArrayRef<int64_t> shape = typeOf(input).getShape();
  define(node, emit<nn::MeanTokensOp>(node, typeOf(input).clone({shape[0], shape[2]}), input));
  return Error::success();
}
