//===- NNToRT.cpp - entries to library calls and row programs -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"

#include "ns/Conversion/Passes.h"
#include "ns/Dialect/NN/Transforms/Utils.h"
#include "ns/Dialect/RT/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/TypeSwitch.h"

namespace ns {
#define GEN_PASS_DEF_NNTORTPASS
#include "ns/Conversion/Passes.h.inc"
} // namespace ns

using namespace mlir;
using namespace ns;

int64_t ns::numCols(RankedTensorType type) {
  return type.getRank() == 0 ? 1 : type.getShape().back();
}
int64_t ns::numRows(RankedTensorType type) { return type.getNumElements() / numCols(type); }

Lowering::Lowering(func::FuncOp source, func::FuncOp target, Layout &layout, int64_t sumRows)
    : builder(target.getContext()), source(source), layout(layout), sumRows(sumRows),
      block(target.addEntryBlock()) {
  builder.setInsertionPointToEnd(block);
}

Value Lowering::slot(rt::Region region, StringRef name, RankedTensorType type) {
  Value &known = slots[(stringifyRegion(region) + " " + name).str()];
  if (!known) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(block);
    known = rt::SlotOp::create(builder, source.getLoc(), type, region, name);
  }
  return known;
}

Value Lowering::view(Value value, ArrayRef<int64_t> shape, int64_t offset) {
  auto type = typeOf(value);
  auto result = RankedTensorType::get(shape, type.getElementType());
  if (type == result)
    return value;
  if (auto inner = value.getDefiningOp<rt::ViewOp>())
    return view(inner.getSource(), shape, offset + inner.getOffset());
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointAfterValue(
      value); // beside its source, so that fusion sees no op in between
  return rt::ViewOp::create(builder, value.getLoc(), result, value, offset);
}

SmallVector<Value> &Lowering::memo(StringRef name, ArrayRef<Value> from) {
  std::vector<const void *> key;
  for (Value value : from)
    key.push_back(value.getAsOpaquePointer());
  return memos[{name.str(), key}];
}

void Lowering::finish(RowProgram &program, ValueRange results) {
  rt::FusedOp op = program.finish();
  for (auto [value, result] : llvm::zip(results, op.getResults()))
    set(value, view(result, typeOf(value).getShape()));
}

LogicalResult Lowering::lowerOp(Operation *op) {
  return TypeSwitch<Operation *, LogicalResult>(op)
      .Case<nn::LinearOp, nn::LinearGradInputOp, nn::LinearGradWeightOp, nn::PatchEmbedOp,
            nn::PatchEmbedGradInputOp, nn::PatchEmbedGradWeightOp, nn::AttentionOp,
            nn::AttentionGradOp, nn::NormalizeOp, nn::NormalizeGradOp, nn::LayerNormOp,
            nn::LayerNormGradOp, nn::LayerNormGradParamsOp, nn::GeluOp, nn::GeluGradOp, nn::AddOp,
            nn::MulOp, nn::ConcatChannelsOp, nn::ConcatRowsOp, nn::ExpandBatchOp,
            nn::RelativeBiasOp, nn::RelativeBiasGradOp, nn::RotaryOp, nn::DropoutOp, nn::ScaleOp,
            nn::LayerScaleOp, nn::LayerScaleGradGammaOp, nn::SumRowsOp, nn::SumBatchOp,
            harden::InjectOp, harden::ClipGradOp, nn::PrependTokensOp, nn::SelectTokenOp,
            nn::ScatterTokenOp, nn::SliceTokensOp, nn::PadTokensOp, nn::SliceChannelsOp,
            nn::PadChannelsOp, nn::SliceRowsOp, nn::PadRowsOp, nn::SliceBatchOp, nn::ConcatBatchOp,
            nn::MeanTokensOp, nn::ExpandTokensOp, nn::CrossEntropyOp, nn::CrossEntropyGradOp,
            nn::WeightedSumOp, nn::WeightedSumGradOp, harden::SynthesisLossOp,
            harden::SynthesisLossGradOp, harden::TradesLossOp, harden::TradesLossGradOp,
            harden::AttackLossOp, harden::AttackLossGradOp, harden::ExpandChannelsOp,
            harden::MeanChannelsOp, harden::AttentionLossOp, harden::AttentionLossGradOp,
            harden::MomentumOp, harden::AscendOp, harden::InvarianceOp, harden::SampleNormOp,
            nn::LoadParamOp, nn::FoldNormBiasOp, nn::FoldNormWeightOp, nn::FoldScaleBiasOp,
            nn::FoldScaleWeightOp, nn::StoreParamOp, harden::ReadNoiseOp, harden::StoreGradOp,
            harden::AdamWParamsOp, harden::AdamWNoiseOp, nn::ActivationOp, nn::ActivationGradOp,
            nn::BatchNormOp, nn::BatchNormGradOp, nn::BatchNormGradParamsOp, nn::BatchStatsOp,
            nn::ConvOp, nn::ConvGradInputOp, nn::ConvGradWeightOp, nn::MaxPoolOp, nn::MaxPoolGradOp,
            nn::ImageToTokensOp, nn::TokensToImageOp, nn::PermuteTokensOp, nn::RollTokensOp,
            nn::ReshapeTokensOp>([&](auto concrete) { return lower(concrete, *this); })
      .Case<func::ReturnOp>([&](func::ReturnOp op) { return writeResults(op); })
      .Default(
          [](Operation *op) { return op->emitOpError("expected no op without a lowering to rt"); });
}

