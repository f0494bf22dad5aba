//===- OnnxConstantViews.cpp - elements of known values, moved -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "OnnxConstant.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/Support/MathExtras.h"

using namespace llvm;
using namespace ns;
using namespace ns::onnx;

namespace {
using Operands = ArrayRef<const Constant *>;
using Result = std::optional<Constant>;
} // namespace

/// The elements of `x` at the positions that `from` gives for each index of `shape`.
static Result gather(const Constant &x, ArrayRef<int64_t> shape,
                     function_ref<int64_t(ArrayRef<int64_t>)> from) {
  Result result = Constant::make(shape, x.isFloat);
  if (!result)
    return std::nullopt;
  SmallVector<int64_t> index(shape.size(), 0);
  for (size_t i = 0; i < result->bits.size(); ++i) {
    const int64_t position = from(index);
    if (position < 0 || position >= static_cast<int64_t>(x.bits.size()))
      return std::nullopt;
    result->bits[i] = x.bits[position];
    for (size_t dim = index.size(); dim-- > 0 && ++index[dim] == shape[dim];)
      index[dim] = 0;
  }
  return result;
}

static SmallVector<int64_t> stridesOf(ArrayRef<int64_t> shape) {
  SmallVector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;)
    strides[i - 1] = strides[i] * shape[i];
  return strides;
}

static int64_t attributeOr(const Node &node, StringRef name, int64_t value) {
  const Attribute *found = node.find(name);
  return found ? found->integer : value;
}

/// `axis` counted from the front; nothing when out of range.
static std::optional<size_t> axisOf(int64_t axis, size_t rank) {
  if (axis < 0)
    axis += rank;
  return axis >= 0 && axis < static_cast<int64_t>(rank) ? std::optional<size_t>(axis)
                                                        : std::nullopt;
}

static Result evaluateGather(const Node &node, const Constant &x, const Constant &indices) {
  std::optional<size_t> axis = axisOf(attributeOr(node, "axis", 0), x.shape.size());
  if (!axis || indices.isFloat)
    return std::nullopt;
  SmallVector<int64_t> shape(ArrayRef(x.shape).take_front(*axis)), strides = stridesOf(x.shape);
  shape.append(indices.shape.begin(), indices.shape.end());
  shape.append(x.shape.begin() + *axis + 1, x.shape.end());
  const int64_t extent = x.shape[*axis];
  const size_t inner = indices.shape.size();
  return gather(x, shape, [&](ArrayRef<int64_t> index) -> int64_t {
    int64_t which = 0, position = 0;
    for (size_t i = 0; i < inner; ++i)
      which = which * indices.shape[i] + index[*axis + i];
    int64_t picked = indices.bits[which];
    picked += picked < 0 ? extent : 0;
    if (picked < 0 || picked >= extent)
      return -1;
    for (size_t i = 0; i < index.size(); ++i)
      if (i < *axis)
        position += index[i] * strides[i];
      else if (i >= *axis + inner)
        position += index[i] * strides[i - inner + 1];
    return position + picked * strides[*axis];
  });
}

static Result evaluateSlice(const Constant &x, Operands operands) {
  const size_t rank = x.shape.size();
  SmallVector<int64_t> from(rank, 0), step(rank, 1), shape(ArrayRef<int64_t>(x.shape));
  SmallVector<int64_t> starts = operands[1]->integers(), ends = operands[2]->integers();
  SmallVector<int64_t> axes = llvm::to_vector(llvm::seq<int64_t>(0, starts.size())),
                       steps(starts.size(), 1);
  if (operands.size() > 3 && operands[3])
    axes = operands[3]->integers();
  if (operands.size() > 4 && operands[4])
    steps = operands[4]->integers();
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size())
    return std::nullopt;
  for (size_t i = 0; i < starts.size(); ++i) {
    std::optional<size_t> axis = axisOf(axes[i], rank);
    if (!axis || steps[i] < 1)
      return std::nullopt;
    const int64_t extent = x.shape[*axis];
    auto clamp = [&](int64_t at) {
      return std::clamp<int64_t>(at < 0 ? at + extent : at, 0, extent);
    };
    const int64_t begin = clamp(starts[i]), end = std::max(begin, clamp(ends[i]));
    from[*axis] = begin, step[*axis] = steps[i];
    shape[*axis] = end == begin ? 0 : (end - begin - 1) / steps[i] + 1;
  }
  SmallVector<int64_t> strides = stridesOf(x.shape);
  return gather(x, shape, [&](ArrayRef<int64_t> index) {
    int64_t position = 0;
    for (size_t i = 0; i < rank; ++i)
      position += (from[i] + index[i] * step[i]) * strides[i];
    return position;
  });
}

