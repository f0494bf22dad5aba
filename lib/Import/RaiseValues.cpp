//===- RaiseValues.cpp - values of a graph and SSA values -----*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Raiser.h"

#include "llvm/ADT/StringExtras.h"

using namespace llvm;
using namespace mlir;
using namespace ns;
using namespace ns::pt2;

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

SmallVector<int64_t> Raiser::shapeOf(Value value) {
  SmallVector<int64_t> shape(typeOf(value).getShape());
  for (int64_t &extent : shape)
    extent = ShapedType::isDynamic(extent) ? kProbeBatch : extent;
  return shape;
}

RankedTensorType Raiser::withChannels(Value value, int64_t channels) {
  SmallVector<int64_t> shape(typeOf(value).getShape());
  shape.back() = channels;
  return typeOf(value).clone(shape);
}

std::string Raiser::describe(ArrayRef<int64_t> shape) {
  std::string text = shape.empty() ? "a number" : "";
  raw_string_ostream os(text);
  interleave(
      shape, os, [&](int64_t extent) { extent == kProbeBatch ? os << "?" : os << extent; }, "x");
  return text;
}

void Raiser::define(const Node &node, Value value) {
  define(node, value, IndexMap::identity(shapeOf(value)));
}

Value Raiser::load(size_t index) {
  index = program.weights[index].canonical;
  Value &value = loaded[index];
  if (!value) {
    const Weight &weight = program.weights[index];
    auto type = RankedTensorType::get(weight.sizes, builder.getF32Type());
    value = nn::LoadParamOp::create(builder, NameLoc::get(builder.getStringAttr(weight.name)), type,
                                    weight.name);
  }
  return value;
}

Value Raiser::addBuffer(const Node &node, StringRef name, ArrayRef<int64_t> shape,
                        ArrayRef<double> elements) {
  Weight weight;
  weight.name = ("nullspace." + node.layer + (node.layer.empty() ? "" : ".") + name).str();
  const std::string base = weight.name;
  for (unsigned i = 1;
       llvm::any_of(program.weights, [&](const Weight &w) { return w.name == weight.name; }); ++i)
    weight.name = base + "_" + std::to_string(i);
  weight.kind = Weight::Kind::Constant;
  weight.sizes.assign(shape.begin(), shape.end());
  weight.strides.assign(shape.size(), 1);
  for (size_t dim = shape.size(); dim-- > 1;)
    weight.strides[dim - 1] = weight.strides[dim] * shape[dim];
  program.computed.push_back(
      std::make_unique<const std::vector<float>>(elements.begin(), elements.end()));
  const std::vector<float> &values = *program.computed.back();
  weight.record.bytes =
      StringRef(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(float));
  weight.inMemory = true;
  weight.canonical = program.weights.size();
  program.weights.push_back(std::move(weight));
  return load(program.weights.size() - 1);
}

Raiser::View Raiser::viewOf(StringRef name) {
  auto weight = program.weightOfValue.find(name);
  if (weight == program.weightOfValue.end())
    return environment.find(name)->second;
  const Weight &tensor = program.weights[weight->second];
  const bool isNumber = tensor.kind == Weight::Kind::Constant && tensor.sizes.empty();
  Value value = tensor.type == ScalarType::F32 && !isNumber ? load(weight->second)
                                                            : constantOf(weight->second);
  IndexMap map = IndexMap::identity(shapeOf(value));
  auto claimed = program.values.find(name);
  return {value, claimed == program.values.end() ? map : *map.reshape(claimed->second.sizes)};
}

void Raiser::flattenVectors() {
  for (Weight &weight : program.weights)
    if (weight.sizes.size() == 3 && weight.sizes[0] > 1 && weight.sizes[1] == 1 &&
        weight.sizes[2] == 1) {
      weight.sizes.truncate(1);
      weight.strides.truncate(1);
    }
}

