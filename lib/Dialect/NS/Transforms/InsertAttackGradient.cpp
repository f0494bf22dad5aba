//===- InsertAttackGradient.cpp - add the entries value_and_grad and attack_grad -*- C++ -*-===//
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
    return success(succeeded(insert(*forward, "value_and_grad", crossEntropy)) &&
                   succeeded(insert(*forward, "attack_grad", attackLoss)));
  }

  /// An entry `name` that returns the losses of `lossOf(entry, logits, labels)`, one for each image, the logits, and
  /// the gradient by the pixels.
  static LogicalResult insert(func::FuncOp forward, StringRef name,
                              function_ref<Value(EntryBuilder &, Value, Value)> lossOf) {
    FailureOr<EntryBuilder> entry = EntryBuilder::cloneForward(forward, name);
    if (failed(entry))
      return failure();
    Value logits = entry->getLogits();
    Value labels = entry->addArgument("labels", {entry->getBatch()}, entry->builder().getI32Type());
    Value losses = lossOf(*entry, logits, labels);
    Value weights = entry->addArgument("weights", losses.getType());
    Value gradient = entry->imageGradient(losses, weights);
    entry->setResults({{"losses", losses}, {"logits", logits}, {"image_grad", gradient}});
    return success();
  }

  static Type lossType(EntryBuilder &entry) {
    return RankedTensorType::get({entry.getBatch()}, entry.getElementType());
  }
  static Value crossEntropy(EntryBuilder &entry, Value logits, Value labels) {
    return nn::CrossEntropyOp::create(entry.builder(), entry.getLoc(), lossType(entry), logits, labels);
  }
  static Value attackLoss(EntryBuilder &entry, Value logits, Value labels) {
    int64_t batch = entry.getBatch();
    Value targets = entry.addArgument("targets", {batch}, entry.builder().getI32Type());
    Value objective = entry.addArgument("objective", {batch, 6}, entry.getElementType());
    return AttackLossOp::create(entry.builder(), entry.getLoc(), lossType(entry), logits, labels, targets,
                                objective);
  }
};

} // namespace
} // namespace ns::harden
