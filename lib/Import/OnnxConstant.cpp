//===- OnnxConstant.cpp - values of an ONNX graph that are known at import -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "OnnxConstant.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/MathExtras.h"

#include <cmath>
#include <functional>

using namespace llvm;
using namespace llvm::support::endian;
using namespace ns;
using namespace ns::onnx;
using pt2::ScalarType;

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

/// Like `pt2::countElements`, and 0 where an extent is 0.
static std::optional<int64_t> countOf(ArrayRef<int64_t> shape) {
  return llvm::is_contained(shape, 0) && llvm::none_of(shape, [](int64_t e) { return e < 0; })
             ? std::optional<int64_t>(0)
             : pt2::countElements(shape);
}

std::optional<Constant> Constant::make(ArrayRef<int64_t> shape, bool isFloat) {
  std::optional<int64_t> count = countOf(shape);
  if (!count || *count > kMaxStored || shape.size() > 8)
    return std::nullopt;
  Constant result;
  result.isFloat = isFloat;
  result.shape.assign(shape.begin(), shape.end());
  result.stored = result.shape;
  result.bits.resize(*count);
  return result;
}

Constant Constant::vector(ArrayRef<int64_t> values) {
  Constant result;
  result.shape = result.stored = {static_cast<int64_t>(values.size())};
  result.bits.assign(values.begin(), values.end());
  return result;
}

static int64_t readInteger(const char *at, ScalarType type) {
  switch (type) {
  case ScalarType::U8:
    return static_cast<uint8_t>(*at);
  case ScalarType::Bool:
    return *at != 0;
  case ScalarType::I8:
    return static_cast<int8_t>(*at);
  case ScalarType::I16:
    return static_cast<int16_t>(read16le(at));
  case ScalarType::I32:
    return static_cast<int32_t>(read32le(at));
  default:
    return static_cast<int64_t>(read64le(at));
  }
}

std::optional<Constant> Constant::of(const Tensor &tensor) {
  std::optional<ScalarType> type = scalarType(tensor.dataType);
  if (!type || type == ScalarType::F16 || type == ScalarType::BF16)
    return std::nullopt;
  const bool isFloat = type == ScalarType::F32 || type == ScalarType::F64;
  std::optional<Constant> result = make(tensor.dims, isFloat);
  const size_t width = pt2::elementSize(*type);
  if (!result || (tensor.numbers.empty() && tensor.bytes.size() != result->bits.size() * width))
    return std::nullopt;
  for (size_t i = 0; i < result->bits.size(); ++i) {
    const char *at = tensor.bytes.data() + i * width;
    if (!tensor.numbers.empty())
      result->bits[i] = tensor.numbers[i];
    else if (type == ScalarType::F32)
      result->set(i, static_cast<double>(bit_cast<float>(read32le(at))));
    else
      result->bits[i] =
          type == ScalarType::F64 ? static_cast<int64_t>(read64le(at)) : readInteger(at, *type);
  }
  return result;
}

int64_t Constant::integer(size_t i) const {
  if (!isFloat)
    return bits[i];
  const double value = real(i);
  return std::abs(value) < 9e18 ? static_cast<int64_t>(value) : 0;
}

void Constant::set(size_t i, double value) {
  bits[i] = isFloat                  ? bit_cast<int64_t>(value)
            : std::abs(value) < 9e18 ? static_cast<int64_t>(value)
                                     : 0;
}

size_t Constant::position(ArrayRef<int64_t> within, int64_t index) const {
  size_t position = 0, stride = 1;
  for (size_t dim = within.size(); dim-- > 0; index /= within[dim]) {
    const size_t added = within.size() - stored.size();
    if (dim < added)
      break;
    const int64_t extent = stored[dim - added];
    if (extent != 1)
      position += index % within[dim] * stride;
    stride *= extent;
  }
  return position;
}

