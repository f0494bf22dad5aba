//===- RegisterTile.cpp - the inner loop of generated products -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RegisterTile.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ns;

static constexpr int64_t kLineBytes = 64;

int64_t ns::maxTileRows(int64_t vectors, int64_t vectorBits) {
  // Rows * vectors accumulators, `vectors` right operands and a broadcast one; with fewer than
  // eight chains the latency of the multiply-adds shows.
  static constexpr int64_t kWide[kMaxTileVectors] = {12, 12, 8}, kNarrow[] = {10, 6, 4};
  return (vectorBits == 512 ? kWide : kNarrow)[vectors - 1];
}

namespace {
/// Emits the loops of one tile.
struct TileLoops {
  OpBuilder &b;
  Location loc;
  VectorType vector;
  int64_t rows, vectors;
  TileLeft left;
  TileRight right;

  Value index(int64_t value) {
    return arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(value));
  }
  Value at(Value pointer, Value offset) {
    return LLVM::GEPOp::create(b, loc, pointer.getType(), vector.getElementType(), pointer,
                               ArrayRef<LLVM::GEPArg>{offset});
  }
  Value at(Value pointer, Value count, Value stride) {
    return at(pointer, arith::MulIOp::create(b, loc, count, stride));
  }
  /// for i in [from, to) by `by`: sums = body(i, sums).
  SmallVector<Value> repeat(Value from, Value to, int64_t by, ValueRange sums,
                            llvm::function_ref<SmallVector<Value>(Value, ValueRange)> body) {
    auto loop = scf::ForOp::create(b, loc, from, to, index(by), sums);
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    scf::YieldOp::create(b, loc, body(loop.getInductionVar(), loop.getRegionIterArgs()));
    return loop.getResults();
  }
  SmallVector<Value> step(Value p, ValueRange sums);
  SmallVector<Value> steps(Value from, Value to, ValueRange sums) {
    return repeat(from, to, 1, sums, [&](Value p, ValueRange carried) { return step(p, carried); });
  }
  void fetch(const TileFetch &lines, Value row);
};
} // namespace

/// sums + left(:, p) * right(p, :).
SmallVector<Value> TileLoops::step(Value p, ValueRange sums) {
  unsigned alignment = vector.getElementTypeBitWidth() / 8;
  Value leftRow = at(left.pointer, p, index(left.kStride));
  Value rightRow = at(right.pointer, p, index(right.kStride));
  SmallVector<Value> columns, result;
  for (int64_t j = 0; j < vectors; ++j)
    columns.push_back(LLVM::LoadOp::create(b, loc, vector,
                                           at(rightRow, index(j * right.vectorStride)), alignment));
  for (int64_t i = 0; i < rows; ++i) {
    Value scalar = LLVM::LoadOp::create(b, loc, vector.getElementType(),
                                        at(leftRow, index(i * left.rowStride)));
    Value factor = vector::BroadcastOp::create(b, loc, vector, scalar);
    for (int64_t j = 0; j < vectors; ++j)
      result.push_back(math::FmaOp::create(b, loc, factor, columns[j], sums[i * vectors + j]));
  }
  return result;
}

void TileLoops::fetch(const TileFetch &lines, Value row) {
  int64_t perLine = kLineBytes * 8 / vector.getElementTypeBitWidth();
  Value start = at(lines.pointer, row, lines.stride);
  for (int64_t line = 0; line < lines.lines; ++line)
    LLVM::Prefetch::create(b, loc, at(start, index(line * perLine)), /*rw=*/0u, /*hint=*/3u,
                           /*cache=*/1u);
}

SmallVector<Value> ns::emitRegisterTile(OpBuilder &b, Location loc, VectorType vector, int64_t rows,
                                        int64_t vectors, int64_t k, TileLeft left, TileRight right,
                                        ArrayRef<TileFetch> fetches) {
  TileLoops loops{b, loc, vector, rows, vectors, left, right};
  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(vector));
  SmallVector<Value> sums(rows * vectors, zero);
  if (fetches.empty())
    return loops.steps(loops.index(0), loops.index(k), sums);
  int64_t perRow = llvm::divideCeil(k, fetches.front().rows);
  return loops.repeat(loops.index(0), loops.index(k), perRow, sums,
                      [&](Value first, ValueRange carried) {
                        Value row = arith::DivUIOp::create(b, loc, first, loops.index(perRow));
                        for (const TileFetch &lines : fetches)
                          loops.fetch(lines, row);
                        Value end = arith::AddIOp::create(b, loc, first, loops.index(perRow));
                        if (k % perRow != 0)
                          end = arith::MinUIOp::create(b, loc, end, loops.index(k));
                        return loops.steps(first, end, carried);
                      });
}

SmallVector<Pieces, 2> ns::splitEvenly(int64_t total, int64_t limit) {
  int64_t pieces = llvm::divideCeil(total, limit), small = total / pieces;
  int64_t large = total - small * pieces; // pieces with one more
  SmallVector<Pieces, 2> result;
  if (large > 0)
    result.push_back({0, large, small + 1});
  result.push_back({large * (small + 1), pieces - large, small});
  return result;
}
