//===- OnnxViews.cpp - ops that only move elements -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "OnnxTranslator.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/Support/MathExtras.h"

using namespace llvm;
using namespace ns;
using namespace ns::onnx;
using pt2::NamedArgument;

Error Translator::alias(const Node &node, const Value &value) {
  return define(node.outputs.front(), Value(value));
}

/// The node's result is its first operand under another shape.
Error Translator::reshapeTo(const Node &node, ArrayRef<int64_t> shape) {
  const Value *input = operand(node, 0);
  if (!input || !input->shape)
    return malformed(node, "expected a tensor as its first operand");
  std::optional<Constant> dense = input->constant ? input->constant->dense() : std::nullopt;
  if (dense) {
    int64_t count = 1;
    bool valid = shape.size() <= 8;
    for (int64_t extent : shape)
      valid &= extent >= 0 && !MulOverflow(count, extent, count);
    if (!valid || count != static_cast<int64_t>(dense->bits.size()))
      return malformed(node, "its result has another number of elements than its operand");
    dense->shape.assign(shape.begin(), shape.end());
    dense->stored = dense->shape;
    Value value;
    value.shape.emplace(shape);
    value.constant = std::make_shared<const Constant>(std::move(*dense));
    value.weight = input->weight;
    return define(node.outputs.front(), std::move(value));
  }
  if (pt2::countElements(shape) != pt2::countElements(*input->shape) || !pt2::countElements(shape))
    return malformed(node, "its result has another number of elements than its operand");
  if (ArrayRef(*input->shape) == shape)
    return alias(node, *input);
  std::string used = use(node, 0);
  if (used.empty())
    return Error::success();
  return emit(node, "reshape", {tensor("self", used), integers("shape", shape)}, shape);
}

Error Translator::identity(const Node &node) {
  if (node.opType == "Dropout")
    if (const Constant *training = constant(node, 2);
        operand(node, 2) && (!training || !training->isAll(0)))
      return outside(node, "(in training mode)");
  const Value *input = operand(node, 0);
  return input ? alias(node, *input) : malformed(node, "expected an operand");
}

/// Networks compute in float32; casts to it change nothing.
Error Translator::cast(const Node &node) {
  const Value *input = operand(node, 0);
  if (!input)
    return malformed(node, "expected an operand");
  if (node.opType == "Cast" && scalarType(integer(node, "to", 0)) != pt2::ScalarType::F32)
    return outside(node, "(to another type than float32)");
  const Value *like = operand(node, 1);
  if (node.opType == "CastLike" && (!like || (like->constant && !like->constant->isFloat)))
    return outside(node, "(to another type than float32)");
  if (!input->constant || input->constant->isFloat)
    return alias(node, *input);
  Constant converted = *input->constant;
  converted.isFloat = true;
  for (size_t i = 0; i < converted.bits.size(); ++i)
    converted.set(i, input->constant->real(i));
  Value value;
  value.shape = input->shape;
  value.constant = std::make_shared<const Constant>(std::move(converted));
  return define(node.outputs.front(), std::move(value));
}

Error Translator::shapeOf(const Node &node) {
  const Value *input = operand(node, 0);
  if (!input || !input->shape)
    return malformed(node, "expected a tensor");
  const int64_t rank = input->shape->size();
  auto clamp = [&](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + rank : at, 0, rank); };
  const int64_t start = clamp(integer(node, "start", 0)),
                end = std::max(start, clamp(integer(node, "end", rank)));
  Value value;
  value.shape.emplace(1, end - start);
  value.constant = std::make_shared<const Constant>(
      Constant::vector(ArrayRef(*input->shape).slice(start, end - start)));
  return define(node.outputs.front(), std::move(value));
}

Error Translator::reshape(const Node &node) {
  const Value *input = operand(node, 0);
  bool known = true;
  std::optional<SmallVector<int64_t>> wanted = list(node, 1, "shape", known);
  if (!input || !input->shape || !wanted)
    return outside(node, "(to a shape that is not known)");
  SmallVector<int64_t> shape = *wanted;
  int64_t rest = -1, others = 1, all = 1;
  for (int64_t extent : *input->shape)
    all *= extent; // of a value: at most kMaxElements
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0 && !integer(node, "allowzero", 0))
      shape[i] = i < input->shape->size() ? (*input->shape)[i] : 0;
    if (shape[i] == -1 && rest < 0)
      rest = i;
    else if (shape[i] < 0 || MulOverflow(others, shape[i], others))
      return malformed(node, "a shape with an extent of " + Twine(shape[i]));
  }
  if (rest >= 0) {
    if (others == 0 || all % others != 0)
      return malformed(node, "its result has another number of elements than its operand");
    shape[rest] = all / others;
  }
  return reshapeTo(node, shape);
}