LogicalResult Lowering::run() {
  for (BlockArgument arg : source.getArguments()) {
    auto name =
        source.getArgAttrOfType<StringAttr>(arg.getArgNumber(), harden::NSDialect::kNameAttr);
    auto type = typeOf(arg);
    if (failed(layout.addIO(name, type, arg.getLoc())))
      return failure();
    set(arg, slot(rt::Region::IO, name, type));
  }
  Operation *last = nullptr;
  for (Operation &op : source.getBody().front()) {
    if (failed(lowerOp(&op)))
      return failure();
    for (Operation *made = last             ? last->getNextNode()
                           : block->empty() ? nullptr
                                            : &block->front();
         made; made = made->getNextNode()) {
      if (auto layer = op.getAttrOfType<StringAttr>(nn::NNDialect::kLayerAttr))
        made->setAttr(nn::NNDialect::kLayerAttr, layer);
      if (op.hasAttr(nn::kRecomputedAttr))
        made->setAttr(rt::kRecomputedAttr, builder.getUnitAttr());
    }
    last = block->empty() ? nullptr : &block->back();
  }
  func::ReturnOp::create(builder, source.getLoc());
  return success();
}

bool ns::retarget(Value value, Value dest) {
  if (auto gemm = value.getDefiningOp<rt::GemmOp>(); gemm && !gemm.getDest()) {
    gemm.getDestMutable().assign(dest);
    return true;
  }
  auto fused = value.getDefiningOp<rt::FusedOp>();
  if (!fused)
    return false;
  unsigned index = cast<OpResult>(value).getResultNumber();
  if (fused.getDestOf(index))
    return false;
  SmallVector<int64_t> destOf(fused.getNumResults(), -1);
  if (auto old = fused.getDestOfAttr())
    destOf.assign(old.asArrayRef().begin(), old.asArrayRef().end());
  destOf[index] = fused.getDests().size();
  fused.getDestsMutable().append(dest);
  fused.setDestOfAttr(DenseI64ArrayAttr::get(fused.getContext(), destOf));
  return true;
}

