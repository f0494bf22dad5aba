//===- RaiseAttention.cpp - heads, scores, attention ----------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Raiser.h"

#include <cmath>

using namespace llvm;
using namespace mlir;
using namespace ns;
using namespace ns::pt2;
using llvm::Error;

//===----------------------------------------------------------------------===//
// Heads
//===----------------------------------------------------------------------===//

IndexMap Raiser::headsMap(ArrayRef<int64_t> tokens, const Heads &heads) {
  const int64_t channels = tokens[2], window = tokens[1] / heads.windows;
  return IndexMap({{tokens[0] * heads.windows, window * channels},
                   {heads.count, heads.width},
                   {window, channels},
                   {heads.width, 1}},
                  heads.from);
}

std::optional<Raiser::Heads> Raiser::headsOf(const View &view) {
  SmallVector<int64_t> tokens = shapeOf(view.root);
  if (view.map.rank() != 4 || tokens.size() != 3)
    return std::nullopt;
  Heads heads{view.map.extent(1), view.map.extent(3), view.map.getOffset()};
  heads.windows = view.map.extent(0) / tokens[0];
  if (heads.windows < 1 || tokens[1] % heads.windows != 0 ||
      heads.from + heads.count * heads.width > tokens[2] || view.map != headsMap(tokens, heads))
    return std::nullopt;
  return heads;
}

Value Raiser::headChannels(const View &view, const Heads &heads, const Node &node) {
  std::optional<IndexMap> map =
      IndexMap::identity(shapeOf(view.root)).slice(2, heads.from, heads.count * heads.width);
  return materialize({view.root, *map, view.source}, node);
}

Raiser::View Raiser::unscaled(View view, double &scale) const {
  while (const Scaled *scaled = deferred<Scaled>(view.root)) {
    scale *= scaled->factor;
    view.root = scaled->value;
  }
  return view;
}

//===----------------------------------------------------------------------===//
// Scores
//===----------------------------------------------------------------------===//

/// Queries and keys: B x H x M x N.
static SmallVector<int64_t> scoresShape(const IndexMap &query, const IndexMap &key) {
  return {query.extent(0), query.extent(1), query.extent(2), key.extent(2)};
}

Error Raiser::raiseMatmul(const Node &node) {
  View lhs = view(node, "self"), rhs = view(node, "other");
  const Scores *scores = deferred<Scores>(lhs.root);
  if (scores && scores->normalized && lhs.map == IndexMap::identity(shapeOf(lhs.root)))
    return attend(node, *scores, rhs);
  constexpr StringLiteral kOutside = "a product of two computed tensors outside attention";
  if (lhs.map.rank() != 4 || rhs.map.rank() != 4)
    return outside(node, kOutside);
  Scores product;
  product.query = unscaled(lhs, product.scale);
  product.key = unscaled(rhs, product.scale);
  product.key.map = product.key.map.permute({0, 1, 3, 2});
  std::optional<Heads> query = headsOf(product.query), key = headsOf(product.key);
  if (!query || !key)
    return outside(node, kOutside);
  SmallVector<int64_t> shape = scoresShape(product.query.map, product.key.map);
  if (query->count != key->count || query->width != key->width ||
      product.key.map.extent(0) != shape[0] ||
      claimedShape(node.outputs.front()) != ArrayRef(shape))
    return malformed(node, "multiplies " + describe(lhs.map.shape()) + " by " +
                               describe(rhs.map.shape()));
  define(node, defer(shape, std::move(product)), IndexMap::identity(shape));
  return Error::success();
}

Error Raiser::scaleScores(const Node &node, const View &view, double factor) {
  Scores scaled = *deferred<Scores>(view.root);
  if (scaled.normalized || scaled.bias.root || scaled.mask.root)
    return outside(node, "scales attention scores after their softmax or bias");
  scaled.scale *= factor;
  define(node, defer(shapeOf(view.root), std::move(scaled)), view.map);
  return Error::success();
}

/// A view that shows all elements of its root in their order.
static bool isReshaped(const IndexMap &map, ArrayRef<int64_t> root) {
  return map == IndexMap::identity(root).reshape(map.shape());
}

