//===- OnnxPatterns.cpp - PyTorch calls that an exporter took apart -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Opsets before 20 have no Gelu, those before 23 no Attention:
//
//   gelu       x * (0.5 * (1 + erf(x / sqrt(2))))
//              0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))
//   attention  softmax((s * q) x (s * k^T)) x v, or with one s outside
//
// Products are compared as a number and a set of tensors, since each writer associates them in
// another way.
//
//===----------------------------------------------------------------------===//

#include "OnnxTranslator.h"

#include "llvm/ADT/STLExtras.h"

#include <numbers>

using namespace llvm;
using namespace ns;
using namespace ns::onnx;

namespace {
/// Products of more members than this, and deeper ones, are no activation.
constexpr unsigned kMaxDepth = 6, kMaxFactors = 4;
} // namespace

/// Whether a number of the file, rounded to float32, is `expected`.
static bool isClose(double found, double expected) {
  return std::abs(found - expected) <= 1e-6 * std::abs(expected);
}

/// The number that a call has as its second operand.
static std::optional<double> secondNumber(const pt2::Node &call, StringRef name = "other") {
  const pt2::Argument *second = call.find(name);
  return second && second->floats.size() == 1 ? std::optional(second->floats.front())
                                              : std::nullopt;
}

Translator::Product Translator::factorsOf(StringRef value, unsigned depth) const {
  const pt2::Node *product = made(value, "mul"), *quotient = made(value, "div");
  const pt2::Node *call = product ? product : quotient;
  std::optional<double> number = call ? secondNumber(*call) : std::nullopt;
  if (!call || depth == kMaxDepth || (quotient && !number))
    return {1, {value.str()}};
  Product result = factorsOf(call->find("self")->names.front(), depth + 1);
  if (number) {
    result.factor *= product ? *number : 1 / *number;
  } else {
    Product other = factorsOf(product->find("other")->names.front(), depth + 1);
    result.factor *= other.factor;
    result.tensors.append(other.tensors);
  }
  if (result.tensors.size() > kMaxFactors)
    return {1, {value.str()}};
  return result;
}

std::string Translator::addedTo(StringRef value, double number) const {
  const pt2::Node *sum = made(value, "add");
  std::optional<double> added = sum ? secondNumber(*sum) : std::nullopt;
  return added && *added == number ? sum->find("self")->names.front() : "";
}

bool Translator::isCube(ArrayRef<std::string> factors, StringRef of) const {
  if (factors.size() == 3)
    return llvm::all_of(factors, [&](const std::string &factor) { return factor == of; });
  const pt2::Node *power = factors.size() == 1 ? made(factors[0], "pow") : nullptr;
  return power && secondNumber(*power, "exponent") == 3.0 &&
         power->find("self")->names.front() == of;
}

std::pair<StringRef, StringRef> Translator::activationOf(const Product &product,
                                                         std::string &input) const {
  if (product.tensors.size() != 2)
    return {};
  for (unsigned i : {0, 1}) {
    const std::string &x = product.tensors[i], &gate = product.tensors[1 - i];
    input = x;
    if (const pt2::Node *sigmoid = made(gate, "sigmoid"))
      if (product.factor == 1 && sigmoid->find("self")->names.front() == x)
        return {"silu", ""};
    const std::string inner = addedTo(gate, 1);
    const pt2::Node *erf = made(inner, "erf"), *tanh = made(inner, "tanh");
    if (product.factor != 0.5 || (!erf && !tanh))
      continue;
    Product argument = factorsOf((erf ? erf : tanh)->find("self")->names.front());
    if (argument.tensors.size() != 1)
      continue;
    if (erf && argument.tensors[0] == x && isClose(argument.factor, std::numbers::sqrt2 / 2))
      return {"gelu", "none"};
    const pt2::Node *sum = tanh ? made(argument.tensors[0], "add") : nullptr;
    const pt2::Argument *other = sum ? sum->find("other") : nullptr;
    if (!other || other->names.size() != 1 ||
        !isClose(argument.factor, std::sqrt(2 * std::numbers::inv_pi)))
      continue;
    for (bool swapped : {false, true}) {
      const std::string &plain = swapped ? other->names[0] : sum->find("self")->names[0];
      Product cubed = factorsOf(swapped ? sum->find("self")->names[0] : other->names[0]);
      if (plain == x && isClose(cubed.factor, 0.044715) && isCube(cubed.tensors, x))
        return {"gelu", "tanh"};
    }
  }
  return {};
}

std::optional<Translator::Attention> Translator::attentionOf(StringRef probabilities) const {
  const pt2::Node *softmax = made(probabilities, "softmax");
  if (!softmax)
    return std::nullopt;
  auto meta = program.values.find(probabilities);
  if (meta == program.values.end() || meta->second.sizes.size() != 4 ||
      softmax->find("dim")->ints.front() != 3)
    return std::nullopt;
  Product scores = factorsOf(softmax->find("self")->names.front());
  const pt2::Node *product =
      scores.tensors.size() == 1 ? made(scores.tensors[0], "matmul") : nullptr;
  if (!product)
    return std::nullopt;
  Product query = factorsOf(product->find("self")->names.front()),
          key = factorsOf(product->find("other")->names.front());
  if (query.tensors.size() != 1 || key.tensors.size() != 1)
    return std::nullopt;
  for (const std::string &name : {query.tensors[0], key.tensors[0]}) {
    auto found = program.values.find(name);
    if (found == program.values.end() || found->second.sizes.size() != 4)
      return std::nullopt;
  }
  return Attention{query.tensors[0], key.tensors[0], scores.factor * query.factor * key.factor};
}
