//===- GemmKernel.cpp - micro-kernels of matrix products -------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GemmKernel.h"
#include "HostCalls.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

#include <numeric>

using namespace mlir;
using namespace ns;

/// Steps of p in one round of the loop; one line of the next panel is fetched in each round.
static constexpr int64_t kUnroll = 4;
static constexpr int64_t kLineBytes = 64;

int64_t GemmKernels::lanes(Type element) const {
  return vectorBits / element.getIntOrFloatBitWidth();
}

GemmPanels GemmKernels::panels(Type element, int64_t columns) const {
  GemmPanels result;
  result.lanes = lanes(element);
  result.perPanel = vectorBits == 512 ? 3 : 2;
  int64_t vectors = llvm::divideCeil(columns, result.lanes);
  // One vector alone would leave the multipliers waiting: it joins the panel before it.
  result.count = llvm::divideCeil(vectors, result.perPanel);
  if (vectors % result.perPanel == 1 && result.count > 1)
    --result.count;
  result.lastVectors = vectors - (result.count - 1) * result.perPanel;
  result.lastLanes = columns - (vectors - 1) * result.lanes;
  return result;
}

/// The most rows whose sums, one row of B and one element of A fit the registers: 32 of 512 bits,
/// 16 of 256. Nine rows of three vectors would fit too, but leave the scheduler nothing.
int64_t GemmKernels::maxRows(int64_t vectors) const {
  if (vectorBits == 512)
    return vectors == 4 ? 6 : vectors == 3 ? 8 : vectors == 2 ? 13 : 14;
  return vectors == 3 ? 4 : vectors == 2 ? 6 : 8;
}

LLVM::LLVMFuncOp GemmKernels::declare(StringRef name, ArrayRef<Type> types) {
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), types);
  auto function = LLVM::LLVMFuncOp::create(b, module.getLoc(), name, type, LLVM::Linkage::Internal);
  function.setNoInline(true);
  function.addEntryBlock(b);
  return function;
}

namespace {

/// Emits the body of one tile: rows x vectors sums in registers.
class GemmTileEmitter {
public:
  GemmTileEmitter(OpBuilder &b, Location loc, const GemmStrides &strides, int64_t rows,
                  int64_t vectors, int64_t lanes)
      : b(b), loc(loc), host(b, loc, Value()), strides(strides), rows(rows), vectors(vectors),
        lanes(lanes), element(strides.element), vectorType(VectorType::get({lanes}, element)) {}

  /// Arguments: a, b, c, k, ldc, lanes, beta, next, bytes from a fetched line to the next.
  void emit(ValueRange arguments);

private:
  Value splat(Value v) { return vector::BroadcastOp::create(b, loc, vectorType, v); }
  Value at(Value pointer, Value index, int64_t constant);
  void prefetch(Value address, bool write, int32_t locality) {
    LLVM::Prefetch::create(b, loc, address, unsigned(write), unsigned(locality), 1u);
  }
  void step(Value a, Value panel, Value p, int64_t ahead, MutableArrayRef<Value> sums);
  SmallVector<Value> loop(Value from, Value to, int64_t unroll, Value a, Value panel, Value next,
                          Value stride, ValueRange sums);
  void store(ArrayRef<Value> sums, ArrayRef<Value> rowsOfC, Value mask, Value beta);
  Value masked(Value count);

  OpBuilder &b;
  Location loc;
  HostCalls host;
  const GemmStrides &strides;
  int64_t rows, vectors, lanes;
  Type element;
  VectorType vectorType;
};

} // namespace

/// pointer + index + constant, in elements.
Value GemmTileEmitter::at(Value pointer, Value index, int64_t constant) {
  if (index)
    pointer = host.offset(pointer, element, index);
  if (constant == 0)
    return pointer;
  return LLVM::GEPOp::create(b, loc, pointer.getType(), element, pointer,
                             ArrayRef<LLVM::GEPArg>{int32_t(constant)});
}

/// sums += op(A)(:, p + ahead) B(p + ahead, :).
void GemmTileEmitter::step(Value a, Value panel, Value p, int64_t ahead,
                           MutableArrayRef<Value> sums) {
  Value inA = arith::MulIOp::create(b, loc, p, host.i64(strides.k));
  Value inB = arith::MulIOp::create(b, loc, p, host.i64(vectors * lanes));
  SmallVector<Value> row;
  for (int64_t v = 0; v < vectors; ++v)
    row.push_back(LLVM::LoadOp::create(b, loc, vectorType,
                                       at(panel, inB, (ahead * vectors + v) * lanes),
                                       element.getIntOrFloatBitWidth() / 8));
  for (int64_t i = 0; i < rows; ++i) {
    Value x = splat(
        LLVM::LoadOp::create(b, loc, element, at(a, inA, i * strides.row + ahead * strides.k)));
    for (int64_t v = 0; v < vectors; ++v) {
      Value &sum = sums[i * vectors + v];
      sum = math::FmaOp::create(b, loc, x, row[v], sum);
    }
  }
}

