//===- VerifyHardened.cpp - check what the hardening passes ensure -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/NS/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;

namespace ns::harden {
#define GEN_PASS_DEF_VERIFYHARDENEDPASS
#include "ns/Dialect/NS/Transforms/Passes.h.inc"

namespace {

struct VerifyHardenedPass : impl::VerifyHardenedPassBase<VerifyHardenedPass> {
  using VerifyHardenedPassBase::VerifyHardenedPassBase;

  void runOnOperation() override {
    auto functions = getOperation().getOps<func::FuncOp>();
    bool isValid = true;
    if (functions.empty()) {
      emitError(getOperation().getLoc()) << "expected the module to have an entry, but got none";
      isValid = false;
    }
    for (func::FuncOp func : functions)
      isValid &= succeeded(verifyEntry(func));
    if (!isValid)
      return signalPassFailure();
    markAllAnalysesPreserved();
  }

  LogicalResult verifyEntry(func::FuncOp func);
  LogicalResult verifySlot(func::FuncOp func, StringRef what, unsigned index, Attribute name, Type type,
                           llvm::StringSet<> &known);

  /// Type of each name, over all entries.
  llvm::StringMap<Type> slotTypes;
};

LogicalResult VerifyHardenedPass::verifySlot(func::FuncOp func, StringRef what, unsigned index, Attribute name, Type type,
                                             llvm::StringSet<> &known) {
  auto slot = dyn_cast_or_null<StringAttr>(name);
  if (!slot) {
    auto diag = func.emitOpError("expected ") << what << " " << index << " of an entry to have a name, but got none";
    diag.attachNote() << "the attribute " << NSDialect::kNameAttr << " names it for the runtime";
    return diag;
  }
  if (!known.insert(slot.getValue()).second)
    return func.emitOpError("expected names to be unique, but got \"") << slot.getValue() << "\" twice";
  auto [first, isNew] = slotTypes.try_emplace(slot.getValue(), type);
  if (!isNew && first->second != type)
    return func.emitOpError("expected slot \"") << slot.getValue() << "\" to be " << first->second
                                                << " as in the other entries, but got " << type;
  return success();
}

LogicalResult VerifyHardenedPass::verifyEntry(func::FuncOp func) {
  if (!func->hasAttr(NSDialect::kEntryAttr) || func.isExternal())
    return func.emitOpError("expected every function to be an entry with a body, but got another");
  llvm::StringSet<> arguments, results; // a result may update an argument
  for (auto [index, type] : llvm::enumerate(func.getArgumentTypes()))
    if (failed(verifySlot(func, "argument", index, func.getArgAttr(index, NSDialect::kNameAttr), type, arguments)))
      return failure();
  for (auto [index, type] : llvm::enumerate(func.getResultTypes()))
    if (failed(verifySlot(func, "result", index, func.getResultAttr(index, NSDialect::kNameAttr), type, results)))
      return failure();
  for (auto request : func.getBody().front().getOps<GradientOp>())
    for (Value grad : request.getGrads())
      if (grad.use_empty())
        return request.emitOpError("expected every gradient to be stored or returned, but got an unused one");
  return success();
}

} // namespace
} // namespace ns::harden