Error Translator::flatten(const Node &node) {
  const Value *input = operand(node, 0);
  if (!input || !input->shape)
    return malformed(node, "expected a tensor");
  const int64_t rank = input->shape->size(), given = integer(node, "axis", 1);
  const int64_t axis = given < 0 ? given + rank : given;
  if (axis < 0 || axis > rank)
    return malformed(node, "axis " + Twine(given) + " of " + Twine(rank));
  int64_t extents[2] = {1, 1};
  for (int64_t i = 0; i < rank; ++i)
    extents[i >= axis] *= (*input->shape)[i];
  return reshapeTo(node, extents);
}

Error Translator::squeeze(const Node &node) {
  const Value *input = operand(node, 0);
  bool known = true;
  std::optional<SmallVector<int64_t>> axes = list(node, 1, "axes", known);
  if (!input || !input->shape || !known)
    return outside(node, "(along dimensions that are not known)");
  SmallVector<int64_t> shape;
  SmallVector<bool> dropped(input->shape->size(), false);
  for (int64_t axis : axes.value_or(SmallVector<int64_t>())) {
    std::optional<int64_t> dim = dimension(axis, dropped.size());
    if (!dim || (*input->shape)[*dim] != 1)
      return malformed(node, "dimension " + Twine(axis) + ", which is not 1");
    dropped[*dim] = true;
  }
  for (auto [i, extent] : llvm::enumerate(*input->shape))
    if (axes ? !dropped[i] : extent != 1)
      shape.push_back(extent);
  return reshapeTo(node, shape);
}

Error Translator::unsqueeze(const Node &node) {
  const Value *input = operand(node, 0);
  bool known = true;
  std::optional<SmallVector<int64_t>> axes = list(node, 1, "axes", known);
  if (!input || !input->shape || !axes)
    return outside(node, "(along dimensions that are not known)");
  const size_t rank = input->shape->size() + axes->size();
  if (rank > 8)
    return malformed(node, "expected at most 8 dimensions");
  SmallVector<int64_t> shape(rank, 0);
  for (int64_t axis : *axes) {
    std::optional<int64_t> dim = dimension(axis, rank);
    if (!dim || shape[*dim])
      return malformed(node, "dimension " + Twine(axis) + " of " + Twine(rank));
    shape[*dim] = 1;
  }
  const int64_t *next = input->shape->begin();
  for (int64_t &extent : shape)
    if (!extent)
      extent = *next++;
  return reshapeTo(node, shape);
}

Error Translator::transpose(const Node &node) {
  const Value *input = operand(node, 0);
  if (!input || !input->shape)
    return malformed(node, "expected a tensor");
  const int64_t rank = input->shape->size();
  SmallVector<int64_t> order = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  std::reverse(order.begin(), order.end());
  if (const Attribute *perm = node.find("perm"))
    order.assign(perm->integers.begin(), perm->integers.end());
  SmallVector<int64_t> sorted(order), shape;
  llvm::sort(sorted);
  if (!llvm::equal(sorted, llvm::seq<int64_t>(0, rank)))
    return malformed(node, "expected a permutation of " + Twine(rank) + " dimensions");
  for (int64_t dim : order)
    shape.push_back((*input->shape)[dim]);
  if (llvm::equal(order, llvm::seq<int64_t>(0, rank)))
    return alias(node, *input);
  if (input->name.empty() && input->weight && rank == 2 && !input->constant) {
    Value value = *input;
    value.shape = shape;
    value.transposed = !input->transposed;
    return define(node.outputs.front(), std::move(value));
  }
  std::string used = use(node, 0);
  if (used.empty())
    return Error::success();
  return emit(node, "permute", {tensor("self", used), integers("dims", order)}, shape);
}

