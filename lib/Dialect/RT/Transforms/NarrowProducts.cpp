//===- NarrowProducts.cpp - products of bf16 operands -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/RT/IR/RT.h"
#include "ns/Dialect/RT/Transforms/Passes.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/Support/MathExtras.h"

namespace ns::rt {
#define GEN_PASS_DEF_RTNARROWPRODUCTSPASS
#include "ns/Dialect/RT/Transforms/Passes.h.inc"
} // namespace ns::rt

using namespace mlir;
using namespace ns::rt;

static constexpr llvm::StringLiteral kPrepare = "prepare";

static RankedTensorType narrowed(RankedTensorType type) {
  return type.clone(BFloat16Type::get(type.getContext()));
}

/// What a value is a view of.
static Value rootOf(Value value) {
  while (auto view = value.getDefiningOp<ViewOp>())
    value = view.getSource();
  return value;
}

/// The program that rounds every element of `value`, written to `dest` where there is one.
static FusedOp createCopy(OpBuilder &b, Value value, Value dest) {
  auto type = typeOf(value);
  Location loc = value.getLoc();
  int64_t cols = type.getRank() == 0 ? 1 : type.getShape().back();
  MLIRContext *context = b.getContext();
  auto point = b.getAffineMapArrayAttr(
      AffineMap::get(3, 0, {getAffineDimExpr(0, context), getAffineDimExpr(2, context)}, context));
  auto copy = FusedOp::create(
      b, loc, TypeRange(narrowed(type)), ValueRange(value), dest ? ValueRange(dest) : ValueRange(),
      b.getDenseI64ArrayAttr({type.getNumElements() / cols, 1, cols}), point, point,
      dest ? b.getDenseI64ArrayAttr({0}) : DenseI64ArrayAttr());
  OpBuilder::InsertionGuard guard(b);
  Block *body = b.createBlock(&copy.getBody(), {}, {type.getElementType()}, {loc});
  Value rounded = arith::TruncFOp::create(b, loc, b.getBF16Type(), body->getArgument(0));
  YieldOp::create(b, loc, rounded);
  return copy;
}

namespace {

/// The parameters that are copied in @prepare, and their places.
class FrozenCopies {
public:
  explicit FrozenCopies(ModuleOp module)
      : module(module), prepare(module.lookupSymbol<func::FuncOp>(kPrepare)) {
    for (auto entry : module.getOps<func::FuncOp>())
      if (entry != prepare)
        entry.walk([&](Operation *op) { trains |= writesParams(op); });
  }

  /// Is `slot` a parameter that no entry but prepare writes?
  bool isFrozen(SlotOp slot) const { return !trains && slot.getRegion() == ns::rt::Region::Params; }

  /// The place of a frozen parameter's copy, as a value of the entry that `slot` is in.
  Value place(SlotOp slot) {
    OpBuilder b(slot);
    std::string name = nameOf(slot.getName());
    types[slot.getNameAttr()] = typeOf(slot.getResult());
    return SlotOp::create(b, slot.getLoc(), narrowed(typeOf(slot.getResult())),
                          ns::rt::Region::Params, name);
  }

  /// Writes the layout and the programs of @prepare; `like` is an entry.
  void finish(func::FuncOp like) {
    if (types.empty())
      return;
    extendLayout();
    if (!prepare)
      createPrepare(like);
    Block &block = prepare.getBody().front();
    llvm::DenseMap<StringAttr, Value> last; // an entry does not read a slot that it wrote
    for (Operation &op : block)
      addValues(&op, last);
    OpBuilder b(block.getTerminator());
    for (auto [name, type] : types) {
      Value value = last.lookup(name);
      if (!value)
        value = SlotOp::create(b, prepare.getLoc(), type, ns::rt::Region::Params, name);
      auto copyType = narrowed(typeOf(value));
      Value dest =
          SlotOp::create(b, prepare.getLoc(), narrowed(type), ns::rt::Region::Params, nameOf(name));
      if (copyType != dest.getType())
        dest = ViewOp::create(b, prepare.getLoc(), copyType, dest, 0);
      createCopy(b, value, dest);
    }
  }

  int64_t size() const { return types.size(); }

private:
  static std::string nameOf(StringRef param) { return (param + ":bf16").str(); }

  static bool writesParams(Operation *op) {
    auto isParam = [](Value dest) {
      auto slot = rootOf(dest).getDefiningOp<SlotOp>();
      return slot && slot.getRegion() == ns::rt::Region::Params;
    };
    if (auto gemm = dyn_cast<GemmOp>(op))
      return gemm.getDest() && isParam(gemm.getDest());
    auto fused = dyn_cast<FusedOp>(op);
    return fused && llvm::any_of(fused.getDests(), isParam);
  }