std::optional<Constant> Constant::dense() const {
  if (shape == stored)
    return *this;
  std::optional<Constant> result = make(shape, isFloat);
  for (size_t i = 0; result && i < result->bits.size(); ++i)
    result->bits[i] = bits[position(shape, i)];
  return result;
}

SmallVector<int64_t> Constant::integers() const {
  SmallVector<int64_t> result;
  if (std::optional<Constant> all = dense())
    for (size_t i = 0; i < all->bits.size(); ++i)
      result.push_back(all->integer(i));
  return result;
}

bool Constant::isAll(double value) const {
  return llvm::all_of(llvm::seq<size_t>(0, bits.size()),
                      [&](size_t i) { return real(i) == value; });
}

std::optional<SmallVector<int64_t>> ns::onnx::broadcast(ArrayRef<int64_t> a, ArrayRef<int64_t> b) {
  if (a.size() < b.size())
    std::swap(a, b);
  SmallVector<int64_t> result(a);
  for (size_t i = 0; i < b.size(); ++i) {
    int64_t &extent = result[a.size() - 1 - i];
    const int64_t other = b[b.size() - 1 - i];
    if (extent != other && extent != 1 && other != 1)
      return std::nullopt;
    extent = extent == 1 ? other : extent;
  }
  return result;
}

//===----------------------------------------------------------------------===//
// Arithmetic
//===----------------------------------------------------------------------===//

namespace {
using Operands = ArrayRef<const Constant *>;
using Result = std::optional<Constant>;

/// One element's result; nothing where there is none (overflow, division by 0).
using Integers = std::optional<int64_t> (*)(int64_t, int64_t);
using Reals = double (*)(double, double);

struct Arithmetic {
  Integers integers;
  Reals reals;
  bool compares = false; ///< the result is a boolean
};
} // namespace

static std::optional<int64_t> floorDivide(int64_t a, int64_t b) {
  if (b == 0 || b == -1)
    return std::nullopt;
  return a / b; // ONNX truncates; shapes are not negative
}

/// The binary ops that shapes and masks are computed with.
static const Arithmetic *arithmeticOf(StringRef op) {
  using I = std::optional<int64_t>;
  static const StringMap<Arithmetic> table = {
      {"Add",
       {[](int64_t a, int64_t b) -> I {
          int64_t sum;
          return AddOverflow(a, b, sum) ? I() : sum;
        },
        [](double a, double b) { return a + b; }}},
      {"Sub",
       {[](int64_t a, int64_t b) -> I {
          int64_t difference;
          return SubOverflow(a, b, difference) ? I() : difference;
        },
        [](double a, double b) { return a - b; }}},
      {"Mul",
       {[](int64_t a, int64_t b) -> I {
          int64_t product;
          return MulOverflow(a, b, product) ? I() : product;
        },
        [](double a, double b) { return a * b; }}},
      {"Div", {floorDivide, [](double a, double b) { return a / b; }}},
      {"Mod",
       {[](int64_t a, int64_t b) -> I { return b > 0 ? I(((a % b) + b) % b) : I(); },
        [](double a, double b) { return std::fmod(a, b); }}},
      {"Pow", {nullptr, [](double a, double b) { return std::pow(a, b); }}},
      {"Min",
       {[](int64_t a, int64_t b) -> I { return std::min(a, b); },
        [](double a, double b) { return std::min(a, b); }}},
      {"Max",
       {[](int64_t a, int64_t b) -> I { return std::max(a, b); },
        [](double a, double b) { return std::max(a, b); }}},
      {"Equal",
       {[](int64_t a, int64_t b) -> I { return a == b; },
        [](double a, double b) { return double(a == b); }, true}},
      {"Less",
       {[](int64_t a, int64_t b) -> I { return a < b; },
        [](double a, double b) { return double(a < b); }, true}},
      {"LessOrEqual",
       {[](int64_t a, int64_t b) -> I { return a <= b; },
        [](double a, double b) { return double(a <= b); }, true}},
      {"Greater",
       {[](int64_t a, int64_t b) -> I { return a > b; },
        [](double a, double b) { return double(a > b); }, true}},
      {"GreaterOrEqual",
       {[](int64_t a, int64_t b) -> I { return a >= b; },
        [](double a, double b) { return double(a >= b); }, true}},
      {"And", {[](int64_t a, int64_t b) -> I { return a && b; }, nullptr, true}},
      {"Or", {[](int64_t a, int64_t b) -> I { return a || b; }, nullptr, true}},
  };
  auto found = table.find(op);
  return found == table.end() ? nullptr : &found->second;
}

