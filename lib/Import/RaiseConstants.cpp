//===- RaiseConstants.cpp - what a graph computes from sizes alone -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Models compute attention masks and indices of positions in their forward pass, from arange and
// comparisons. They are the same for every image, and are evaluated here, in double (which holds
// float32, and integers up to 2^53). Dimensions along which nothing changes, such as the batch, are
// kept at extent 1 and repeated by the index map.
//
//===----------------------------------------------------------------------===//

#include "Raiser.h"

#include "llvm/Support/Endian.h"

#include <cmath>

using namespace llvm;
using namespace ns::pt2;
using mlir::Value;

/// Elements of one constant, and of all constants of a program: an export may claim any size.
static constexpr int64_t kMaxFolded = int64_t(1) << 22, kMaxFoldedTogether = int64_t(1) << 24;

//===----------------------------------------------------------------------===//
// Reading constants
//===----------------------------------------------------------------------===//

/// Element `index` of the bytes of a weight; NaN for types that are no constants.
static double readElement(const Weight &weight, int64_t index) {
  const char *at = weight.record.bytes.data() + index * elementSize(weight.type);
  switch (weight.type) {
  case ScalarType::U8:
    return static_cast<uint8_t>(*at);
  case ScalarType::I8:
    return static_cast<int8_t>(*at);
  case ScalarType::Bool:
    return *at != 0;
  case ScalarType::I16:
    return support::endian::read<int16_t, endianness::little>(at);
  case ScalarType::I32:
    return support::endian::read<int32_t, endianness::little>(at);
  case ScalarType::I64:
    return static_cast<double>(support::endian::read<int64_t, endianness::little>(at));
  case ScalarType::F32:
    return support::endian::read<float, endianness::little>(at);
  default:
    return std::nan("");
  }
}

/// Calls `function` for each index of `shape`, in row-major order.
template <typename Function> static void forEachIndex(ArrayRef<int64_t> shape, Function function) {
  SmallVector<int64_t> index(shape.size(), 0);
  for (int64_t left = countElements(shape).value_or(0); left > 0; --left) {
    function(index);
    for (size_t dim = index.size(); dim-- > 0 && ++index[dim] == shape[dim];)
      index[dim] = 0;
  }
}

Value Raiser::constantOf(size_t index) {
  index = program.weights[index].canonical;
  Value &value = loaded[index];
  if (!value) {
    const Weight &weight = program.weights[index];
    Constant constant;
    forEachIndex(weight.sizes, [&](ArrayRef<int64_t> at) {
      int64_t position = weight.firstElement;
      for (auto [i, stride] : zip_equal(at, weight.strides))
        position += i * stride;
      constant.values.push_back(readElement(weight, position));
    });
    value = defer(weight.sizes, std::move(constant));
  }
  return value;
}

/// The map with repeated dimensions at extent 1.
static IndexMap withoutRepeats(const IndexMap &map) {
  SmallVector<int64_t> shape = map.shape();
  IndexMap result = map;
  for (size_t dim = shape.size(); dim-- > 0;)
    if (map.isRepeated(dim)) {
      result = result.select(dim, 0);
      shape[dim] = 1;
    }
  return *result.reshape(shape);
}

std::optional<std::vector<double>> Raiser::constantsOf(const View &view) const {
  const Constant *constant = view.root ? deferred<Constant>(view.root) : nullptr;
  if (!constant)
    return std::nullopt;
  IndexMap map = withoutRepeats(view.map);
  if (countElements(map.shape()).value_or(kMaxFolded) >= kMaxFolded)
    return std::nullopt;
  std::vector<double> values;
  forEachIndex(map.shape(),
               [&](ArrayRef<int64_t> at) { values.push_back(constant->values[map.at(at)]); });
  return values;
}

std::optional<double> Raiser::uniform(const View &view) const {
  std::optional<std::vector<double>> values = constantsOf(view);
  if (!values || !all_equal(*values))
    return std::nullopt;
  return values->front();
}

//===----------------------------------------------------------------------===//
// Computing constants
//===----------------------------------------------------------------------===//

namespace {
using Function = double (*)(ArrayRef<double>);
/// An op on each element; operands by the names of its arguments.
struct Elementwise {
  Function compute;
  SmallVector<StringRef, 3> operands;
};
} // namespace

