//===- SelectEntries.cpp - keep the named entries only -*- C++ -*-===//
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
#define GEN_PASS_DEF_SELECTENTRIESPASS
#include "ns/Dialect/NS/Transforms/Passes.h.inc"

namespace {

struct SelectEntriesPass : impl::SelectEntriesPassBase<SelectEntriesPass> {
  using SelectEntriesPassBase::SelectEntriesPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    SmallVector<func::FuncOp> kept;
    for (const std::string &name : entries) {
      auto func = module.lookupSymbol<func::FuncOp>(name);
      if (!func && llvm::is_contained(optional, name))
        continue;
      if (!func || !func->hasAttr(NSDialect::kEntryAttr)) {
        emitError(module.getLoc()) << "expected the module to have an entry @" << name << ", but got none";
        return signalPassFailure();
      }
      kept.push_back(func);
    }
    for (auto func : llvm::make_early_inc_range(module.getOps<func::FuncOp>()))
      if (!llvm::is_contained(kept, func)) {
        func.erase();
        ++numRemoved;
      }
    for (func::FuncOp func : kept)
      func->moveBefore(module.getBody(), module.getBody()->end());
    for (auto noise : llvm::make_early_inc_range(module.getOps<NoiseOp>()))
      if (SymbolTable::symbolKnownUseEmpty(noise, module))
        noise.erase();
  }
};

} // namespace
} // namespace ns::harden