Value Raiser::defer(ArrayRef<int64_t> shape, Deferred what) {
  SmallVector<int64_t> extents(shape);
  for (int64_t &extent : extents)
    extent = extent == kProbeBatch ? ShapedType::kDynamic : extent;
  Value value = UnrealizedConversionCastOp::create(
                    builder, builder.getUnknownLoc(),
                    TypeRange(RankedTensorType::get(extents, builder.getF32Type())), ValueRange())
                    .getResult(0);
  const bool isPoison = std::visit(
      [&](const auto &parts) {
        using T = std::decay_t<decltype(parts)>;
        auto any = [&](ArrayRef<Value> roots) {
          return llvm::any_of(roots, [&](Value root) { return poison.contains(root); });
        };
        if constexpr (std::is_same_v<T, Scaled>)
          return any(parts.value);
        else if constexpr (std::is_same_v<T, Scores>)
          return any({parts.query.root, parts.key.root, parts.bias.root, parts.mask.root});
        else if constexpr (std::is_same_v<T, Sum>)
          return any({parts.lhs.root, parts.rhs.root});
        else if constexpr (std::is_same_v<T, Gathered>)
          return any({parts.table.root, parts.index.root});
        else if constexpr (std::is_same_v<T, Stacked>)
          return llvm::any_of(parts.parts, [&](const View &part) { return any(part.root); });
        else if constexpr (std::is_same_v<T, Product>)
          return any({parts.heads.root, parts.factors.root});
        else if constexpr (std::is_same_v<T, Rotated>)
          return any({parts.heads.root, parts.sin.root, parts.cos.root});
        else
          return false;
      },
      what);
  if (isPoison)
    poison.insert(value);
  placeholders[value] = std::make_unique<Deferred>(std::move(what));
  return value;
}

Value Raiser::force(Value root, const Node &node) {
  if (!isDeferred(root))
    return root;
  if (Value known = forced.lookup(root))
    return known;
  const Scaled *scaled = deferred<Scaled>(root);
  Value value = scaled ? force(scaled->value, node) : Value();
  if (!value)
    return nullptr;
  value = emit<nn::ScaleOp>(node, value.getType(), value, APFloat(scaled->factor));
  forced[root] = value;
  return value;
}

Raiser::View Raiser::view(const Node &node, StringRef argument) {
  return viewOf(node.find(argument)->names.front());
}

Value Raiser::latestTokens() {
  for (Operation &op : reverse(*builder.getInsertionBlock()))
    if (op.getNumResults() == 1 && !isDeferred(op.getResult(0)))
      if (auto type = dyn_cast<RankedTensorType>(op.getResult(0).getType());
          type && type.getRank() > 2 && type.isDynamicDim(0))
        return op.getResult(0);
  llvm_unreachable("the normalized image is such a tensor");
}

Value Raiser::makeSlice(const View &view, const Node &node) {
  SmallVector<int64_t> root = shapeOf(view.root), shape = view.map.shape();
  const int64_t rank = shape.size(), offset = view.map.getOffset(),
                channels = root.empty() ? 1 : root.back();
  SmallVector<int64_t> resultShape(shape);
  if (rank > 0 && typeOf(view.root).isDynamicDim(0) && shape[0] == root[0])
    resultShape[0] = ShapedType::kDynamic;
  auto type = typeOf(view.root).clone(resultShape);
  auto is = [&](ArrayRef<IndexMap::Factor> factors) {
    return view.map == IndexMap(factors, offset);
  };
  if (rank > 1 && root.size() == shape.size() && root[0] == 1 && shape[0] == kProbeBatch &&
      view.map == IndexMap::identity(root).expand(shape)) {
    resultShape[0] = ShapedType::kDynamic;
    return emit<nn::ExpandBatchOp>(node, typeOf(view.root).clone(resultShape), view.root,
                                   latestTokens());
  }
  if (root.size() == 3) {
    const int64_t image = root[1] * channels;
    if (rank == 2 && is({{root[0], image}, {channels, 1}}) && offset % channels == 0)
      return emit<nn::SelectTokenOp>(node, type, view.root, offset / channels);
    if (rank == 3 && is({{root[0], image}, {shape[1], channels}, {channels, 1}}) &&
        offset % channels == 0)
      return emit<nn::SliceTokensOp>(node, type, view.root, offset / channels);
    if (rank == 3 && is({{root[0], image}, {root[1], channels}, {shape[2], 1}}) &&
        offset + shape[2] <= channels)
      return emit<nn::SliceChannelsOp>(node, type, view.root, offset);
  }
  if (root.size() == 2 && rank == 2) {
    if (is({{root[0], channels}, {shape[1], 1}}) && offset + shape[1] <= channels)
      return emit<nn::SliceChannelsOp>(node, type, view.root, offset);
    if (!typeOf(view.root).isDynamicDim(0) && is({{shape[0], channels}, {channels, 1}}) &&
        offset % channels == 0)
      return emit<nn::SliceRowsOp>(node, type, view.root, offset / channels);
  }
  return nullptr;
}