std::optional<Raiser::Scores> Raiser::withTerm(Scores scores, View term,
                                               ArrayRef<int64_t> shape) const {
  std::optional<std::vector<double>> constants = constantsOf(term);
  if (constants && all_of(*constants, [](double value) { return value == 0; }))
    return scores;
  std::optional<IndexMap> map = term.map.expand(shape);
  if (!map || scores.normalized)
    return std::nullopt;
  if (const Sum *sum = deferred<Sum>(term.root)) {
    SmallVector<int64_t> whole = shapeOf(term.root);
    if (!isReshaped(*map, whole))
      return std::nullopt;
    std::optional<Scores> first = withTerm(std::move(scores), sum->lhs, whole);
    return first ? withTerm(std::move(*first), sum->rhs, whole) : std::nullopt;
  }
  const int64_t batch = shapeOf(scores.query.root)[0], windows = scores.query.map.extent(0) / batch,
                heads = scores.query.map.extent(1), queries = scores.query.map.extent(2),
                keys = scores.key.map.extent(2);
  map = map->reshape({batch, windows, heads, queries, keys});
  if (!map || !map->isRepeated(0))
    return std::nullopt;
  term.map = map->select(0, 0); // the same for all images
  const bool perWindow = !term.map.isRepeated(0), perHead = !term.map.isRepeated(1);
  View &place = perHead ? scores.bias : scores.mask;
  if (place.root || (perWindow && perHead))
    return std::nullopt;
  term.map = term.map.select(perHead ? 0 : 1, 0);
  if (!perHead && !perWindow)
    term.map = *term.map.select(0, 0).reshape({1, queries, keys});
  place = std::move(term);
  return scores;
}

Error Raiser::addToScores(const Node &node, const View &scores, const View &term) {
  SmallVector<int64_t> root = shapeOf(scores.root), shape = scores.map.shape();
  std::optional<Scores> sum = withTerm(*deferred<Scores>(scores.root), term, shape);
  if (!sum || !isReshaped(scores.map, root))
    return outside(node, "adds " + describe(term.map.shape()) + " to attention scores " +
                             describe(shape) + ", expected one bias or mask for all images");
  define(node, defer(root, std::move(*sum)), scores.map);
  return Error::success();
}

