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
#include "HostCalls.h"
#include "KernelEmitter.h"

namespace ns {

/// Makes `int32_t entry(host, regions)` of one planned function.
class EntryEmitter {
public:
  EntryEmitter(mlir::ModuleOp module, KernelEmitter &kernels)
      : module(module), kernels(kernels), attention(module, kernels) {}

  mlir::FailureOr<mlir::LLVM::LLVMFuncOp> emit(mlir::func::FuncOp source);

  int64_t numLaunches = 0;

private:
  /// Where a value lies: the region and the bytes from its start.
  struct Place {
    rt::Region region;
    int64_t offset;
  };

  mlir::Value pointer(mlir::Value value);
  mlir::LogicalResult emitOp(mlir::Operation *op);
  mlir::LogicalResult emitGemm(rt::GemmOp op);
  mlir::LogicalResult emitFused(rt::FusedOp op);
  mlir::LogicalResult emitAttention(mlir::Operation *op);
  void launch(mlir::LLVM::LLVMFuncOp task, llvm::ArrayRef<mlir::Value> arguments, int64_t count,
              int64_t grain);
  llvm::SmallVector<bool> overlaps(rt::FusedOp op);

  mlir::ModuleOp module;
  KernelEmitter &kernels;
  AttentionEmitter attention;
  mlir::OpBuilder *builder = nullptr;
  HostCalls *host = nullptr;
  mlir::Value hostPointer;
  llvm::SmallVector<mlir::Value> regions;
  llvm::DenseMap<mlir::Value, Place> places;
};

} // namespace ns

#endif // NS_CONVERSION_RTTOLLVM_ENTRYEMITTER_H
