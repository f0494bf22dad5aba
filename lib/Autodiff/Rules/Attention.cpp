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

/// Keeps the inputs; the probabilities are recomputed.
struct AttentionRule : RuleBase<AttentionRule, AttentionOp> {
  static void save(AttentionOp op, const BitVector &, SmallVectorImpl<Value> &saved) {
    llvm::append_range(saved, op.getInputs());
  }
  static void vjp(AttentionOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    auto grads = AttentionGradOp::create(b, op.getLoc(), op.getInputs().getTypes(), dy, op.getInputs(), op.getHeadsAttr(),
                                         op.getScaleAttr());
    for (unsigned index : wanted.set_bits())
      results[index] = grads.getResult(index);
  }
};

} // namespace

void attachAttentionRules(MLIRContext &context) {
  AttentionOp::attachInterface<AttentionRule>(context);
}

} // namespace ns::autodiff
