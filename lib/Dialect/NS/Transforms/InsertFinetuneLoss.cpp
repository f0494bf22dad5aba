//===- InsertFinetuneLoss.cpp - add the entries of finetuning -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Entries.h"
#include "ns/Dialect/NN/Transforms/Utils.h"
#include "ns/Dialect/NS/Transforms/Passes.h"

#include "mlir/IR/IRMapping.h"

using namespace mlir;

namespace ns::harden {
#define GEN_PASS_DEF_INSERTFINETUNELOSSPASS
#include "ns/Dialect/NS/Transforms/Passes.h.inc"

namespace {

/// One load for each parameter; returns the loads of those that are trained, in the module's order.
SmallVector<nn::LoadParamOp> collectTrainable(func::FuncOp func) {
  llvm::StringMap<nn::LoadParamOp> loads;
  for (auto load : llvm::make_early_inc_range(func.getBody().front().getOps<nn::LoadParamOp>())) {
    auto [it, isNew] = loads.try_emplace(load.getParam(), load);
    if (isNew)
      continue;
    load.getResult().replaceAllUsesWith(it->second.getResult());
    load.erase();
  }
  SmallVector<nn::LoadParamOp> trainable;
  for (auto param : func->getParentOfType<ModuleOp>().getOps<nn::ParamOp>())
    if (auto it = loads.find(param.getSymName()); it != loads.end() && !param.getBuffer())
      trainable.push_back(it->second);
  return trainable;
}

/// A pass of the network over the images `clean` before the entry's own ops; returns its logits.
Value cloneClean(EntryBuilder &entry, func::FuncOp forward, Value clean) {
  OpBuilder builder = OpBuilder::atBlockBegin(&entry.getFunc().getBody().front());
  IRMapping map;
  map.map(forward.getArgument(0), clean);
  Block &body = forward.getBody().front();
  for (Operation &op : body.without_terminator())
    builder.clone(op, map);
  return map.lookup(body.getTerminator()->getOperand(0));
}

/// The type of two batches of `value`, one after the other.
RankedTensorType stackedType(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  SmallVector<int64_t> shape(type.getShape());
  if (!type.isDynamicDim(0))
    shape[0] *= 2;
  return type.clone(shape);
}

/// Weighted sum of the losses of TRADES; adds the arguments that it takes.
Value tradesLoss(EntryBuilder &entry, Value stackedLogits) {
  OpBuilder &builder = entry.builder();
  Type elementType = entry.getElementType();
  auto scalar = RankedTensorType::get({}, elementType);
  int64_t batch = entry.getBatch(),
          rows = cast<RankedTensorType>(stackedLogits.getType()).getDimSize(0);
  Value labels = entry.addArgument("labels", {batch}, builder.getI32Type());
  Value weights = entry.addArgument("weights", {batch}, elementType);
  Value beta = entry.addArgument("beta", scalar);
  Value losses = TradesLossOp::create(builder, entry.getLoc(), RankedTensorType::get({rows}, elementType),
                                      stackedLogits, labels, beta);
  return nn::WeightedSumOp::create(builder, entry.getLoc(), scalar, losses, weights);
}

/// Logits of the clean images (argument `clean_image`), then of the adversarial ones (`image`), as one tensor: of one pass of the
/// network over both, or with `separate` of one pass for each.
Value stackAdversarial(EntryBuilder &entry, func::FuncOp forward, bool separate) {
  Value image = entry.getImage(), cleanImage = entry.addArgument("clean_image", image.getType());
  if (separate) {
    Value clean = cloneClean(entry, forward, cleanImage), logits = entry.getLogits();
    return nn::ConcatBatchOp::create(entry.builder(), entry.getLoc(), stackedType(logits), clean, logits);
  }
  OpBuilder atBegin = OpBuilder::atBlockBegin(&entry.getFunc().getBody().front());
  auto stacked = nn::ConcatBatchOp::create(atBegin, entry.getLoc(), stackedType(image), cleanImage, image);
  image.replaceAllUsesExcept(stacked, stacked);
  return entry.getLogits();
}

struct InsertFinetuneLossPass : impl::InsertFinetuneLossPassBase<InsertFinetuneLossPass> {
  using InsertFinetuneLossPassBase::InsertFinetuneLossPassBase;

  void runOnOperation() override {
    if (failed(arm == "trades" ? insertTradesStep() : insertStep()) || failed(insertUpdate()) ||
        (arm == "trades" && failed(insertTradesGradient())))
      signalPassFailure();
  }

