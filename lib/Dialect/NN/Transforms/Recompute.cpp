//===- Recompute.cpp - make cheap values again for backward -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Dialect/NN/Transforms/Passes.h"
#include "ns/Dialect/NN/Transforms/Utils.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace ns::nn {
#define GEN_PASS_DEF_RECOMPUTEPASS
#include "ns/Dialect/NN/Transforms/Passes.h.inc"

namespace {

struct RecomputePass : impl::RecomputePassBase<RecomputePass> {
  using RecomputePassBase::RecomputePassBase;

  void runOnOperation() override {
    Operation *backward = nullptr; // the first product of a weight's gradient; all after it is backward
    for (auto product : llvm::make_early_inc_range(getOperation().getBody().front().getOps<LinearGradWeightOp>())) {
      if (!backward)
        backward = product;
      Operation *def = product.getInput().getDefiningOp();
      if (def && isa<LayerNormOp, GeluOp, ActivationOp>(def) && isReadBefore(product.getInput(), backward) &&
          isKept(def->getOperand(0), backward))
        recompute(product, def);
    }
  }

  static bool isReadBefore(Value value, Operation *backward) {
    return llvm::any_of(value.getUsers(), [&](Operation *user) { return user->isBeforeInBlock(backward); });
  }
  /// Whether backward reads `value` whatever becomes of `product`: then it costs no memory to start from it.
  static bool isKept(Value value, Operation *backward) {
    return llvm::any_of(value.getUsers(), [&](Operation *user) { return backward->isBeforeInBlock(user); });
  }

  void recompute(LinearGradWeightOp product, Operation *def) {
    OpBuilder builder(product);
    Operation *again = builder.clone(*def);
    again->setAttr(kRecomputedAttr, builder.getUnitAttr());
    product.getInputMutable().assign(again->getResult(0));
    auto type = cast<RankedTensorType>(again->getResult(0).getType());
    ++numRecomputed;
    numBytes += type.getNumElements() * llvm::divideCeil(type.getElementTypeBitWidth(), 8);
  }
};

} // namespace
} // namespace ns::nn
