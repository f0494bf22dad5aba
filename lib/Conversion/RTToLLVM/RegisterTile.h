//===- RegisterTile.h - the inner loop of generated products -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_RTTOLLVM_REGISTERTILE_H
#define NS_CONVERSION_RTTOLLVM_REGISTERTILE_H

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Builders.h"

namespace ns {

/// Left operand of a product: element (i, p) lies at pointer + i * rowStride + p * kStride
/// elements. (ld, 1) is a row-major matrix, (1, ld) a transposed one.
struct TileLeft {
  mlir::Value pointer;
  int64_t rowStride, kStride;
};

/// Right operand: vector j of row p lies at pointer + p * kStride + j * vectorStride elements.
/// (ld, width) is a row-major matrix, (width, k * width) one cut into panels of a vector's width.
struct TileRight {
  mlir::Value pointer;
  int64_t kStride, vectorStride;
};

/// At most this many rows make a tile with `vectors` vectors of columns whose accumulators stay in
/// registers (32 registers where a vector has 512 bits, else 16).
int64_t maxTileRows(int64_t vectors, int64_t vectorBits);
/// At most this many vectors make a tile.
constexpr int64_t kMaxTileVectors = 3;

/// Emits sum over p in [0, k) of left(i, p) * right(p, j) for `rows` rows and `vectors` vectors,
/// one fused multiply-add after the other: the bits depend on k alone. Returns the sums, row by
/// row, in registers. `vectors` and `rows` as maxTileRows allows.
llvm::SmallVector<mlir::Value> emitRegisterTile(mlir::OpBuilder &b, mlir::Location loc,
                                                mlir::VectorType vector, int64_t rows,
                                                int64_t vectors, int64_t k, TileLeft left,
                                                TileRight right);

/// `count` pieces of `size`, one after the other.
struct Pieces {
  int64_t first, count, size;
};

/// Cuts [0, total) into the fewest pieces of at most `limit`, larger ones first; sizes differ by at
/// most one.
llvm::SmallVector<Pieces, 2> splitEvenly(int64_t total, int64_t limit);

} // namespace ns

#endif // NS_CONVERSION_RTTOLLVM_REGISTERTILE_H
