//===- VerifyLowerable.cpp - check what lowering to rt requires -*- C++ -*-===//
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
#define GEN_PASS_DEF_VERIFYLOWERABLEPASS
#include "ns/Dialect/NS/Transforms/Passes.h.inc"

namespace {

struct VerifyLowerablePass : impl::VerifyLowerablePassBase<VerifyLowerablePass> {
  using VerifyLowerablePassBase::VerifyLowerablePassBase;

  void runOnOperation() override {
    bool isValid = true;
    for (func::FuncOp func : getOperation().getOps<func::FuncOp>()) {
      for (BlockArgument argument : func.getArguments())
        isValid &= succeeded(verifyType(func, argument.getType()));
      func.getBody().walk([&](Operation *op) { isValid &= succeeded(verifyOp(op)); });
    }
    if (!isValid)
      return signalPassFailure();
    markAllAnalysesPreserved();
  }

  LogicalResult verifyOp(Operation *op) {
    if (isa<GradientOp>(op) || !isa_and_nonnull<nn::NNDialect, NSDialect, func::FuncDialect>(op->getDialect())) {
      auto diag = op->emitOpError("expected an op that nn-to-rt lowers, but got this one");
      diag.attachNote() << "lowerings are in lib/Conversion";
      return diag;
    }
    for (Type type : op->getResultTypes())
      if (failed(verifyType(op, type)))
        return failure();
    return success();
  }

  LogicalResult verifyType(Operation *op, Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    if (!tensor || !tensor.hasStaticShape())
      return op->emitOpError("expected values to be tensors of static shape, but got ") << type;
    Type element = tensor.getElementType();
    if (element.isInteger(32))
      return success();
    if (!element.isF32() && !element.isF64()) {
      auto diag = op->emitOpError("expected element type to be f32 or f64, but got ") << element;
      diag.attachNote() << "code generation has no other precision";
      return diag;
    }
    if (!floatType)
      floatType = element;
    if (element != floatType)
      return op->emitOpError("expected one precision in the module, ") << floatType << ", but got " << element;
    return success();
  }

  Type floatType;
};

} // namespace
} // namespace ns::harden
