//===- TileEmitter.cpp - the task of one rt.tiles -------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TileEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace ns;
using rt::typeOf;

//===----------------------------------------------------------------------===//
// Places
//===----------------------------------------------------------------------===//

Value TileEmitter::outerPlaceOf(Value value) {
  if (value.getParentBlock() != &op.getBody().front())
    return value;
  Value owner = rt::storageOf(value);
  if (owner.getParentBlock() != &op.getBody().front())
    return owner;
  auto yield = op.getBody().front().getTerminator();
  for (auto [yielded, result] : llvm::zip(yield->getOperands(), op.getResults()))
    if (rt::storageOf(yielded) == owner)
      return result;
  return {};
}

Place TileEmitter::placeOf(Value value) {
  if (Value outer = outerPlaceOf(value))
    return outerPlaces.lookup(outer);
  auto owner = cast<OpResult>(rt::storageOf(value));
  auto offsets = owner.getOwner()->getAttrOfType<DenseI64ArrayAttr>(rt::RTDialect::kOffsetsAttr);
  return {Place::kScratch, offsets[owner.getResultNumber()]};
}

/// Values of the arena whose pointers the members need.
void TileEmitter::collectOuter() {
  outerValues.clear();
  for (Operation &member : op.getBody().front().without_terminator()) {
    if (isa<rt::ViewOp>(member))
      continue;
    for (Value value : member.getOperands())
      if (Value outer = outerPlaceOf(value))
        outerValues.insert(outer);
    for (Value value : member.getResults())
      if (Value outer = outerPlaceOf(value))
        outerValues.insert(outer);
  }
}

Value TileEmitter::scaled(Value unit, int64_t count) {
  return arith::MulIOp::create(*b, op.getLoc(), unit, host->i64(count));
}

Value TileEmitter::pointer(Value value, bool moved) {
  int64_t unitBytes = rt::byteSize(typeOf(value)) / int64_t(op.getUnits());
  Value base;
  bool fromBlock = false; // where `base` points to: the block, or unit 0
  if (Value outer = outerPlaceOf(value)) {
    auto at = llvm::find(outerValues, outer);
    base = outerPointers[at - outerValues.begin()];
  } else {
    base = host->bytes(scratch, placeOf(value).offset);
    fromBlock = true;
  }
  if (fromBlock == moved)
    return base;
  return host->offset(base, b->getI8Type(), scaled(lo, moved ? unitBytes : -unitBytes));
}

//===----------------------------------------------------------------------===//
// Members
//===----------------------------------------------------------------------===//

void TileEmitter::emitGemm(rt::GemmOp gemm) {
  Type element = typeOf(gemm.getResult()).getElementType();
  int64_t n = gemm.getMnk()[1], k = gemm.getMnk()[2];
  int64_t rows = gemm.getMnk()[0] / int64_t(op.getUnits());
  Value beta = gemm.getAccumulate()
                   ? LLVM::LoadOp::create(*b, gemm.getLoc(), element, pointer(gemm.getAccumulate()))
                         .getResult()
                   : host->number(element, 0.0);
  if (gemm.getPacked()) {
    GemmSpec spec{element, n, k, /*transA=*/false, /*lda=*/k, /*ldc=*/n};
    LLVM::CallOp::create(*b, gemm.getLoc(), gemms.function(spec),
                         {pointer(gemm.getA()), pointer(gemm.getB()), pointer(gemm.getResult()),
                          beta, scaled(lo, rows), scaled(hi, rows), host->i64(0),
                          host->i64(gemms.panels(element, n).count)});
    return;
  }
  Value count = arith::SubIOp::create(*b, gemm.getLoc(), hi, lo);
  host->gemm(typeOf(gemm.getA()).getElementType(), false, gemm.getTransB(), scaled(count, rows), n,
             k, host->number(element, 1.0), pointer(gemm.getA(), /*moved=*/true), k,
             pointer(gemm.getB()), gemm.getTransB() ? k : n, beta,
             pointer(gemm.getResult(), /*moved=*/true), n);
}

