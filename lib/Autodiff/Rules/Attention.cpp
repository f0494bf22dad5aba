//===- Attention.cpp - rule of attention -*- C++ -*-===//
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

} // namespace

void attachAttentionRules(MLIRContext &context) {
  AttentionOp::attachInterface<AttentionRule>(context);
}

} // namespace ns::autodiff
