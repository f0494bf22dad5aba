//===- GemmPack.cpp - panels of the right operand --------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GemmPack.h"
#include "HostCalls.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace ns;

namespace {
class PackEmitter {
public:
  PackEmitter(OpBuilder &b, Location loc, const GemmPanelPack &pack, ValueRange arguments)
      : b(b), loc(loc), host(b, loc, Value()), pack(pack), from(arguments[0]), to(arguments[1]),
        k(arguments[2]), vectorType(VectorType::get({pack.lanes}, pack.element)),
        bytes(pack.element.getIntOrFloatBitWidth() / 8) {}
  void copy();
  void transpose();

private:
  Value at(Value pointer, Value index, int64_t scale, int64_t constant);
  Value load(Value pointer, int64_t lanes);
  void transposeBlock(Value p, int64_t vector);
  void forEach(Value begin, Value end, int64_t step, llvm::function_ref<void(Value)> body);
  int64_t lanesOf(int64_t vector) {
    return vector + 1 == pack.vectors ? pack.lastLanes : pack.lanes;
  }

  OpBuilder &b;
  Location loc;
  HostCalls host;
  const GemmPanelPack &pack;
  Value from, to, k;
  VectorType vectorType;
  unsigned bytes;
};
} // namespace

/// pointer + index * scale + constant, in elements.
Value PackEmitter::at(Value pointer, Value index, int64_t scale, int64_t constant) {
  Value offset = arith::AddIOp::create(
      b, loc, arith::MulIOp::create(b, loc, index, host.i64(scale)), host.i64(constant));
  return host.offset(pointer, pack.element, offset);
}

void PackEmitter::forEach(Value begin, Value end, int64_t step,
                          llvm::function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(b, loc, begin, end, host.i64(step));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

/// The first `lanes` elements; the rest 0.
Value PackEmitter::load(Value pointer, int64_t lanes) {
  if (lanes == pack.lanes)
    return LLVM::LoadOp::create(b, loc, vectorType, pointer, bytes);
  SmallVector<bool> bits(pack.lanes, false);
  std::fill_n(bits.begin(), lanes, true);
  Value mask = arith::ConstantOp::create(
      b, loc, DenseElementsAttr::get(VectorType::get({pack.lanes}, b.getI1Type()), bits));
  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(vectorType));
  return LLVM::MaskedLoadOp::create(b, loc, vectorType, pointer, mask, zero, bytes);
}

void PackEmitter::copy() {
  forEach(host.i64(0), k, 1, [&](Value p) {
    for (int64_t v = 0; v < pack.vectors; ++v) {
      Value row = load(at(from, p, pack.pitch, v * pack.lanes), lanesOf(v));
      LLVM::StoreOp::create(b, loc, row, at(to, p, pack.vectors * pack.lanes, v * pack.lanes),
                            bytes);
    }
  });
}

/// Rows [p, p + lanes) of one vector of columns: loads along p, exchanges halves, quarters, ...
void PackEmitter::transposeBlock(Value p, int64_t vector) {
  SmallVector<Value> rows;
  for (int64_t lane = 0; lane < pack.lanes; ++lane) {
    // Past the last column its neighbour is read again: any value will do.
    int64_t column = std::min(lane, lanesOf(vector) - 1) + vector * pack.lanes;
    rows.push_back(load(at(from, p, 1, column * pack.pitch), pack.lanes));
  }
  for (int64_t distance = 1; distance < pack.lanes; distance *= 2)
    for (int64_t i = 0; i < pack.lanes; ++i) {
      if (i & distance)
        continue;
      SmallVector<int64_t> low, high; // lanes of row i, then those of its partner
      for (int64_t lane = 0; lane < pack.lanes; ++lane) {
        low.push_back(lane & distance ? lane - distance + pack.lanes : lane);
        high.push_back(lane & distance ? lane + pack.lanes : lane + distance);
      }
      Value x = rows[i], y = rows[i + distance];
      rows[i] = vector::ShuffleOp::create(b, loc, x, y, low);
      rows[i + distance] = vector::ShuffleOp::create(b, loc, x, y, high);
    }
  for (int64_t lane = 0; lane < pack.lanes; ++lane)
    LLVM::StoreOp::create(
        b, loc, rows[lane],
        at(to, p, pack.vectors * pack.lanes, (lane * pack.vectors + vector) * pack.lanes), bytes);
}

void PackEmitter::transpose() {
  Value whole = arith::AndIOp::create(b, loc, k, host.i64(-pack.lanes));
  forEach(host.i64(0), whole, pack.lanes, [&](Value p) {
    for (int64_t v = 0; v < pack.vectors; ++v)
      transposeBlock(p, v);
  });
  int64_t columns = (pack.vectors - 1) * pack.lanes + pack.lastLanes;
  forEach(whole, k, 1, [&](Value p) {
    forEach(host.i64(0), host.i64(columns), 1, [&](Value column) {
      Value index = arith::AddIOp::create(
          b, loc, arith::MulIOp::create(b, loc, column, host.i64(pack.pitch)), p);
      Value x = LLVM::LoadOp::create(b, loc, pack.element, host.offset(from, pack.element, index));
      Value place = arith::AddIOp::create(
          b, loc, arith::MulIOp::create(b, loc, p, host.i64(pack.vectors * pack.lanes)), column);
      LLVM::StoreOp::create(b, loc, x, host.offset(to, pack.element, place));
    });
  });
}

void ns::emitPackPanel(OpBuilder &b, Location loc, const GemmPanelPack &pack,
                       ValueRange arguments) {
  PackEmitter emitter(b, loc, pack, arguments);
  if (pack.transposed)
    emitter.transpose();
  else
    emitter.copy();
}
