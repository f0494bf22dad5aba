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

SmallVector<Value> ns::emitRegisterTile(OpBuilder &b, Location loc, VectorType vector, int64_t rows,
                                        int64_t vectors, int64_t k, TileLeft left,
                                        TileRight right) {
  Type element = vector.getElementType();
  unsigned alignment = element.getIntOrFloatBitWidth() / 8;
  auto index = [&](int64_t value) -> Value {
    return arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(value));
  };
  auto at = [&](Value pointer, Value offset) -> Value {
    return LLVM::GEPOp::create(b, loc, pointer.getType(), element, pointer,
                               ArrayRef<LLVM::GEPArg>{offset});
  };
  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(vector));
  auto loop = scf::ForOp::create(b, loc, index(0), index(k), index(1),
                                 SmallVector<Value>(rows * vectors, zero));
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    Value p = loop.getInductionVar();
    Value leftRow = at(left.pointer, arith::MulIOp::create(b, loc, p, index(left.kStride)));
    Value rightRow = at(right.pointer, arith::MulIOp::create(b, loc, p, index(right.kStride)));
    SmallVector<Value> columns, sums;
    for (int64_t j = 0; j < vectors; ++j)
      columns.push_back(LLVM::LoadOp::create(
          b, loc, vector, at(rightRow, index(j * right.vectorStride)), alignment));
    for (int64_t i = 0; i < rows; ++i) {
      Value scalar = LLVM::LoadOp::create(b, loc, element, at(leftRow, index(i * left.rowStride)));
      Value factor = vector::BroadcastOp::create(b, loc, vector, scalar);
      for (int64_t j = 0; j < vectors; ++j)
        sums.push_back(math::FmaOp::create(b, loc, factor, columns[j],
                                           loop.getRegionIterArg(i * vectors + j)));
    }
    scf::YieldOp::create(b, loc, sums);
  }
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