Error Translator::slice(const Node &node) {
  const Value *input = operand(node, 0);
  bool known = true;
  auto starts = list(node, 1, "starts", known), ends = list(node, 2, "ends", known),
       axes = list(node, 3, "axes", known), steps = list(node, 4, "steps", known);
  if (!input || !input->shape || !known || !starts || !ends || starts->size() != ends->size() ||
      (axes && axes->size() != starts->size()) || (steps && steps->size() != starts->size()))
    return outside(node, "(from or to indices that are not known)");
  Value current = *input;
  for (size_t i = 0; i < starts->size(); ++i) {
    std::optional<int64_t> dim =
        dimension(axes ? (*axes)[i] : static_cast<int64_t>(i), current.shape->size());
    if (!dim)
      return malformed(node, "a dimension out of range");
    const int64_t extent = (*current.shape)[*dim];
    auto clamp = [&](int64_t at) {
      return std::clamp<int64_t>(at < 0 ? at + extent : at, 0, extent);
    };
    const int64_t from = clamp((*starts)[i]), to = clamp((*ends)[i]),
                  step = steps ? (*steps)[i] : 1;
    if (step < 1 || from >= to)
      return outside(node, "(backwards, or of nothing)");
    if (to - from == extent && step == 1)
      continue;
    std::string used = current.name.empty() ? use(node, 0) : current.name;
    if (used.empty())
      return Error::success();
    (*current.shape)[*dim] = (to - from - 1) / step + 1;
    std::vector<NamedArgument> inputs = {tensor("self", used), integers("dim", *dim),
                                         integers("start", from), integers("end", to)};
    if (step != 1)
      inputs.push_back(integers("step", step));
    std::string name = emitInner(node, "slice", std::move(inputs), *current.shape);
    current = Value{name, current.shape, nullptr, nullptr, false, input->outside, {}, ""};
  }
  return alias(node, current);
}

Error Translator::splitInto(const Node &node, ArrayRef<std::string> names, int64_t dim,
                            ArrayRef<int64_t> sizes) {
  const Value *input = operand(node, 0);
  int64_t left = (*input->shape)[dim];
  for (int64_t size : sizes) {
    if (size < 1 || size > left)
      return malformed(node, "its parts are not those of its operand");
    left -= size;
  }
  if (left != 0 || sizes.size() != names.size())
    return malformed(node, "its parts are not those of its operand");
  std::string used = use(node, 0);
  if (used.empty())
    return Error::success();
  add(node, "split_with_sizes",
      {tensor("self", used), integers("split_sizes", sizes), integers("dim", dim)}, names);
  for (auto [name, size] : llvm::zip_equal(names, sizes)) {
    Value value;
    value.name = name;
    value.shape = operand(node, 0)->shape;
    (*value.shape)[dim] = size;
    value.outside = followsOutside(node);
    if (Error error = define(name, std::move(value)))
      return error;
  }
  return Error::success();
}

Error Translator::split(const Node &node) {
  const Value *input = operand(node, 0);
  bool known = true;
  std::optional<SmallVector<int64_t>> sizes = list(node, 1, "split", known);
  if (!input || !input->shape || !known)
    return outside(node, "(into parts that are not known)");
  std::optional<int64_t> dim = dimension(integer(node, "axis", 0), input->shape->size());
  if (!dim || llvm::is_contained(node.outputs, ""))
    return malformed(node, "a dimension out of range, or a part without a name");
  if (!sizes) { // equal parts, the last one smaller
    const int64_t parts = node.outputs.size(), extent = (*input->shape)[*dim];
    const int64_t size = (extent - 1) / parts + 1;
    sizes.emplace(parts, size);
    sizes->back() = extent - size * (parts - 1);
  }
  std::vector<std::string> names;
  for (StringRef output : node.outputs)
    names.push_back(output.str());
  return splitInto(node, names, *dim, *sizes);
}

Error Translator::splitToSequence(const Node &node) {
  const Value *input = operand(node, 0);
  const Constant *given = constant(node, 1);
  std::optional<int64_t> dim = input && input->shape
                                   ? dimension(integer(node, "axis", 0), input->shape->size())
                                   : std::nullopt;
  if (!dim || !given || given->isFloat || !integer(node, "keepdims", 1))
    return outside(node, "(into parts that are not known)");
  const int64_t extent = (*input->shape)[*dim];
  SmallVector<int64_t> sizes = given->integers();
  if (given->shape.empty()) { // equal parts of this size
    const int64_t size = sizes.empty() ? 0 : sizes.front();
    if (size < 1 || extent / size > 64)
      return outside(node, "(into more than 64 parts)");
    sizes.assign(extent / size, size);
    if (extent % size)
      sizes.push_back(extent % size);
  }
  Value sequence;
  sequence.shape.emplace();
  for (size_t i = 0; i < sizes.size(); ++i)
    sequence.parts.push_back((node.outputs.front() + "[" + Twine(i) + "]").str());
  for (const std::string &part : sequence.parts)
    if (values.contains(part))
      return malformed(node, "its result '" + part + "' is computed twice");
  if (Error error = splitInto(node, sequence.parts, *dim, sizes))
    return error;
  return define(node.outputs.front(), std::move(sequence));
}

