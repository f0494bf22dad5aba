//===- OnnxTables.cpp - ops that pick elements by index, and that put them together -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "OnnxTranslator.h"

#include "llvm/ADT/STLExtras.h"

using namespace llvm;
using namespace ns;
using namespace ns::onnx;

Expected<bool> Translator::asStrided(const Node &node) {
  const Value *flat = operand(node, 0);
  const pt2::Node *flattened = flat ? made(flat->name, "reshape") : nullptr;
  auto claim = claims.find(node.outputs.front());
  if (!callTarget(node).starts_with("aten.as_strided") || !flattened || claim == claims.end() ||
      !claim->second->dims)
    return false;
  const std::string source = flattened->find("self")->names.front();
  SmallVector<int64_t> shape;
  for (const Dimension &dim : *claim->second->dims)
    shape.push_back(extentOf(dim).value_or(0));
  // ...](args = (%mean, [sizes], [strides]), ...
  SmallVector<StringRef> strides;
  node.call.split("](args = (")
      .second.split('[')
      .second.split('[')
      .second.split(']')
      .first.split(strides, ',');
  bool plain = program.values[source].sizes == shape && strides.size() == shape.size();
  int64_t expected = 1;
  for (size_t i = shape.size(); plain && i-- > 0; expected *= shape[i]) {
    int64_t stride = 0;
    plain = shape[i] == 1 || (!strides[i].trim().getAsInteger(10, stride) && stride == expected);
  }
  if (!plain)
    return false;
  Value value;
  value.name = source;
  value.shape = shape;
  value.outside = flat->outside;
  if (Error error = define(node.outputs.front(), std::move(value)))
    return error;
  return true;
}

Error Translator::gather(const Node &node) {
  Expected<bool> isView = asStrided(node);
  if (!isView || *isView)
    return isView ? Error::success() : isView.takeError();
  if (operand(node, 1) && operand(node, 1)->outside)
    return Error::success(); // the cause is noted
  const Value *input = operand(node, 0);
  const Constant *indices = constant(node, 1);
  if (!input || !input->shape || !indices || indices->isFloat)
    return outside(node, "(at indices that are not known)");
  std::optional<int64_t> dim = dimension(integer(node, "axis", 0), input->shape->size());
  SmallVector<int64_t> positions = indices->integers(), shape = *input->shape;
  if (!dim || positions.empty())
    return malformed(node, "a dimension out of range, or no indices");
  const int64_t extent = shape[*dim];
  for (auto [i, position] : llvm::enumerate(positions)) {
    position += position < 0 ? extent : 0;
    if (position < 0 || position >= extent)
      return malformed(node, "index " + Twine(position) + " of " + Twine(extent));
  }
  bool isRange = indices->shape.size() <= 1;
  for (auto [i, position] : llvm::enumerate(positions))
    isRange &= position == positions.front() + static_cast<int64_t>(i);
  if (!isRange)
    return *dim == 0 ? rowsOf(node, indices->shape)
                     : outside(node, "(at indices that are no range)");
  std::string used = use(node, 0);
  if (used.empty())
    return Error::success();
  if (indices->shape.empty()) {
    shape.erase(shape.begin() + *dim);
    return emit(node, "select",
                {tensor("self", used), integers("dim", *dim), integers("index", positions.front())},
                shape);
  }
  shape[*dim] = positions.size();
  return emit(node, "slice",
              {tensor("self", used), integers("dim", *dim), integers("start", positions.front()),
               integers("end", positions.back() + 1)},
              shape);
}

/// The rows of a table at constant indices, which stay a tensor: a table of relative positions.
Error Translator::rowsOf(const Node &node, ArrayRef<int64_t> indices) {
  SmallVector<int64_t> shape(indices), rows = *operand(node, 0)->shape;
  shape.append(rows.begin() + 1, rows.end());
  std::string table = use(node, 0), index = table.empty() ? "" : use(node, 1);
  if (index.empty())
    return Error::success();
  if (*operand(node, 1)->shape != SmallVector<int64_t>(indices))
    index =
        emitInner(node, "reshape", {tensor("self", index), integers("shape", indices)}, indices);
  return emit(node, "index", {tensor("self", table), tensor("indices", index)}, shape);
}

