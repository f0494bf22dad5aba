//===- VerifyImported.cpp - check what import ensures -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Entries.h"
#include "ns/Dialect/NS/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;

namespace ns::harden {
#define GEN_PASS_DEF_VERIFYIMPORTEDPASS
#include "ns/Dialect/NS/Transforms/Passes.h.inc"

namespace {

/// Ops that stand for the network; the backward forms of the dialect do not.
bool isForwardOp(Operation *op) {
  return isa<nn::LoadParamOp, nn::NormalizeOp, nn::PatchEmbedOp, nn::LinearOp, nn::LayerNormOp, nn::AttentionOp, nn::GeluOp,
             nn::ActivationOp, nn::AddOp, nn::MulOp, nn::ScaleOp, nn::LayerScaleOp, nn::RelativeBiasOp, nn::RotaryOp,
             nn::PrependTokensOp, nn::SelectTokenOp, nn::SliceTokensOp, nn::SliceChannelsOp, nn::SliceRowsOp,
             nn::MeanTokensOp, nn::ConcatChannelsOp, nn::ConcatRowsOp, nn::ExpandBatchOp, nn::ConcatBatchOp,
             nn::ImageToTokensOp, nn::ConvOp, nn::MaxPoolOp, nn::BatchNormOp, nn::PermuteTokensOp, nn::RollTokensOp,
             nn::ReshapeTokensOp, func::ReturnOp>(op);
}

LogicalResult verifyOp(Operation *op) {
  if (!isForwardOp(op)) {
    auto diag = op->emitOpError("expected @forward to hold forward ops of the nn dialect only, but got this one");
    if (auto layer = op->getAttrOfType<StringAttr>(nn::NNDialect::kLayerAttr))
      diag.attachNote() << "in layer " << layer.getValue();
    diag.attachNote() << "the importer lacks a rule for it (lib/Import), or a pass ran too early";
    return diag;
  }
  for (Value result : op->getResults()) {
    auto type = cast<RankedTensorType>(result.getType());
    if (!type.hasStaticShape() && !(type.isDynamicDim(0) && type.getNumDynamicDims() == 1))
      return op->emitOpError("expected shapes to be static but for the batch, but got ") << type;
  }
  return success();
}

struct VerifyImportedPass : impl::VerifyImportedPassBase<VerifyImportedPass> {
  using VerifyImportedPassBase::VerifyImportedPassBase;

  void runOnOperation() override {
    FailureOr<func::FuncOp> forward = getForward(getOperation());
    if (failed(forward))
      return signalPassFailure();
    bool isValid = true;
    for (Operation &op : forward->getBody().front())
      isValid &= succeeded(verifyOp(&op));
    if (!isValid)
      return signalPassFailure();
    markAllAnalysesPreserved();
  }
};

} // namespace
} // namespace ns::harden
