//===- MarkForward.cpp - make forward an entry -*- C++ -*-===//
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
#define GEN_PASS_DEF_MARKFORWARDPASS
#include "ns/Dialect/NS/Transforms/Passes.h.inc"

namespace {

struct MarkForwardPass : impl::MarkForwardPassBase<MarkForwardPass> {
  using MarkForwardPassBase::MarkForwardPassBase;

  void runOnOperation() override {
    FailureOr<func::FuncOp> forward = getForward(getOperation());
    if (failed(forward))
      return signalPassFailure();
    (*forward)->setAttr(NSDialect::kEntryAttr, UnitAttr::get(&getContext()));
    nameArgument(*forward, 0, "image");
    nameResult(*forward, 0, "logits");
  }
};

} // namespace
} // namespace ns::harden
