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
// Layers
//===----------------------------------------------------------------------===//

Error Raiser::raiseLinear(const Node &node) {
  View input = rows(node, "input");
  Value weight = operand(node, "weight"), bias = operand(node, "bias");
  if (!input.root || !weight || (node.find("bias") && !bias))
    return Error::success();
  SmallVector<int64_t> rows = shapeOf(input.root), matrix = shapeOf(weight);
  if (rows.empty() || matrix.size() != 2 || rows.back() != matrix[1] ||
      (bias && shapeOf(bias) != ArrayRef(matrix[0])))
    return malformed(node, "a linear layer " + describe(matrix) + " on " + describe(rows));
  if (rows.size() != 2 && rows.size() != 3)
    return outside(node, "a linear layer on " + describe(rows) + ", expected tokens or features");
  auto type = withChannels(input.root, matrix[0]);
  defineRows(node, emit<nn::LinearOp>(node, type, input.root, weight, bias), input);
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
    return refuse(node, "a normalisation over more than the last dimension");
  const int64_t width = normalized->ints.front();
  for (Value parameter : {gamma, beta})
    if (parameter && shapeOf(parameter) != ArrayRef(width))
      return malformed(node, "a normalisation over " + Twine(width) +
                                 " channels with parameters of " + describe(shapeOf(parameter)));
  APFloat eps(number(node, "eps").value_or(1e-5));
  std::optional<Heads> heads = headsOf(input);
  View whole = heads ? View() : rows(node, "input");
  Value x = heads ? headChannels(input, *heads, node) : whole.root;
  if (!x)
    return Error::success();
  if (beta && !gamma)
    return outside(node, "a normalisation with a bias and no weight");
  if (heads && !beta && heads->count > 1)
    return outside(node, "a normalisation of heads without weight and bias");
  if (typeOf(x).getRank() != 2 && typeOf(x).getRank() != 3)
    return outside(node, "a normalisation of " + describe(input.map.shape()) +
                             ", expected tokens, features or heads");
  Value result = emit<nn::LayerNormOp>(node, x.getType(), x, beta ? gamma : Value(), beta, eps);
  if (gamma && !beta)
    result = emit<nn::LayerScaleOp>(node, x.getType(), result, gamma);
  if (heads)
    define(node, result, headsMap(shapeOf(result), {heads->count, heads->width, 0}));
  else
    defineRows(node, result, whole);
  return Error::success();
}

Error Raiser::raiseGelu(const Node &node) {
  const Argument *form = node.find("approximate");
  std::optional<nn::GeluApproximation> approximate =
      nn::symbolizeGeluApproximation(form ? form->text : "none");
  if (!approximate)
    return refuse(node, "GELU of the form '" + form->text + "'");
  View input = elements(node, "self");
  if (!input.root)
    return Error::success();
  if (typeOf(input.root).getRank() != 2 && typeOf(input.root).getRank() != 3)
    return outside(node,
                   "GELU of " + describe(shapeOf(input.root)) + ", expected tokens or features");
  define(node, emit<nn::GeluOp>(node, input.root.getType(), input.root, *approximate), input.map);
  return Error::success();
}