SmallVector<Value> GemmTileEmitter::loop(Value from, Value to, int64_t unroll, Value a, Value panel,
                                         Value next, Value stride, ValueRange sums) {
  SmallVector<Value> init(sums);
  if (stride)
    init.push_back(next);
  auto loop = scf::ForOp::create(b, loc, from, to, host.i64(unroll), init);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  SmallVector<Value> carried(loop.getRegionIterArgs());
  if (stride) {
    prefetch(carried.back(), /*write=*/false, /*locality=*/2);
    carried.back() = host.offset(carried.back(), b.getI8Type(), stride);
  }
  for (int64_t ahead = 0; ahead < unroll; ++ahead)
    step(a, panel, loop.getInductionVar(), ahead, MutableArrayRef(carried).take_front(sums.size()));
  scf::YieldOp::create(b, loc, carried);
  return SmallVector<Value>(loop.getResults().take_front(sums.size()));
}

/// The first `count` lanes.
Value GemmTileEmitter::masked(Value count) {
  SmallVector<int32_t> numbers(lanes);
  std::iota(numbers.begin(), numbers.end(), 0);
  auto type = VectorType::get({lanes}, b.getI32Type());
  Value lane =
      arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, ArrayRef<int32_t>(numbers)));
  Value bound = vector::BroadcastOp::create(b, loc, type,
                                            arith::TruncIOp::create(b, loc, b.getI32Type(), count));
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::slt, lane, bound);
}

/// C = sums + beta C; C = sums where beta is null.
void GemmTileEmitter::store(ArrayRef<Value> sums, ArrayRef<Value> rowsOfC, Value mask, Value beta) {
  unsigned bytes = element.getIntOrFloatBitWidth() / 8;
  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(vectorType));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t v = 0; v < vectors; ++v) {
      Value to = at(rowsOfC[i], Value(), v * lanes), sum = sums[i * vectors + v];
      bool last = v + 1 == vectors;
      if (beta) {
        Value old =
            last ? LLVM::MaskedLoadOp::create(b, loc, vectorType, to, mask, zero, bytes).getResult()
                 : LLVM::LoadOp::create(b, loc, vectorType, to, bytes).getResult();
        sum = math::FmaOp::create(b, loc, beta, old, sum);
      }
      if (last)
        LLVM::MaskedStoreOp::create(b, loc, sum, to, mask, bytes);
      else
        LLVM::StoreOp::create(b, loc, sum, to, bytes);
    }
}

void GemmTileEmitter::emit(ValueRange arguments) {
  Value a = arguments[0], panel = arguments[1], c = arguments[2], k = arguments[3],
        ldc = arguments[4], beta = arguments[6];
  SmallVector<Value> rowsOfC = {c};
  for (int64_t i = 1; i < rows; ++i)
    rowsOfC.push_back(host.offset(rowsOfC.back(), element, ldc));
  int64_t perLine = kLineBytes * 8 / element.getIntOrFloatBitWidth();
  for (Value row : rowsOfC) // the stores come when the sums are there
    for (int64_t column = 0; column < vectors * lanes; column += perLine)
      prefetch(at(row, Value(), column), /*write=*/true, /*locality=*/3);
  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(vectorType));
  SmallVector<Value> sums(rows * vectors, zero);
  Value whole = arith::AndIOp::create(b, loc, k, host.i64(-kUnroll));
  sums = loop(host.i64(0), whole, kUnroll, a, panel, arguments[7], arguments[8], sums);
  sums = loop(whole, k, 1, a, panel, Value(), Value(), sums);
  Value mask = masked(arguments[5]);
  Value fresh =
      arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OEQ, beta, host.number(element, 0.0));
  auto branch = scf::IfOp::create(b, loc, fresh, /*withElseRegion=*/true);
  b.setInsertionPointToStart(branch.thenBlock());
  store(sums, rowsOfC, mask, Value());
  b.setInsertionPointToStart(branch.elseBlock());
  store(sums, rowsOfC, mask, splat(beta));
  b.setInsertionPointAfter(branch);
}

