//===- TileProducts.cpp - products of small matrices inside a task -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TileProducts.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace ns;

static constexpr int64_t kLineBytes = 64;

TileProducts::TileProducts(OpBuilder &b, Location loc, HostCalls &host, Type element,
                           int64_t vectorBits)
    : b(b), loc(loc), host(host), element(element),
      vectorType(VectorType::get({vectorBits / element.getIntOrFloatBitWidth()}, element)),
      vectorBits(vectorBits) {}

void TileProducts::loop(int64_t count, llvm::function_ref<void(Value)> body) {
  if (count == 1)
    return body(host.i64(0));
  auto loop = scf::ForOp::create(b, loc, host.i64(0), host.i64(count), host.i64(1));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

Value TileProducts::add(Value index, int64_t value) {
  return value == 0 ? index : arith::AddIOp::create(b, loc, index, host.i64(value)).getResult();
}

Value TileProducts::mul(Value index, int64_t value) {
  return arith::MulIOp::create(b, loc, index, host.i64(value));
}

Value TileProducts::at(Matrix matrix, Value row, Value column) {
  Value index = mul(row, matrix.ld);
  if (column)
    index = arith::AddIOp::create(b, loc, index, column);
  return host.offset(matrix.pointer, element, index);
}

//===----------------------------------------------------------------------===//
// Vectors
//===----------------------------------------------------------------------===//

Value TileProducts::splat(Value scalar) {
  return vector::BroadcastOp::create(b, loc, vectorType, scalar);
}

Value TileProducts::mask(int64_t lanes) {
  SmallVector<bool> bits(width(), false);
  std::fill_n(bits.begin(), lanes, true);
  return arith::ConstantOp::create(
      b, loc, DenseElementsAttr::get(VectorType::get({width()}, b.getI1Type()), bits));
}

/// The first `lanes` elements; the other lanes are 0.
Value TileProducts::load(Value from, int64_t lanes) {
  unsigned alignment = element.getIntOrFloatBitWidth() / 8;
  if (lanes == width())
    return LLVM::LoadOp::create(b, loc, vectorType, from, alignment);
  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(vectorType));
  return LLVM::MaskedLoadOp::create(b, loc, vectorType, from, mask(lanes), zero, alignment);
}

void TileProducts::store(Value value, Value to, int64_t lanes) {
  unsigned alignment = element.getIntOrFloatBitWidth() / 8;
  if (lanes == width())
    LLVM::StoreOp::create(b, loc, value, to, alignment);
  else
    LLVM::MaskedStoreOp::create(b, loc, value, to, mask(lanes), alignment);
}

//===----------------------------------------------------------------------===//
// Copies
//===----------------------------------------------------------------------===//

void TileProducts::copy(int64_t rows, int64_t cols, Matrix from, Value bias, double scale,
                        Matrix to) {
  SmallVector<Value> added;
  for (int64_t c = 0; bias && c < cols; c += width())
    added.push_back(load(host.offset(bias, element, host.i64(c)), std::min(width(), cols - c)));
  loop(rows, [&](Value row) {
    for (int64_t c = 0; c < cols; c += width()) {
      Value x = load(at(from, row, host.i64(c)), std::min(width(), cols - c));
      if (bias)
        x = arith::AddFOp::create(b, loc, x, added[c / width()]);
      if (scale != 1.0)
        x = arith::MulFOp::create(b, loc, x, splat(host.number(element, scale)));
      store(x, at(to, row, host.i64(c)), width());
    }
  });
}

void TileProducts::transpose(int64_t rows, int64_t cols, Matrix from, Value bias, Value panels) {
  Matrix to{panels, cols * width()};
  auto panel = [&](Value index, int64_t panelRows) {
    Matrix source{at({from.pointer, from.ld * width()}, index), from.ld};
    Value start = at(to, index);
    auto block = [&](Value column, int64_t blockCols) {
      Matrix block{host.offset(source.pointer, element, column), source.ld};
      Value blockBias = bias ? host.offset(bias, element, column) : Value();
      transposeBlock(panelRows, blockCols, block, blockBias, at({start, width()}, column));
    };
    if (cols >= width())
      loop(cols / width(), [&](Value i) { block(mul(i, width()), width()); });
    if (cols % width() != 0)
      block(host.i64(cols / width() * width()), cols % width());
  };
  if (rows >= width())
    loop(rows / width(), [&](Value i) { panel(i, width()); });
  if (rows % width() != 0)
    panel(host.i64(rows / width()), rows % width());
}

