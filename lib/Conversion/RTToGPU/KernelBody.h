//===- KernelBody.h - the schedules of a kernel -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_RTTOGPU_KERNELBODY_H
#define NS_CONVERSION_RTTOGPU_KERNELBODY_H

#include "ProgramEmitter.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

namespace ns {

/// Fills in a kernel whose arguments are there. All threads of a block reach every shuffle and
/// barrier: a thread without work does some other thread's and stores nothing.
class KernelBody {
public:
  KernelBody(mlir::OpBuilder &b, mlir::gpu::GPUFuncOp kernel, const GpuProgram &program,
             const Schedule &schedule, const GpuTarget &target);
  void emit();

private:
  void emitFlat();
  Chunk flatChunk(mlir::Value first, int64_t nth, Point &point);

  void emitRows();
  void emitSums();

  // One point by a group.
  /// Columns of the chunks of this lane in the block of columns that begins at `from`; null is 0.
  void columnChunks(Point &point, mlir::Value from, llvm::SmallVectorImpl<Chunk> &chunks);
  /// All stages of a point: reductions and what is stored for each of its columns.
  void emitStages(Point &point, llvm::MutableArrayRef<Chunk> chunks);
  void emitStageLoop(unsigned stage, Point &point);
  /// Combines a chunk's values into the accumulators of a stage's reductions; null: the first.
  void accumulate(unsigned stage, Chunk &chunk, llvm::MutableArrayRef<mlir::Value> partial);
  void finishReductions(unsigned stage, Point &point, llvm::ArrayRef<mlir::Value> partial);
  void storeUniformResults(Point &point);
  /// The values of all lanes of the group combined, in each of them. Several at a time share
  /// barriers.
  void reduceGroup(llvm::ArrayRef<rt::Reduction> kinds, llvm::MutableArrayRef<mlir::Value> values);
  mlir::Value shuffleReduce(rt::Reduction kind, mlir::Value v, int64_t lanes);

  // Sums over k.
  struct Slot {
    unsigned result;
    int64_t chunk; ///< -1: one value for all columns
  };
  llvm::SmallVector<Slot> sumSlots() const;
  llvm::SmallVector<mlir::Value> emitInner(mlir::Value row, mlir::Value columns,
                                           llvm::ArrayRef<Slot> slots);
  void emitTerms(mlir::Value row, mlir::Value first, mlir::Value columns,
                 llvm::ArrayRef<Slot> slots, llvm::MutableArrayRef<mlir::Value> sums);
  void combineSums(mlir::Value row, mlir::Value columns, llvm::ArrayRef<Slot> slots,
                   llvm::ArrayRef<mlir::Value> sums);
  mlir::Value sharedVector(mlir::Value memory, mlir::Value from);
  void storeSum(const Slot &slot, mlir::Value value, Point &point, Chunk *chunk);

  mlir::Value sharedMemory(int64_t elements, mlir::Type element);
  mlir::Value threadId(mlir::gpu::Dimension dimension);
  mlir::Value blockId(mlir::gpu::Dimension dimension);

  mlir::OpBuilder &b;
  mlir::Location loc;
  mlir::gpu::GPUFuncOp kernel;
  const GpuProgram &program;
  const Schedule &schedule;
  const GpuTarget &target;
  ProgramEmitter e;
  mlir::Value thread, lane, group;
  mlir::Value reductionMemory; ///< for groups of several warps
  int64_t usedReductionSlots = 0;
};

} // namespace ns

#endif // NS_CONVERSION_RTTOGPU_KERNELBODY_H
