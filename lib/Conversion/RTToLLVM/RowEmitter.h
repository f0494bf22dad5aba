//===- RowEmitter.h - the body of one kernel -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_RTTOLLVM_ROWEMITTER_H
#define NS_CONVERSION_RTTOLLVM_ROWEMITTER_H

#include "../RowStages.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Builders.h"

namespace ns {

/// A run of columns: where it starts (an i64 value) and how many of its lanes exist.
struct Chunk {
  mlir::Value start;
  int64_t lanes; // the vector width, or fewer for the tail
  int64_t index; // position among the unrolled vectors, or -1 inside a loop
};

/// Emits the body of one kernel. Members named as in the op: space = [R, K, C].
///
/// A long sum over k is taken in blocks of about sqrt(K): a block is added up on its own, then
/// added to the total. What rounds is then sums of sqrt(K) terms twice, not one of K, in an order
/// that depends on nothing but K. Where a program has other results too, or reductions over the
/// row, the sums lie in rows on the stack; where it has none, in registers, and its destination is
/// written once, after it was read.
class RowEmitter {
public:
  /// Terms of a sum over k that are added one after the other.
  static constexpr int64_t kLongestSerialSum = 8;

  RowEmitter(mlir::OpBuilder &b, rt::FusedOp op, mlir::ValueRange pointers, int64_t vectorBits);
  void emitRows(mlir::Value begin, mlir::Value end);

private:
  // Scalars of the current point (r, k).
  mlir::Value expand(mlir::AffineExpr expr);
  mlir::Value i64(int64_t value);
  mlir::Value address(mlir::Value pointer, mlir::Type element, mlir::Value index);
  mlir::Value scalar(mlir::Value v);
  void beginPoint(mlir::Value r, mlir::Value k);

  // Vectors of the current chunk.
  mlir::VectorType vectorOf(mlir::Type element) { return mlir::VectorType::get({width}, element); }
  mlir::Value splat(mlir::Value v);
  mlir::Value vector(mlir::Value v, const Chunk &chunk);
  mlir::Value compute(mlir::Value v, const Chunk &chunk);
  mlir::Value loadInput(mlir::BlockArgument arg, const Chunk &chunk);
  void storeResult(unsigned i, const Chunk &chunk);
  mlir::Value mask(int64_t lanes);
  mlir::Value load(mlir::Value from, int64_t lanes, mlir::Type type);
  void store(mlir::Value value, mlir::Value to, int64_t lanes);

  // Stages.
  void emitPoint();
  void emitStage(unsigned stage);
  int64_t emitLoop(unsigned stage,
                   llvm::MutableArrayRef<llvm::SmallVector<mlir::Value>> accumulators);
  llvm::SmallVector<mlir::Value> emitChunk(unsigned stage, const Chunk &chunk,
                                           mlir::ValueRange accumulators);
  mlir::Value neutral(rt::Reduction kind);
  mlir::Value combine(rt::Reduction kind, mlir::Value a, mlir::Value b);
  mlir::Value horizontal(rt::Reduction kind, mlir::Value v);
  void storeUniformResults();

  // Sums over k.
  void emitInner(mlir::Value row, mlir::Value first, mlir::Value last);
  void clearSums(llvm::function_ref<mlir::Value(unsigned)> addressOf);
  void addBlockSum(unsigned i);

  // Programs of nothing but sums over k: the sums of a few vectors of columns stay in registers.
  bool sumsColumnsOnly();
  void emitColumnSums(mlir::Value row);
  void emitColumnBlock(mlir::Value row, llvm::ArrayRef<Chunk> chunks);
  llvm::SmallVector<mlir::Value> emitTerms(mlir::Value row, mlir::Value first, mlir::Value last,
                                           llvm::ArrayRef<Chunk> chunks);

  bool sumsOverInner(unsigned i) {
    return op.getInner() > 1 && !op.getOutMap(i).isFunctionOfDim(1);
  }
  bool isUniformResult(unsigned i) {
    return llvm::isa<mlir::AffineConstantExpr>(op.getOutMap(i).getResult(1));
  }
  /// Where result i lies, and where the current point writes to: the same, or a block's sum.
  mlir::Value resultAddress(unsigned i, mlir::Value column);
  mlir::Value pointAddress(unsigned i, mlir::Value column);
  mlir::Value firstColumn(unsigned i);
  mlir::Value rowOnStack();

  mlir::OpBuilder &b;
  mlir::Location loc;
  rt::FusedOp op;
  RowStages stages;
  mlir::ValueRange pointers;
  mlir::Type element;
  int64_t width, elementBytes, numChunks, sumBlock;
  bool unrolled, keepAll;
  mlir::Value r, k;
  llvm::DenseMap<mlir::Value, mlir::Value> scalars;     // of the point
  llvm::DenseMap<mlir::Value, mlir::Value> chunkValues; // of the chunk
  llvm::DenseMap<std::pair<mlir::Value, int64_t>, mlir::Value>
      kept;                                               // of the point, by unrolled chunk
  llvm::DenseMap<mlir::Value, mlir::Value> scratch;       // rows on the stack, loop form
  llvm::DenseMap<mlir::AffineExpr, mlir::Value> rowExprs; // of the point
  llvm::SmallVector<mlir::Value> blockSums;               // rows on the stack, by result, or null
};

} // namespace ns

#endif // NS_CONVERSION_RTTOLLVM_ROWEMITTER_H