Error Translator::sequenceAt(const Node &node) {
  const Value *sequence = operand(node, 0);
  const Constant *index = constant(node, 1);
  if (!sequence || !index || index->bits.size() != 1)
    return outside(node, "(at an index that is not known)");
  std::optional<int64_t> part = dimension(index->integer(0), sequence->parts.size());
  auto found = part ? values.find(sequence->parts[*part]) : values.end();
  if (found == values.end())
    return outside(node, "(of something that is no split)");
  return alias(node, found->second);
}

Error Translator::expand(const Node &node) {
  const Value *input = operand(node, 0);
  const Constant *wanted = constant(node, 1);
  if (!input || !input->shape || !wanted || wanted->isFloat)
    return outside(node, "(to a shape that is not known)");
  std::optional<SmallVector<int64_t>> shape = broadcast(*input->shape, wanted->integers());
  if (!shape)
    return malformed(node, "a shape that its operand does not repeat to");
  if (*shape == *input->shape)
    return alias(node, *input);
  std::string used = use(node, 0);
  if (used.empty())
    return Error::success();
  return emit(node, "expand", {tensor("self", used), integers("size", *shape)}, *shape);
}

Error Translator::pad(const Node &node) {
  const Value *input = operand(node, 0);
  const Attribute *mode = node.find("mode");
  const Constant *fill = constant(node, 2);
  bool known = true;
  std::optional<SmallVector<int64_t>> pads = list(node, 1, "pads", known),
                                      axes = list(node, 3, "axes", known);
  if (!input || !input->shape || !known || !pads || (mode && mode->text != "constant") ||
      (operand(node, 2) && (!fill || fill->bits.size() != 1)))
    return outside(node, "(by other than a constant)");
  const size_t rank = input->shape->size(), count = axes ? axes->size() : rank;
  SmallVector<int64_t> shape = *input->shape, before(rank, 0), after(rank, 0), reversed;
  if (pads->size() != 2 * count)
    return malformed(node, "expected two numbers for each dimension");
  for (size_t i = 0; i < count; ++i) {
    std::optional<int64_t> dim = dimension(axes ? (*axes)[i] : static_cast<int64_t>(i), rank);
    if (!dim || std::abs((*pads)[i]) > (1 << 20) || std::abs((*pads)[i + count]) > (1 << 20))
      return malformed(node, "a dimension or a number out of range");
    before[*dim] = (*pads)[i], after[*dim] = (*pads)[i + count];
  }
  for (size_t i = rank; i-- > 0;) {
    shape[i] += before[i] + after[i];
    reversed.append({before[i], after[i]});
  }
  if (shape == *input->shape && llvm::all_of(before, [](int64_t n) { return n == 0; }))
    return alias(node, *input);
  while (reversed.size() > 2 && reversed.back() == 0 && reversed[reversed.size() - 2] == 0)
    reversed.pop_back_n(2);
  std::string used = use(node, 0);
  if (used.empty())
    return Error::success();
  return emit(node, "pad",
              {tensor("self", used), integers("pad", reversed), text("mode", "constant"),
               real("value", fill ? fill->real(0) : 0.0)},
              shape);
}

Error Translator::isNaN(const Node &node) {
  const Value *input = operand(node, 0);
  Value value;
  value.shape = input ? input->shape : std::nullopt;
  value.nanOf = input ? input->name : "";
  if (value.nanOf.empty() || !made(value.nanOf, "softmax"))
    return outside(node);
  return define(node.outputs.front(), std::move(value));
}

/// Attention replaces the NaNs of a softmax over nothing by 0; without a mask there are none.
Error Translator::where(const Node &node) {
  const Value *condition = operand(node, 0), *otherwise = operand(node, 2);
  if (!condition || !otherwise || condition->nanOf.empty() || condition->nanOf != otherwise->name)
    return outside(node);
  return alias(node, *otherwise);
}
