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
    if (results != "f32" && results != "bf16" && results != "rounded") {
      module.emitError("expected results to be f32, bf16 or rounded, but got '") << results << "'";
      return signalPassFailure();
    }
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
      if (!typeOf(gemm.getResult()).getElementType().isF32())
        continue;
      for (OpOperand *operand : {&gemm.getAMutable(), &gemm.getBMutable()})
        operand->set(copyOf(operand->get(), frozen, bool(gemm.getBatch())));
      ++numProducts;
      if (results != "f32" && isActivation(gemm) && canBeNarrow(gemm.getResult()))
        narrowResult(gemm);
    }
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (isa<ViewOp, SlotOp>(op) && op.use_empty())
        op.erase();
  }

  /// Is the result a row for each token, or scores, or their gradients? Gradients of weights, and
  /// what is made once for an image, such as logits, stay f32.
  static bool isActivation(GemmOp gemm) {
    return !gemm.getDest() && !gemm.getBias() &&
           (gemm.getBatch() || (!gemm.getTransA() && typeOf(gemm.getResult()).getRank() == 3));
  }

  /// Do only programs and products read `value`, themselves or through views?
  static bool canBeNarrow(Value value) {
    return llvm::all_of(value.getUses(), [](OpOperand &use) {
      if (auto view = dyn_cast<ViewOp>(use.getOwner()))
        return canBeNarrow(view.getResult());
      if (auto program = dyn_cast<FusedOp>(use.getOwner()))
        return use.getOperandNumber() < program.getInputs().size();
      return isa<GemmOp>(use.getOwner()) && use.getOperandNumber() < 2;
    });
  }

  /// The product writes bf16, or a program rounds what it wrote.
  void narrowResult(GemmOp gemm) {
    Value result = gemm.getResult();
    if (results == "bf16") {
      result.setType(narrowed(typeOf(result)));
    } else {
      OpBuilder b(gemm.getContext());
      b.setInsertionPointAfter(gemm);
      FusedOp copy = createCopy(b, result, {});
      copy->setDiscardableAttrs(gemm->getDiscardableAttrDictionary());
      result.replaceAllUsesExcept(copy.getResult(0), copy);
      result = copy.getResult(0);
    }
    readNarrow(result);
    ++numResults;
  }

  /// `value` has become bf16: so do views of it, and programs widen what they read.
  static void readNarrow(Value value) {
    for (OpOperand &use : value.getUses()) {
      if (auto view = dyn_cast<ViewOp>(use.getOwner())) {
        view.getResult().setType(narrowed(typeOf(view.getResult())));
        readNarrow(view.getResult());
      }
      auto program = dyn_cast<FusedOp>(use.getOwner());
      if (!program)
        continue;
      BlockArgument element = program.getBody().getArgument(use.getOperandNumber());
      Type wide = element.getType();
      element.setType(typeOf(value).getElementType());
      OpBuilder b = OpBuilder::atBlockBegin(element.getOwner());
      auto widened = arith::ExtFOp::create(b, program.getLoc(), wide, element);
      element.replaceAllUsesExcept(widened, widened);
    }
  }

  /// The results of programs that write `value` part by part, each into what the one before made;
  /// none where it is not made so, or where others read a part.
  static SmallVector<OpResult> partsOf(Value value) {
    SmallVector<OpResult> parts;
    while (value) {
      auto result = dyn_cast<OpResult>(value);
      auto program = result ? dyn_cast<FusedOp>(result.getOwner()) : FusedOp();
      if (!program || (!parts.empty() && !result.hasOneUse()) ||
          (program.getInner() > 1 &&
           !program.getOutMap(result.getResultNumber()).isFunctionOfDim(1)))
        return {};
      parts.push_back(result);
      value = program.getDestOf(result.getResultNumber());
    }
    return parts;
  }

  /// The programs round what they write, in the place of a copy of the whole.
  static void narrowParts(ArrayRef<OpResult> parts) {
    for (OpResult part : parts) {
      Operation *yield = cast<FusedOp>(part.getOwner()).getBody().front().getTerminator();
      OpBuilder b(yield);
      OpOperand &yielded = yield->getOpOperand(part.getResultNumber());
      yielded.set(arith::TruncFOp::create(b, yield->getLoc(), b.getBF16Type(), yielded.get()));
      part.setType(narrowed(typeOf(part)));
    }
    readNarrow(parts.front());
  }

  /// `value` in bf16, made once in an entry. `ofHeads`: an operand of attention's products, such as
  /// probabilities.
  Value copyOf(Value value, FrozenCopies &frozen, bool ofHeads) {
    if (typeOf(value).getElementType().isBF16())
      return value;
    if (Value known = copies.lookup(value))
      return known;
    OpBuilder b(value.getContext());
    b.setInsertionPointAfterValue(value);
    Value copy;
    if (auto view = value.getDefiningOp<ViewOp>()) {
      Value source = copyOf(view.getSource(), frozen, ofHeads);
      if (typeOf(value).getElementType().isBF16()) // with its source
        return value;
      b.setInsertionPointAfterValue(source);
      copy = ViewOp::create(b, view.getLoc(), narrowed(typeOf(value)), source, view.getOffset());
    } else if (auto slot = value.getDefiningOp<SlotOp>(); slot && frozen.isFrozen(slot)) {
      copy = frozen.place(slot);
    } else if (SmallVector<OpResult> parts = partsOf(value); results != "f32" && !parts.empty() &&
                                                             (ofHeads || parts.size() > 1) &&
                                                             canBeNarrow(value)) {
      narrowParts(parts);
      return value;
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
