//===- RowMap.h - where the rows of an access lie ---------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A program over rows reads and writes its values at rows that are expressions of its own row r
// (dimension 0) and inner index k (dimension 1): sums, products, floordiv and mod by positive
// constants, of which no divided part is negative. What is asked of all their values is exact;
// where a row moves on by the same number after every period of rows (as from image to image), only
// the values of one period are computed.
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_RT_IR_ROWMAP_H
#define NS_DIALECT_RT_IR_ROWMAP_H

#include "mlir/IR/AffineExpr.h"

namespace ns::rt {

/// Does `row` take each value of [0, rows inner) once as (r, k) runs over [0, rows) x [0, inner)?
bool visitsEachRow(mlir::AffineExpr row, int64_t rows, int64_t inner);

/// Cut [0, rows) and [0, valueRows) into `units` equal runs, which must divide both: does `row` lie
/// in the run of r, everywhere? Also false where that would take too many points to see.
bool staysInUnit(mlir::AffineExpr row, int64_t rows, int64_t inner, int64_t valueRows,
                 int64_t units);

} // namespace ns::rt

#endif // NS_DIALECT_RT_IR_ROWMAP_H