LLVM::LLVMFuncOp GemmKernels::tile(const GemmStrides &strides, int64_t rows, int64_t vectors) {
  std::string name = llvm::formatv("gemm_tile_{0}x{1}_{2}_{3}_{4}", rows, vectors, strides.row,
                                   strides.k, strides.element);
  LLVM::LLVMFuncOp &known = functions[name];
  if (known)
    return known;
  OpBuilder b(module.getContext());
  Type pointer = LLVM::LLVMPointerType::get(b.getContext()), i64 = b.getI64Type();
  Type element = strides.element;
  known = declare(name, {pointer, pointer, pointer, i64, i64, i64, element, pointer, i64});
  b.setInsertionPointToStart(&known.getBody().front());
  GemmTileEmitter(b, known.getLoc(), strides, rows, vectors, lanes(element))
      .emit(known.getArguments());
  LLVM::ReturnOp::create(b, known.getLoc(), ValueRange());
  return known;
}

LLVM::LLVMFuncOp GemmKernels::panel(const GemmStrides &strides, int64_t vectors) {
  std::string name =
      llvm::formatv("gemm_panel_{0}_{1}_{2}_{3}", vectors, strides.row, strides.k, strides.element);
  if (LLVM::LLVMFuncOp known = functions.lookup(name))
    return known;
  SmallVector<LLVM::LLVMFuncOp> tiles; // of 1, 2, ... rows
  int64_t most = maxRows(vectors);
  for (int64_t rows = 1; rows <= most; ++rows)
    tiles.push_back(tile(strides, rows, vectors));
  OpBuilder b(module.getContext());
  Location loc = module.getLoc();
  Type pointer = LLVM::LLVMPointerType::get(b.getContext()), i64 = b.getI64Type();
  Type element = strides.element;
  LLVM::LLVMFuncOp function =
      declare(name, {pointer, pointer, pointer, i64, i64, i64, i64, element, pointer, i64});
  b.setInsertionPointToStart(&function.getBody().front());
  HostCalls host(b, loc, Value());
  auto args = function.getArguments();
  Value count = args[3], k = args[4], ldc = args[5];
  // Tiles of nearly equal height: no lonely last row.
  Value numTiles = arith::DivUIOp::create(
      b, loc, arith::AddIOp::create(b, loc, count, host.i64(most - 1)), host.i64(most));
  Value perRound = arith::ShRUIOp::create(b, loc, k, host.i64(llvm::Log2_64(kUnroll)));
  auto loop = scf::ForOp::create(b, loc, host.i64(0), numTiles, host.i64(1),
                                 ValueRange{host.i64(0), args[8], args[9]});
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    Value row = loop.getRegionIterArg(0), next = loop.getRegionIterArg(1),
          lines = loop.getRegionIterArg(2);
    // Rows row ... up to count (t + 1) / numTiles.
    Value end = arith::DivUIOp::create(
        b, loc,
        arith::MulIOp::create(b, loc, count,
                              arith::AddIOp::create(b, loc, loop.getInductionVar(), host.i64(1))),
        numTiles);
    Value height = arith::SubIOp::create(b, loc, end, row);
    Value more = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::sgt, lines, host.i64(0));
    Value stride = arith::SelectOp::create(b, loc, more, host.i64(kLineBytes), host.i64(0));
    Value a =
        host.offset(args[0], element, arith::MulIOp::create(b, loc, row, host.i64(strides.row)));
    Value c = host.offset(args[2], element, arith::MulIOp::create(b, loc, row, ldc));
    SmallVector<Value> operands = {a, args[1], c, k, ldc, args[6], args[7], next, stride};
    for (int64_t rows = most; rows >= 1; --rows) { // the first two are the usual ones
      Value fits = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, height, host.i64(rows));
      auto branch = scf::IfOp::create(b, loc, fits, /*withElseRegion=*/false);
      OpBuilder inner = branch.getThenBodyBuilder();
      LLVM::CallOp::create(inner, loc, tiles[rows - 1], operands);
    }
    Value fetched = arith::MulIOp::create(b, loc, perRound, stride);
    scf::YieldOp::create(b, loc,
                         ValueRange{end, host.offset(next, b.getI8Type(), fetched),
                                    arith::SubIOp::create(b, loc, lines, perRound)});
  }
  LLVM::ReturnOp::create(b, loc, ValueRange());
  functions[name] = function;
  return function;
}