/// A constant for the elementwise result of `operands`, stored no finer than they are.
static Result resultOf(Operands operands, bool isFloat) {
  SmallVector<int64_t> shape, stored;
  for (const Constant *operand : operands) {
    auto common = broadcast(shape, operand->shape), kept = broadcast(stored, operand->stored);
    if (!common || !kept)
      return std::nullopt;
    shape = *common, stored = *kept;
  }
  Result result = Constant::make(stored, isFloat);
  if (result)
    result->shape.assign(shape.begin(), shape.end());
  return result;
}

static Result evaluateBinary(const Arithmetic &op, const Constant &a, const Constant &b) {
  const bool isFloat = a.isFloat || b.isFloat;
  Result result = resultOf({&a, &b}, isFloat && !op.compares);
  if (!result || (isFloat ? !op.reals : !op.integers))
    return std::nullopt;
  for (size_t i = 0; i < result->bits.size(); ++i) {
    const size_t x = a.position(result->stored, i), y = b.position(result->stored, i);
    if (isFloat) {
      result->set(i, op.reals(a.real(x), b.real(y)));
    } else if (std::optional<int64_t> value = op.integers(a.bits[x], b.bits[y])) {
      result->bits[i] = *value;
    } else {
      return std::nullopt;
    }
  }
  return result;
}

static Result evaluateUnary(StringRef op, const Constant &x) {
  auto function = StringSwitch<double (*)(double)>(op)
                      .Case("Sqrt", [](double v) { return std::sqrt(v); })
                      .Case("Neg", [](double v) { return -v; })
                      .Case("Abs", [](double v) { return std::abs(v); })
                      .Case("Floor", [](double v) { return std::floor(v); })
                      .Case("Ceil", [](double v) { return std::ceil(v); })
                      .Case("Reciprocal", [](double v) { return 1 / v; })
                      .Case("Not", [](double v) { return double(v == 0); })
                      .Default(nullptr);
  if (!function)
    return std::nullopt;
  Result result = x;
  for (size_t i = 0; i < x.bits.size(); ++i)
    result->set(i, function(x.real(i)));
  return result;
}

static Result evaluateWhere(const Constant &condition, const Constant &a, const Constant &b) {
  Result result = resultOf({&condition, &a, &b}, a.isFloat);
  for (size_t i = 0; result && i < result->bits.size(); ++i)
    result->bits[i] = condition.integer(condition.position(result->stored, i))
                          ? a.bits[a.position(result->stored, i)]
                          : b.bits[b.position(result->stored, i)];
  return a.isFloat == b.isFloat ? result : std::nullopt;
}

/// `Cast` and `CastLike`. Booleans are integers here.
static Result evaluateCast(const Constant &x, bool isFloat, bool isBool) {
  Result result = x;
  result->isFloat = isFloat;
  for (size_t i = 0; i < x.bits.size(); ++i) {
    if (isBool)
      result->bits[i] = x.real(i) != 0;
    else if (isFloat)
      result->set(i, x.real(i));
    else
      result->bits[i] = x.integer(i);
  }
  return result;
}

