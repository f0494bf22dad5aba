//===- IndexMap.cpp - where the elements of a view lie in its root -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Import/IndexMap.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/Support/MathExtras.h"

using namespace llvm;
using namespace ns::pt2;

std::optional<int64_t> ns::pt2::countElements(ArrayRef<int64_t> shape) {
  int64_t count = 1;
  for (int64_t extent : shape)
    if (extent < 1 || MulOverflow(count, extent, count) || count > kMaxElements)
      return std::nullopt;
  return count;
}

/// Adds an inner digit and keeps the invariants of the class.
void IndexMap::append(Dimension &dimension, Factor factor) {
  if (factor.extent == 1)
    return;
  if (!dimension.empty() && dimension.back().stride == factor.extent * factor.stride)
    dimension.back() = {dimension.back().extent * factor.extent, factor.stride};
  else
    dimension.push_back(factor);
}

IndexMap::IndexMap(ArrayRef<Factor> factors, int64_t offset) : offset(offset) {
  for (Factor factor : factors)
    append(dimensions.emplace_back(), factor);
}

IndexMap IndexMap::identity(ArrayRef<int64_t> shape) {
  SmallVector<Factor> factors(shape.size());
  int64_t stride = 1;
  for (size_t i = shape.size(); i-- > 0; stride *= shape[i])
    factors[i] = {shape[i], stride};
  return IndexMap(factors);
}

int64_t IndexMap::extent(unsigned dim) const {
  int64_t extent = 1;
  for (Factor factor : dimensions[dim])
    extent *= factor.extent;
  return extent;
}

SmallVector<int64_t> IndexMap::shape() const {
  return to_vector(map_range(seq<unsigned>(0, rank()), [&](unsigned dim) { return extent(dim); }));
}

int64_t IndexMap::at(ArrayRef<int64_t> index) const {
  int64_t position = offset;
  for (auto [dimension, i] : zip_equal(dimensions, index)) {
    int64_t digits = i;
    for (Factor factor : reverse(dimension)) {
      position += digits % factor.extent * factor.stride;
      digits /= factor.extent;
    }
  }
  return position;
}

IndexMap IndexMap::permute(ArrayRef<int64_t> order) const {
  IndexMap result;
  result.offset = offset;
  for (int64_t dim : order)
    result.dimensions.push_back(dimensions[dim]);
  return result;
}

std::optional<IndexMap> IndexMap::reshape(ArrayRef<int64_t> shape) const {
  if (countElements(shape) != countElements(this->shape()))
    return std::nullopt;
  Dimension digits; // of the flattened index, outermost first
  for (const Dimension &dimension : dimensions)
    for (Factor factor : dimension)
      append(digits, factor);
  IndexMap result;
  result.offset = offset;
  result.dimensions.resize(shape.size());
  for (size_t dim = shape.size(); dim-- > 0;) {
    Dimension taken; // innermost first
    for (int64_t left = shape[dim]; left > 1;) {
      Factor &inner = digits.back();
      if (left % inner.extent == 0) {
        left /= inner.extent;
        taken.push_back(digits.pop_back_val());
      } else if (inner.extent % left == 0) {
        taken.push_back({left, inner.stride});
        inner = {inner.extent / left, inner.stride * left};
        left = 1;
      } else {
        return std::nullopt;
      }
    }
    for (Factor factor : reverse(taken))
      append(result.dimensions[dim], factor);
  }
  return result;
}

IndexMap IndexMap::select(unsigned dim, int64_t index) const {
  IndexMap result = *this;
  for (Factor factor : reverse(dimensions[dim])) {
    result.offset += index % factor.extent * factor.stride;
    index /= factor.extent;
  }
  result.dimensions.erase(result.dimensions.begin() + dim);
  return result;
}

std::optional<IndexMap> IndexMap::slice(unsigned dim, int64_t from, int64_t size,
                                        int64_t step) const {
  if (size == extent(dim))
    return *this;
  if (dimensions[dim].size() != 1)
    return std::nullopt;
  IndexMap result = *this;
  Factor factor = dimensions[dim].front();
  result.offset += from * factor.stride;
  result.dimensions[dim].clear();
  append(result.dimensions[dim], {size, step * factor.stride});
  return result;
}

std::optional<IndexMap> IndexMap::expand(ArrayRef<int64_t> shape) const {
  if (shape.size() < rank() || !countElements(shape))
    return std::nullopt;
  size_t added = shape.size() - rank();
  IndexMap result;
  result.offset = offset;
  for (auto [i, extent] : enumerate(shape)) {
    Dimension &dimension = result.dimensions.emplace_back();
    int64_t own = i < added ? 1 : this->extent(i - added);
    if (own == extent && i >= added)
      dimension = dimensions[i - added];
    else if (own == 1)
      append(dimension, {extent, 0});
    else
      return std::nullopt;
  }
  return result;
}

bool IndexMap::isBijection(int64_t count) const {
  SmallVector<Factor> digits;
  for (const Dimension &dimension : dimensions)
    llvm::append_range(digits, dimension);
  llvm::sort(digits, [](Factor a, Factor b) { return a.stride < b.stride; });
  int64_t reached = 1;
  for (Factor digit : digits) {
    if (digit.stride != reached)
      return false;
    reached *= digit.extent;
  }
  return offset == 0 && reached == count;
}

std::optional<IndexMap> IndexMap::concat(ArrayRef<IndexMap> parts, unsigned dim) {
  const IndexMap &first = parts.front();
  SmallVector<int64_t> offsets;
  for (IndexMap part : parts) {
    offsets.push_back(part.offset - first.offset);
    part.offset = first.offset;
    if (part != first)
      return std::nullopt;
  }
  Dimension digits; // of the part's number, innermost first
  while (offsets.size() > 1) {
    const int64_t stride = offsets[1];
    if (stride <= 0)
      return std::nullopt;
    int64_t extent = 1;
    while (extent < static_cast<int64_t>(offsets.size()) && offsets[extent] == extent * stride)
      ++extent;
    if (offsets.size() % extent != 0)
      return std::nullopt;
    SmallVector<int64_t> outer;
    for (auto [i, offset] : enumerate(offsets)) {
      if (i % extent == 0)
        outer.push_back(offset);
      else if (offset != outer.back() + static_cast<int64_t>(i % extent) * stride)
        return std::nullopt;
    }
    digits.push_back({extent, stride});
    offsets = std::move(outer);
  }
  IndexMap result = first;
  Dimension &joined = result.dimensions[dim];
  joined.clear();
  for (Factor digit : reverse(digits))
    append(joined, digit);
  for (Factor digit : first.dimensions[dim])
    append(joined, digit);
  return result;
}

bool IndexMap::isRepeated(unsigned dim) const {
  return llvm::all_of(dimensions[dim], [](Factor factor) { return factor.stride == 0; });
}

std::optional<IndexMap> IndexMap::withRows(int64_t channels, int64_t newChannels) const {
  Dimension row;
  append(row, {channels, 1});
  if (rank() == 0 || dimensions.back() != row || offset % channels != 0)
    return std::nullopt;
  IndexMap result;
  result.offset = offset / channels * newChannels;
  for (const Dimension &dimension : ArrayRef(dimensions).drop_back()) {
    Dimension &rows = result.dimensions.emplace_back();
    for (Factor factor : dimension) {
      if (factor.stride % channels != 0)
        return std::nullopt;
      append(rows, {factor.extent, factor.stride / channels * newChannels});
    }
  }
  append(result.dimensions.emplace_back(), {newChannels, 1});
  return result;
}
