//===- EntryEmitter.cpp - entries to calls of the host's services -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EntryEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace ns;
using rt::typeOf;

LogicalResult EntryEmitter::emitTimed(Operation *op) {
  if (auto gemm = dyn_cast<rt::GemmOp>(op))
    return gemm.getPacked() ? emitPackedGemm(gemm) : emitGemm(gemm);
  if (auto pack = dyn_cast<rt::PackOp>(op))
    return emitPack(pack);
  if (auto fused = dyn_cast<rt::FusedOp>(op))
    return emitFused(fused);
  if (isa<rt::AttentionOp, rt::AttentionGradOp>(op))
    return emitAttention(op);
  if (auto tile = dyn_cast<rt::TilesOp>(op))
    return emitTiles(tile);
  return op->emitOpError("expected an rt op");
}

LogicalResult EntryEmitter::emitGemm(rt::GemmOp op) {
  Type element = typeOf(op.getResult()).getElementType(),
       factor = typeOf(op.getA()).getElementType();
  if (op.getBias() || element.isBF16() || isa<Float8E4M3FNType>(factor))
    return op.emitOpError("expected no bias, no result of bf16 and no operands of f8E4M3FN: the "
                          "CPU's library has none of them");
  int64_t m = op.getMnk()[0], n = op.getMnk()[1], k = op.getMnk()[2];
  Value beta = op.getAccumulate() ? LLVM::LoadOp::create(*builder, op.getLoc(), element,
                                                         pointer(op.getAccumulate()))
                                        .getResult()
                                  : host->number(element, 0.0);
  auto product = [&](Value a, Value b, Value c) {
    host->gemm(factor, op.getTransA(), op.getTransB(), host->i64(m), n, k,
               host->number(element, 1.0), a, op.getTransA() ? m : k, b, op.getTransB() ? k : n,
               beta, c, n);
  };
  Value a = pointer(op.getA()), b = pointer(op.getB()), c = pointer(op.getResult());
  if (!op.getBatch()) {
    product(a, b, c);
    return success();
  }
  // One after the other: plans for the CPU have no batches but where a test asks for them.
  auto loop = scf::ForOp::create(*builder, op.getLoc(), host->i64(0), host->i64(op.getBatchCount()),
                                 host->i64(1));
  OpBuilder::InsertionGuard guard(*builder);
  builder->setInsertionPointToStart(loop.getBody());
  auto at = [&](Value base, Type type, int64_t stride) {
    Value index =
        arith::MulIOp::create(*builder, op.getLoc(), loop.getInductionVar(), host->i64(stride));
    return host->offset(base, type, index);
  };
  product(at(a, factor, (*op.getBatch())[1]), at(b, factor, (*op.getBatch())[2]),
          at(c, element, m * n));
  return success();
}

/// A piece of a product worth waking a thread for: a million multiply-adds.
static int64_t productGrain(int64_t work, int64_t count) {
  return std::max<int64_t>(1, (int64_t(1) << 20) * count / work);
}

LogicalResult EntryEmitter::emitPackedGemm(rt::GemmOp op) {
  int64_t m = op.getMnk()[0], n = op.getMnk()[1], k = op.getMnk()[2];
  GemmSpec spec{
      typeOf(op.getResult()).getElementType(), n, k, op.getTransA(), op.getTransA() ? m : k, n};
  SmallVector<Value> arguments = {pointer(op.getA()), pointer(op.getB()), pointer(op.getResult())};
  if (Value beta = op.getAccumulate())
    arguments.push_back(pointer(beta));
  int64_t count = gemms.taskCount(spec, m);
  launch(gemms.task(spec, m, bool(op.getAccumulate())), arguments, count,
         productGrain(m * n * k, count));
  return success();
}

LogicalResult EntryEmitter::emitPack(rt::PackOp op) {
  Type element = typeOf(op.getSource()).getElementType();
  int64_t n = op.getNk()[0], k = op.getNk()[1];
  GemmSource source{element, n, k, op.getTransB(), op.getTransB() ? k : n, op.getPacked()};
  int64_t count = gemms.panels(element, n).count;
  launch(gemms.packTask(source), {pointer(op.getSource()), pointer(op.getResult())}, count,
         productGrain(8 * n * k, count)); // an element costs as much as some eight multiply-adds
  return success();
}

/// Which results lie over an input's bytes.
SmallVector<bool> EntryEmitter::overlaps(rt::FusedOp op) {
  SmallVector<bool> result;
  for (Value made : op.getResults())
    result.push_back(llvm::any_of(op.getInputs(), [&](Value input) {
      return overlap(places.lookup(made), rt::byteSize(typeOf(made)), places.lookup(input),
                     rt::byteSize(typeOf(input)));
    }));
  return result;
}

void EntryEmitter::launch(LLVM::LLVMFuncOp task, ArrayRef<Value> arguments, int64_t count,
                          int64_t grain) {
  host->parallelFor(task, host->array(arguments), host->i64(count), grain);
  ++numLaunches;
}

LogicalResult EntryEmitter::emitFused(rt::FusedOp op) {
  SmallVector<Value> arguments;
  for (Value input : op.getInputs())
    arguments.push_back(pointer(input));
  for (Value result : op.getResults())
    arguments.push_back(pointer(result));
  // A piece of work worth waking a thread for: some 32 thousand elements.
  int64_t grain = std::max<int64_t>(1, 32768 / (op.getInner() * op.getCols()));
  launch(kernels.task(op, overlaps(op)), arguments, op.getRows(), grain);
  return success();
}

LogicalResult EntryEmitter::emitAttention(Operation *op) {
  if (rt::isLibraryAttention(op))
    return op->emitOpError("expected no statistics: they are of a GPU's library");
  SmallVector<Value> arguments = {hostPointer};
  for (Value operand : op->getOperands())
    arguments.push_back(pointer(operand));
  for (Value result : op->getResults())
    arguments.push_back(pointer(result));
  launch(attention.task(op), arguments, rt::numHeadTasks(op), 1);
  return success();
}

/// Multiply-adds of a product, or elements that a row program or attention computes, in all.
static int64_t workOf(Operation &op) {
  if (auto gemm = dyn_cast<rt::GemmOp>(op))
    return gemm.getMnk()[0] * gemm.getMnk()[1] * gemm.getMnk()[2] / 32;
  if (auto fused = dyn_cast<rt::FusedOp>(op))
    return fused.getRows() * fused.getInner() * fused.getCols();
  return isa<rt::AttentionOp, rt::AttentionGradOp>(op) ? int64_t(1) << 20 // always worth a thread
                                                       : 0;
}

LogicalResult EntryEmitter::emitTiles(rt::TilesOp op) {
  LLVM::LLVMFuncOp task = tiles.task(op);
  SmallVector<Value> arguments = {hostPointer};
  for (Value value : tiles.outer())
    arguments.push_back(pointer(value));
  int64_t work = 1;
  for (Operation &member : op.getBody().front())
    work += workOf(member);
  // As for one program: what is worth waking a thread for.
  int64_t grain = std::max<int64_t>(1, 32768 * op.getNumBlocks() / work);
  launch(task, arguments, op.getNumBlocks(), grain);
  return success();
}