static Result evaluateConcat(const Node &node, Operands operands) {
  SmallVector<Constant, 4> parts;
  for (const Constant *operand : operands)
    if (std::optional<Constant> part = operand ? operand->dense() : std::nullopt)
      parts.push_back(std::move(*part));
  if (parts.empty() || parts.size() != operands.size())
    return std::nullopt;
  SmallVector<int64_t> shape(ArrayRef<int64_t>(parts[0].shape));
  std::optional<size_t> axis = axisOf(attributeOr(node, "axis", 0), shape.size());
  if (!axis)
    return std::nullopt;
  shape[*axis] = 0;
  for (const Constant &part : parts) {
    SmallVector<int64_t> other(ArrayRef<int64_t>(part.shape));
    if (other.size() != shape.size() || part.isFloat != parts[0].isFloat)
      return std::nullopt;
    shape[*axis] += other[*axis];
    other[*axis] = shape[*axis];
    if (other != shape)
      return std::nullopt;
  }
  Result result = Constant::make(shape, parts[0].isFloat);
  if (!result || result->bits.empty())
    return result;
  const int64_t inner = stridesOf(shape)[*axis];
  size_t to = 0;
  for (size_t row = 0; to < result->bits.size(); ++row)
    for (const Constant &part : parts) { // the rows of a part along the axis lie together
      const size_t size = part.shape[*axis] * inner;
      std::copy_n(part.bits.begin() + row * size, size, result->bits.begin() + to);
      to += size;
    }
  return result;
}

/// `data` with the slices at `indices` replaced.
static Result evaluateScatter(const Node &node, Operands operands) {
  const Attribute *reduction = node.find("reduction");
  Result data = operands[0]->dense();
  std::optional<Constant> indices = operands[1]->dense(), updates = operands[2]->dense();
  if (!data || !indices || !updates || indices->isFloat || updates->isFloat != data->isFloat ||
      indices->shape.empty() || (reduction && reduction->text != "none"))
    return std::nullopt;
  const size_t depth = indices->shape.back(), rank = data->shape.size();
  if (depth < 1 || depth > rank)
    return std::nullopt;
  SmallVector<int64_t> strides = stridesOf(data->shape);
  const size_t size = strides[depth - 1], count = indices->bits.size() / depth;
  if (updates->bits.size() != count * size)
    return std::nullopt;
  for (size_t i = 0; i < count; ++i) {
    size_t to = 0;
    for (size_t dim = 0; dim < depth; ++dim) {
      const int64_t extent = data->shape[dim], at = indices->bits[i * depth + dim];
      if (at < -extent || at >= extent)
        return std::nullopt;
      to += (at < 0 ? at + extent : at) * strides[dim];
    }
    std::copy_n(updates->bits.begin() + i * size, size, data->bits.begin() + to);
  }
  return data;
}

static Result evaluateTranspose(const Node &node, const Constant &x) {
  const Attribute *perm = node.find("perm");
  SmallVector<int64_t> order = llvm::to_vector(llvm::seq<int64_t>(0, x.shape.size())), shape;
  std::reverse(order.begin(), order.end());
  if (perm)
    order.assign(perm->integers.begin(), perm->integers.end());
  SmallVector<int64_t> sorted(order), strides = stridesOf(x.shape);
  llvm::sort(sorted);
  if (!llvm::equal(sorted, llvm::seq<int64_t>(0, x.shape.size())))
    return std::nullopt;
  for (int64_t dim : order)
    shape.push_back(x.shape[dim]);
  return gather(x, shape, [&](ArrayRef<int64_t> index) {
    int64_t position = 0;
    for (size_t i = 0; i < index.size(); ++i)
      position += index[i] * strides[order[i]];
    return position;
  });
}

Result ns::onnx::expand(const Constant &x, const Constant &shape) {
  std::optional<SmallVector<int64_t>> wanted = broadcast(x.shape, shape.integers());
  if (!wanted || wanted->size() > 8 || !pt2::countElements(*wanted))
    return std::nullopt;
  Result result = x;
  result->shape.assign(wanted->begin(), wanted->end());
  result->stored.insert(result->stored.begin(), wanted->size() - x.stored.size(), 1);
  return result;
}

Result ns::onnx::evaluateView(const Node &node, Operands operands) {
  const StringRef op = node.opType;
  const bool complete = !llvm::is_contained(operands, nullptr);
  if (op == "Concat")
    return evaluateConcat(node, operands);
  if (op == "Expand" && operands.size() == 2 && complete)
    return expand(*operands[0], *operands[1]);
  if (op == "ScatterND" && operands.size() == 3 && complete)
    return evaluateScatter(node, operands);
  std::optional<Constant> x = operands[0]->dense();
  if (!x)
    return std::nullopt;
  if (op == "Gather" && operands.size() == 2 && complete)
    return evaluateGather(node, *x, *operands[1]);
  if (op == "Slice" && operands.size() >= 3 && operands[1] && operands[2])
    return evaluateSlice(*x, operands);
  if (op == "Transpose")
    return evaluateTranspose(node, *x);
  return std::nullopt;
}
