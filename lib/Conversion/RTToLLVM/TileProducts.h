//===- TileProducts.h - products of small matrices inside a task -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_RTTOLLVM_TILEPRODUCTS_H
#define NS_CONVERSION_RTTOLLVM_TILEPRODUCTS_H

#include "HostCalls.h"
#include "RegisterTile.h"

namespace ns {

/// A row-major matrix in memory; row i starts at pointer + i * ld elements.
struct Matrix {
  mlir::Value pointer;
  int64_t ld;
};

/// Where a product goes, and what its sums are multiplied by on the way.
struct TileResult {
  Matrix to;
  bool padded = false;  ///< columns up to the next whole vector may be written
  bool distant = false; ///< not in a near cache: its lines are fetched while the sums are taken
  double scale = 1.0;
  mlir::Value factors = {}; ///< in place of scale: pointer to one factor for each row, or null
};

/// Emits, at the builder's place, copies and products of matrices whose extents are known: loops
/// over register tiles on data that lies in the core's caches. Everything runs on one thread.
class TileProducts {
public:
  TileProducts(mlir::OpBuilder &b, mlir::Location loc, HostCalls &host, mlir::Type element,
               int64_t vectorBits);

  int64_t width() const { return vectorType.getNumElements(); }
  /// Row pitch of a matrix of `cols` columns in scratch: whole vectors, and an odd number of them,
  /// so that a column of vectors is spread over all sets of a cache.
  int64_t pitch(int64_t cols) const { return (llvm::divideCeil(cols, width()) | 1) * width(); }

  /// Runs body(i) for i in [0, count); without a loop where count is 1.
  void loop(int64_t count, llvm::function_ref<void(mlir::Value)> body);
  mlir::Value add(mlir::Value index, int64_t value);
  mlir::Value mul(mlir::Value index, int64_t value);
  /// pointer + row * ld + column elements.
  mlir::Value at(Matrix matrix, mlir::Value row, mlir::Value column = {});

  /// to[i, c] = (from[i, c] + bias[c]) * scale; columns from `cols` up to a whole vector become 0.
  /// `bias` may be null.
  void copy(int64_t rows, int64_t cols, Matrix from, mlir::Value bias, double scale, Matrix to);

  /// Cuts from + bias into panels of width() rows, transposed: element (i, c) goes to
  /// panels + (i / width * cols + c) * width + i % width. Rows past `rows` become 0.
  void transpose(int64_t rows, int64_t cols, Matrix from, mlir::Value bias, mlir::Value panels);
  /// What `transpose` made of a matrix of `cols` columns, as right operand: its rows are columns.
  TileRight panels(mlir::Value pointer, int64_t cols) { return {pointer, width(), cols * width()}; }

  /// result[i, j] = (scale or factors[i]) * sum over p < k of left(i, p) * right(p, j).
  void product(int64_t rows, int64_t cols, int64_t k, TileLeft left, TileRight right,
               TileResult result);

private:
  /// One class of tiles of a product: `lanes` is what the last vector of a tile has of columns.
  struct TileShape {
    int64_t rows, vectors, lanes;
  };

  mlir::Value splat(mlir::Value scalar);
  mlir::Value load(mlir::Value from, int64_t lanes);
  void store(mlir::Value value, mlir::Value to, int64_t lanes);
  mlir::Value mask(int64_t lanes);
  void transposeBlock(int64_t rows, int64_t cols, Matrix from, mlir::Value bias, mlir::Value to);
  void tile(TileShape shape, int64_t k, TileLeft left, TileRight right, const TileResult &result,
            mlir::Value row, mlir::Value vector);

  mlir::OpBuilder &b;
  mlir::Location loc;
  HostCalls &host;
  mlir::Type element;
  mlir::VectorType vectorType;
  int64_t vectorBits;
};

} // namespace ns

#endif // NS_CONVERSION_RTTOLLVM_TILEPRODUCTS_H
