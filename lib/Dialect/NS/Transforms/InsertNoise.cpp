//===- InsertNoise.cpp - declare the noise and add the entries that read it -*- C++ -*-===//
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
#define GEN_PASS_DEF_INSERTNOISEPASS
#include "ns/Dialect/NS/Transforms/Passes.h.inc"

namespace {

struct InsertNoisePass : impl::InsertNoisePassBase<InsertNoisePass> {
  using InsertNoisePassBase::InsertNoisePassBase;

  void runOnOperation() override {
    FailureOr<func::FuncOp> forward = getForward(getOperation());
    if (failed(forward))
      return signalPassFailure();
    FailureOr<NoiseOp> noise = declareNoise(*forward);
    if (failed(noise) || failed(insertForwardNoised(*forward, *noise)) || failed(insertSiteNorm(*forward, *noise)))
      signalPassFailure();
  }

  FailureOr<NoiseOp> declareNoise(func::FuncOp forward);
  LogicalResult insertForwardNoised(func::FuncOp forward, NoiseOp noise);
  LogicalResult insertSiteNorm(func::FuncOp forward, NoiseOp noise);
};

FailureOr<NoiseOp> InsertNoisePass::declareNoise(func::FuncOp forward) {
  Location loc = getOperation().getLoc();
  std::optional<NoiseInit> distribution = symbolizeNoiseInit(init);
  if (!distribution)
    return emitError(loc) << "expected option init to be uniform, normal or zero, but got " << init.getValue();
  if (!(lim >= 0))
    return emitError(loc) << "expected option lim to be at least 0, but got " << lim.getValue();
  if (getOperation().lookupSymbol("noise"))
    return emitError(loc) << "expected the symbol @noise to be free, but got a definition";
  StringRef place = resolveSite(forward, site);
  FailureOr<Value> value = findSite(forward, place);
  if (failed(value))
    return failure();
  auto type = cast<RankedTensorType>(value->getType());
  SmallVector<int64_t> shape(type.getShape());
  shape[0] = 1;
  OpBuilder builder(forward);
  return NoiseOp::create(builder, loc, "noise", *distribution, llvm::APFloat(lim), place, type.clone(shape));
}

LogicalResult InsertNoisePass::insertForwardNoised(func::FuncOp forward, NoiseOp noise) {
  FailureOr<EntryBuilder> entry = EntryBuilder::cloneForward(forward, "forward_noised");
  if (failed(entry) || failed(injectNoise(*entry, noise)))
    return failure();
  entry->setResults({{"noised_logits", entry->getLogits()}});
  return success();
}

LogicalResult InsertNoisePass::insertSiteNorm(func::FuncOp forward, NoiseOp noise) {
  FailureOr<EntryBuilder> entry = EntryBuilder::cloneForward(forward, "site_norm");
  if (failed(entry))
    return failure();
  FailureOr<Value> value = findSite(entry->getFunc(), noise.getSite());
  if (failed(value))
    return failure();
  auto type = cast<RankedTensorType>(value->getType());
  auto normType = RankedTensorType::get({type.getDimSize(0)}, type.getElementType());
  Value norm = SampleNormOp::create(entry->builder(), entry->getLoc(), normType, *value);
  entry->setResults({{"site_norm", norm}});
  return success();
}

} // namespace
} // namespace ns::harden
