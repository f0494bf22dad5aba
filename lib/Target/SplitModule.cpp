//===- SplitModule.cpp - one module as several, for threads ---------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "SplitModule.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "llvm/ADT/EquivalenceClasses.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;
using namespace ns;

namespace {

/// Functions that stay together, and how many ops they have.
struct Group {
  SmallVector<LLVM::LLVMFuncOp> functions;
  int64_t ops = 0;
};

using Parts = std::vector<OwningOpRef<ModuleOp>>;
using FunctionsByName = llvm::StringMap<LLVM::LLVMFuncOp>;

} // namespace

/// The function that an op calls or takes the address of, or null.
static LLVM::LLVMFuncOp referredBy(Operation *op, const FunctionsByName &functions) {
  FlatSymbolRefAttr name;
  if (auto call = dyn_cast<LLVM::CallOp>(op))
    name = call.getCalleeAttr();
  else if (auto address = dyn_cast<LLVM::AddressOfOp>(op))
    name = address.getGlobalNameAttr();
  return name ? functions.lookup(name.getValue()) : nullptr;
}

static bool isCold(LLVM::LLVMFuncOp function) { return function.getOptimizeNone().value_or(false); }

/// Whether the optimizer need not look from a caller into what it calls.
static bool partsAt(LLVM::LLVMFuncOp caller, LLVM::LLVMFuncOp callee) {
  return isCold(caller) || (callee.getNoInline() && !caller.getNoInline());
}

/// Groups in the order of the module.
static SmallVector<Group> collectGroups(ModuleOp module, const FunctionsByName &functions) {
  llvm::EquivalenceClasses<Operation *> classes;
  llvm::DenseMap<Operation *, int64_t> ops;
  for (auto function : module.getOps<LLVM::LLVMFuncOp>())
    classes.insert(function);
  for (auto function : module.getOps<LLVM::LLVMFuncOp>()) {
    int64_t &count = ops[function];
    function.walk([&](Operation *op) {
      ++count;
      LLVM::LLVMFuncOp callee = isa<LLVM::CallOp>(op) ? referredBy(op, functions) : nullptr;
      if (callee && !partsAt(function, callee))
        classes.unionSets(function, callee);
    });
  }
  llvm::MapVector<Operation *, Group> byLeader;
  for (auto function : module.getOps<LLVM::LLVMFuncOp>()) {
    Group &group = byLeader[classes.getLeaderValue(function)];
    group.functions.push_back(function);
    group.ops += ops[function];
  }
  return llvm::map_to_vector(byLeader, [](auto &entry) { return std::move(entry.second); });
}

/// Cold functions and globals go to the first part. Of the other groups the largest go first, each
/// to the part that has least. Each part keeps the module's order.
static Parts distribute(ModuleOp module, SmallVector<Group> groups) {
  constexpr int64_t kOpsOfPart = 16384; // less is not worth a module of its own
  constexpr int64_t kMaxParts = 8;      // more would repeat what each has to do once
  llvm::erase_if(groups, [](const Group &group) { return isCold(group.functions.front()); });
  int64_t ops = 0;
  for (const Group &group : groups)
    ops += group.ops;
  std::vector<int64_t> load(std::clamp<int64_t>(ops / kOpsOfPart, 1, kMaxParts));
  llvm::stable_sort(groups, [](const Group &a, const Group &b) { return a.ops > b.ops; });
  llvm::DenseMap<Operation *, unsigned> partOf; // 0 where there is none
  for (const Group &group : groups) {
    auto least = llvm::min_element(load);
    *least += group.ops;
    for (LLVM::LLVMFuncOp function : group.functions)
      partOf[function] = 1 + (least - load.begin());
  }
  Parts parts;
  for (size_t i = 0; i < 1 + load.size(); ++i) {
    parts.push_back(ModuleOp::create(module.getLoc()));
    (*parts.back())->setAttrs(module->getAttrs());
  }
  for (Operation &op : llvm::make_early_inc_range(*module.getBody())) {
    Block *body = parts[partOf.lookup(&op)]->getBody();
    op.moveBefore(body, body->end());
  }
  return parts;
}

/// Makes functions known to the parts that refer to them.
static void shareFunctions(Parts &parts, const FunctionsByName &functions, StringRef suffix) {
  llvm::SetVector<LLVM::LLVMFuncOp> shared;
  auto forEachReference = [&](auto visit) {
    for (OwningOpRef<ModuleOp> &part : parts)
      part->walk([&](Operation *op) {
        if (LLVM::LLVMFuncOp function = referredBy(op, functions))
          visit(*part, op, function);
      });
  };
  forEachReference([&](ModuleOp part, Operation *, LLVM::LLVMFuncOp function) {
    if (function->getParentOp() != part)
      shared.insert(function);
  });
  auto sharedName = [&](LLVM::LLVMFuncOp function) {
    return StringAttr::get(function.getContext(), function.getSymName() + suffix);
  };
  DenseSet<std::pair<Operation *, Operation *>> declared; // part, function
  forEachReference([&](ModuleOp part, Operation *op, LLVM::LLVMFuncOp function) {
    if (!shared.contains(function))
      return;
    StringAttr name = sharedName(function);
    if (auto call = dyn_cast<LLVM::CallOp>(op))
      call.setCalleeAttr(FlatSymbolRefAttr::get(name));
    else
      cast<LLVM::AddressOfOp>(op).setGlobalNameAttr(FlatSymbolRefAttr::get(name));
    if (function->getParentOp() == part || !declared.insert({part, function}).second)
      return;
    OpBuilder b = OpBuilder::atBlockEnd(part.getBody());
    auto declaration =
        LLVM::LLVMFuncOp::create(b, function.getLoc(), name, function.getFunctionType());
    declaration.setVisibility_(LLVM::Visibility::Hidden);
  });
  for (LLVM::LLVMFuncOp function : shared) {
    function.setSymNameAttr(sharedName(function));
    function.setLinkage(LLVM::Linkage::External);
    function.setVisibility_(LLVM::Visibility::Hidden);
  }
}

Parts ns::splitModule(OwningOpRef<ModuleOp> module, StringRef suffix) {
  FunctionsByName functions;
  for (auto function : module->getOps<LLVM::LLVMFuncOp>())
    functions[function.getSymName()] = function;
  Parts parts = distribute(*module, collectGroups(*module, functions));
  shareFunctions(parts, functions, suffix);
  return parts;
}
