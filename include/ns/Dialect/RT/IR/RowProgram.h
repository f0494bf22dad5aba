//===- RowProgram.h - builds the region of an rt.fused -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_RT_IR_ROWPROGRAM_H
#define NS_DIALECT_RT_IR_ROWPROGRAM_H

#include "ns/Dialect/RT/IR/RT.h"

#include "mlir/IR/Builders.h"

namespace ns {

/// Collects inputs, arithmetic and results of one row program over [R, K, C], then makes the op.
/// Values are elements: the program reads as the formula of one point. Inputs and ops of the
/// finished op stand in the order in which a walk from the results meets them, left to right,
/// whatever order the host compiler evaluated the arguments of nested calls in; what no result
/// needs is left out.
///
///   RowProgram p(builder, loc, f32, {rows, 1, cols});
///   Value x = p.in(tensor);                 // element (r, c)
///   Value mean = p.mul(p.sum(x), p.constant(1.0 / cols));
///   p.out(p.sub(x, mean), resultType);
///   Value result = p.finish().getResult(0);
class RowProgram {
public:
  RowProgram(mlir::OpBuilder &builder, mlir::Location loc, mlir::Type element,
             std::array<int64_t, 3> space);
  ~RowProgram();

  // Dimensions, for maps.
  mlir::AffineExpr r, k, c;
  mlir::AffineExpr lit(int64_t value) { return mlir::getAffineConstantExpr(value, context); }

  /// The element of `tensor` at (row, col); by default (r, c).
  mlir::Value in(mlir::Value tensor, mlir::AffineExpr row, mlir::AffineExpr col);
  mlir::Value in(mlir::Value tensor) { return in(tensor, r, c); }
  /// A vector indexed by the column.
  mlir::Value inColumn(mlir::Value tensor) { return in(tensor, lit(0), c); }
  /// A scalar, or element `index` of a vector.
  mlir::Value inScalar(mlir::Value tensor, int64_t index = 0) {
    return in(tensor, lit(index), lit(0));
  }

  /// Result of `type` at (row, col), written into `dest` if there is one.
  void out(mlir::Value value, mlir::RankedTensorType type, mlir::AffineExpr row,
           mlir::AffineExpr col, mlir::Value dest = {});
  void out(mlir::Value value, mlir::RankedTensorType type) { out(value, type, r, c); }

  mlir::Value constant(double value);
  /// values[expr]: a small table, such as the mean of each channel.
  mlir::Value perIndex(mlir::AffineExpr expr, llvm::ArrayRef<double> values);
  mlir::Value add(mlir::Value a, mlir::Value b);
  mlir::Value sub(mlir::Value a, mlir::Value b);
  mlir::Value mul(mlir::Value a, mlir::Value b);
  mlir::Value div(mlir::Value a, mlir::Value b);
  mlir::Value fma(mlir::Value a, mlir::Value b, mlir::Value c);
  mlir::Value sqrt(mlir::Value a);
  mlir::Value exp(mlir::Value a);
  mlir::Value log(mlir::Value a);
  mlir::Value neg(mlir::Value a);
  mlir::Value erfc(mlir::Value a);
  mlir::Value tanh(mlir::Value a);
  mlir::Value abs(mlir::Value a);
  mlir::Value compare(mlir::arith::CmpFPredicate predicate, mlir::Value a, mlir::Value b);
  mlir::Value select(mlir::Value condition, mlir::Value a, mlir::Value b);
  /// The nearest number of a narrower type.
  mlir::Value rounded(mlir::Value a, mlir::Type to);
  /// The value at the other column of the pair 2j, 2j + 1.
  mlir::Value swapPairs(mlir::Value a);

  // 32-bit integers, which wrap around.
  /// c, or an expression of r and k.
  mlir::Value index(mlir::AffineExpr expr);
  mlir::Value integer(uint32_t value);
  mlir::Value addInt(mlir::Value a, mlir::Value b);
  mlir::Value mulInt(mlir::Value a, mlir::Value b);
  mlir::Value bitAnd(mlir::Value a, mlir::Value b);
  mlir::Value bitXor(mlir::Value a, mlir::Value b);
  mlir::Value shiftRight(mlir::Value a, uint32_t bits);
  /// The bits of an f32, and back.
  mlir::Value bits(mlir::Value a);
  mlir::Value fromBits(mlir::Value a);
  mlir::Value compare(mlir::arith::CmpIPredicate predicate, mlir::Value a, mlir::Value b);

  // Conditions.
  mlir::Value both(mlir::Value a, mlir::Value b) { return bitAnd(a, b); }
  mlir::Value either(mlir::Value a, mlir::Value b);
  /// from <= expr < to, for c or an expression of r and k.
  mlir::Value inRange(mlir::AffineExpr expr, int64_t from, int64_t to);

  /// 1 where the column equals the i32 element `label`, as a condition.
  mlir::Value isColumn(mlir::Value label);
  /// c, or an expression of r and k, as a float.
  mlir::Value number(mlir::AffineExpr expr);
  /// The column as a float.
  mlir::Value column() { return number(c); }
  mlir::Value sum(mlir::Value a) { return reduce(rt::Reduction::Add, a); }
  mlir::Value max(mlir::Value a) { return reduce(rt::Reduction::Max, a); }
  mlir::Value min(mlir::Value a) { return reduce(rt::Reduction::Min, a); }

  /// Makes the op. The program must not be used after.
  rt::FusedOp finish();

private:
  mlir::Value reduce(rt::Reduction kind, mlir::Value a);
  /// Puts ops, arguments, inputs and their maps into the order of a walk from the results.
  void orderByUse(mlir::Operation *yield);

  mlir::OpBuilder &outer;
  mlir::MLIRContext *context;
  mlir::Location loc;
  std::array<int64_t, 3> space;
  mlir::Type element;
  std::unique_ptr<mlir::Region> region;
  mlir::OpBuilder body;
  llvm::SmallVector<mlir::Value> inputs, dests, yielded;
  llvm::SmallVector<mlir::AffineMap> inMaps, outMaps;
  llvm::SmallVector<mlir::Type> resultTypes;
  llvm::SmallVector<int64_t> destOf;
};

} // namespace ns

#endif // NS_DIALECT_RT_IR_ROWPROGRAM_H
