//===- TileEmitter.h - the task of one rt.tiles -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_RTTOLLVM_TILEEMITTER_H
#define NS_CONVERSION_RTTOLLVM_TILEEMITTER_H

#include "../Places.h"
#include "AttentionEmitter.h"
#include "GemmEmitter.h"
#include "HostCalls.h"
#include "KernelEmitter.h"

#include "llvm/ADT/SetVector.h"

namespace ns {

/// Makes `task(arguments, begin, end)` of one `rt.tiles`: blocks [begin, end) of units. Its
/// argument is an array of pointers: the host, then `outer()`. A value inside lies in the task's
/// scratch, its pointer moved back to where unit 0 would lie, so that the kernels count rows from
/// there.
class TileEmitter {
public:
  TileEmitter(mlir::ModuleOp module, KernelEmitter &kernels, AttentionEmitter &attention,
              GemmEmitter &gemms, const PlaceMap &outerPlaces)
      : module(module), kernels(kernels), attention(attention), gemms(gemms),
        outerPlaces(outerPlaces) {}

  mlir::LLVM::LLVMFuncOp task(rt::TilesOp op);
  /// Values of the arena that the task made last reads and writes, in its arguments' order.
  llvm::ArrayRef<mlir::Value> outer() const { return outerValues.getArrayRef(); }

private:
  void collectOuter();
  void emitBlock(mlir::Value index);
  void emitGemm(rt::GemmOp op);
  void emitFused(rt::FusedOp op);
  void emitAttention(mlir::Operation *op);

  /// The outer value in whose place a value lies, or null.
  mlir::Value outerPlaceOf(mlir::Value value);
  Place placeOf(mlir::Value value);
  /// Pointer to unit 0 of a value; `moved`: to the block's first unit.
  mlir::Value pointer(mlir::Value value, bool moved = false);
  /// Where `unit` begins in what has `count` of something in each unit.
  mlir::Value scaled(mlir::Value unit, int64_t count);

  mlir::ModuleOp module;
  KernelEmitter &kernels;
  AttentionEmitter &attention;
  GemmEmitter &gemms;
  const PlaceMap &outerPlaces;

  int64_t numTasks = 0;

  // Of the task in the making.
  rt::TilesOp op;
  mlir::OpBuilder *b = nullptr;
  HostCalls *host = nullptr;
  llvm::SetVector<mlir::Value> outerValues;
  llvm::SmallVector<mlir::Value> outerPointers;
  mlir::Value hostPointer, scratch, lo, hi;
};

} // namespace ns

#endif // NS_CONVERSION_RTTOLLVM_TILEEMITTER_H
