//===- Verifiers.h - wording and shape checks of verifiers -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each check succeeds or reports `expected <thing> to be <wanted>, but got <found>`. A dynamic extent agrees with every other. Shared by
// the nn and the ns dialect.
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_DIALECT_NN_IR_VERIFIERS_H
#define NS_LIB_DIALECT_NN_IR_VERIFIERS_H

#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Operation.h"

namespace ns::verify {

using Shape = llvm::SmallVector<int64_t, 4>;

inline mlir::RankedTensorType tensorOf(mlir::Value value) { return llvm::cast<mlir::RankedTensorType>(value.getType()); }
inline Shape shapeOf(mlir::Value value) { return Shape(tensorOf(value).getShape()); }
inline int64_t rankOf(mlir::Value value) { return tensorOf(value).getRank(); }
inline int64_t extent(mlir::Value value, unsigned dim) { return tensorOf(value).getDimSize(dim); }
inline int64_t lastExtent(mlir::Value value) { return tensorOf(value).getShape().back(); }

inline bool agree(int64_t a, int64_t b) {
  return mlir::ShapedType::isDynamic(a) || mlir::ShapedType::isDynamic(b) || a == b;
}

inline llvm::LogicalResult expectExtent(mlir::Operation *op, const llvm::Twine &what, int64_t wanted, int64_t found) {
  if (agree(wanted, found))
    return llvm::success();
  return op->emitOpError("expected ") << what << " to be " << wanted << ", but got " << found;
}

/// found in [from, to).
inline llvm::LogicalResult expectInRange(mlir::Operation *op, const llvm::Twine &what, int64_t from, int64_t to, int64_t found) {
  if (found >= from && (mlir::ShapedType::isDynamic(to) || found < to))
    return llvm::success();
  return op->emitOpError("expected ") << what << " to be in [" << from << ", " << to << "), but got " << found;
}

inline llvm::LogicalResult expectAtLeast(mlir::Operation *op, const llvm::Twine &what, int64_t wanted, int64_t found) {
  if (found >= wanted)
    return llvm::success();
  return op->emitOpError("expected ") << what << " to be at least " << wanted << ", but got " << found;
}

inline llvm::LogicalResult expectMultiple(mlir::Operation *op, const llvm::Twine &what, int64_t divisor, int64_t found) {
  if (mlir::ShapedType::isDynamic(divisor) || mlir::ShapedType::isDynamic(found) || (divisor > 0 && found % divisor == 0))
    return llvm::success();
  return op->emitOpError("expected ") << what << " to be a multiple of " << divisor << ", but got " << found;
}

inline std::string printShape(llvm::ArrayRef<int64_t> shape) {
  std::string text;
  for (auto [index, size] : llvm::enumerate(shape))
    text += (index ? "x" : "") + (mlir::ShapedType::isDynamic(size) ? std::string("?") : std::to_string(size));
  return text.empty() ? "a scalar" : text;
}

inline llvm::LogicalResult expectShape(mlir::Operation *op, const llvm::Twine &what, llvm::ArrayRef<int64_t> wanted,
                                       mlir::Value value) {
  llvm::ArrayRef<int64_t> found = tensorOf(value).getShape();
  if (wanted.size() == found.size() && llvm::all_of(llvm::zip(wanted, found), [](auto pair) {
        return agree(std::get<0>(pair), std::get<1>(pair));
      }))
    return llvm::success();
  return op->emitOpError("expected ") << what << " shape to be " << printShape(wanted) << ", but got " << printShape(found);
}

/// All float operands and results share one element type.
inline llvm::LogicalResult expectOneFloatType(mlir::Operation *op) {
  mlir::Type first;
  for (mlir::ValueRange values : {mlir::ValueRange(op->getOperands()), mlir::ValueRange(op->getResults())})
    for (mlir::Value value : values) {
      mlir::Type type = tensorOf(value).getElementType();
      if (!llvm::isa<mlir::FloatType>(type))
        continue;
      if (!first)
        first = type;
      if (type != first)
        return op->emitOpError("expected element types to be ") << first << ", as the first operand's, but got " << type;
    }
  return llvm::success();
}

/// Two extents along (y, x), each at least `least`.
inline llvm::LogicalResult verifyExtents(mlir::Operation *op, const llvm::Twine &what, llvm::ArrayRef<int64_t> extents,
                                         int64_t least) {
  if (failed(expectExtent(op, "the number of " + what + " extents", 2, extents.size())))
    return llvm::failure();
  for (int64_t extent : extents)
    if (failed(expectAtLeast(op, what + " extents", least, extent)))
      return llvm::failure();
  return llvm::success();
}

/// `shape` with extent `size` in dimension `dim`.
inline Shape withExtent(Shape shape, unsigned dim, int64_t size) {
  shape[dim] = size;
  return shape;
}

} // namespace ns::verify

#endif // NS_LIB_DIALECT_NN_IR_VERIFIERS_H
