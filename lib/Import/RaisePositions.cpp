//===- RaisePositions.cpp - relative and rotary positions ----*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Relative positions (BEiT, Swin): a bias table[index], transposed to H x N x N, index a buffer.
// The buffer is compared with the formula of `nn.relative_bias`, element by element.
//
// Rotary positions (EVA-02), over interleaved pairs of channels of a head:
//
//   heads * cos + stack(-heads[1::2], heads[0::2]).reshape * sin
//
// of the tokens after a prefix, with the prefix put before them again.
//
//===----------------------------------------------------------------------===//

#include "Raiser.h"

using namespace llvm;
using namespace mlir;
using namespace ns;
using namespace ns::pt2;
using llvm::Error;

//===----------------------------------------------------------------------===//
// Relative positions
//===----------------------------------------------------------------------===//

Error Raiser::raiseIndex(const Node &node) {
  const Argument *indices = node.find("indices");
  View table = view(node, "self");
  if (!indices || indices->names.size() != 1 || table.map.rank() != 2)
    return outside(node, "an index other than of the rows of a table");
  View index = viewOf(indices->names.front());
  if (!deferred<Constant>(index.root))
    return outside(node, "an index that depends on the image");
  SmallVector<int64_t> shape = index.map.shape();
  shape.push_back(table.map.extent(1));
  if (claimedShape(node.outputs.front()) != ArrayRef(shape))
    return malformed(node, "rows of " + describe(table.map.shape()) + " at " +
                               describe(index.map.shape()) + " indices");
  define(node, defer(shape, Gathered{table, index}), IndexMap::identity(shape));
  return Error::success();
}

/// Whether `index` (N x N, row-major) is that of `nn.relative_bias`.
static bool isRelative(ArrayRef<double> index, int64_t rows, int64_t columns, int64_t prefix) {
  const int64_t tokens = rows * columns + prefix, table = (2 * rows - 1) * (2 * columns - 1);
  for (int64_t i : seq(tokens))
    for (int64_t j : seq(tokens)) {
      const int64_t a = i - prefix, b = j - prefix;
      int64_t expected = (a / columns - b / columns + rows - 1) * (2 * columns - 1) + a % columns -
                         b % columns + columns - 1;
      if (a < 0 || b < 0) // the class token: its row, its column, itself
        expected = table + (a < 0 && b < 0 ? 2 : a < 0 ? 0 : 1);
      if (index[i * tokens + j] != static_cast<double>(expected))
        return false;
    }
  return true;
}

/// The grid whose relative positions the index holds, and the tokens before it.
static std::optional<std::pair<SmallVector<int64_t>, int64_t>>
relativeGrid(ArrayRef<double> index, int64_t tokens, int64_t table) {
  for (int64_t prefix : {0, 1})
    for (int64_t rows = 1; rows <= tokens - prefix; ++rows) {
      const int64_t columns = (tokens - prefix) / rows;
      if (rows * columns == tokens - prefix &&
          (2 * rows - 1) * (2 * columns - 1) + 3 * prefix == table &&
          isRelative(index, rows, columns, prefix))
        return std::pair(SmallVector<int64_t>{rows, columns}, prefix);
    }
  return std::nullopt;
}

Value Raiser::relativeBias(const Node &node, const View &view) {
  if (Value known = forced.lookup(view.root))
    return known;
  const Gathered &gathered = *deferred<Gathered>(view.root);
  auto fail = [&](const Twine &reason) {
    (void)!outside(node, reason);
    return nullptr;
  };
  const int64_t heads = view.map.extent(0), tokens = view.map.extent(1);
  std::optional<IndexMap> map =
      IndexMap::identity(shapeOf(view.root)).reshape({tokens, view.map.extent(2), heads});
  std::optional<std::vector<double>> index = constantsOf(gathered.index);
  if (!map || view.map != map->permute({2, 0, 1}) || view.map.extent(2) != tokens || !index ||
      static_cast<int64_t>(index->size()) != tokens * tokens)
    return fail("a bias out of a table that is not heads x tokens x tokens");
  auto grid = relativeGrid(*index, tokens, gathered.table.map.extent(0));
  if (!grid)
    return fail("a bias whose index is not that of relative positions on a grid, with or without "
                "a class token");
  Value table = materialize(gathered.table, node);
  if (!table)
    return fail(cannotMake("self", gathered.table));
  auto type = typeOf(table).clone({heads, tokens, tokens});
  Value bias = emit<nn::RelativeBiasOp>(node, type, table, grid->first, grid->second);
  forced[view.root] = bias;
  return bias;
}

//===----------------------------------------------------------------------===//
// Rotary positions
//===----------------------------------------------------------------------===//

