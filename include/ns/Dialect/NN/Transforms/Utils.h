//===- Utils.h - helpers shared by passes -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NN_TRANSFORMS_UTILS_H
#define NS_DIALECT_NN_TRANSFORMS_UTILS_H

#include "mlir/IR/Block.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace ns::nn {

/// Unit attribute of an op that nn-recompute put in, which must stay where it is: earlier, its result would live as long as the one it is
/// there to spare.
constexpr llvm::StringLiteral kRecomputedAttr = "nn.recomputed";

/// Erases the ops of a straight-line block that nobody reads and that have no effect.
inline void eraseDeadOps(mlir::Block &block) {
  for (mlir::Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (mlir::isOpTriviallyDead(&op))
      op.erase();
}

} // namespace ns::nn

#endif // NS_DIALECT_NN_TRANSFORMS_UTILS_H
