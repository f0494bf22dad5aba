//===- GemmEmitter.cpp - generated matrix products -------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GemmEmitter.h"
#include "GemmPack.h"
#include "HostCalls.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ns;

/// Rows of B in one pass: the panel, 48 columns of f32, takes at most 150 kB of L2.
static constexpr int64_t kMostDepth = 768;
/// Bytes of A that stay in L2 while the panels of B pass, and rows that a panel from L3 is worth.
static constexpr int64_t kBlockBytes = 640 << 10, kLeastBlockRows = 208;
/// With fewer rows threads share out the panels.
static constexpr int64_t kLeastRowsToShare = 96;

/// Rows of B in each pass but the last.
static int64_t depthOf(const GemmSpec &spec) {
  int64_t passes = llvm::divideCeil(spec.k, kMostDepth);
  return llvm::alignTo(llvm::divideCeil(spec.k, passes), 16);
}

LLVM::LLVMFuncOp GemmEmitter::declare(StringRef name, ArrayRef<Type> types) {
  OpBuilder b = OpBuilder::atBlockEnd(kernels.module.getBody());
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), types);
  auto function =
      LLVM::LLVMFuncOp::create(b, kernels.module.getLoc(), name, type, LLVM::Linkage::Internal);
  function.addEntryBlock(b);
  return functions[name] = function;
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

namespace ns {
/// Emits the loops over blocks of rows, passes over k and panels.
class GemmFunction {
public:
  GemmFunction(GemmEmitter &emitter, const GemmSpec &spec, LLVM::LLVMFuncOp function)
      : emitter(emitter), spec(spec), p(emitter.panels(spec.element, spec.n)), function(function),
        b(function.getContext()), loc(function.getLoc()), host(b, loc, Value()),
        args(function.getArguments()), elementBytes(spec.element.getIntOrFloatBitWidth() / 8) {
    b.setInsertionPointToStart(&function.getBody().front());
  }
  void emit();

private:
  Value add(Value x, Value y) { return arith::AddIOp::create(b, loc, x, y); }
  Value mul(Value x, int64_t y) { return arith::MulIOp::create(b, loc, x, host.i64(y)); }
  Value min(Value x, Value y) { return arith::MinSIOp::create(b, loc, x, y); }
  void forEach(Value from, Value to, llvm::function_ref<void(Value)> body);
  void pass(Value row, Value rows, Value from);
  void panel(Value j, bool last);
  Value packedAt(Value j, Value from, int64_t vectors);

  GemmEmitter &emitter;
  const GemmSpec &spec;
  GemmPanels p;
  LLVM::LLVMFuncOp function;
  OpBuilder b;
  Location loc;
  HostCalls host;
  Block::BlockArgListType args;
  int64_t elementBytes;
  Value row, rows, from, depth, beta, lines; // of the current pass
};
} // namespace ns

