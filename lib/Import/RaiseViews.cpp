//===- RaiseViews.cpp - ops that only move elements -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// None of these makes an op: they compute index maps. Shapes that an op's arguments give
// symbolically (a reshape to [batch, 197, 3, 3, 64]) are taken from the shape that the archive
// claims for the result; the map's arithmetic rejects claims that the operand does not bear out.
//
//===----------------------------------------------------------------------===//

#include "Raiser.h"

using namespace llvm;
using namespace ns::pt2;

Error Raiser::raiseIdentity(const Node &node) {
  environment[node.outputs.front()] = view(node, "self"); // keeps its source
  return Error::success();
}

Error Raiser::raiseDropout(const Node &node) {
  const Argument *train = node.find("train");
  if ((!train || train->flag) && number(node, "p") != 0.0)
    return refuse(node, "in training mode: export the model after .eval()");
  environment[node.outputs.front()] = view(node, "input"); // keeps its source
  return Error::success();
}

Error Raiser::raiseReshape(const Node &node) {
  View operand = view(node, "self");
  ArrayRef<int64_t> shape = claimedShape(node.outputs.front());
  if (countElements(operand.map.shape()) != countElements(shape))
    return malformed(node, "reshapes " + describe(operand.map.shape()) + " to " + describe(shape));
  std::optional<IndexMap> map = operand.map.reshape(shape);
  if (!map)
    return outside(node, "a reshape to " + describe(shape) + " across permuted dimensions");
  define(node, operand.root, *map);
  return Error::success();
}

Error Raiser::raiseTranspose(const Node &node) {
  View operand = view(node, "self");
  std::optional<unsigned> dim0 = dimension(node, "dim0", operand.map.rank()),
                          dim1 = dimension(node, "dim1", operand.map.rank());
  if (!dim0 || !dim1)
    return malformed(node,
                     "expected two dimensions of a tensor of rank " + Twine(operand.map.rank()));
  SmallVector<int64_t> order = llvm::to_vector(llvm::seq<int64_t>(0, operand.map.rank()));
  std::swap(order[*dim0], order[*dim1]);
  define(node, operand.root, operand.map.permute(order));
  return Error::success();
}

Error Raiser::raisePermute(const Node &node) {
  View operand = view(node, "self");
  const int64_t rank = operand.map.rank();
  const Argument *dims = node.find("dims");
  SmallVector<int64_t> order, sorted;
  if (dims)
    for (int64_t dim : dims->ints)
      order.push_back(dim < 0 && dim >= -rank ? dim + rank : dim);
  sorted = order;
  llvm::sort(sorted);
  if (!llvm::equal(sorted, llvm::seq<int64_t>(0, rank)))
    return malformed(node, "expected a permutation of " + Twine(rank) + " dimensions");
  define(node, operand.root, operand.map.permute(order));
  return Error::success();
}

Error Raiser::raiseSelect(const Node &node) {
  View operand = view(node, "self");
  std::optional<unsigned> dim = dimension(node, "dim", operand.map.rank());
  if (!dim)
    return malformed(node, "expected a dimension of a tensor of rank " + Twine(operand.map.rank()));
  const int64_t extent = operand.map.extent(*dim);
  std::optional<int64_t> index = integer(node, "index");
  if (!index || extent == kProbeBatch)
    return outside(node, "selects from the batch or at an index that is not constant");
  if (*index < -extent || *index >= extent)
    return malformed(node, "index " + Twine(*index) + " of " + Twine(extent));
  define(node, operand.root, operand.map.select(*dim, *index < 0 ? *index + extent : *index));
  return Error::success();
}

Error Raiser::raiseSlice(const Node &node) {
  View operand = view(node, "self");
  std::optional<unsigned> dim = node.find("dim") ? dimension(node, "dim", operand.map.rank()) : 0;
  if (!dim || *dim >= operand.map.rank())
    return malformed(node, "expected a dimension of a tensor of rank " + Twine(operand.map.rank()));
  std::optional<int64_t> from = node.find("start") ? integer(node, "start") : 0;
  std::optional<int64_t> step = node.find("step") ? integer(node, "step") : 1;
  if (claimedShape(node.outputs.front()).size() != operand.map.rank())
    return malformed(node, "a slice of another rank than its operand");
  const int64_t extent = operand.map.extent(*dim), size = claimedShape(node.outputs.front())[*dim];
  if (from && *from < 0)
    from = std::max<int64_t>(*from, -extent) + extent;
  if (!from || !step || (extent == kProbeBatch && size != extent))
    return outside(node, "a slice of the batch, or from an index that is not constant");
  if (*from >= extent || *step < 1 || size - 1 > (extent - 1 - *from) / *step)
    return malformed(node, Twine(size) + " elements from " + Twine(*from) + " of " + Twine(extent) +
                               ", " + Twine(*step) + " apart");
  std::optional<IndexMap> map = operand.map.slice(*dim, *from, size, *step);
  if (!map)
    return outside(node, "a slice across merged dimensions");
  define(node, operand.root, *map);
  return Error::success();
}