static const StringMap<Elementwise> &elementwise() {
  static const SmallVector<StringRef, 3> one = {"self"}, two = {"self", "other"};
  static const StringMap<Elementwise> table = {
      {"abs", {[](ArrayRef<double> x) { return std::abs(x[0]); }, one}},
      {"add", {[](ArrayRef<double> x) { return x[0] + x[1]; }, two}},
      {"bitwise_and", {[](ArrayRef<double> x) { return double(x[0] && x[1]); }, two}},
      {"bitwise_or", {[](ArrayRef<double> x) { return double(x[0] || x[1]); }, two}},
      {"eq", {[](ArrayRef<double> x) { return double(x[0] == x[1]); }, two}},
      {"fill", {[](ArrayRef<double> x) { return x[0]; }, {"value"}}},
      {"ge", {[](ArrayRef<double> x) { return double(x[0] >= x[1]); }, two}},
      {"gt", {[](ArrayRef<double> x) { return double(x[0] > x[1]); }, two}},
      {"le", {[](ArrayRef<double> x) { return double(x[0] <= x[1]); }, two}},
      {"logical_and", {[](ArrayRef<double> x) { return double(x[0] && x[1]); }, two}},
      {"logical_not", {[](ArrayRef<double> x) { return double(!x[0]); }, one}},
      {"logical_or", {[](ArrayRef<double> x) { return double(x[0] || x[1]); }, two}},
      {"lt", {[](ArrayRef<double> x) { return double(x[0] < x[1]); }, two}},
      {"masked_fill",
       {[](ArrayRef<double> x) { return x[1] ? x[2] : x[0]; }, {"self", "mask", "value"}}},
      {"mul", {[](ArrayRef<double> x) { return x[0] * x[1]; }, two}},
      {"ne", {[](ArrayRef<double> x) { return double(x[0] != x[1]); }, two}},
      {"neg", {[](ArrayRef<double> x) { return -x[0]; }, one}},
      {"sub", {[](ArrayRef<double> x) { return x[0] - x[1]; }, two}},
      {"to", {[](ArrayRef<double> x) { return x[0]; }, one}},
      {"where",
       {[](ArrayRef<double> x) { return x[0] ? x[1] : x[2]; }, {"condition", "self", "other"}}},
  };
  return table;
}

bool Raiser::isFoldable(StringRef op) {
  return elementwise().contains(op) || StringSwitch<bool>(op)
                                           .Cases({"arange", "full", "new_full", "new_ones",
                                                   "new_zeros", "ones", "slice_scatter", "zeros"},
                                                  true)
                                           .Default(false);
}

/// What a tensor of `type` holds of a number.
static double rounded(double value, ScalarType type) {
  if (type == ScalarType::F32)
    return static_cast<float>(value);
  return type == ScalarType::Bool ? value != 0 : std::trunc(value);
}

bool Raiser::foldFactory(const Node &node, StringRef op) {
  const std::string &name = node.outputs.front();
  const TensorMeta &meta = program.values.find(name)->second;
  if (op == "arange") {
    std::optional<double> end = number(node, "end"),
                          start = node.find("start") ? number(node, "start") : 0,
                          step = node.find("step") ? number(node, "step") : 1;
    if (meta.sizes.size() != 1)
      return false;
    const int64_t count = meta.sizes[0];
    if (!end || !start || !step) { // arange(batch)
      define(node, defer(meta.sizes, Unknown()), IndexMap::identity(meta.sizes));
      return true;
    }
    if (count > kMaxFolded || (folded += count) > kMaxFoldedTogether ||
        std::ceil((*end - *start) / *step) != static_cast<double>(count))
      return false;
    Constant constant;
    for (int64_t i : seq(count))
      constant.values.push_back(rounded(*start + static_cast<double>(i) * *step, meta.type));
    define(node, defer(meta.sizes, std::move(constant)), IndexMap::identity(meta.sizes));
    return true;
  }
  std::optional<double> fill = op.ends_with("zeros")  ? 0
                               : op.ends_with("ones") ? 1
                                                      : number(node, "fill_value");
  SmallVector<int64_t> ones(meta.sizes.size(), 1);
  if (!fill)
    return false;
  define(node, defer(ones, Constant{{rounded(*fill, meta.type)}}),
         *IndexMap::identity(ones).expand(meta.sizes));
  return true;
}

