//===- CallAttention.cpp - attention as calls of a library -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/RT/IR/AttentionShape.h"
#include "ns/Dialect/RT/IR/RowProgram.h"
#include "ns/Dialect/RT/Transforms/Passes.h"

#include <map>

namespace ns::rt {
#define GEN_PASS_DEF_RTCALLATTENTIONPASS
#include "ns/Dialect/RT/Transforms/Passes.h.inc"
} // namespace ns::rt

using namespace mlir;
using namespace ns;
using namespace ns::rt;

/// Is every use of `product` an input of an attention that will be a call, with `bias`?
static bool allAdd(GemmOp product, Value bias) {
  return llvm::all_of(product.getResult().getUses(), [&](OpOperand &use) {
    Operation *user = use.getOwner();
    if (!isa<AttentionOp, AttentionGradOp>(user))
      return false;
    AttentionShape shape(user);
    unsigned first = isa<AttentionGradOp>(user), index = use.getOperandNumber();
    return shape.whyNotCall().empty() && index >= first && index - first < shape.biases.size() &&
           shape.biases[index - first] == bias;
  });
}

/// Can the product of an input add its bias, or does it already?
static bool takesBias(GemmOp product, Value bias) {
  if (product.getBias())
    return product.getBias() == bias;
  Operation *made = bias.getDefiningOp();
  bool isThere =
      !made || (made->getBlock() == product->getBlock() && made->isBeforeInBlock(product));
  return isThere && !product.getPacked() && !product.getDest() && !product.getBatch() &&
         product.getMnk()[1] == typeOf(bias).getNumElements() && allAdd(product, bias);
}

/// input + bias: by the product that makes the input, or by a program.
static Value addBias(OpBuilder &b, Operation *op, Value input, Value bias) {
  auto product = input.getDefiningOp<GemmOp>();
  if (product && takesBias(product, bias)) {
    product.getBiasMutable().assign(bias);
    return input;
  }
  auto type = typeOf(input);
  int64_t channels = rowPitch(type);
  RowProgram p(b, op->getLoc(), type.getElementType(),
               {type.getNumElements() / channels, 1, channels});
  p.out(p.add(p.in(input), p.inColumn(bias)), type);
  FusedOp program = p.finish();
  program->setDiscardableAttrs(op->getDiscardableAttrDictionary());
  return program.getResult(0);
}

namespace {
struct RTCallAttentionPass : public ns::rt::impl::RTCallAttentionPassBase<RTCallAttentionPass> {
  using RTCallAttentionPassBase::RTCallAttentionPassBase;

  void runOnOperation() override {
    func::FuncOp entry = getOperation();
    if (!entries.empty() && !llvm::is_contained(entries, entry.getSymName()))
      return;
    calls.clear();
    for (Operation &op : llvm::make_early_inc_range(entry.getBody().front())) {
      if (!isa<AttentionOp, AttentionGradOp>(op) || isLibraryAttention(&op))
        continue;
      if (AttentionShape(&op).whyNotCall().empty())
        replace(&op);
      else
        ++numLeft;
    }
  }

  void replace(Operation *op) {
    AttentionOp call = callOf(op);
    if (isa<AttentionOp>(op)) {
      op->getResult(0).replaceAllUsesWith(call.getResult());
    } else {
      OpBuilder b(op);
      auto gradient = cast<AttentionGradOp>(op);
      auto made = AttentionGradOp::create(
          b, op->getLoc(), TypeRange(call.getInputs()), gradient.getGrad(), call.getInputs(),
          /*biases=*/ValueRange(), /*score_bias=*/Value(), /*mask=*/Value(), call.getResult(),
          call.getStatistics(), gradient.getHeadsAttr(), gradient.getScaleAttr(),
          gradient.getWindowAttr());
      made->setDiscardableAttrs(op->getDiscardableAttrDictionary());
      op->replaceAllUsesWith(made);
    }
    ++numCalls;
    op->erase();
  }

  /// The call that computes what `op`, an attention or its gradient, has as its result or needs:
  /// one for both.
  AttentionOp callOf(Operation *op) {
    AttentionOp &call = calls[scoresKey(op)];
    if (call)
      return call;
    OpBuilder b(op);
    AttentionShape shape(op);
    SmallVector<Value> inputs(shape.inputs);
    for (auto [input, bias] : llvm::zip(inputs, shape.biases))
      input = addBias(b, op, input, bias);
    Type element = typeOf(inputs.front()).getElementType();
    auto type =
        RankedTensorType::get({shape.images, shape.windows * shape.queries, shape.width}, element);
    auto statistics = RankedTensorType::get(
        {shape.images * shape.windows, shape.heads, shape.queries}, b.getF32Type());
    auto window = op->getAttrOfType<IntegerAttr>("window");
    call = AttentionOp::create(b, op->getLoc(), type, statistics, inputs,
                               /*biases=*/ValueRange(), /*score_bias=*/Value(), /*mask=*/Value(),
                               op->getAttrOfType<IntegerAttr>("heads"),
                               op->getAttrOfType<FloatAttr>("scale"), window);
    call->setDiscardableAttrs(op->getDiscardableAttrDictionary());
    return call;
  }

  std::map<std::vector<const void *>, AttentionOp> calls; // of the current entry
};
} // namespace
