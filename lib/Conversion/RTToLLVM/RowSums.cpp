//===- RowSums.cpp - sums over k in a kernel -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RowEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace ns;

//===----------------------------------------------------------------------===//
// Beside other results: in memory
//===----------------------------------------------------------------------===//

Value RowEmitter::firstColumn(unsigned i) {
  return isUniformResult(i) ? expand(op.getOutMap(i).getResult(1)) : i64(0);
}

void RowEmitter::clearSums(llvm::function_ref<Value(unsigned)> addressOf) {
  for (unsigned i = 0; i < op.getNumResults(); ++i) {
    if (!sumsOverInner(i))
      continue;
    Value zero = arith::ConstantOp::create(b, loc, b.getI8IntegerAttr(0));
    Value bytes = i64((isUniformResult(i) ? 1 : op.getCols()) * elementBytes);
    LLVM::MemsetOp::create(b, loc, addressOf(i), zero, bytes, /*isVolatile=*/false);
  }
}

void RowEmitter::addBlockSum(unsigned i) {
  if (isUniformResult(i)) {
    Value to = resultAddress(i, firstColumn(i));
    Value total = LLVM::LoadOp::create(b, loc, element, to);
    Value sum = LLVM::LoadOp::create(b, loc, element, blockSums[i]);
    LLVM::StoreOp::create(b, loc, arith::AddFOp::create(b, loc, total, sum), to);
    return;
  }
  auto add = [&](Value start, int64_t lanes) {
    Value to = resultAddress(i, start);
    Value sum = load(address(blockSums[i], element, start), width, element);
    store(arith::AddFOp::create(b, loc, load(to, lanes, element), sum), to, lanes);
  };
  int64_t whole = op.getCols() / width * width;
  (void)expand(op.getOutMap(i).getResult(0)); // outside the loop: the tail reads it too
  if (whole > 0) {
    auto loop = scf::ForOp::create(b, loc, i64(0), i64(whole), i64(width));
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    add(loop.getInductionVar(), width);
  }
  if (whole < op.getCols())
    add(i64(whole), op.getCols() - whole);
}

void RowEmitter::emitInner(Value row, Value first, Value last) {
  auto inner = scf::ForOp::create(b, loc, first, last, i64(1));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(inner.getBody());
  beginPoint(row, inner.getInductionVar());
  emitPoint();
}

//===----------------------------------------------------------------------===//
// Alone: in registers
//===----------------------------------------------------------------------===//

bool RowEmitter::sumsColumnsOnly() {
  return op.isSingleStage() && llvm::all_of(llvm::seq(op.getNumResults()), [&](unsigned i) {
           return sumsOverInner(i) && !isUniformResult(i);
         });
}

void RowEmitter::emitColumnSums(Value row) {
  // Half of the registers: 32 of 512 bits, 16 of 256.
  int64_t registers = width * elementBytes == 64 ? 16 : 8;
  int64_t perBlock = std::max<int64_t>(1, registers / op.getNumResults());
  int64_t full = op.getCols() / width, blocks = full / perBlock;
  auto chunksFrom = [&](Value start, int64_t first, int64_t count) {
    SmallVector<Chunk> chunks;
    for (int64_t j = 0; j < count; ++j)
      chunks.push_back({arith::AddIOp::create(b, loc, start, i64(j * width)),
                        first + j < full ? width : op.getCols() % width, j});
    return chunks;
  };
  if (blocks > 1) {
    auto loop =
        scf::ForOp::create(b, loc, i64(0), i64(blocks * perBlock * width), i64(perBlock * width));
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    emitColumnBlock(row, chunksFrom(loop.getInductionVar(), 0, perBlock));
  }
  for (int64_t first = blocks > 1 ? blocks * perBlock : 0; first < numChunks; first += perBlock)
    emitColumnBlock(
        row, chunksFrom(i64(first * width), first, std::min<int64_t>(perBlock, numChunks - first)));
}

/// The sums of `chunks` over all k, stored.
void RowEmitter::emitColumnBlock(Value row, ArrayRef<Chunk> chunks) {
  SmallVector<Value> totals;
  if (sumBlock == op.getInner()) {
    totals = emitTerms(row, i64(0), i64(op.getInner()), chunks);
  } else {
    SmallVector<Value> zeros(op.getNumResults() * chunks.size(), neutral(rt::Reduction::Add));
    auto blocks = scf::ForOp::create(b, loc, i64(0), i64(op.getInner()), i64(sumBlock), zeros);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(blocks.getBody());
    Value first = blocks.getInductionVar();
    Value last = arith::MinSIOp::create(b, loc, i64(op.getInner()),
                                        arith::AddIOp::create(b, loc, first, i64(sumBlock)));
    SmallVector<Value> next;
    for (auto [total, sum] :
         llvm::zip(blocks.getRegionIterArgs(), emitTerms(row, first, last, chunks)))
      next.push_back(arith::AddFOp::create(b, loc, total, sum));
    scf::YieldOp::create(b, loc, next);
    totals.assign(blocks.result_begin(), blocks.result_end());
  }
  beginPoint(row, i64(0));
  for (auto [at, total] : llvm::enumerate(totals)) {
    const Chunk &chunk = chunks[at % chunks.size()];
    store(total, resultAddress(at / chunks.size(), chunk.start), chunk.lanes);
  }
}

/// Sums over k from `first` to `last`: of each result, those of each chunk.
SmallVector<Value> RowEmitter::emitTerms(Value row, Value first, Value last,
                                         ArrayRef<Chunk> chunks) {
  SmallVector<Value> zeros(op.getNumResults() * chunks.size(), neutral(rt::Reduction::Add));
  auto inner = scf::ForOp::create(b, loc, first, last, i64(1), zeros);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(inner.getBody());
  beginPoint(row, inner.getInductionVar());
  SmallVector<Value> next(zeros.size());
  for (auto [j, chunk] : llvm::enumerate(chunks)) {
    chunkValues.clear();
    for (unsigned i = 0; i < op.getNumResults(); ++i) {
      size_t at = i * chunks.size() + j;
      next[at] = arith::AddFOp::create(b, loc, inner.getRegionIterArg(at),
                                       vector(stages.yielded(i), chunk));
    }
  }
  scf::YieldOp::create(b, loc, next);
  return SmallVector<Value>(inner.getResults());
}
