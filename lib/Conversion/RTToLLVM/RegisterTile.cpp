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

int64_t ns::maxTileRows(int64_t vectors, int64_t vectorBits) {
  // Rows * vectors accumulators, `vectors` right operands and a broadcast one; with fewer than
  // eight chains the latency of the multiply-adds shows.
  static constexpr int64_t kWide[kMaxTileVectors] = {12, 12, 8}, kNarrow[] = {10, 6, 4};
  return (vectorBits == 512 ? kWide : kNarrow)[vectors - 1];
}

namespace {
/// Emits the loop of one tile.
struct TileLoop {
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
  Value times(Value count, int64_t stride) {
    return arith::MulIOp::create(b, loc, count, index(stride));
  }
  SmallVector<Value> step(Value p, ValueRange sums);
};
} // namespace

/// sums + left(:, p) * right(p, :).
SmallVector<Value> TileLoop::step(Value p, ValueRange sums) {
  unsigned alignment = vector.getElementTypeBitWidth() / 8;
  Value leftRow = at(left.pointer, times(p, left.kStride));
  Value rightRow = at(right.pointer, times(p, right.kStride));
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

SmallVector<Value> ns::emitRegisterTile(OpBuilder &b, Location loc, VectorType vector, int64_t rows,
                                        int64_t vectors, int64_t k, TileLeft left,
                                        TileRight right) {
  TileLoop tile{b, loc, vector, rows, vectors, left, right};
  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(vector));
  SmallVector<Value> sums(rows * vectors, zero);
  auto loop = scf::ForOp::create(b, loc, tile.index(0), tile.index(k), tile.index(1), sums);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  scf::YieldOp::create(b, loc, tile.step(loop.getInductionVar(), loop.getRegionIterArgs()));
  return loop.getResults();
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
