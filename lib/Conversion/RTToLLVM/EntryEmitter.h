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
#include "EntryFrame.h"
#include "GemmEmitter.h"
#include "KernelEmitter.h"
#include "TileEmitter.h"

namespace ns {

/// Entries of the CPU: ops become tasks on the host's threads and calls of its BLAS.
class EntryEmitter : public EntryFrame {
public:
  EntryEmitter(mlir::ModuleOp module, KernelEmitter &kernels)
      : EntryFrame(module), kernels(kernels), attention(module, kernels),
        gemms(module, kernels.getVectorBits()), tiles(module, kernels, attention, gemms, places) {}

  int64_t numLaunches = 0;

private:
  mlir::LogicalResult emitTimed(mlir::Operation *op) override;
  mlir::LogicalResult emitGemm(rt::GemmOp op);
  mlir::LogicalResult emitPackedGemm(rt::GemmOp op);
  mlir::LogicalResult emitPack(rt::PackOp op);
  mlir::LogicalResult emitFused(rt::FusedOp op);
  mlir::LogicalResult emitAttention(mlir::Operation *op);
  mlir::LogicalResult emitTiles(rt::TilesOp op);
  void launch(mlir::LLVM::LLVMFuncOp task, llvm::ArrayRef<mlir::Value> arguments, int64_t count,
              int64_t grain);
  llvm::SmallVector<bool> overlaps(rt::FusedOp op);

  KernelEmitter &kernels;
  AttentionEmitter attention;
  GemmEmitter gemms;
  TileEmitter tiles;
};

} // namespace ns

#endif // NS_CONVERSION_RTTOLLVM_ENTRYEMITTER_H
