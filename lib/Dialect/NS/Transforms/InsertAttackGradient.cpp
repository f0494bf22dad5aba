//===- InsertAttackGradient.cpp - add the entry value_and_grad -*- C++ -*-===//
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
#define GEN_PASS_DEF_INSERTATTACKGRADIENTPASS
#include "ns/Dialect/NS/Transforms/Passes.h.inc"

namespace {

struct InsertAttackGradientPass : impl::InsertAttackGradientPassBase<InsertAttackGradientPass> {
  using InsertAttackGradientPassBase::InsertAttackGradientPassBase;

  void runOnOperation() override {
    if (failed(run()))
      signalPassFailure();
  }

  LogicalResult run() {
    FailureOr<func::FuncOp> forward = getForward(getOperation());
    if (failed(forward))
      return failure();
    FailureOr<EntryBuilder> entry = EntryBuilder::cloneForward(*forward, "value_and_grad");
    if (failed(entry))
      return failure();
    OpBuilder &builder = entry->builder();
    Location loc = entry->getLoc();
    Value logits = entry->getLogits();
    int64_t batch = cast<RankedTensorType>(logits.getType()).getDimSize(0);
    Value labels = entry->addArgument("labels", {batch}, builder.getI32Type());
    Value weights = entry->addArgument("weights", {batch}, entry->getElementType());
    Value losses = nn::CrossEntropyOp::create(builder, loc, weights.getType(), logits, labels);
    auto scalar = RankedTensorType::get({}, entry->getElementType());
    Value loss = nn::WeightedSumOp::create(builder, loc, scalar, losses, weights);
    auto gradient = GradientOp::create(builder, loc, entry->getImage().getType(), loss, entry->getImage());
    entry->setResults({{"losses", losses}, {"logits", logits}, {"image_grad", gradient.getResult(0)}});
    return success();
  }
};

} // namespace
} // namespace ns::harden