/// `self` with `src` instead of a slice of it.
bool Raiser::foldScatter(const Node &node) {
  SmallVector<int64_t> shape(claimedShape(node.outputs.front()));
  const Argument *given[] = {node.find("self"), node.find("src")};
  const int64_t count = countElements(shape).value_or(kMaxFolded + 1);
  std::optional<unsigned> dim = node.find("dim") ? dimension(node, "dim", shape.size()) : 0;
  std::optional<int64_t> from = node.find("start") ? integer(node, "start") : 0,
                         step = node.find("step") ? integer(node, "step") : 1;
  if (!given[0] || given[0]->names.size() != 1 || !given[1] || given[1]->names.size() != 1 ||
      count > kMaxFolded || (folded += count) > kMaxFoldedTogether || !dim ||
      *dim >= shape.size() || !from || !step || *step < 1)
    return false;
  View self = viewOf(given[0]->names[0]), src = viewOf(given[1]->names[0]);
  const Constant *old = deferred<Constant>(self.root), *fresh = deferred<Constant>(src.root);
  SmallVector<int64_t> part(shape);
  part[*dim] = src.map.rank() == shape.size() ? src.map.extent(*dim) : 0;
  if (*from < 0)
    from = std::max<int64_t>(*from, -shape[*dim]) + shape[*dim];
  if (!old || !fresh || self.map.shape() != shape || src.map.shape() != part ||
      *from >= shape[*dim] || part[*dim] - 1 > (shape[*dim] - 1 - *from) / *step)
    return false;
  Constant result;
  forEachIndex(shape, [&](ArrayRef<int64_t> index) {
    SmallVector<int64_t> at(index);
    const int64_t offset = index[*dim] - *from;
    at[*dim] = offset / *step;
    const bool isNew = offset >= 0 && offset % *step == 0 && at[*dim] < part[*dim];
    result.values.push_back(isNew ? fresh->values[src.map.at(at)]
                                  : old->values[self.map.at(index)]);
  });
  define(node, defer(shape, std::move(result)), IndexMap::identity(shape));
  return true;
}

Expected<bool> Raiser::fold(const Node &node, StringRef op) {
  if (op == "slice_scatter")
    return foldScatter(node);
  const std::string &name = node.outputs.front();
  const TensorMeta &meta = program.values.find(name)->second;
  auto rule = elementwise().find(op);
  if (rule == elementwise().end())
    return isFoldable(op) && foldFactory(node, op);
  if ((node.find("alpha") && number(node, "alpha") != 1.0) ||
      (op.starts_with("bitwise_") && meta.type != ScalarType::Bool))
    return false;
  SmallVector<const Constant *, 3> constants; // null: a number
  SmallVector<IndexMap, 3> maps;
  SmallVector<double, 3> values;
  for (StringRef operand : rule->second.operands) {
    const Argument *given = node.find(operand);
    values.push_back(number(node, operand).value_or(0));
    constants.push_back(nullptr);
    maps.emplace_back();
    if (!given || given->names.size() != 1) {
      if (!number(node, operand))
        return false;
      continue;
    }
    View view = viewOf(given->names.front());
    if (deferred<Unknown>(view.root)) {
      define(node, defer(meta.sizes, Unknown()), IndexMap::identity(meta.sizes));
      return true;
    }
    constants.back() = deferred<Constant>(view.root);
    if (!constants.back())
      return false;
    std::optional<IndexMap> map = view.map.expand(meta.sizes);
    if (!map)
      return malformed(node,
                       describe(view.map.shape()) + " in a result of " + describe(meta.sizes));
    maps.back() = *map;
  }
  SmallVector<int64_t> shape(meta.sizes);
  for (auto [dim, extent] : enumerate(shape))
    if (all_of(zip(constants, maps), [&, d = dim](auto operand) {
          return !std::get<0>(operand) || std::get<1>(operand).isRepeated(d);
        }))
      extent = 1;
  const int64_t count = countElements(shape).value_or(kMaxFolded + 1);
  if (count > kMaxFolded || (folded += count) > kMaxFoldedTogether)
    return false;
  Constant result;
  forEachIndex(shape, [&](ArrayRef<int64_t> index) {
    for (auto [constant, map, value] : zip_equal(constants, maps, values))
      if (constant)
        value = constant->values[map.at(index)];
    result.values.push_back(rounded(rule->second.compute(values), meta.type));
  });
  define(node, defer(shape, std::move(result)), *IndexMap::identity(shape).expand(meta.sizes));
  return true;
}
