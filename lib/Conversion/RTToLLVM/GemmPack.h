//===- GemmPack.h - panels of the right operand -----------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_RTTOLLVM_GEMMPACK_H
#define NS_CONVERSION_RTTOLLVM_GEMMPACK_H

#include "mlir/IR/Builders.h"

namespace ns {

/// One panel: `vectors` vectors of `lanes` columns, of which the last has `lastLanes` that are
/// columns of the matrix.
struct GemmPanelPack {
  mlir::Type element;
  bool transposed; ///< element (p, column) lies at column * pitch + p, not at p * pitch + column
  int64_t pitch, lanes, vectors, lastLanes;
};

/// Emits the copy of `arguments` = (ptr from, ptr to, i64 k): k rows of a panel, one behind the
/// other. Reads nothing but the panel's own elements; what stands for columns past the last is
/// left open.
void emitPackPanel(mlir::OpBuilder &b, mlir::Location loc, const GemmPanelPack &pack,
                   mlir::ValueRange arguments);

} // namespace ns

#endif // NS_CONVERSION_RTTOLLVM_GEMMPACK_H
