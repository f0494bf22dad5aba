//===- OnnxConstant.h - values of an ONNX graph that are known at import -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_IMPORT_ONNXCONSTANT_H
#define NS_LIB_IMPORT_ONNXCONSTANT_H

#include "ns/Import/OnnxModel.h"

#include "llvm/ADT/bit.h"

namespace ns::onnx {

/// A small tensor of integers, booleans or floats: what computes shapes, indices, scales and masks.
/// An extent of the batch is `kProbeBatch`. Elements repeat along dimensions whose stored extent is
/// 1, so that a mask for every pair of tokens of every image takes no more than its distinct rows.
struct Constant {
  /// Larger ones are not evaluated.
  static constexpr int64_t kMaxStored = 1 << 16;

  bool isFloat = false;
  llvm::SmallVector<int64_t, 4> shape, stored;
  std::vector<int64_t> bits; ///< integers, or doubles' bits; row-major in `stored`

  /// Zeros, as many as are stored; nothing when they are too many.
  static std::optional<Constant> make(llvm::ArrayRef<int64_t> shape, bool isFloat);
  static Constant vector(llvm::ArrayRef<int64_t> values);
  /// The tensor's elements; nothing for a large one or a type that no shape is computed in.
  static std::optional<Constant> of(const Tensor &tensor);

  double real(size_t i) const {
    return isFloat ? llvm::bit_cast<double>(bits[i]) : static_cast<double>(bits[i]);
  }
  /// An integer; a float is truncated, out of range it gives 0.
  int64_t integer(size_t i) const;
  void set(size_t i, double value);
  void set(size_t i, int64_t value) {
    bits[i] = isFloat ? llvm::bit_cast<int64_t>(double(value)) : value;
  }
  /// Where in `bits` the element of a row-major index into `within` lies, which this broadcasts to.
  size_t position(llvm::ArrayRef<int64_t> within, int64_t index) const;
  /// The same with every element stored; nothing when they are too many.
  std::optional<Constant> dense() const;
  /// All elements, of a list or a number.
  llvm::SmallVector<int64_t> integers() const;
  bool isNumber() const { return bits.size() == 1 && shape.size() == 0; }
  bool isAll(double value) const;
};

/// The common shape of operands that broadcast to each other; nothing where they do not.
std::optional<llvm::SmallVector<int64_t>> broadcast(llvm::ArrayRef<int64_t> a,
                                                    llvm::ArrayRef<int64_t> b);

/// Evaluates a node whose operands are known, absent ones being null; nothing where it is outside
/// of what computes shapes, contradicts itself, or is too large.
std::optional<Constant> evaluate(const Node &node, llvm::ArrayRef<const Constant *> operands);

/// The part of `evaluate` that only moves elements.
std::optional<Constant> evaluateView(const Node &node, llvm::ArrayRef<const Constant *> operands);

/// Repeats `x` to reach what its shape and `shape` broadcast to.
std::optional<Constant> expand(const Constant &x, const Constant &shape);

} // namespace ns::onnx

#endif // NS_LIB_IMPORT_ONNXCONSTANT_H