  /// The value that each parameter has after `op`.
  static void addValues(Operation *op, llvm::DenseMap<StringAttr, Value> &last) {
    auto fused = dyn_cast<FusedOp>(op);
    if (auto slot = dyn_cast<SlotOp>(op); slot && slot.getRegion() == ns::rt::Region::Params)
      last.try_emplace(slot.getNameAttr(), slot.getResult());
    for (unsigned i = 0; fused && i < fused.getNumResults(); ++i)
      if (Value dest = fused.getDestOf(i))
        if (auto slot = rootOf(dest).getDefiningOp<SlotOp>();
            slot && slot.getRegion() == ns::rt::Region::Params)
          last[slot.getNameAttr()] = fused.getResult(i);
  }

  void extendLayout() {
    Builder b(module.getContext());
    auto layout = module->getAttrOfType<DictionaryAttr>(RTDialect::kLayoutAttr);
    NamedAttrList fields(layout);
    auto params = llvm::to_vector(layout.getAs<ArrayAttr>("params"));
    int64_t bytes = layout.getAs<IntegerAttr>("params_bytes").getInt();
    constexpr int64_t kAlignment = 64;
    for (auto [name, type] : types) {
      params.push_back(
          b.getDictionaryAttr({b.getNamedAttr("name", b.getStringAttr(nameOf(name))),
                               b.getNamedAttr("offset", b.getI64IntegerAttr(bytes)),
                               b.getNamedAttr("type", TypeAttr::get(narrowed(type)))}));
      bytes += llvm::alignTo(byteSize(narrowed(type)), kAlignment);
    }
    fields.set("params", b.getArrayAttr(params));
    fields.set("params_bytes", b.getI64IntegerAttr(bytes));
    module->setAttr(RTDialect::kLayoutAttr, fields.getDictionary(b.getContext()));
  }

  void createPrepare(func::FuncOp like) {
    OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
    prepare = func::FuncOp::create(b, like.getLoc(), kPrepare, b.getFunctionType({}, {}));
    prepare->setDiscardableAttrs(like->getDiscardableAttrDictionary());
    for (StringRef names : {"rt.inputs", "rt.outputs"})
      prepare->setAttr(names, b.getArrayAttr({}));
    b.setInsertionPointToEnd(prepare.addEntryBlock());
    func::ReturnOp::create(b, prepare.getLoc());
  }

  ModuleOp module;
  func::FuncOp prepare;
  bool trains = false;
  llvm::MapVector<StringAttr, RankedTensorType> types;
};

struct RTNarrowProductsPass : public ns::rt::impl::RTNarrowProductsPassBase<RTNarrowProductsPass> {
  using RTNarrowProductsPassBase::RTNarrowProductsPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    FrozenCopies frozen(module);
    func::FuncOp changed; // any
    for (auto entry : module.getOps<func::FuncOp>()) {
      bool chosen = entries.empty() ? entry.getSymName() != kPrepare
                                    : llvm::is_contained(entries, entry.getSymName());
      if (!chosen)
        continue;
      narrow(entry.getBody().front(), frozen);
      changed = entry;
    }
    if (changed)
      frozen.finish(changed);
    numFrozen = frozen.size();
  }

  void narrow(Block &block, FrozenCopies &frozen) {
    copies.clear();
    for (auto gemm : llvm::make_early_inc_range(block.getOps<GemmOp>())) {
      if (!typeOf(gemm.getA()).getElementType().isF32())
        continue;
      gemm.getAMutable().assign(copyOf(gemm.getA(), frozen));
      gemm.getBMutable().assign(copyOf(gemm.getB(), frozen));
      ++numProducts;
    }
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (isa<ViewOp, SlotOp>(op) && op.use_empty())
        op.erase();
  }

  /// `value` in bf16, made once in an entry.
  Value copyOf(Value value, FrozenCopies &frozen) {
    if (Value known = copies.lookup(value))
      return known;
    OpBuilder b(value.getContext());
    b.setInsertionPointAfterValue(value);
    Value copy;
    if (auto view = value.getDefiningOp<ViewOp>()) {
      Value source = copyOf(view.getSource(), frozen);
      b.setInsertionPointAfterValue(source);
      copy = ViewOp::create(b, view.getLoc(), narrowed(typeOf(value)), source, view.getOffset());
    } else if (auto slot = value.getDefiningOp<SlotOp>(); slot && frozen.isFrozen(slot)) {
      copy = frozen.place(slot);
    } else {
      FusedOp program = createCopy(b, value, {});
      if (Operation *made = value.getDefiningOp()) { // the layer's name; FLOPs are the maker's
        program->setDiscardableAttrs(made->getDiscardableAttrDictionary());
        program->removeAttr(RTDialect::kFlopsAttr);
      }
      copy = program.getResult(0);
      ++numCopies;
    }
    return copies[value] = copy;
  }

  llvm::DenseMap<Value, Value> copies; // of the current entry
};
} // namespace