Error Raiser::raiseStack(const Node &node) {
  const Argument *tensors = node.find("tensors");
  ArrayRef<int64_t> shape = claimedShape(node.outputs.front());
  if (!tensors || tensors->names.empty() || shape.empty() ||
      shape.back() != static_cast<int64_t>(tensors->names.size()))
    return outside(node, "a stack along other than a new last dimension");
  Stacked stacked;
  for (const std::string &name : tensors->names) {
    stacked.parts.push_back(viewOf(name));
    if (stacked.parts.back().map.shape() != shape.drop_back())
      return outside(node, "a stack along other than a new last dimension");
  }
  if (dimension(node, "dim", shape.size()) != static_cast<unsigned>(shape.size() - 1))
    return outside(node, "a stack along other than a new last dimension");
  define(node, defer(shape, std::move(stacked)), IndexMap::identity(shape));
  return Error::success();
}

std::optional<Raiser::Rotated> Raiser::rotation(const Product &cosines,
                                                const Product &sines) const {
  const View &heads = cosines.heads, &turned = sines.heads;
  const Stacked *pairs = deferred<Stacked>(turned.root);
  const int64_t width = heads.map.rank() == 4 ? heads.map.extent(3) : 0;
  if (!pairs || pairs->parts.size() != 2 || width < 2 || width % 2 != 0 ||
      turned.map != IndexMap::identity(shapeOf(turned.root)).reshape(heads.map.shape()))
    return std::nullopt;
  double oddFactor = 1, evenFactor = 1;
  View odd = unscaled(pairs->parts[0], oddFactor), even = unscaled(pairs->parts[1], evenFactor);
  if (oddFactor != -1 || evenFactor != 1 || odd.root != heads.root || even.root != heads.root ||
      odd.map != heads.map.slice(3, 1, width / 2, 2) ||
      even.map != heads.map.slice(3, 0, width / 2, 2))
    return std::nullopt;
  return Rotated{heads, sines.factors, cosines.factors};
}

Error Raiser::raiseRotation(const Node &node, const Product &first, const Product &second) {
  std::optional<Rotated> rotated = rotation(first, second);
  if (!rotated)
    rotated = rotation(second, first);
  if (!rotated)
    return outside(node, "a sum of products of heads that is no rotation of pairs of channels");
  SmallVector<int64_t> shape = rotated->heads.map.shape(), tokens = shapeOf(rotated->heads.root);
  if (tokens.size() == 3 && tokens[1] == shape[2])
    return rotate(node, *rotated, /*prefix=*/0);
  define(node, defer(shape, std::move(*rotated)), IndexMap::identity(shape));
  return Error::success();
}

Error Raiser::rotate(const Node &node, const Rotated &rotated, int64_t prefix) {
  const View &view = rotated.heads;
  SmallVector<int64_t> tokens = shapeOf(view.root);
  if (tokens.size() != 3)
    return outside(node, "a rotation of other than heads");
  const Heads heads{view.map.extent(1), view.map.extent(3),
                    view.map.getOffset() - prefix * tokens[2]};
  const int64_t count = tokens[1] - prefix;
  if (heads.from < 0 || heads.from + heads.count * heads.width > tokens[2] || count < 1 ||
      view.map != headsMap(tokens, heads).slice(2, prefix, count))
    return outside(node, "a rotation of other than heads");
  Value input = headChannels(view, heads, node), sin = materialize(rotated.sin, node),
        cos = materialize(rotated.cos, node);
  if (!input || !sin || !cos)
    return outside(node, "a rotation by sines and cosines that no nn op makes");
  Value result =
      emit<nn::RotaryOp>(node, input.getType(), input, sin, cos, static_cast<uint64_t>(heads.count),
                         static_cast<uint64_t>(prefix), /*transposed=*/false);
  define(node, result, headsMap(shapeOf(result), {heads.count, heads.width, 0}));
  return Error::success();
}

bool Raiser::raiseRotatedConcat(const Node &node, ArrayRef<std::string> parts, unsigned dim) {
  if (parts.size() != 2 || dim != 2)
    return false;
  View prefix = viewOf(parts[0]), rest = viewOf(parts[1]);
  const Rotated *rotated = deferred<Rotated>(rest.root);
  if (!rotated || rest.map != IndexMap::identity(shapeOf(rest.root)) ||
      prefix.root != rotated->heads.root || prefix.map.rank() != 4)
    return false;
  SmallVector<int64_t> tokens = shapeOf(prefix.root);
  const Heads heads{prefix.map.extent(1), prefix.map.extent(3), prefix.map.getOffset()};
  const int64_t count = prefix.map.extent(2);
  if (tokens.size() != 3 || count >= tokens[1] ||
      prefix.map != headsMap(tokens, heads).slice(2, 0, count))
    return false;
  (void)!rotate(node, *rotated, count);
  return true;
}