Error Raiser::raiseActivation(const Node &node) {
  StringRef op = node.target;
  op.consume_front("torch.ops.aten.");
  std::optional<nn::ActivationKind> kind = nn::symbolizeActivationKind(op.split('.').first);
  View input = elements(node, "self");
  if (!input.root || !kind)
    return Error::success();
  if (typeOf(input.root).getRank() != 2 && typeOf(input.root).getRank() != 3)
    return outside(node, "an activation of " + describe(shapeOf(input.root)) +
                             ", expected tokens or features");
  define(node, emit<nn::ActivationOp>(node, input.root.getType(), *kind, input.root), input.map);
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

Error Raiser::raiseAdd(const Node &node) {
  if (number(node, "other") == 0.0) { // Python's sum() starts with it
    environment[node.outputs.front()] = view(node, "self");
    return Error::success();
  }
  const Argument *other = node.find("other");
  if (!other || other->names.size() != 1 || (node.find("alpha") && number(node, "alpha") != 1.0))
    return refuse(node, "adds a number, or a multiple of a tensor");
  View a = view(node, "self"), b = view(node, "other");
  if (deferred<Scores>(b.root))
    std::swap(a, b);
  if (deferred<Scores>(a.root))
    return addToScores(node, a, b);
  auto isBias = [&](const View &v) { return deferred<Gathered>(v.root) || deferred<Sum>(v.root); };
  // Weights, repeated for each image: a bias that an exporter computed, and a mask.
  ArrayRef<int64_t> shape = claimedShape(node.outputs.front());
  auto isWeight = [&](const View &v) { return v.root && v.root.getDefiningOp<nn::LoadParamOp>(); };
  const bool isTerm =
      shape.size() == 4 && shape[0] % kProbeBatch == 0 && isWeight(a) && isWeight(b);
  if (isBias(a) || isBias(b) || isTerm) {
    define(node, defer(shape, Sum{a, b}), IndexMap::identity(shape));
    return Error::success();
  }
  const Product *first = deferred<Product>(a.root), *second = deferred<Product>(b.root);
  if (first && second && a.map == b.map && a.map == IndexMap::identity(shapeOf(a.root)))
    return raiseRotation(node, *first, *second);
  if (alignRoots(a, b, node)) {
    define(node, emit<nn::AddOp>(node, a.root.getType(), a.root, b.root), a.map);
    return Error::success();
  }
  Value lhs = operand(node, "self"), rhs = operand(node, "other");
  if (!lhs || !rhs)
    return Error::success();
  auto isShared = [](Value v) { return typeOf(v).getRank() > 1 && typeOf(v).getDimSize(0) == 1; };
  if (isShared(lhs) && !isShared(rhs))
    std::swap(lhs, rhs);
  if (!fitsBroadcast(lhs, rhs))
    return outside(node, "adds " + describe(shapeOf(rhs)) + " to " + describe(shapeOf(lhs)));
  define(node, emit<nn::AddOp>(node, lhs.getType(), lhs, rhs));
  return Error::success();
}

/// Whether `rhs` has the shape of `lhs`, or a first dimension of 1 instead of the batch.
bool Raiser::fitsBroadcast(Value lhs, Value rhs) {
  SmallVector<int64_t> a = shapeOf(lhs), b = shapeOf(rhs);
  return a == b || (a.size() == b.size() && b.size() > 1 && b[0] == 1 &&
                    ArrayRef(a).drop_front() == ArrayRef(b).drop_front());
}

/// The vector that a view repeats along all dimensions but the last; nothing for another view.
std::optional<Raiser::View> Raiser::channelVector(View view) {
  if (view.map.rank() == 0)
    return std::nullopt;
  for (; view.map.rank() > 1; view.map = view.map.select(0, 0))
    if (!view.map.isRepeated(0))
      return std::nullopt;
  return view;
}

Error Raiser::raiseMul(const Node &node) {
  const Argument *other = node.find("other");
  if (std::optional<double> factor = number(node, "other"))
    return scaleBy(node, *factor);
  if (!other || other->names.size() != 1)
    return malformed(node, "expected a tensor or a number as its argument 'other'");
  if (std::optional<double> factor = uniform(view(node, "other")))
    return scaleBy(node, *factor);
  ArrayRef<int64_t> shape = claimedShape(node.outputs.front());
  if (shape.empty())
    return outside(node, "multiplies two numbers");
  StringRef tensor = "self", factors = "other";
  if (view(node, tensor).map.shape() != shape || channelVector(view(node, tensor)))
    std::swap(tensor, factors);
  View lhs = view(node, tensor), rhs = view(node, factors);
  if (lhs.map.shape() != shape)
    return outside(node,
                   "multiplies " + describe(lhs.map.shape()) + " by " + describe(rhs.map.shape()));
  if (raiseChannelScale(node, lhs, rhs))
    return Error::success();
  if (std::optional<View> vector = channelVector(rhs);
      vector && vector->map.extent(0) == lhs.map.extent(lhs.map.rank() - 1)) {
    Value gamma = materialize(*vector, node);
    View input = rows(node, tensor);
    if (!gamma || !input.root)
      return gamma ? Error::success() : outside(node, cannotMake(factors, rhs));
    if (typeOf(input.root).getRank() != 2 && typeOf(input.root).getRank() != 3)
      return outside(node, "multiplies the channels of " + describe(shapeOf(input.root)));
    defineRows(node, emit<nn::LayerScaleOp>(node, input.root.getType(), input.root, gamma), input);
    return Error::success();
  }
  if (std::optional<IndexMap> map = rhs.map.expand(shape);
      map && shape.size() == 4 && map->isRepeated(0) && map->isRepeated(1)) {
    View perPosition{rhs.root, map->select(0, 0).select(0, 0), rhs.source};
    define(node, defer(shape, Product{lhs, perPosition}), IndexMap::identity(shape));
    return Error::success();
  }
  Value a = operand(node, tensor), b = operand(node, factors);
  if (!a || !b)
    return Error::success();
  if (typeOf(a).getRank() > 3 || !fitsBroadcast(a, b))
    return outside(node, "multiplies " + describe(shapeOf(a)) + " by " + describe(shapeOf(b)));
  define(node, emit<nn::MulOp>(node, a.getType(), a, b));
  return Error::success();
}

Error Raiser::scaleBy(const Node &node, double factor) {
  View input = view(node, "self");
  if (deferred<Scores>(input.root))
    return scaleScores(node, input, factor);
  if (input.map.rank() > 3) {
    define(node, defer(shapeOf(input.root), Scaled{input.root, factor}), input.map);
    return Error::success();
  }
  if (Value value = operand(node, "self"))
    define(node, emit<nn::ScaleOp>(node, value.getType(), value, APFloat(factor)));
  return Error::success();
}

Error Raiser::raiseDiv(const Node &node) {
  std::optional<double> divisor = number(node, "other");
  if (!divisor || *divisor == 0)
    return outside(node, "divides by a tensor or by zero");
  return scaleBy(node, 1.0 / *divisor);
}

Error Raiser::raiseNeg(const Node &node) { return scaleBy(node, -1); }

//===----------------------------------------------------------------------===//
// Tokens
//===----------------------------------------------------------------------===//

Error Raiser::raiseConcat(const Node &node) {
  const Argument *tensors = node.find("tensors");
  if (!tensors || tensors->names.empty())
    return malformed(node, "expected a list of tensors");
  const unsigned rank = viewOf(tensors->names.back()).map.rank();
  std::optional<unsigned> dim = node.find("dim") ? dimension(node, "dim", rank) : 0;
  if (!dim || rank == 0)
    return malformed(node, "expected a dimension of a tensor of rank " + Twine(rank));
  if (raiseJoinedSlices(node, tensors->names, *dim) ||
      raiseRotatedConcat(node, tensors->names, *dim))
    return Error::success();
  if (*dim + 1 == rank || (*dim == 0 && rank == 2))
    return raiseJoin(node, tensors->names, *dim);
  if (rank == 3 && *dim == 1)
    return raisePrependTokens(node, tensors->names);
  return outside(node, "a concatenation other than of channels, rows, or learned tokens before an "
                       "image's tokens");
}

/// Channels of tokens and features, rows of parameters.
Error Raiser::raiseJoin(const Node &node, ArrayRef<std::string> parts, unsigned dim) {
  SmallVector<Value> inputs;
  int64_t extent = 0;
  for (const std::string &name : parts) {
    View part = viewOf(name);
    Value value = materialize(part, node);
    if (!value)
      return outside(node, cannotMake("tensors", part));
    SmallVector<int64_t> shape = shapeOf(value),
                         first = shapeOf(inputs.empty() ? value : inputs[0]);
    if (shape.size() != first.size())
      return malformed(node, "joins " + describe(shape) + " to " + describe(first));
    extent += shape[dim];
    first[dim] = shape[dim];
    if (shape != first || extent > kMaxElements || (dim == 0 && typeOf(value).isDynamicDim(0)))
      return outside(node, "joins " + describe(shape) + " to " + describe(first));
    inputs.push_back(value);
  }
  SmallVector<int64_t> shape(typeOf(inputs[0]).getShape());
  shape[dim] = extent;
  auto type = typeOf(inputs[0]).clone(shape);
  define(node, dim == 0 ? emit<nn::ConcatRowsOp>(node, type, inputs)
                        : emit<nn::ConcatChannelsOp>(node, type, inputs));
  return Error::success();
}

/// DINOv2 with registers adds positions to class token and patches, and puts the registers between
/// the two: prefix + positions is computed for itself, since it is the same for all images.
std::optional<std::pair<Value, Value>> Raiser::cutAfterPrefix(const Node &node, const View &first,
                                                              const View &rest) {
  auto sum = first.root.getDefiningOp<nn::AddOp>();
  auto prepend = sum ? sum.getLhs().getDefiningOp<nn::PrependTokensOp>() : nullptr;
  if (!prepend || first.root != rest.root || prepend.getTokens().size() != 1)
    return std::nullopt;
  Value learned = prepend.getTokens().front(), positions = sum.getRhs();
  SmallVector<int64_t> shape = shapeOf(first.root);
  const int64_t count = shapeOf(learned)[1];
  IndexMap whole = IndexMap::identity(shape), table = IndexMap::identity(shapeOf(positions));
  if (table.extent(0) != 1 || first.map != whole.slice(1, 0, count) ||
      rest.map != whole.slice(1, count, shape[1] - count))
    return std::nullopt;
  auto add = [&](Value tokens, int64_t from, int64_t size) {
    Value part = materialize({positions, *table.slice(1, from, size)}, node);
    return emit<nn::AddOp>(node, tokens.getType(), tokens, part);
  };
  Value prefix = add(learned, 0, count);
  return std::pair(prefix, add(prepend.getInput(), count, shape[1] - count));
}

Error Raiser::raisePrependTokens(const Node &node, ArrayRef<std::string> parts) {
  constexpr StringLiteral kExpected =
      "a concatenation other than of learned tokens before an image's tokens";
  View image = viewOf(parts.back()), first = viewOf(parts.front());
  SmallVector<Value> tokens;
  SmallVector<int64_t> shape = image.map.shape();
  auto cut = cutAfterPrefix(node, first, image);
  if (cut) {
    tokens.push_back(cut->first);
    shape[1] += first.map.extent(1);
  }
  for (const std::string &name : parts.drop_back().drop_front(cut ? 1 : 0)) {
    View prefix = viewOf(name); // the same for every image: an expanded 1 x k x D
    SmallVector<int64_t> learned = shapeOf(prefix.root), expanded = prefix.map.shape();
    if (learned.size() != 3 || learned[0] != 1 ||
        prefix.map != IndexMap::identity(learned).expand(expanded) || expanded.size() != 3 ||
        expanded[0] != shape[0] || expanded[2] != shape[2] || isDeferred(prefix.root))
      return outside(node, kExpected);
    tokens.push_back(prefix.root);
    shape[1] += expanded[1];
  }
  Value input = cut ? cut->second : materialize(image, node);
  if (!input || !typeOf(input).isDynamicDim(0))
    return outside(node, kExpected);
  SmallVector<int64_t> type(typeOf(input).getShape());
  type[1] = shape[1];
  define(node, emit<nn::PrependTokensOp>(node, typeOf(input).clone(type), input, tokens));
  return Error::success();
}