void TileEmitter::emitFused(rt::FusedOp fused) {
  auto bytes = [&](Value value) {
    int64_t whole = rt::byteSize(typeOf(value));
    return outerPlaceOf(value) ? whole : whole / int64_t(op.getUnits()) * int64_t(op.getHeight());
  };
  SmallVector<bool> overlaps;
  SmallVector<Value> arguments;
  for (Value input : fused.getInputs())
    arguments.push_back(pointer(input));
  for (Value result : fused.getResults()) {
    arguments.push_back(pointer(result));
    overlaps.push_back(llvm::any_of(fused.getInputs(), [&](Value input) {
      return overlap(placeOf(result), bytes(result), placeOf(input), bytes(input));
    }));
  }
  int64_t rows = fused.getRows() / int64_t(op.getUnits());
  arguments.append({scaled(lo, rows), scaled(hi, rows)});
  LLVM::CallOp::create(*b, fused.getLoc(), kernels.kernel(fused, overlaps), arguments);
}

/// A task in the task: its heads are those of the block's images alone.
void TileEmitter::emitAttention(Operation *member) {
  unsigned numImageOperands = rt::numImageOperands(member);
  SmallVector<Value> arguments = {hostPointer};
  for (auto [i, operand] : llvm::enumerate(member->getOperands()))
    arguments.push_back(pointer(operand, /*moved=*/i < numImageOperands));
  for (Value result : member->getResults())
    arguments.push_back(pointer(result, /*moved=*/true));
  int64_t perUnit = rt::numHeadTasks(member) / int64_t(op.getUnits());
  Value count = arith::SubIOp::create(*b, member->getLoc(), hi, lo);
  host->parallelFor(attention.task(member), host->array(arguments), scaled(count, perUnit), 1);
}

void TileEmitter::emitBlock(Value index) {
  Location loc = op.getLoc();
  lo = scaled(index, op.getHeight());
  Value end = arith::AddIOp::create(*b, loc, lo, host->i64(op.getHeight()));
  hi = arith::MinSIOp::create(*b, loc, end, host->i64(op.getUnits()));
  int64_t numTimed = 0;
  for (Operation &member : op.getBody().front().without_terminator()) {
    if (rt::isTimed(&member))
      host->mark(numTimed++);
    if (auto gemm = dyn_cast<rt::GemmOp>(member))
      emitGemm(gemm);
    else if (auto fused = dyn_cast<rt::FusedOp>(member))
      emitFused(fused);
    else if (isa<rt::AttentionOp, rt::AttentionGradOp>(member))
      emitAttention(&member);
  }
}

LLVM::LLVMFuncOp TileEmitter::task(rt::TilesOp tiles) {
  op = tiles;
  collectOuter();
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  Location loc = op.getLoc();
  auto pointerType = LLVM::LLVMPointerType::get(builder.getContext());
  auto type =
      LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(builder.getContext()),
                                  {pointerType, builder.getI64Type(), builder.getI64Type()});
  auto function = LLVM::LLVMFuncOp::create(
      builder, loc, llvm::formatv("tiles_{0}", numTasks++).str(), type, LLVM::Linkage::Internal);
  markCold(function);
  Block *entry = function.addEntryBlock(builder);
  builder.setInsertionPointToStart(entry);
  b = &builder;
  auto argument = [&](int32_t i) -> Value {
    Value at = LLVM::GEPOp::create(builder, loc, pointerType, pointerType, entry->getArgument(0),
                                   ArrayRef<LLVM::GEPArg>{i});
    return LLVM::LoadOp::create(builder, loc, pointerType, at);
  };
  hostPointer = argument(0);
  outerPointers.clear();
  for (unsigned i = 0; i < outerValues.size(); ++i)
    outerPointers.push_back(argument(i + 1));
  HostCalls calls(builder, loc, hostPointer);
  host = &calls;
  auto bytes = op->getAttrOfType<IntegerAttr>(rt::RTDialect::kScratchBytesAttr);
  scratch = calls.scratch(bytes ? bytes.getInt() : 0);
  auto loop =
      scf::ForOp::create(builder, loc, entry->getArgument(1), entry->getArgument(2), calls.i64(1));
  LLVM::ReturnOp::create(builder, loc, ValueRange());
  builder.setInsertionPointToStart(loop.getBody());
  emitBlock(loop.getInductionVar());
  return function;
}