void GemmFunction::forEach(Value from, Value to, llvm::function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(b, loc, from, to, host.i64(1));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

/// Row `from` of packed panel j, which has `vectors` vectors.
Value GemmFunction::packedAt(Value j, Value from, int64_t vectors) {
  Value index = add(mul(j, spec.k * p.perPanel * p.lanes), mul(from, vectors * p.lanes));
  return host.offset(args[1], spec.element, index);
}

/// One panel of the current pass.
void GemmFunction::panel(Value j, bool last) {
  int64_t vectors = last ? p.lastVectors : p.perPanel;
  GemmStrides strides{spec.element, spec.transA ? 1 : spec.lda, spec.transA ? spec.lda : 1};
  Value a = host.offset(args[0], spec.element, add(mul(row, strides.row), mul(from, strides.k)));
  Value c =
      host.offset(args[2], spec.element, add(mul(row, spec.ldc), mul(j, p.perPanel * p.lanes)));
  Value next = last ? packedAt(args[6], add(from, depth), p.perPanel) // of the pass that follows
                    : packedAt(add(j, host.i64(1)), from, p.perPanel);
  LLVM::CallOp::create(b, loc, emitter.kernels.panel(strides, vectors),
                       ValueRange{a, packedAt(j, from, vectors), c, rows, depth, host.i64(spec.ldc),
                                  host.i64(last ? p.lastLanes : p.lanes), beta, next, lines});
}

/// All panels against rows [row, row + rows) and p from `from` on.
void GemmFunction::pass(Value row, Value rows, Value from) {
  this->row = row;
  this->rows = rows;
  this->from = from;
  int64_t most = depthOf(spec);
  depth = min(host.i64(most), arith::SubIOp::create(b, loc, host.i64(spec.k), from));
  beta = args[3];
  if (most < spec.k) {
    Value first = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, from, host.i64(0));
    beta = arith::SelectOp::create(b, loc, first, beta, host.number(spec.element, 1.0));
  }
  lines = mul(depth, p.perPanel * p.lanes * elementBytes / 64);
  Value lastPanel = host.i64(p.count - 1);
  forEach(args[6], min(args[7], lastPanel), [&](Value j) { panel(j, /*last=*/false); });
  Value isLast =
      arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, args[7], host.i64(p.count));
  auto branch = scf::IfOp::create(b, loc, isLast, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  panel(lastPanel, /*last=*/true);
}

void GemmFunction::emit() {
  Value begin = args[4], count = arith::SubIOp::create(b, loc, args[5], begin);
  int64_t depth = depthOf(spec);
  int64_t most = std::max(kLeastBlockRows, kBlockBytes / (std::min(depth, spec.k) * elementBytes));
  Value blocks = arith::DivUIOp::create(b, loc, add(count, host.i64(most - 1)), host.i64(most));
  forEach(host.i64(0), blocks, [&](Value block) {
    auto bound = [&](Value block) {
      return add(begin, arith::DivUIOp::create(b, loc, arith::MulIOp::create(b, loc, count, block),
                                               blocks));
    };
    Value first = bound(block);
    Value rows = arith::SubIOp::create(b, loc, bound(add(block, host.i64(1))), first);
    forEach(host.i64(0), host.i64(llvm::divideCeil(spec.k, depth)),
            [&](Value index) { pass(first, rows, mul(index, depth)); });
  });
  LLVM::ReturnOp::create(b, loc, ValueRange());
}

static std::string nameOf(const GemmSpec &spec) {
  return llvm::formatv("gemm_{0}x{1}_{2}{3}_{4}_{5}", spec.n, spec.k, spec.transA ? "t" : "n",
                       spec.lda, spec.ldc, spec.element);
}

LLVM::LLVMFuncOp GemmEmitter::function(const GemmSpec &spec) {
  std::string name = nameOf(spec);
  if (LLVM::LLVMFuncOp known = functions.lookup(name))
    return known;
  Type pointer = LLVM::LLVMPointerType::get(spec.element.getContext());
  Type i64 = IntegerType::get(spec.element.getContext(), 64);
  auto function = declare(name, {pointer, pointer, pointer, spec.element, i64, i64, i64, i64});
  GemmFunction(*this, spec, function).emit();
  return function;
}

/// Pointer i of a task's array.
static Value pointerAt(OpBuilder &b, Location loc, Value array, int32_t i) {
  Type pointer = array.getType();
  Value at = LLVM::GEPOp::create(b, loc, pointer, pointer, array, ArrayRef<LLVM::GEPArg>{i});
  return LLVM::LoadOp::create(b, loc, pointer, at);
}

int64_t GemmEmitter::taskCount(const GemmSpec &spec, int64_t rows) const {
  return rows < kLeastRowsToShare ? panels(spec.element, spec.n).count : rows;
}

