//===- InsertSynthesisLoss.cpp - add the entries of noise synthesis -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Entries.h"
#include "ns/Dialect/NS/Transforms/Passes.h"

using namespace mlir;

namespace ns::harden {
#define GEN_PASS_DEF_INSERTSYNTHESISLOSSPASS
#include "ns/Dialect/NS/Transforms/Passes.h.inc"

namespace {

struct InsertSynthesisLossPass : impl::InsertSynthesisLossPassBase<InsertSynthesisLossPass> {
  using InsertSynthesisLossPassBase::InsertSynthesisLossPassBase;

  void runOnOperation() override {
    FailureOr<func::FuncOp> forward = getForward(getOperation());
    FailureOr<NoiseOp> noise = getNoise(getOperation());
    if (failed(forward) || failed(noise) || failed(insertStep(*forward, *noise)) || failed(insertUpdate(*noise)) ||
        failed(insertStopTest(*forward, *noise)) || failed(insertCleanLogits(*forward)))
      signalPassFailure();
  }

  LogicalResult insertStep(func::FuncOp forward, NoiseOp noise);
  LogicalResult insertUpdate(NoiseOp noise);
  LogicalResult insertStopTest(func::FuncOp forward, NoiseOp noise);
  LogicalResult insertCleanLogits(func::FuncOp forward);
};

LogicalResult InsertSynthesisLossPass::insertStep(func::FuncOp forward, NoiseOp noise) {
  std::optional<Objective> distance = symbolizeObjective(objective);
  if (!distance)
    return emitError(getOperation().getLoc())
           << "expected option objective to be logit_l2sq or logit_l2, but got " << objective.getValue();
  bool squared = *distance == Objective::LogitL2Sq;
  FailureOr<EntryBuilder> entry = EntryBuilder::cloneForward(forward, squared ? "synth_step" : "synth_step_l2");
  if (failed(entry) || failed(injectNoise(*entry, noise)))
    return failure();
  OpBuilder &builder = entry->builder();
  Location loc = entry->getLoc();
  Type elementType = entry->getElementType();
  auto scalar = RankedTensorType::get({}, elementType);
  Value logits = entry->getLogits();
  Value clean = entry->addArgument("clean_logits", logits.getType());
  Value weights = entry->addArgument("weights", {entry->getBatch()}, elementType);
  Value accumulate = entry->addArgument("accumulate", scalar);
  Value losses = SynthesisLossOp::create(builder, loc, weights.getType(), logits, clean, *distance);
  Value loss = nn::WeightedSumOp::create(builder, loc, scalar, losses, weights);
  Value read = *entry->getFunc().getBody().front().getOps<ReadNoiseOp>().begin();
  auto gradient = GradientOp::create(builder, loc, read.getType(), loss, read);
  StoreGradOp::create(builder, loc, noise.getSymName(), gradient.getResult(0), accumulate);
  entry->setResults({{"loss", loss}});
  return success();
}

LogicalResult InsertSynthesisLossPass::insertUpdate(NoiseOp noise) {
  if (getOperation().lookupSymbol("synth_update"))
    return success(); // by this pass, for the other objective
  FailureOr<EntryBuilder> entry = EntryBuilder::create(getOperation(), "synth_update");
  if (failed(entry))
    return failure();
  Type elementType = noise.getTensorType().getElementType();
  Value hyper = entry->addArgument("noise_hyper", {9}, elementType);
  Value norm = AdamWNoiseOp::create(entry->builder(), entry->getLoc(), RankedTensorType::get({}, elementType),
                                    noise.getSymName(), hyper);
  entry->setResults({{"noise_norm", norm}});
  return success();
}

LogicalResult InsertSynthesisLossPass::insertStopTest(func::FuncOp forward, NoiseOp noise) {
  if (getOperation().lookupSymbol("stop_test"))
    return success(); // by this pass, for the other objective
  FailureOr<EntryBuilder> entry = EntryBuilder::cloneForward(forward, "stop_test");
  if (failed(entry) || failed(injectNoise(*entry, noise)))
    return failure();
  Value logits = entry->getLogits();
  auto type = cast<RankedTensorType>(logits.getType());
  Value clean = entry->addArgument("clean_logits", type);
  auto measure = RankedTensorType::get({type.getDimSize(0)}, type.getElementType());
  auto op = InvarianceOp::create(entry->builder(), entry->getLoc(), TypeRange{measure, measure, measure, measure}, logits,
                                 clean);
  entry->setResults({{"logit_sq", op.getLogitSq()},
                     {"prob_sq", op.getProbSq()},
                     {"conf_diff", op.getConfDiff()},
                     {"same_argmax", op.getSameArgmax()}});
  return success();
}

LogicalResult InsertSynthesisLossPass::insertCleanLogits(func::FuncOp forward) {
  if (getOperation().lookupSymbol("clean_logits"))
    return success(); // by this pass, for the other objective
  FailureOr<EntryBuilder> entry = EntryBuilder::cloneForward(forward, "clean_logits");
  if (failed(entry))
    return failure();
  entry->setResults({{"clean_logits", entry->getLogits()}});
  return success();
}

} // namespace
} // namespace ns::harden
