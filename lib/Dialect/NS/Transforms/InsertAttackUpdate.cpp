//===- InsertAttackUpdate.cpp - add the entries of an attack's step -------===//
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
#define GEN_PASS_DEF_INSERTATTACKUPDATEPASS
#include "ns/Dialect/NS/Transforms/Passes.h.inc"

namespace {

struct InsertAttackUpdatePass : impl::InsertAttackUpdatePassBase<InsertAttackUpdatePass> {
  using InsertAttackUpdatePassBase::InsertAttackUpdatePassBase;

  void runOnOperation() override {
    FailureOr<func::FuncOp> forward = getForward(getOperation());
    if (failed(forward) || failed(insert(*forward, "attack_update", BallNorm::Linf)) ||
        failed(insert(*forward, "attack_update_l2", BallNorm::L2)) ||
        failed(insert(*forward, "attack_update_momentum", BallNorm::Linf, /*hasMomentum=*/true)))
      signalPassFailure();
  }

  LogicalResult insert(func::FuncOp forward, StringRef name, BallNorm norm,
                       bool hasMomentum = false) {
    FailureOr<EntryBuilder> entry = EntryBuilder::create(getOperation(), name);
    if (failed(entry))
      return failure();
    Type pixels = forward.getArgumentTypes().front();
    Value image = entry->addArgument("image", pixels),
          clean = entry->addArgument("clean_image", pixels),
          direction = entry->addArgument("image_grad", pixels),
          hyper = entry->addArgument("attack_hyper", {3}, entry->getElementType());
    SmallVector<std::pair<StringRef, Value>> results;
    if (hasMomentum) {
      Value momentum = entry->addArgument("momentum", pixels);
      direction =
          MomentumOp::create(entry->builder(), entry->getLoc(), pixels, momentum, direction, hyper);
      results.push_back({"momentum", direction});
    }
    results.push_back({"image", AscendOp::create(entry->builder(), entry->getLoc(), pixels, norm,
                                                 image, clean, direction, hyper)});
    entry->setResults(results);
    ++numEntries;
    return success();
  }
};

} // namespace
} // namespace ns::harden
