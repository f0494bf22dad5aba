//===- VerifyDifferentiated.cpp - check what differentiation ensures -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/NS/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace ns::harden {
#define GEN_PASS_DEF_VERIFYDIFFERENTIATEDPASS
#include "ns/Dialect/NS/Transforms/Passes.h.inc"

namespace {

LogicalResult verifyOp(Operation *op) {
  if (isa<GradientOp>(op)) {
    auto diag = op->emitOpError("expected no gradient request to be left, but got this one");
    diag.attachNote() << "ns-differentiate replaces it";
    return diag;
  }
  for (Type type : op->getResultTypes())
    if (auto tensor = dyn_cast<RankedTensorType>(type); tensor && !tensor.hasStaticShape()) {
      auto diag = op->emitOpError("expected static shapes, but got ") << tensor;
      diag.attachNote() << "nn-bind-batch makes the batch static";
      return diag;
    }
  return success();
}

struct VerifyDifferentiatedPass : impl::VerifyDifferentiatedPassBase<VerifyDifferentiatedPass> {
  using VerifyDifferentiatedPassBase::VerifyDifferentiatedPassBase;

  void runOnOperation() override {
    bool isValid = true;
    for (func::FuncOp func : getOperation().getOps<func::FuncOp>())
      func.getBody().walk([&](Operation *op) { isValid &= succeeded(verifyOp(op)); });
    if (!isValid)
      return signalPassFailure();
    markAllAnalysesPreserved();
  }
};

} // namespace
} // namespace ns::harden