static Result evaluateRange(const Constant &start, const Constant &limit, const Constant &step) {
  if (start.bits.size() != 1 || limit.bits.size() != 1 || step.bits.size() != 1)
    return std::nullopt;
  const double count = std::ceil((limit.real(0) - start.real(0)) / step.real(0));
  if (!(count >= 0 && count <= Constant::kMaxStored))
    return std::nullopt;
  Result result = Constant::make({static_cast<int64_t>(count)}, start.isFloat);
  for (size_t i = 0; i < result->bits.size(); ++i)
    result->set(i, start.real(0) + static_cast<double>(i) * step.real(0));
  return result;
}

static Result evaluateProduct(const Node &node, const Constant &x) {
  const Attribute *keep = node.find("keepdims");
  Result result =
      Constant::make(!keep || keep->integer ? ArrayRef<int64_t>(1) : ArrayRef<int64_t>(),
                     /*isFloat=*/false);
  result->bits[0] = 1;
  for (int64_t factor : x.bits)
    if (MulOverflow(result->bits[0], factor, result->bits[0]))
      return std::nullopt;
  return x.shape.size() == 1 && x.stored == x.shape && !x.isFloat ? result : std::nullopt;
}

static Result evaluateNew(const Node &node, Operands operands) {
  if (node.opType == "ConstantOfShape") {
    const Attribute *value = node.find("value");
    std::optional<Constant> fill =
        value && value->tensor ? Constant::of(*value->tensor) : Constant::make({1}, true);
    if (!fill || fill->bits.size() != 1 || operands.size() != 1)
      return std::nullopt;
    fill->shape = fill->stored = {};
    return expand(*fill, *operands[0]);
  }
  for (const Attribute &attribute : node.attributes) {
    if (attribute.name == "value" && attribute.tensor)
      return Constant::of(*attribute.tensor);
    if (attribute.name == "value_ints")
      return Constant::vector(attribute.integers);
    const bool isFloat = attribute.name == "value_float" || attribute.name == "value_floats";
    const bool isList = attribute.name == "value_floats";
    if (!isFloat && attribute.name != "value_int")
      continue;
    Result result = isList ? Constant::make({static_cast<int64_t>(attribute.numbers.size())}, true)
                           : Constant::make({}, isFloat);
    for (size_t i = 0; result && i < result->bits.size(); ++i)
      isFloat ? result->set(i, isList ? attribute.numbers[i] : attribute.number)
              : result->set(i, attribute.integer);
    return result;
  }
  return std::nullopt;
}

Result ns::onnx::evaluate(const Node &node, Operands operands) {
  const StringRef op = node.opType;
  if (op == "Constant" || op == "ConstantOfShape")
    return evaluateNew(node, operands);
  if (operands.empty() || !operands[0])
    return std::nullopt;
  const bool complete = !llvm::is_contained(operands, nullptr);
  if (operands.size() == 1 && (op == "Concat" || op == "Max" || op == "Min"))
    return *operands[0];
  if (op == "Where" && operands.size() == 3 && complete)
    return evaluateWhere(*operands[0], *operands[1], *operands[2]);
  if (op == "Range" && operands.size() == 3 && complete)
    return evaluateRange(*operands[0], *operands[1], *operands[2]);
  if (op == "CastLike" && operands.size() == 2 && complete)
    return evaluateCast(*operands[0], operands[1]->isFloat, false);
  if (op == "Cast") {
    std::optional<ScalarType> to = scalarType(node.find("to") ? node.find("to")->integer : 0);
    return to ? evaluateCast(*operands[0], to == ScalarType::F32 || to == ScalarType::F64,
                             to == ScalarType::Bool)
              : std::nullopt;
  }
  if (const Arithmetic *arithmetic = arithmeticOf(op);
      arithmetic && operands.size() == 2 && complete)
    return evaluateBinary(*arithmetic, *operands[0], *operands[1]);
  if (Result result = evaluateUnary(op, *operands[0]))
    return result;
  if (op == "ReduceProd")
    return evaluateProduct(node, *operands[0]);
  return evaluateView(node, operands);
}
