//===- Arena.h - the scratch of one entry by value and time -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_TARGET_ARENA_H
#define NS_TARGET_ARENA_H

#include "OpTable.h"

#include "mlir/IR/BuiltinTypes.h"

namespace ns {

/// A value with a place in region work.
struct ArenaValue {
  mlir::RankedTensorType type;
  llvm::StringRef layer; ///< of the op that makes it
  int64_t offset, bytes;
  int64_t first, last; ///< ops that make it and read it last, as positions in the list of ops
  bool saved;          ///< made before `Arena::turn` and read after it
  bool packed;         ///< a weight in the panels of the micro-kernel
};

/// What rt-plan-memory left: the places of an entry's values and the ops between which they live. A
/// value that is written over its input begins where that one ends, at the same offset.
struct Arena {
  explicit Arena(mlir::func::FuncOp entry);

  llvm::StringRef name;
  int64_t bytes;       ///< of region work
  int64_t scratch = 0; ///< bytes that each thread has beside it, for groups of ops
  std::vector<OpInfo> ops;
  std::vector<ArenaValue> values;
  std::vector<int64_t> live; ///< bytes that hold a value while op i runs
  int64_t peak = 0;          ///< the op of the largest of them
  int64_t turn;              ///< the first op with a gradient product in it: backward begins
  int64_t savedBytes = 0;    ///< of saved values, at most
  int64_t packedBytes = 0;   ///< of packed weights, at most
};

} // namespace ns

#endif // NS_TARGET_ARENA_H