Value Raiser::materialize(const View &given, const Node &node) {
  View view = given;
  view.root = view.root ? force(view.root, view.source ? *view.source : node) : Value();
  if (!view.root || view.map == IndexMap::identity(shapeOf(view.root)))
    return view.root;
  auto &known = slices[view.root];
  for (const auto &[map, value] : known)
    if (map == view.map)
      return value;
  const Node &origin = view.source ? *view.source : node;
  Value value = makeSlice(view, origin);
  if (!value)
    value = makePermutation(view, origin);
  if (value)
    known.emplace_back(view.map, value);
  return value;
}

Value Raiser::operand(const Node &node, StringRef argument) {
  const Argument *given = node.find(argument);
  if (!given || given->names.empty())
    return nullptr;
  View operand = viewOf(given->names.front());
  Value value = materialize(operand, node);
  if (!value)
    (void)!outside(node, cannotMake(argument, operand));
  return value;
}

std::string Raiser::cannotMake(StringRef argument, const View &view) const {
  if (isDeferred(view.root) && !deferred<Scaled>(view.root))
    return ("its '" + argument + "' is " + describe(*placeholders.find(view.root)->second)).str();
  return ("a layout of '" + argument + "' (" + describe(view.map.shape()) + " out of " +
          describe(shapeOf(view.root)) + ") that no nn op makes")
      .str();
}

std::string Raiser::describe(const Deferred &what) {
  static constexpr StringLiteral kNames[] = {"computed from sizes alone",
                                             "computed from the batch size",
                                             "scaled",
                                             "attention scores",
                                             "a sum of attention biases",
                                             "rows of a table",
                                             "a stack of tensors",
                                             "a product of heads",
                                             "heads rotated without their first tokens"};
  static_assert(std::size(kNames) == std::variant_size_v<Deferred>);
  return kNames[what.index()].str();
}

Raiser::View Raiser::rows(const Node &node, StringRef argument) {
  View operand = view(node, argument);
  // One token of each image: features, also where the image has no other token.
  Value token = operand.map.rank() == 2 ? materialize(operand, node) : Value();
  View found = token ? View{token, IndexMap::identity(shapeOf(token)), operand.source}
                     : rowsOf(operand, node);
  if (!found.root)
    (void)!outside(node, cannotMake(argument, operand));
  return found;
}

void Raiser::defineRows(const Node &node, Value value, const View &rows) {
  define(node, value, *rows.map.withRows(shapeOf(rows.root).back(), shapeOf(value).back()));
}

std::optional<int64_t> Raiser::integer(const Node &node, StringRef argument) const {
  const Argument *given = node.find(argument);
  if (!given || given->ints.size() != 1 || given->ints.front() == Argument::kSymbolic)
    return std::nullopt;
  return given->ints.front();
}

std::optional<double> Raiser::number(const Node &node, StringRef argument) const {
  const Argument *given = node.find(argument);
  if (given && given->floats.size() == 1)
    return given->floats.front();
  if (std::optional<int64_t> value = integer(node, argument))
    return static_cast<double>(*value);
  return std::nullopt;
}

std::optional<unsigned> Raiser::dimension(const Node &node, StringRef argument,
                                          unsigned rank) const {
  std::optional<int64_t> dim = integer(node, argument);
  if (!dim || *dim < -static_cast<int64_t>(rank) || *dim >= static_cast<int64_t>(rank))
    return std::nullopt;
  return *dim < 0 ? *dim + rank : *dim;
}