LLVM::LLVMFuncOp GemmEmitter::task(const GemmSpec &spec, int64_t rows, bool accumulates) {
  bool byPanels = rows < kLeastRowsToShare;
  std::string name = llvm::formatv("{0}_task{1}{2}", nameOf(spec), accumulates ? "_accumulate" : "",
                                   byPanels ? "_" + std::to_string(rows) : std::string());
  if (LLVM::LLVMFuncOp known = functions.lookup(name))
    return known;
  LLVM::LLVMFuncOp callee = function(spec);
  OpBuilder b(spec.element.getContext());
  Type pointer = LLVM::LLVMPointerType::get(b.getContext()), i64 = b.getI64Type();
  auto task = declare(name, {pointer, i64, i64});
  Location loc = task.getLoc();
  b.setInsertionPointToStart(&task.getBody().front());
  HostCalls host(b, loc, Value());
  Value array = task.getArgument(0), begin = task.getArgument(1), end = task.getArgument(2);
  SmallVector<Value> operands;
  for (int32_t i = 0; i < 3; ++i)
    operands.push_back(pointerAt(b, loc, array, i));
  operands.push_back(
      accumulates
          ? LLVM::LoadOp::create(b, loc, spec.element, pointerAt(b, loc, array, 3)).getResult()
          : host.number(spec.element, 0.0));
  if (byPanels)
    operands.append({host.i64(0), host.i64(rows), begin, end});
  else
    operands.append({begin, end, host.i64(0), host.i64(panels(spec.element, spec.n).count)});
  LLVM::CallOp::create(b, loc, callee, operands);
  LLVM::ReturnOp::create(b, loc, ValueRange());
  return task;
}

//===----------------------------------------------------------------------===//
// Packing
//===----------------------------------------------------------------------===//

static std::string nameOf(const GemmSource &source) {
  if (source.packed)
    return llvm::formatv("gemm_pack_{0}x{1}_p_{2}", source.n, source.k, source.element);
  return llvm::formatv("gemm_pack_{0}x{1}_{2}{3}_{4}", source.n, source.k,
                       source.transposed ? "t" : "n", source.ld, source.element);
}

/// `void(ptr b, ptr packed, i64 k)`: k rows of one panel.
LLVM::LLVMFuncOp GemmEmitter::packPanel(const GemmSource &source, int64_t vectors,
                                        int64_t lastLanes) {
  std::string name = llvm::formatv("gemm_pack_panel_{0}_{1}_{2}{3}_{4}", vectors, lastLanes,
                                   source.transposed ? "t" : "n", source.ld, source.element);
  if (LLVM::LLVMFuncOp known = functions.lookup(name))
    return known;
  OpBuilder b(source.element.getContext());
  Type pointer = LLVM::LLVMPointerType::get(b.getContext());
  auto function = declare(name, {pointer, pointer, b.getI64Type()});
  function.setNoInline(true);
  b.setInsertionPointToStart(&function.getBody().front());
  emitPackPanel(b, function.getLoc(),
                {source.element, source.transposed, source.ld, kernels.lanes(source.element),
                 vectors, lastLanes},
                function.getArguments());
  LLVM::ReturnOp::create(b, function.getLoc(), ValueRange());
  return function;
}