  LogicalResult insertStep();
  LogicalResult insertTradesStep();
  LogicalResult insertTradesGradient();
  LogicalResult storeGradients(EntryBuilder &entry, Value loss);
  LogicalResult insertUpdate();
};

LogicalResult InsertFinetuneLossPass::insertStep() {
  bool noised = arm == "noised";
  if (!noised && arm != "none")
    return emitError(getOperation().getLoc()) << "expected option arm to be none, noised or trades, but got " << arm.getValue();
  FailureOr<func::FuncOp> forward = getForward(getOperation());
  if (failed(forward))
    return failure();
  FailureOr<EntryBuilder> entry = EntryBuilder::cloneForward(*forward, noised ? "finetune_step_noised" : "finetune_step");
  if (failed(entry))
    return failure();
  if (noised) {
    FailureOr<NoiseOp> noise = getNoise(getOperation());
    if (failed(noise) || failed(separate ? injectNoise(*entry, *noise) : injectNoiseStacked(*entry, *noise)))
      return failure();
  }
  SmallVector<Value> passes; // logits of each pass of the network
  if (noised && separate)
    passes.push_back(cloneClean(*entry, *forward, entry->getImage()));
  passes.push_back(entry->getLogits());
  OpBuilder &builder = entry->builder();
  Location loc = entry->getLoc();
  Type elementType = entry->getElementType();
  auto scalar = RankedTensorType::get({}, elementType);
  int64_t batch = entry->getBatch();
  int64_t rows = noised && !separate && !ShapedType::isDynamic(batch) ? 2 * batch : batch;
  Value labels = entry->addArgument("labels", {batch}, builder.getI32Type());
  Value weights = entry->addArgument("weights", {batch}, elementType);
  Value loss;
  for (Value logits : passes) {
    Value losses = nn::CrossEntropyOp::create(builder, loc, RankedTensorType::get({rows}, elementType), logits, labels);
    Value part = nn::WeightedSumOp::create(builder, loc, scalar, losses, weights);
    loss = loss ? nn::AddOp::create(builder, loc, scalar, loss, part).getResult() : part;
  }
  return storeGradients(*entry, loss);
}

LogicalResult InsertFinetuneLossPass::insertTradesStep() {
  FailureOr<func::FuncOp> forward = getForward(getOperation());
  if (failed(forward))
    return failure();
  FailureOr<EntryBuilder> entry = EntryBuilder::cloneForward(*forward, "finetune_step_trades");
  if (failed(entry))
    return failure();
  Value logits = stackAdversarial(*entry, *forward, separate);
  return storeGradients(*entry, tradesLoss(*entry, logits));
}

/// @trades_grad: the same loss by the pixels of the adversarial images alone, the clean logits being given.
LogicalResult InsertFinetuneLossPass::insertTradesGradient() {
  FailureOr<func::FuncOp> forward = getForward(getOperation());
  if (failed(forward))
    return failure();
  FailureOr<EntryBuilder> entry = EntryBuilder::cloneForward(*forward, "trades_grad");
  if (failed(entry))
    return failure();
  Value logits = entry->getLogits();
  Value clean = entry->addArgument("clean_logits", logits.getType());
  Value stacked = nn::ConcatBatchOp::create(entry->builder(), entry->getLoc(), stackedType(logits), clean, logits);
  Value loss = tradesLoss(*entry, stacked);
  auto gradient =
      GradientOp::create(entry->builder(), entry->getLoc(), entry->getImage().getType(), loss, entry->getImage());
  entry->setResults({{"loss", loss}, {"image_grad", gradient.getResult(0)}});
  return success();
}

/// Returns the loss from the entry, and accumulates its gradient by every parameter that is trained.
LogicalResult InsertFinetuneLossPass::storeGradients(EntryBuilder &entry, Value loss) {
  OpBuilder &builder = entry.builder();
  Value accumulate = entry.addArgument("accumulate", loss.getType());
  entry.setResults({{"loss", loss}}); // removes loads that no logit depends on: they have no gradient
  SmallVector<nn::LoadParamOp> trainable = collectTrainable(entry.getFunc());
  if (trainable.empty())
    return emitError(entry.getLoc()) << "expected the logits to depend on a trained parameter, but got buffers only";
  SmallVector<Value> wrt(trainable.begin(), trainable.end());
  auto gradient = GradientOp::create(builder, entry.getLoc(), TypeRange(ValueRange(wrt)), loss, wrt);
  for (auto [load, grad] : llvm::zip(trainable, gradient.getGrads()))
    StoreGradOp::create(builder, entry.getLoc(), load.getParam(), grad, accumulate);
  numTrained += trainable.size();
  return success();
}

LogicalResult InsertFinetuneLossPass::insertUpdate() {
  if (getOperation().lookupSymbol("finetune_update"))
    return success(); // by this pass, for the other arm
  FailureOr<func::FuncOp> forward = getForward(getOperation());
  FailureOr<EntryBuilder> entry = EntryBuilder::create(getOperation(), "finetune_update");
  if (failed(forward) || failed(entry))
    return failure();
  Type elementType = cast<RankedTensorType>(forward->getArgument(0).getType()).getElementType();
  Value hyper = entry->addArgument("hyper", {7}, elementType);
  AdamWParamsOp::create(entry->builder(), entry->getLoc(), hyper);
  return success();
}

} // namespace
} // namespace ns::harden