Error Translator::gatherND(const Node &node) {
  const Value *table = operand(node, 0);
  const Constant *indices = constant(node, 1);
  if (!table || !table->shape || !indices || indices->isFloat || integer(node, "batch_dims", 0) ||
      indices->shape.empty() || indices->shape.back() != 1 || table->shape->empty())
    return outside(node, "(of other than rows)");
  for (int64_t position : indices->bits)
    if (position < 0 || position >= table->shape->front())
      return malformed(node, "index " + Twine(position) + " of " + Twine(table->shape->front()));
  return rowsOf(node, ArrayRef(indices->shape).drop_back());
}

/// What Concat puts together is a stack of what was unsqueezed for it, or the two parts of a
/// tensor in the other order: a roll.
Error Translator::stackOrRoll(const Node &node, ArrayRef<std::string> parts, int64_t dim,
                              ArrayRef<int64_t> shape) {
  std::vector<std::string> members;
  SmallVector<int64_t> member(shape);
  member.erase(member.begin() + dim);
  for (const std::string &part : parts)
    if (const pt2::Node *unsqueezed = made(part, "reshape"))
      if (program.values[unsqueezed->find("self")->names[0]].sizes == member)
        members.push_back(unsqueezed->find("self")->names[0]);
  if (members.size() == parts.size() && shape[dim] == static_cast<int64_t>(parts.size()))
    return emit(node, "stack", {tensors("tensors", members), integers("dim", dim)}, shape);

  const pt2::Node *last = parts.size() == 2 ? made(parts[0], "slice") : nullptr,
                  *first = parts.size() == 2 ? made(parts[1], "slice") : nullptr;
  auto isPart = [&](const pt2::Node *part, int64_t from, int64_t to) {
    return part->find("dim")->ints[0] == dim && !part->find("step") &&
           part->find("start")->ints[0] == from && part->find("end")->ints[0] == to;
  };
  if (first && last) {
    const std::string &whole = first->find("self")->names[0];
    const int64_t shift = first->find("end")->ints[0];
    if (last->find("self")->names[0] == whole && program.values[whole].sizes == shape &&
        isPart(first, 0, shift) && isPart(last, shift, shape[dim])) {
      SmallVector<int64_t> shifts = {-shift}, dims = {dim};
      std::string rolled = whole;
      if (const pt2::Node *before = made(whole, "roll")) { // one call rolls several dimensions
        rolled = before->find("self")->names[0];
        llvm::append_range(shifts, before->find("shifts")->ints);
        llvm::append_range(dims, before->find("dims")->ints);
      }
      if (llvm::count(dims, dim) == 1)
        return emit(node, "roll",
                    {tensor("self", rolled), integers("shifts", shifts), integers("dims", dims)},
                    shape);
    }
  }
  return emit(node, "cat",
              {tensors("tensors", std::vector<std::string>(parts)), integers("dim", dim)}, shape);
}

Error Translator::concat(const Node &node) {
  std::vector<std::string> parts;
  SmallVector<int64_t> shape;
  std::optional<int64_t> dim;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Value *part = operand(node, i);
    if (!part || !part->shape)
      return malformed(node, "expected tensors");
    if (i == 0) {
      shape = *part->shape;
      dim = dimension(integer(node, "axis", 0), shape.size());
    } else if (part->shape->size() == shape.size() && dim) {
      shape[*dim] += (*part->shape)[*dim];
    }
    SmallVector<int64_t> other = *part->shape;
    if (dim && other.size() == shape.size())
      other[*dim] = shape[*dim];
    if (!dim || other != shape || !pt2::countElements(shape))
      return malformed(node, "operands that do not fit each other");
    parts.push_back(use(node, i));
    if (parts.back().empty())
      return Error::success();
  }
  if (parts.empty())
    return malformed(node, "expected operands");
  return stackOrRoll(node, parts, *dim, shape);
}