/// Panel j of B, out of the panels of its transpose: columns p of one of those are as many rows of
/// this one, and its rows are columns.
void GemmEmitter::packFromPanels(OpBuilder &b, Location loc, const GemmSource &source, Value from,
                                 Value to, Value j, int64_t vectors, int64_t lastLanes) {
  GemmPanels inner = panels(source.element, source.k), outer = panels(source.element, source.n);
  HostCalls host(b, loc, Value());
  auto scaled = [&](Value index, int64_t scale) -> Value {
    return arith::MulIOp::create(b, loc, index, host.i64(scale));
  };
  auto copy = [&](Value s, int64_t width, int64_t rows) {
    Value first = arith::AddIOp::create(b, loc, scaled(s, inner.perPanel * inner.lanes * source.n),
                                        scaled(j, outer.perPanel * outer.lanes * width));
    Value row = scaled(s, inner.perPanel * inner.lanes * vectors * outer.lanes);
    GemmSource panel{source.element, source.n, rows, /*transposed=*/true, width};
    LLVM::CallOp::create(b, loc, packPanel(panel, vectors, lastLanes),
                         ValueRange{host.offset(from, source.element, first),
                                    host.offset(to, source.element, row), host.i64(rows)});
  };
  int64_t whole = inner.perPanel * inner.lanes;
  auto loop = scf::ForOp::create(b, loc, host.i64(0), host.i64(inner.count - 1), host.i64(1));
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    copy(loop.getInductionVar(), whole, whole);
  }
  copy(host.i64(inner.count - 1), inner.lastVectors * inner.lanes,
       source.k - (inner.count - 1) * whole);
}

LLVM::LLVMFuncOp GemmEmitter::pack(const GemmSource &source) {
  std::string name = nameOf(source);
  if (LLVM::LLVMFuncOp known = functions.lookup(name))
    return known;
  GemmPanels p = panels(source.element, source.n);
  OpBuilder b(source.element.getContext());
  Type pointer = LLVM::LLVMPointerType::get(b.getContext()), i64 = b.getI64Type();
  auto function = declare(name, {pointer, pointer, i64, i64});
  b.setInsertionPointToStart(&function.getBody().front());
  Location loc = function.getLoc();
  HostCalls host(b, loc, Value());
  auto args = function.getArguments();
  int64_t columns = p.perPanel * p.lanes;
  auto panel = [&](Value j, int64_t vectors, int64_t lastLanes) {
    auto start = [&](Value base, int64_t pitch) {
      return host.offset(base, source.element,
                         arith::MulIOp::create(b, loc, j, host.i64(columns * pitch)));
    };
    if (source.packed)
      packFromPanels(b, loc, source, args[0], start(args[1], source.k), j, vectors, lastLanes);
    else
      LLVM::CallOp::create(b, loc, packPanel(source, vectors, lastLanes),
                           ValueRange{start(args[0], source.transposed ? source.ld : 1),
                                      start(args[1], source.k), host.i64(source.k)});
  };
  Value lastPanel = host.i64(p.count - 1);
  auto loop = scf::ForOp::create(b, loc, args[2],
                                 arith::MinSIOp::create(b, loc, args[3], lastPanel), host.i64(1));
  Value isLast =
      arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, args[3], host.i64(p.count));
  auto branch = scf::IfOp::create(b, loc, isLast, /*withElseRegion=*/false);
  LLVM::ReturnOp::create(b, loc, ValueRange());
  b.setInsertionPointToStart(loop.getBody());
  panel(loop.getInductionVar(), p.perPanel, p.lanes);
  b.setInsertionPointToStart(branch.thenBlock());
  panel(lastPanel, p.lastVectors, p.lastLanes);
  return function;
}

LLVM::LLVMFuncOp GemmEmitter::packTask(const GemmSource &source) {
  std::string name = nameOf(source) + "_task";
  if (LLVM::LLVMFuncOp known = functions.lookup(name))
    return known;
  LLVM::LLVMFuncOp callee = pack(source);
  OpBuilder b(source.element.getContext());
  Type pointer = LLVM::LLVMPointerType::get(b.getContext()), i64 = b.getI64Type();
  auto task = declare(name, {pointer, i64, i64});
  b.setInsertionPointToStart(&task.getBody().front());
  Location loc = task.getLoc();
  Value array = task.getArgument(0);
  LLVM::CallOp::create(b, loc, callee,
                       ValueRange{pointerAt(b, loc, array, 0), pointerAt(b, loc, array, 1),
                                  task.getArgument(1), task.getArgument(2)});
  LLVM::ReturnOp::create(b, loc, ValueRange());
  return task;
}