/// At most width() rows and columns: pairs of rows change halves, in steps of 1, 2, 4 and so on.
void TileProducts::transposeBlock(int64_t rows, int64_t cols, Matrix from, Value bias, Value to) {
  SmallVector<Value> lines(width(), arith::ConstantOp::create(b, loc, b.getZeroAttr(vectorType)));
  Value added = bias ? load(bias, cols) : Value();
  for (int64_t i = 0; i < rows; ++i) {
    lines[i] = load(at(from, host.i64(i)), cols);
    if (added)
      lines[i] = arith::AddFOp::create(b, loc, lines[i], added);
  }
  for (int64_t step = 1; step < width(); step *= 2) {
    SmallVector<int64_t> low, high; // lanes of the second operand count from width() on
    for (int64_t lane = 0; lane < width(); ++lane) {
      bool upper = lane & step;
      low.push_back(upper ? width() + lane - step : lane);
      high.push_back(upper ? width() + lane : lane + step);
    }
    for (int64_t i = 0; i < width(); ++i) {
      if (i & step)
        continue;
      Value first = lines[i], second = lines[i + step];
      lines[i] = vector::ShuffleOp::create(b, loc, first, second, low);
      lines[i + step] = vector::ShuffleOp::create(b, loc, first, second, high);
    }
  }
  for (int64_t c = 0; c < cols; ++c)
    store(lines[c], at({to, width()}, host.i64(c)), width());
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

void TileProducts::product(int64_t rows, int64_t cols, int64_t k, TileLeft left, TileRight right,
                           TileResult result) {
  int64_t vectors = llvm::divideCeil(cols, width());
  auto column = [&](Value first, int64_t count, int64_t lanes) {
    for (Pieces piece : splitEvenly(rows, maxTileRows(count, vectorBits)))
      loop(piece.count, [&](Value i) {
        tile({piece.size, count, lanes}, k, left, right, result,
             add(mul(i, piece.size), piece.first), first);
      });
  };
  // Columns outside: what a tile reads of the right operand stays near for the next rows.
  for (Pieces piece : splitEvenly(vectors, kMaxTileVectors)) {
    bool last = piece.first + piece.count * piece.size == vectors;
    bool partial = last && cols % width() != 0 && !result.padded;
    if (int64_t whole = piece.count - partial)
      loop(whole,
           [&](Value i) { column(add(mul(i, piece.size), piece.first), piece.size, width()); });
    if (partial)
      column(host.i64(vectors - piece.size), piece.size, cols % width());
  }
}

void TileProducts::tile(TileShape shape, int64_t k, TileLeft left, TileRight right,
                        const TileResult &result, Value row, Value vector) {
  left.pointer = host.offset(left.pointer, element, mul(row, left.rowStride));
  right.pointer = host.offset(right.pointer, element, mul(vector, right.vectorStride));
  Value to = at(result.to, row, mul(vector, width()));
  int64_t perLine = kLineBytes * 8 / element.getIntOrFloatBitWidth();
  for (int64_t i = 0; result.distant && i < shape.rows; ++i)
    for (int64_t column = 0; column < shape.vectors * width(); column += perLine)
      LLVM::Prefetch::create(b, loc, host.offset(to, element, host.i64(i * result.to.ld + column)),
                             /*rw=*/1u, /*hint=*/3u, /*cache=*/1u);
  SmallVector<Value> sums =
      emitRegisterTile(b, loc, vectorType, shape.rows, shape.vectors, k, left, right);
  for (int64_t i = 0; i < shape.rows; ++i) {
    Value factor;
    if (result.factors)
      factor = splat(
          LLVM::LoadOp::create(b, loc, element, host.offset(result.factors, element, add(row, i))));
    else if (result.scale != 1.0)
      factor = splat(host.number(element, result.scale));
    for (int64_t j = 0; j < shape.vectors; ++j) {
      Value sum = sums[i * shape.vectors + j];
      if (factor)
        sum = arith::MulFOp::create(b, loc, sum, factor);
      store(sum, host.offset(to, element, host.i64(i * result.to.ld + j * width())),
            j + 1 < shape.vectors ? width() : shape.lanes);
    }
  }
}
