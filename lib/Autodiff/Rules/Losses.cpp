//===- Losses.cpp - rules of the losses on labels -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Rules.h"
#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Dialect/NS/IR/NS.h"

#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace ns::nn;

namespace ns::autodiff {
namespace {

struct CrossEntropyRule : RuleBase<CrossEntropyRule, CrossEntropyOp> {
  static bool inactive(unsigned index) { return index == 1; } // labels
  static void save(CrossEntropyOp op, const BitVector &, SmallVectorImpl<Value> &saved) {
    saved.append({op.getLogits(), op.getLabels()});
  }
  static void vjp(CrossEntropyOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = CrossEntropyGradOp::create(b, op.getLoc(), op.getLogits().getType(), dy, op.getLogits(), op.getLabels());
  }
};

struct WeightedSumRule : RuleBase<WeightedSumRule, WeightedSumOp> {
  static bool inactive(unsigned index) { return index == 1; } // sample weights
  static void save(WeightedSumOp op, const BitVector &, SmallVectorImpl<Value> &saved) { saved.push_back(op.getWeights()); }
  static void vjp(WeightedSumOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    // The seed of reverse mode needs no operand.
    Value grad = matchPattern(dy, m_OneFloat()) ? Value() : dy;
    results[0] = WeightedSumGradOp::create(b, op.getLoc(), op.getLosses().getType(), op.getWeights(), grad);
  }
};

struct AttackLossRule : RuleBase<AttackLossRule, harden::AttackLossOp> {
  static bool inactive(unsigned index) { return index > 0; } // labels, targets, objective
  static void save(harden::AttackLossOp op, const BitVector &, SmallVectorImpl<Value> &saved) {
    saved.append(op->operand_begin(), op->operand_end());
  }
  static void vjp(harden::AttackLossOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = harden::AttackLossGradOp::create(b, op.getLoc(), op.getLogits().getType(), dy, op.getLogits(),
                                                  op.getLabels(), op.getTargets(), op.getObjective());
  }
};

/// Keeps the attention that the patch receives.
struct AttentionLossRule : RuleBase<AttentionLossRule, harden::AttentionLossOp> {
  static void save(harden::AttentionLossOp op, const BitVector &, SmallVectorImpl<Value> &saved) { saved.push_back(op.getInput()); }
  static void vjp(harden::AttentionLossOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = harden::AttentionLossGradOp::create(b, op.getLoc(), op.getInput().getType(), dy, op.getInput());
  }
};

struct MeanChannelsRule : RuleBase<MeanChannelsRule, harden::MeanChannelsOp> {
  static void vjp(harden::MeanChannelsOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    auto type = op.getInput().getType();
    Value share = ScaleOp::create(b, op.getLoc(), dy.getType(), dy, llvm::APFloat(1.0 / double(type.getDimSize(2))));
    results[0] = harden::ExpandChannelsOp::create(b, op.getLoc(), type, share);
  }
};

struct TradesLossRule : RuleBase<TradesLossRule, harden::TradesLossOp> {
  static bool inactive(unsigned index) { return index > 0; } // labels, beta
  static void save(harden::TradesLossOp op, const BitVector &, SmallVectorImpl<Value> &saved) {
    saved.append(op->operand_begin(), op->operand_end());
  }
  static void vjp(harden::TradesLossOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = harden::TradesLossGradOp::create(b, op.getLoc(), op.getLogits().getType(), dy, op.getLogits(),
                                                  op.getLabels(), op.getBeta());
  }
};

} // namespace

void attachLossRules(MLIRContext &context) {
  CrossEntropyOp::attachInterface<CrossEntropyRule>(context);
  WeightedSumOp::attachInterface<WeightedSumRule>(context);
}

void attachAttackLossRules(MLIRContext &context) {
  harden::AttackLossOp::attachInterface<AttackLossRule>(context);
  harden::TradesLossOp::attachInterface<TradesLossRule>(context);
  harden::AttentionLossOp::attachInterface<AttentionLossRule>(context);
  harden::MeanChannelsOp::attachInterface<MeanChannelsRule>(context);
}

} // namespace ns::autodiff
