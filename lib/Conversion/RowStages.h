//===- RowStages.h - the stages of a row program -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_ROWSTAGES_H
#define NS_CONVERSION_ROWSTAGES_H

#include "ns/Dialect/RT/IR/RT.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SetVector.h"

namespace ns {

/// Which passes over the columns a row program takes. The depth of a value is the number of row
/// reductions that must have ended before it can be computed; stage s computes the reductions whose
/// operand has depth s and stores the results whose value has depth s.
class RowStages {
public:
  explicit RowStages(rt::FusedOp op);

  unsigned size() const { return reductionsOf.size(); }
  llvm::ArrayRef<rt::RowReduceOp> reductions(unsigned stage) const { return reductionsOf[stage]; }
  /// Results that are stored column by column in a stage.
  llvm::ArrayRef<unsigned> results(unsigned stage) const { return resultsOf[stage]; }
  /// Uniform values that the columns of a stage read.
  llvm::SmallVector<mlir::Value> uniformOperands(unsigned stage) const;
  mlir::Value yielded(unsigned i) const { return yield.getOperand(i); }

  /// The same for every column of the row.
  bool isUniform(mlir::Value v) const { return uniform.lookup(v); }
  /// Costly to compute and read in more than one stage.
  bool isKept(mlir::Value v) const { return kept.contains(v); }
  llvm::ArrayRef<mlir::Value> keptValues() const { return kept.getArrayRef(); }
  /// In the stage entered last, is a kept value computed (true) or read back?
  bool isKeptNow(mlir::Value v) const { return firstUse.lookup(v) == current; }
  void enter(unsigned stage) { current = stage; }
  /// Inputs that differ from column to column.
  int64_t numVectorInputs() const { return vectorInputs; }

private:
  /// Values, other than uniform ones, that a stage computes.
  llvm::SetVector<mlir::Value> valuesOf(unsigned stage) const;

  mutable rt::YieldOp yield; // an op handle: its accessors are not const
  llvm::DenseMap<mlir::Value, bool> uniform;
  llvm::DenseMap<mlir::Value, unsigned> depth, firstUse;
  llvm::SetVector<mlir::Value> kept;
  llvm::SmallVector<llvm::SmallVector<rt::RowReduceOp>> reductionsOf;
  llvm::SmallVector<llvm::SmallVector<unsigned>> resultsOf;
  int64_t vectorInputs = 0;
  unsigned current = 0;
};

} // namespace ns

#endif // NS_CONVERSION_ROWSTAGES_H
