//===- Grid.cpp - rules of ops on grids, batch norms, activations -*- C++ -*-===//
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

//===----------------------------------------------------------------------===//
// Windows that slide over a grid
//===----------------------------------------------------------------------===//

struct ConvRule : RuleBase<ConvRule, ConvOp> {
  static void save(ConvOp op, const BitVector &wanted, SmallVectorImpl<Value> &saved) {
    if (wanted[0])
      saved.push_back(op.getWeight());
    if (wanted[1])
      saved.push_back(op.getInput());
  }
  static void vjp(ConvOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    if (wanted[0])
      results[0] = ConvGradInputOp::create(b, op.getLoc(), op.getInput().getType(), dy, op.getWeight(), op.getGridAttr(),
                                           op.getStrideAttr(), op.getPaddingAttr(), op.getDilationAttr(), op.getGroupsAttr());
    if (wanted[1])
      results[1] = ConvGradWeightOp::create(b, op.getLoc(), op.getWeight().getType(), dy, op.getInput(), op.getGridAttr(),
                                            op.getStrideAttr(), op.getPaddingAttr(), op.getDilationAttr(), op.getGroupsAttr());
    if (op.getBias() && wanted[2])
      results[2] = SumRowsOp::create(b, op.getLoc(), op.getBias().getType(), dy);
  }
};

/// Keeps the input, from which the place of each maximum is found again.
struct MaxPoolRule : RuleBase<MaxPoolRule, MaxPoolOp> {
  static void save(MaxPoolOp op, const BitVector &, SmallVectorImpl<Value> &saved) { saved.push_back(op.getInput()); }
  static void vjp(MaxPoolOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = MaxPoolGradOp::create(b, op.getLoc(), op.getInput().getType(), dy, op.getInput(), op.getGridAttr(),
                                       op.getKernelAttr(), op.getStrideAttr(), op.getPaddingAttr());
  }
};

//===----------------------------------------------------------------------===//
// Batch normalisation and activations
//===----------------------------------------------------------------------===//

struct BatchNormRule : RuleBase<BatchNormRule, BatchNormOp> {
  static bool inactive(unsigned index) { return index >= 3; } // running statistics
  static void save(BatchNormOp op, const BitVector &wanted, SmallVectorImpl<Value> &saved) {
    saved.push_back(op.getInput());
    if (wanted[0])
      saved.push_back(op.getGamma());
    if (op.getMean())
      saved.append({op.getMean(), op.getVar()});
  }
  static void vjp(BatchNormOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    if (wanted[0])
      results[0] = BatchNormGradOp::create(b, op.getLoc(), dy.getType(), dy, op.getInput(), op.getGamma(), op.getMean(),
                                           op.getVar(), op.getEpsAttr());
    if (!wanted[1] && !wanted[2])
      return;
    Type type = op.getGamma().getType();
    auto params = BatchNormGradParamsOp::create(b, op.getLoc(), type, type, dy, op.getInput(), op.getMean(), op.getVar(),
                                                op.getEpsAttr());
    if (wanted[1])
      results[1] = params.getDgamma();
    if (wanted[2])
      results[2] = params.getDbeta();
  }
};

/// Keeps the pre-activation; relu keeps its result, which is positive where the input is and which the next layer keeps anyway.
struct ActivationRule : RuleBase<ActivationRule, ActivationOp> {
  static Value kept(ActivationOp op) { return op.getKind() == ActivationKind::Relu ? op.getResult() : op.getInput(); }
  static void save(ActivationOp op, const BitVector &, SmallVectorImpl<Value> &saved) { saved.push_back(kept(op)); }
  static void vjp(ActivationOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = ActivationGradOp::create(b, op.getLoc(), dy.getType(), op.getKind(), dy, kept(op));
  }
};

//===----------------------------------------------------------------------===//
// Moving tokens: all linear, each with the inverse move as its transpose
//===----------------------------------------------------------------------===//

struct ImageToTokensRule : RuleBase<ImageToTokensRule, ImageToTokensOp> {
  static void vjp(ImageToTokensOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = TokensToImageOp::create(b, op.getLoc(), op.getImage().getType(), dy);
  }
};

struct TokensToImageRule : RuleBase<TokensToImageRule, TokensToImageOp> {
  static void vjp(TokensToImageOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = ImageToTokensOp::create(b, op.getLoc(), op.getInput().getType(), dy);
  }
};

struct PermuteTokensRule : RuleBase<PermuteTokensRule, PermuteTokensOp> {
  static void vjp(PermuteTokensOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    ArrayRef<int64_t> digits = op.getDigits(), order = op.getOrder();
    SmallVector<int64_t> permuted, inverse(order.size());
    for (auto [position, source] : llvm::enumerate(order)) {
      permuted.push_back(digits[source]);
      inverse[source] = position;
    }
    results[0] = PermuteTokensOp::create(b, op.getLoc(), dy.getType(), dy, permuted, inverse);
  }
};

struct RollTokensRule : RuleBase<RollTokensRule, RollTokensOp> {
  static void vjp(RollTokensOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    SmallVector<int64_t> back = {-op.getShifts()[0], -op.getShifts()[1]};
    results[0] = RollTokensOp::create(b, op.getLoc(), dy.getType(), dy, op.getGrid(), back);
  }
};

struct ReshapeTokensRule : RuleBase<ReshapeTokensRule, ReshapeTokensOp> {
  static void vjp(ReshapeTokensOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = ReshapeTokensOp::create(b, op.getLoc(), op.getInput().getType(), dy);
  }
};

} // namespace

void attachGridRules(MLIRContext &context) {
  ActivationOp::attachInterface<ActivationRule>(context);
  BatchNormOp::attachInterface<BatchNormRule>(context);
  ConvOp::attachInterface<ConvRule>(context);
  ImageToTokensOp::attachInterface<ImageToTokensRule>(context);
  MaxPoolOp::attachInterface<MaxPoolRule>(context);
  PermuteTokensOp::attachInterface<PermuteTokensRule>(context);
  ReshapeTokensOp::attachInterface<ReshapeTokensRule>(context);
  RollTokensOp::attachInterface<RollTokensRule>(context);
  TokensToImageOp::attachInterface<TokensToImageRule>(context);
}

} // namespace ns::autodiff