Error Raiser::raiseSplit(const Node &node) {
  View operand = view(node, "self");
  std::optional<unsigned> dim = node.find("dim") ? dimension(node, "dim", operand.map.rank()) : 0;
  if (!dim || *dim >= operand.map.rank() || operand.map.extent(*dim) == kProbeBatch)
    return outside(node, "a split of the batch");
  int64_t from = 0;
  for (const std::string &name : node.outputs) {
    ArrayRef<int64_t> shape = claimedShape(name);
    if (shape.size() != operand.map.rank() || shape[*dim] > operand.map.extent(*dim) - from)
      return malformed(node,
                       "its parts are larger than its operand, " + describe(operand.map.shape()));
    std::optional<IndexMap> map = operand.map.slice(*dim, from, shape[*dim]);
    if (!map)
      return outside(node, "a split across merged dimensions");
    define(node, name, operand.root, *map);
    from += shape[*dim];
  }
  if (from != operand.map.extent(*dim))
    return malformed(node,
                     "its parts are smaller than its operand, " + describe(operand.map.shape()));
  return Error::success();
}

Error Raiser::raiseUnbind(const Node &node) {
  View operand = view(node, "self");
  std::optional<unsigned> dim = node.find("dim") ? dimension(node, "dim", operand.map.rank()) : 0;
  if (!dim || *dim >= operand.map.rank() ||
      operand.map.extent(*dim) != static_cast<int64_t>(node.outputs.size()))
    return malformed(node,
                     Twine(node.outputs.size()) + " parts of " + describe(operand.map.shape()));
  for (auto [index, name] : llvm::enumerate(node.outputs))
    define(node, name, operand.root, operand.map.select(*dim, index));
  return Error::success();
}

Error Raiser::raiseExpand(const Node &node) {
  View operand = view(node, "self");
  std::optional<IndexMap> map = operand.map.expand(claimedShape(node.outputs.front()));
  if (!map)
    return malformed(node, "expands " + describe(operand.map.shape()) + " to " +
                               describe(claimedShape(node.outputs.front())));
  define(node, operand.root, *map);
  return Error::success();
}

/// timm's models for images of any size resample their position embedding, also to the size that it
/// has.
Error Raiser::raiseResize(const Node &node) {
  const Argument *corners = node.find("align_corners");
  View operand = view(node, "input");
  if (operand.map.shape() != claimedShape(node.outputs.front()) || (corners && corners->flag))
    return refuse(node, "resamples the position embedding: export with --img-size at the size of "
                        "the model's own grid, or with dynamic_img_size=False");
  environment[node.outputs.front()] = operand;
  return Error::success();
}

bool Raiser::raiseJoinedSlices(const Node &node, ArrayRef<std::string> parts, unsigned dim) {
  View first = viewOf(parts.front());
  SmallVector<int64_t> root = shapeOf(first.root);
  std::vector<IndexMap> maps;
  for (const std::string &name : parts)
    if (View part = viewOf(name); part.root == first.root && dim < part.map.rank())
      maps.push_back(part.map);
  if (maps.size() == parts.size())
    if (std::optional<IndexMap> joined = IndexMap::concat(maps, dim);
        joined && joined->isBijection(*countElements(root))) {
      define(node, first.root, *joined); // patch merging: all of the root, its rows regrouped
      return true;
    }
  IndexMap whole = IndexMap::identity(root);
  if (first.map.rank() != root.size() || dim >= root.size())
    return false;
  int64_t stride = 1;
  for (int64_t extent : ArrayRef(root).drop_front(dim + 1))
    stride *= extent;
  const int64_t from = first.map.getOffset() / stride;
  int64_t to = from;
  for (const std::string &name : parts) {
    View part = viewOf(name);
    if (part.root != first.root || part.map.rank() != root.size())
      return false;
    const int64_t size = part.map.extent(dim);
    if (to >= root[dim] || size > root[dim] - to || part.map != whole.slice(dim, to, size))
      return false;
    to += size;
  }
  define(node, first.root, *whole.slice(dim, from, to - from));
  return true;
}