Error Raiser::raiseSoftmax(const Node &node) {
  View input = view(node, "self");
  SmallVector<int64_t> root = shapeOf(input.root), shape = input.map.shape();
  const Scores *scores = deferred<Scores>(input.root);
  if (!scores || scores->normalized || shape.empty() || shape.back() != root.back() ||
      dimension(node, "dim", shape.size()) != shape.size() - 1 || !isReshaped(input.map, root))
    return outside(node, "a softmax outside attention");
  Scores normalized = *scores;
  normalized.normalized = true;
  define(node, defer(root, std::move(normalized)), input.map);
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

Error Raiser::raiseAttention(const Node &node) {
  for (StringRef flag : {"is_causal", "enable_gqa"})
    if (const Argument *given = node.find(flag); given && given->flag)
      return refuse(node, "attention with " + flag);
  if (number(node, "dropout_p").value_or(0) != 0)
    return refuse(node, "attention with dropout: export the model after .eval()");
  Scores scores;
  scores.query = view(node, "query");
  scores.key = view(node, "key");
  if (!headsOf(scores.query) || !headsOf(scores.key))
    return outside(node, "its query or key is no set of heads of a tensor of tokens");
  const double width = static_cast<double>(scores.query.map.extent(3));
  scores.scale = number(node, "scale").value_or(1.0 / std::sqrt(width));
  if (const Argument *given = node.find("attn_mask"); given && given->names.size() == 1) {
    View mask = viewOf(given->names.front());
    auto meta = program.values.find(given->names.front());
    const bool isBool = meta != program.values.end() && meta->second.type == ScalarType::Bool;
    std::optional<Scores> masked;
    if (!isBool)
      masked = withTerm(scores, mask, scoresShape(scores.query.map, scores.key.map));
    else if (uniform(mask) == 1.0)
      masked = scores;
    if (!masked)
      return outside(node, "attention with a mask of " + describe(mask.map.shape()) +
                               ", expected one that is the same for all images, to be added");
    scores = std::move(*masked);
  }
  return attend(node, scores, view(node, "value"));
}

/// What is added to scores. Null, with the problem noted, where no nn op makes it.
Value Raiser::biasOf(const Node &node, const View &term) {
  if (deferred<Gathered>(term.root))
    return relativeBias(node, term);
  if (std::optional<std::vector<double>> elements = constantsOf(term)) {
    SmallVector<int64_t> shape = term.map.shape();
    if (static_cast<int64_t>(elements->size()) == *countElements(shape))
      return addBuffer(node, "attn_mask", shape, *elements);
  }
  Value value = materialize(term, node);
  if (!value)
    (void)!outside(node, cannotMake("attn_mask", term));
  return value;
}

/// Queries, keys and values as operands of attention, in the most packed form that their layouts
/// allow.
SmallVector<Value> Raiser::packedInputs(ArrayRef<View> views, ArrayRef<Heads> heads,
                                        const Node &node) {
  const int64_t channels = heads[0].count * heads[0].width;
  auto packed = [&](ArrayRef<unsigned> parts) { // parts in order, and nothing else, in one tensor
    for (auto [i, part] : enumerate(parts))
      if (views[part].root != views[parts[0]].root ||
          heads[part].from != static_cast<int64_t>(i) * channels)
        return false;
    return shapeOf(views[parts[0]].root)[2] == static_cast<int64_t>(parts.size()) * channels;
  };
  if (packed({0, 1, 2}))
    return {materialize({views[0].root, IndexMap::identity(shapeOf(views[0].root))}, node)};
  SmallVector<Value> inputs = {headChannels(views[0], heads[0], node)};
  if (packed({1, 2}))
    inputs.push_back(
        materialize({views[1].root, IndexMap::identity(shapeOf(views[1].root))}, node));
  else
    for (unsigned i : {1, 2})
      inputs.push_back(headChannels(views[i], heads[i], node));
  return inputs;
}

Error Raiser::attend(const Node &node, const Scores &scores, const View &value) {
  double scale = scores.scale;
  SmallVector<View, 3> views = {unscaled(scores.query, scale), unscaled(scores.key, scale), value};
  std::vector<Heads> heads;
  constexpr StringLiteral kNames[] = {"query", "key", "value"};
  for (auto [view, name] : zip_equal(views, kNames)) {
    std::optional<Heads> found = headsOf(view);
    if (!found)
      return outside(node, "its " + name + " is no set of heads of a tensor of tokens");
    heads.push_back(*found);
  }
  const int64_t count = heads[0].count, width = heads[0].width, windows = heads[0].windows;
  for (const Heads &other : heads)
    if (other.count != count || other.width != width || other.windows != windows)
      return outside(node, "heads of query, key and value differ in number, width or windows");
  SmallVector<int64_t> tokens = shapeOf(views[0].root), keys = shapeOf(views[1].root);
  if (tokens[0] != keys[0] || (windows > 1 && tokens[1] != keys[1]) ||
      ArrayRef(keys).take_front(2) != ArrayRef(shapeOf(views[2].root)).take_front(2))
    return malformed(node, "query, key and value differ in batch or tokens");
  SmallVector<Value> inputs = packedInputs(views, heads, node);
  if (is_contained(inputs, Value()))
    return outside(node, "queries, keys or values that no nn op makes");
  Value bias, mask;
  if ((scores.bias.root && !(bias = biasOf(node, scores.bias))) ||
      (scores.mask.root && !(mask = biasOf(node, scores.mask))))
    return Error::success();
  IntegerAttr window = windows > 1 ? builder.getI64IntegerAttr(tokens[1] / windows) : IntegerAttr();
  Value result =
      emit<nn::AttentionOp>(node, withChannels(views[0].root, count * width), inputs, bias, mask,
                            static_cast<uint64_t>(count), APFloat(scale), window);
  define(node, result, headsMap(shapeOf(result), {count, width, 0, windows}));
  return Error::success();
}
