//===- NarrowProducts.cpp - products of bf16 operands -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Prepare.h"

#include "ns/Dialect/RT/IR/RT.h"
#include "ns/Dialect/RT/Transforms/Passes.h"

#include "llvm/ADT/MapVector.h"

namespace ns::rt {
#define GEN_PASS_DEF_RTNARROWPRODUCTSPASS
#include "ns/Dialect/RT/Transforms/Passes.h.inc"
} // namespace ns::rt

using namespace mlir;
using namespace ns::rt;

static RankedTensorType narrowed(RankedTensorType type) {
  return type.clone(BFloat16Type::get(type.getContext()));
}

/// The program that makes every element of `value` one of `element`, written to `dest` where there
/// is one.
static FusedOp createConversion(OpBuilder &b, Value value, Type element, Value dest) {
  auto type = typeOf(value);
  Location loc = value.getLoc();
  int64_t cols = type.getRank() == 0 ? 1 : type.getShape().back();
  MLIRContext *context = b.getContext();
  auto point = b.getAffineMapArrayAttr(
      AffineMap::get(3, 0, {getAffineDimExpr(0, context), getAffineDimExpr(2, context)}, context));
  auto copy =
      FusedOp::create(b, loc, TypeRange(type.clone(element)), ValueRange(value),
                      dest ? ValueRange(dest) : ValueRange(),
                      b.getDenseI64ArrayAttr({type.getNumElements() / cols, 1, cols}), point, point,
                      dest ? b.getDenseI64ArrayAttr({0}) : DenseI64ArrayAttr());
  OpBuilder::InsertionGuard guard(b);
  Block *body = b.createBlock(&copy.getBody(), {}, {type.getElementType()}, {loc});
  Value from = body->getArgument(0), to;
  if (element.getIntOrFloatBitWidth() < type.getElementTypeBitWidth())
    to = arith::TruncFOp::create(b, loc, element, from);
  else
    to = arith::ExtFOp::create(b, loc, element, from);
  YieldOp::create(b, loc, to);
  return copy;
}

/// The program that rounds every element of `value`.
static FusedOp createCopy(OpBuilder &b, Value value, Value dest) {
  return createConversion(b, value, b.getBF16Type(), dest);
}

namespace {

/// The parameters that are copied in @prepare, and their places.
class FrozenCopies {
public:
  explicit FrozenCopies(ModuleOp module) : module(module), trains(trainsParams(module)) {}

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

  /// Writes the layout and the programs of @prepare.
  void finish() {
    if (types.empty())
      return;
    SmallVector<std::pair<std::string, RankedTensorType>> copies;
    for (auto [name, type] : types)
      copies.push_back({nameOf(name), narrowed(type)});
    addParams(module, copies);
    func::FuncOp prepare = getOrCreatePrepare(module);
    llvm::DenseMap<StringAttr, Value> last = lastParamValues(prepare);
    OpBuilder b(prepare.getBody().front().getTerminator());
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

  ModuleOp module;
  bool trains;
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
    for (func::FuncOp entry : chooseEntries(module, entries))
      narrow(entry.getBody().front(), frozen);
    frozen.finish();
    numFrozen = frozen.size();
  }

  void narrow(Block &block, FrozenCopies &frozen) {
    copies.clear();
    for (Operation &op : llvm::make_early_inc_range(block)) {
      if (auto gemm = dyn_cast<GemmOp>(op))
        narrowProduct(gemm, frozen);
      else if (isLibraryAttention(&op))
        narrowCall(&op, frozen);
    }
    if (results != "f32")
      for (auto program : block.getOps<FusedOp>())
        narrowQuantized(program);
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (isa<ViewOp, SlotOp>(op) && op.use_empty())
        op.erase();
  }

  void narrowProduct(GemmOp gemm, FrozenCopies &frozen) {
    if (!typeOf(gemm.getResult()).getElementType().isF32())
      return;
    for (OpOperand *operand : {&gemm.getAMutable(), &gemm.getBMutable()})
      operand->set(copyOf(operand->get(), frozen, bool(gemm.getBatch())));
    ++numProducts;
    if (results != "f32" && isActivation(gemm) && canBeNarrow(gemm.getResult()))
      narrowResult(gemm, frozen);
  }

  /// A library's attention, or its gradient, reads and writes bf16; statistics stay f32.
  void narrowCall(Operation *call, FrozenCopies &frozen) {
    auto gradient = dyn_cast<AttentionGradOp>(call);
    for (OpOperand &operand : call->getOpOperands())
      if (!gradient || operand.get() != gradient.getStatistics())
        operand.set(copyOf(operand.get(), frozen, /*ofHeads=*/true));
    for (OpResult result : call->getResults()) {
      auto type = typeOf(result);
      if (result.getResultNumber() > 0 && !gradient)
        continue; // statistics
      bool onlyNarrow = canBeNarrow(result);
      result.setType(narrowed(type));
      if (onlyNarrow) {
        readNarrow(result);
        continue;
      }
      OpBuilder b(call->getContext());
      b.setInsertionPointAfter(call);
      FusedOp wide = createConversion(b, result, type.getElementType(), {});
      wide->setDiscardableAttrs(call->getDiscardableAttrDictionary());
      result.replaceAllUsesExcept(wide.getResult(0), wide);
      copies[wide.getResult(0)] = result; // for products and calls that read it
    }
    ++numCalls;
  }

  /// What a program quantizes (rt-quantize-products) that rt-fuse cannot make part of it, for it is
  /// written part by part or along other rows, is bf16 on the way.
  static void narrowQuantized(FusedOp program) {
    if (!isa<Float8E4M3FNType>(typeOf(program.getResult(0)).getElementType()))
      return;
    Value value = program.getInputs().front();
    while (auto view = value.getDefiningOp<ViewOp>())
      value = view.getSource();
    SmallVector<OpResult> parts = partsOf(value);
    if (parts.empty() || !typeOf(value).getElementType().isF32() || !canBeNarrow(value))
      return;
    if (parts.size() > 1 || cast<FusedOp>(parts.front().getOwner()).getCols() != program.getCols())
      narrowParts(parts);
  }

  /// Is the result a row for each token, or scores, or their gradients? Gradients of weights, and
  /// what is made once for an image, such as logits, stay f32.
  bool isActivation(GemmOp gemm) {
    return !gemm.getDest() && (!gemm.getBias() || results == "bf16") &&
           (gemm.getBatch() || (!gemm.getTransA() && typeOf(gemm.getResult()).getRank() == 3));
  }

  /// Do only programs, products and calls read `value`, themselves or through views?
  static bool canBeNarrow(Value value) {
    return llvm::all_of(value.getUses(), [](OpOperand &use) {
      if (auto view = dyn_cast<ViewOp>(use.getOwner()))
        return canBeNarrow(view.getResult());
      if (auto program = dyn_cast<FusedOp>(use.getOwner()))
        return use.getOperandNumber() < program.getInputs().size();
      return isLibraryAttention(use.getOwner()) ||
             (isa<GemmOp>(use.getOwner()) && use.getOperandNumber() < 2);
    });
  }

  /// The product writes bf16, with a bias of that type, or a program rounds what it wrote.
  void narrowResult(GemmOp gemm, FrozenCopies &frozen) {
    Value result = gemm.getResult();
    if (results == "bf16") {
      result.setType(narrowed(typeOf(result)));
      for (OpOperand &bias : gemm.getBiasMutable())
        bias.set(copyOf(bias.get(), frozen, /*ofHeads=*/false));
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
    if (!typeOf(value).getElementType().isF32())
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
