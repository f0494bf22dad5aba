//===- Attention.cpp - rules of attention and positions -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Rules.h"
#include "ns/Dialect/NN/IR/NN.h"

using namespace mlir;
using namespace ns::nn;

namespace ns::autodiff {
namespace {

/// Keeps the operands; the probabilities are recomputed.
struct AttentionRule : RuleBase<AttentionRule, AttentionOp> {
  static void save(AttentionOp op, const BitVector &, SmallVectorImpl<Value> &saved) { llvm::append_range(saved, op->getOperands()); }
  static void vjp(AttentionOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    unsigned inputs = op.getInputs().size();
    SmallVector<Type> types(op.getInputs().getTypes());
    if (op.getBias() && wanted[inputs])
      types.push_back(op.getBias().getType());
    auto grads = AttentionGradOp::create(b, op.getLoc(), types, dy, op.getInputs(), op.getBias(), op.getMask(), op.getHeadsAttr(),
                                         op.getScaleAttr(), op.getWindowAttr());
    for (unsigned index : wanted.set_bits()) // a mask is a buffer
      if (index < types.size())
        results[index] = grads.getResult(index);
  }
};

struct RelativeBiasRule : RuleBase<RelativeBiasRule, RelativeBiasOp> {
  static void vjp(RelativeBiasOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = RelativeBiasGradOp::create(b, op.getLoc(), op.getTable().getType(), dy, op.getGridAttr(), op.getPrefixAttr());
  }
};

/// A linear map of the input: the transposed one. Sines and cosines are buffers.
struct RotaryRule : RuleBase<RotaryRule, RotaryOp> {
  static bool inactive(unsigned index) { return index > 0; }
  static void save(RotaryOp op, const BitVector &, SmallVectorImpl<Value> &saved) { saved.append({op.getSin(), op.getCos()}); }
  static void vjp(RotaryOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = RotaryOp::create(b, op.getLoc(), dy.getType(), dy, op.getSin(), op.getCos(), op.getHeads(), op.getPrefix(),
                                  !op.getTransposed());
  }
};

} // namespace

void attachAttentionRules(MLIRContext &context) {
  AttentionOp::attachInterface<AttentionRule>(context);
  RelativeBiasOp::attachInterface<RelativeBiasRule>(context);
  RotaryOp::attachInterface<RotaryRule>(context);
}

} // namespace ns::autodiff
