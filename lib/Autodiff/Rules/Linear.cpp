//===- Linear.cpp - rules of linear layers and patches -*- C++ -*-===//
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

/// y = x W^T + b: dx = dy W, dW = dy^T x, db = sum of rows. Frozen weights save no input.
struct LinearRule : RuleBase<LinearRule, LinearOp> {
  static void save(LinearOp op, const BitVector &wanted, SmallVectorImpl<Value> &saved) {
    if (wanted[0])
      saved.push_back(op.getWeight());
    if (wanted[1])
      saved.push_back(op.getInput());
  }
  static void vjp(LinearOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    if (wanted[0])
      results[0] = LinearGradInputOp::create(b, op.getLoc(), op.getInput().getType(), dy, op.getWeight());
    if (wanted[1])
      results[1] = LinearGradWeightOp::create(b, op.getLoc(), op.getWeight().getType(), dy, op.getInput());
    if (wanted.size() > 2 && wanted[2])
      results[2] = SumRowsOp::create(b, op.getLoc(), op.getBias().getType(), dy);
  }
};

/// As a linear layer on the patches.
struct PatchEmbedRule : RuleBase<PatchEmbedRule, PatchEmbedOp> {
  static void save(PatchEmbedOp op, const BitVector &wanted, SmallVectorImpl<Value> &saved) {
    if (wanted[0])
      saved.push_back(op.getWeight());
    if (wanted[1])
      saved.push_back(op.getImage());
  }
  static void vjp(PatchEmbedOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    if (wanted[0])
      results[0] = PatchEmbedGradInputOp::create(b, op.getLoc(), op.getImage().getType(), dy, op.getWeight(), op.getPatch());
    if (wanted[1])
      results[1] = PatchEmbedGradWeightOp::create(b, op.getLoc(), op.getWeight().getType(), dy, op.getImage(), op.getPatch());
    if (wanted.size() > 2 && wanted[2])
      results[2] = SumRowsOp::create(b, op.getLoc(), op.getBias().getType(), dy);
  }
};

/// y = (x - mean) / std by channel.
struct NormalizeRule : RuleBase<NormalizeRule, NormalizeOp> {
  static void vjp(NormalizeOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = NormalizeGradOp::create(b, op.getLoc(), dy.getType(), dy, op.getStd());
  }
};

} // namespace

void attachLinearRules(MLIRContext &context) {
  LinearOp::attachInterface<LinearRule>(context);
  NormalizeOp::attachInterface<NormalizeRule>(context);
  PatchEmbedOp::attachInterface<PatchEmbedRule>(context);
}

} // namespace ns::autodiff
