//===- TrainBatchNorm.cpp - batch normalisation as in training -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Dialect/NN/Transforms/Passes.h"
#include "ns/Dialect/NS/IR/NS.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"

using namespace mlir;

namespace ns::nn {
#define GEN_PASS_DEF_TRAINBATCHNORMPASS
#include "ns/Dialect/NN/Transforms/Passes.h.inc"

namespace {

/// Does the entry store the gradient of a parameter (not only that of the noise)?
bool trainsParameters(func::FuncOp func) {
  auto module = func->getParentOfType<ModuleOp>();
  return llvm::any_of(func.getOps<harden::StoreGradOp>(), [&](harden::StoreGradOp op) {
    return isa_and_nonnull<ParamOp>(module.lookupSymbol(op.getTarget()));
  });
}

struct TrainBatchNormPass : impl::TrainBatchNormPassBase<TrainBatchNormPass> {
  using TrainBatchNormPassBase::TrainBatchNormPassBase;

  void runOnOperation() override {
    if (!(momentum >= 0 && momentum <= 1)) {
      emitError(getOperation().getLoc()) << "expected option momentum to be in [0, 1], but got " << momentum.getValue();
      return signalPassFailure();
    }
    for (auto func : getOperation().getOps<func::FuncOp>())
      if (!func.isExternal() && trainsParameters(func) && failed(train(func)))
        return signalPassFailure();
  }

  LogicalResult train(func::FuncOp func);
  LogicalResult update(OpBuilder &atEnd, BatchNormOp op, Value running, Value batch);

  /// The value of each running statistic after the batch norms met so far.
  llvm::MapVector<StringAttr, Value> current;
};

LogicalResult TrainBatchNormPass::update(OpBuilder &atEnd, BatchNormOp op, Value running, Value batch) {
  auto load = running.getDefiningOp<LoadParamOp>();
  if (!load)
    return op.emitOpError("expected running statistics to be parameters, but got ") << running;
  double weight = momentum;
  if (auto own = op->getAttrOfType<FloatAttr>(NNDialect::kMomentumAttr))
    weight = own.getValueAsDouble();
  Value &value = current.insert({load.getParamAttr().getAttr(), running}).first->second;
  Type type = running.getType();
  Value kept = ScaleOp::create(atEnd, op.getLoc(), type, value, atEnd.getF64FloatAttr(1 - weight));
  Value added = ScaleOp::create(atEnd, op.getLoc(), type, batch, atEnd.getF64FloatAttr(weight));
  value = AddOp::create(atEnd, op.getLoc(), type, kept, added);
  return success();
}

LogicalResult TrainBatchNormPass::train(func::FuncOp func) {
  current.clear();
  OpBuilder atEnd(func.getBody().front().getTerminator());
  for (auto op : func.getOps<BatchNormOp>()) {
    if (!op.getMean())
      continue;
    OpBuilder builder(op);
    Type type = op.getMean().getType();
    auto stats = BatchStatsOp::create(builder, op.getLoc(), type, type, op.getInput());
    if (failed(update(atEnd, op, op.getMean(), stats.getMean())) || failed(update(atEnd, op, op.getVar(), stats.getVar())))
      return failure();
    op.getVarMutable().clear();
    op.getMeanMutable().clear();
    ++numTrained;
  }
  for (auto [param, value] : current)
    StoreParamOp::create(atEnd, value.getLoc(), FlatSymbolRefAttr::get(param), value);
  return success();
}

} // namespace
} // namespace ns::nn