/// May the op that makes `value` write it into `slot`, which ops of the entry may read? It must be
/// the last of them, and read at the points where it writes.
static bool mayOverwrite(Value value, Value slot) {
  Operation *maker = value.getDefiningOp();
  return llvm::all_of(slot.getUses(), [&](OpOperand &use) {
    if (auto view = dyn_cast<rt::ViewOp>(use.getOwner()))
      return mayOverwrite(value, view);
    if (use.getOwner() != maker)
      return maker && use.getOwner()->isBeforeInBlock(maker);
    auto fused = dyn_cast<rt::FusedOp>(maker);
    return fused && fused.isSingleStage() && typeOf(slot) == typeOf(value) &&
           fused.getInMap(use.getOperandNumber()) ==
               fused.getOutMap(cast<OpResult>(value).getResultNumber());
  });
}

LogicalResult Lowering::writeResults(func::ReturnOp op) {
  for (auto [i, operand] : llvm::enumerate(op.getOperands())) {
    auto name = source.getResultAttrOfType<StringAttr>(i, harden::NSDialect::kNameAttr);
    auto type = typeOf(operand);
    if (failed(layout.addIO(name, type, op.getLoc())))
      return failure();
    Value value = get(operand);
    Value made = value;
    if (auto view = value.getDefiningOp<rt::ViewOp>();
        view && view.getOffset() == 0 &&
        typeOf(view.getSource()).getNumElements() == type.getNumElements())
      made = view.getSource();
    Value dest = slot(rt::Region::IO, name, type);
    bool isInPlace = mayOverwrite(made, dest);
    if (made.getType() != type) {
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPointAfterValue(dest);
      dest = rt::ViewOp::create(builder, dest.getLoc(), made.getType(), dest, 0);
    }
    if (isInPlace && retarget(made, dest))
      continue;
    RowProgram p = rowwise(op, typeOf(made));
    p.out(p.in(made), typeOf(made), p.r, p.c, dest);
    p.finish();
  }
  return success();
}

namespace {
struct NNToRTPass : public ns::impl::NNToRTPassBase<NNToRTPass> {
  using NNToRTPassBase::NNToRTPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (sumRows < 0) {
      module.emitError("expected sum-rows to be at least 0, but got ") << int64_t(sumRows);
      return signalPassFailure();
    }
    Layout layout(module);
    for (auto entry : llvm::make_early_inc_range(module.getOps<func::FuncOp>())) {
      if (!entry->hasAttr(harden::NSDialect::kEntryAttr)) {
        entry.erase();
        continue;
      }
      OpBuilder builder(entry);
      auto lowered = func::FuncOp::create(builder, entry.getLoc(), entry.getSymName(),
                                          builder.getFunctionType({}, {}));
      lowered->setAttr(harden::NSDialect::kEntryAttr, builder.getUnitAttr());
      setNames(entry, lowered);
      if (failed(Lowering(entry, lowered, layout, sumRows).run()))
        return signalPassFailure();
      entry.erase();
      lowered.walk([&](Operation *op) {
        numGemms += isa<rt::GemmOp>(op);
        numFused += isa<rt::FusedOp>(op);
      });
    }
    layout.store(module);
    eraseDeadViews(module);
  }

  /// Keeps the io names: attributes `rt.inputs` and `rt.outputs`, from which the artefact's
  /// metadata is written.
  static void setNames(func::FuncOp entry, func::FuncOp lowered) {
    SmallVector<Attribute> inputs, outputs;
    for (unsigned i = 0; i < entry.getNumArguments(); ++i)
      inputs.push_back(entry.getArgAttr(i, harden::NSDialect::kNameAttr));
    for (unsigned i = 0; i < entry.getNumResults(); ++i)
      outputs.push_back(entry.getResultAttr(i, harden::NSDialect::kNameAttr));
    lowered->setAttr("rt.inputs", ArrayAttr::get(entry.getContext(), inputs));
    lowered->setAttr("rt.outputs", ArrayAttr::get(entry.getContext(), outputs));
  }

  static void eraseDeadViews(ModuleOp module) {
    for (auto entry : module.getOps<func::FuncOp>())
      for (Operation &op : llvm::make_early_inc_range(llvm::reverse(entry.getBody().front())))
        if (isa<rt::ViewOp, rt::SlotOp>(op) && op.use_empty())
          op.erase();
  }
};
} // namespace
