//===- Prepare.cpp - the entry that changes parameters once ---------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Prepare.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ns::rt;

static constexpr llvm::StringLiteral kPrepare = "prepare";

/// What a value is a view of, where that is a parameter's slot; else null.
static SlotOp paramOf(Value value) {
  while (auto view = value.getDefiningOp<ViewOp>())
    value = view.getSource();
  auto slot = value.getDefiningOp<SlotOp>();
  return slot && slot.getRegion() == ns::rt::Region::Params ? slot : SlotOp();
}

func::FuncOp ns::rt::lookupPrepare(ModuleOp module) {
  return module.lookupSymbol<func::FuncOp>(kPrepare);
}

func::FuncOp ns::rt::getOrCreatePrepare(ModuleOp module) {
  if (auto known = lookupPrepare(module))
    return known;
  auto like = *module.getOps<func::FuncOp>().begin();
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  auto prepare = func::FuncOp::create(b, like.getLoc(), kPrepare, b.getFunctionType({}, {}));
  prepare->setDiscardableAttrs(like->getDiscardableAttrDictionary());
  for (StringRef names : {"rt.inputs", "rt.outputs"})
    prepare->setAttr(names, b.getArrayAttr({}));
  b.setInsertionPointToEnd(prepare.addEntryBlock());
  func::ReturnOp::create(b, prepare.getLoc());
  return prepare;
}

SmallVector<func::FuncOp> ns::rt::chooseEntries(ModuleOp module, ArrayRef<std::string> names) {
  SmallVector<func::FuncOp> chosen;
  for (auto entry : module.getOps<func::FuncOp>())
    if (names.empty() ? entry.getSymName() != kPrepare
                      : llvm::is_contained(names, entry.getSymName()))
      chosen.push_back(entry);
  return chosen;
}

static bool writesParams(Operation *op) {
  if (auto gemm = dyn_cast<GemmOp>(op))
    return gemm.getDest() && paramOf(gemm.getDest());
  auto fused = dyn_cast<FusedOp>(op);
  return fused && llvm::any_of(fused.getDests(), paramOf);
}

bool ns::rt::trainsParams(ModuleOp module) {
  bool trains = false;
  for (func::FuncOp entry : chooseEntries(module, {}))
    entry.walk([&](Operation *op) { trains |= writesParams(op); });
  return trains;
}

llvm::DenseMap<StringAttr, Value> ns::rt::lastParamValues(func::FuncOp prepare) {
  llvm::DenseMap<StringAttr, Value> last;
  for (Operation &op : prepare.getBody().front()) {
    if (auto slot = dyn_cast<SlotOp>(op); slot && slot.getRegion() == ns::rt::Region::Params)
      last.try_emplace(slot.getNameAttr(), slot.getResult());
    auto fused = dyn_cast<FusedOp>(op);
    for (unsigned i = 0; fused && i < fused.getNumResults(); ++i)
      if (Value dest = fused.getDestOf(i))
        if (SlotOp slot = paramOf(dest))
          last[slot.getNameAttr()] = fused.getResult(i);
  }
  return last;
}

void ns::rt::addParams(ModuleOp module, ArrayRef<std::pair<std::string, RankedTensorType>> added) {
  Builder b(module.getContext());
  auto layout = module->getAttrOfType<DictionaryAttr>(RTDialect::kLayoutAttr);
  NamedAttrList fields(layout);
  auto params = llvm::to_vector(layout.getAs<ArrayAttr>("params"));
  int64_t bytes = layout.getAs<IntegerAttr>("params_bytes").getInt();
  constexpr int64_t kAlignment = 64;
  for (auto &[name, type] : added) {
    params.push_back(b.getDictionaryAttr({b.getNamedAttr("name", b.getStringAttr(name)),
                                          b.getNamedAttr("offset", b.getI64IntegerAttr(bytes)),
                                          b.getNamedAttr("type", TypeAttr::get(type))}));
    bytes += llvm::alignTo(byteSize(type), kAlignment);
  }
  fields.set("params", b.getArrayAttr(params));
  fields.set("params_bytes", b.getI64IntegerAttr(bytes));
  module->setAttr(RTDialect::kLayoutAttr, fields.getDictionary(b.getContext()));
}
