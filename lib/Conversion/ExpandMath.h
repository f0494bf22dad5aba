//===- ExpandMath.h - transcendental functions as arithmetic -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_EXPANDMATH_H
#define NS_CONVERSION_EXPANDMATH_H

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace ns {

/// erfc of an f32 number or vector of them, with one `math.exp`. `quotient` and `exponential`: what
/// the division, of numbers between 1 and 2e5, and the exponential may do.
mlir::Value expandErfc(mlir::OpBuilder &b, mlir::Location loc, mlir::Value z,
                       mlir::arith::FastMathFlags quotient = mlir::arith::FastMathFlags::none,
                       mlir::arith::FastMathFlags exponential = mlir::arith::FastMathFlags::none);

/// The f8E4M3FN next to an f32 number or vector of them, to nearest even; NaN, and what rounds to
/// more than 448, is NaN. Integer arithmetic: not every target has an instruction for it.
mlir::Value roundToE4M3(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);

} // namespace ns

#endif // NS_CONVERSION_EXPANDMATH_H
