//===- BindBatch.cpp - make the batch size static -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Dialect/NN/Transforms/Passes.h"

using namespace mlir;

namespace ns::nn {
#define GEN_PASS_DEF_BINDBATCHPASS
#include "ns/Dialect/NN/Transforms/Passes.h.inc"

namespace {

/// Whether the leading dimension of a ranked tensor type is dynamic, and only that.
bool hasDynamicBatch(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.getRank() > 0 && tensor.isDynamicDim(0) && tensor.getNumDynamicDims() == 1;
}

bool hasDynamicShape(Type type) {
  auto tensor = dyn_cast<ShapedType>(type);
  return tensor && !tensor.hasStaticShape();
}

Type withBatch(Type type, int64_t batch) {
  auto tensor = cast<RankedTensorType>(type);
  SmallVector<int64_t> shape(tensor.getShape());
  shape[0] = batch;
  return tensor.clone(shape);
}

struct BindBatchPass : impl::BindBatchPassBase<BindBatchPass> {
  using BindBatchPassBase::BindBatchPassBase;

  void runOnOperation() override {
    if (batch < 1) {
      emitError(getOperation().getLoc()) << "expected option batch to be at least 1, but got " << batch.getValue();
      return signalPassFailure();
    }
    for (func::FuncOp func : getOperation().getOps<func::FuncOp>())
      if (!func.isExternal() && failed(bind(func)))
        return signalPassFailure();
  }

  LogicalResult bind(func::FuncOp func);
  FailureOr<int64_t> inferBatch(OpResult result);

  /// Batch of each value whose batch is dynamic, in the order found.
  llvm::MapVector<Value, int64_t> batchOf;
};

/// The batch of `result`: that of the operand of its type, else of the first batched operand; a stacked batch is the sum.
FailureOr<int64_t> BindBatchPass::inferBatch(OpResult result) {
  Operation *op = result.getOwner();
  if (isa<ConcatBatchOp>(op)) {
    int64_t sum = 0;
    for (Value operand : op->getOperands()) {
      auto it = batchOf.find(operand);
      sum += it == batchOf.end() ? cast<RankedTensorType>(operand.getType()).getDimSize(0) : it->second;
    }
    return sum;
  }
  for (Value operand : op->getOperands())
    if (operand.getType() == result.getType())
      return batchOf.lookup(operand);
  for (Value operand : op->getOperands())
    if (auto it = batchOf.find(operand); it != batchOf.end())
      return it->second;
  return op->emitOpError("expected an operand with the batch dimension of result ")
         << result.getResultNumber() << ", but got none";
}

LogicalResult BindBatchPass::bind(func::FuncOp func) {
  batchOf.clear();
  auto check = [&](Value value) -> LogicalResult {
    if (hasDynamicShape(value.getType()) && !hasDynamicBatch(value.getType()))
      return emitError(value.getLoc()) << "expected only the leading dimension to be dynamic, but got " << value.getType();
    return success();
  };
  for (BlockArgument arg : func.getArguments()) {
    if (failed(check(arg)))
      return failure();
    if (hasDynamicBatch(arg.getType()))
      batchOf[arg] = batch;
  }
  for (Operation &op : func.getBody().front()) {
    if (isa<SliceBatchOp, WeightedSumGradOp>(op))
      return op.emitOpError("expected nn-bind-batch to run before ns-differentiate");
    for (OpResult result : op.getResults()) {
      if (failed(check(result)))
        return failure();
      if (!hasDynamicBatch(result.getType()))
        continue;
      FailureOr<int64_t> bound = inferBatch(result);
      if (failed(bound))
        return failure();
      batchOf[result] = *bound;
    }
  }
  for (auto [value, bound] : batchOf)
    value.setType(withBatch(value.getType(), bound));
  numBound += batchOf.size();
  Operation *terminator = func.getBody().front().getTerminator();
  func.setType(FunctionType::get(&getContext(), func.getBody().getArgumentTypes(), terminator->getOperandTypes()));
  return success();
}

} // namespace
} // namespace ns::nn
