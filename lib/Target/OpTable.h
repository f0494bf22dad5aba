//===- OpTable.h - what the ops of an entry are and cost -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_TARGET_OPTABLE_H
#define NS_TARGET_OPTABLE_H

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <string>
#include <vector>

namespace ns {

/// One timed op of a planned entry (`rt::isTimed`): a line of the list `ops` in the metadata, which
/// reports and profiles name.
struct OpInfo {
  mlir::Operation *op = nullptr;
  llvm::StringRef layer; ///< as the framework names it; empty where nobody does
  /// product, input_gradient, weight_gradient (products, by which of their matrices lie
  /// transposed), batched_product, attention, attention_gradient, rows, pack (of a matrix, for a
  /// generated product), or group
  llvm::StringRef kind;
  std::string shape; ///< m x n x k; images x heads x queries x keys x width; rows x k x columns
  int64_t flops = 0; ///< useful ones, 2 for each multiply-add; of row programs those that count
  int64_t recomputed =
      0;             ///< FLOPs spent on what forward had already: scores in attention's gradient
  int64_t bytes = 0; ///< of operands and results, each counted once
  llvm::StringRef kernel;      ///< of a launch on a GPU
  std::vector<OpInfo> members; ///< of a group
};

/// The timed ops of an entry, in order.
std::vector<OpInfo> listOps(mlir::func::FuncOp entry);

} // namespace ns

#endif // NS_TARGET_OPTABLE_H
