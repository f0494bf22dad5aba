//===- EntryEmitter.h - entries to calls of the host's services -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_RTTOLLVM_ENTRYEMITTER_H
#define NS_CONVERSION_RTTOLLVM_ENTRYEMITTER_H

#include "AttentionEmitter.h"
#include "GemmEmitter.h"
#include "HostCalls.h"
#include "KernelEmitter.h"
#include "TileEmitter.h"

namespace ns {

/// Makes `int32_t entry(host, regions)` of one planned function.
class EntryEmitter {
public:
  EntryEmitter(mlir::ModuleOp module, KernelEmitter &kernels)
      : module(module), kernels(kernels), attention(module, kernels),
        gemms(module, kernels.getVectorBits()), tiles(module, kernels, attention, gemms, places) {}

  mlir::FailureOr<mlir::LLVM::LLVMFuncOp> emit(mlir::func::FuncOp source);

  int64_t numLaunches = 0;

private:
  mlir::Value pointer(mlir::Value value);
  mlir::LogicalResult emitOp(mlir::Operation *op);
  mlir::LogicalResult emitGemm(rt::GemmOp op);
  mlir::LogicalResult emitPackedGemm(rt::GemmOp op);
  mlir::LogicalResult emitPack(rt::PackOp op);
  mlir::LogicalResult emitFused(rt::FusedOp op);
  mlir::LogicalResult emitAttention(mlir::Operation *op);
  mlir::LogicalResult emitTiles(rt::TilesOp op);
  void launch(mlir::LLVM::LLVMFuncOp task, llvm::ArrayRef<mlir::Value> arguments, int64_t count,
              int64_t grain);
  llvm::SmallVector<bool> overlaps(rt::FusedOp op);

  mlir::ModuleOp module;
  KernelEmitter &kernels;
  AttentionEmitter attention;
  GemmEmitter gemms;
  llvm::DenseMap<mlir::Value, Place> places;
  TileEmitter tiles;
  mlir::OpBuilder *builder = nullptr;
  HostCalls *host = nullptr;
  mlir::Value hostPointer;
  llvm::SmallVector<mlir::Value> regions;
  int64_t numTimed = 0; ///< ops of this entry so far that the host hears of
};

} // namespace ns

#endif // NS_CONVERSION_RTTOLLVM_ENTRYEMITTER_H
