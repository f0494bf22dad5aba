//===- Tokens.cpp - rules of token, channel and batch ops -*- C++ -*-===//
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

// All linear and without saved values: the transpose of a selection is a scatter among zeros.

struct SliceTokensRule : RuleBase<SliceTokensRule, SliceTokensOp> {
  static void vjp(SliceTokensOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = PadTokensOp::create(b, op.getLoc(), op.getInput().getType(), dy, op.getFromAttr());
  }
};

struct SliceChannelsRule : RuleBase<SliceChannelsRule, SliceChannelsOp> {
  static void vjp(SliceChannelsOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = PadChannelsOp::create(b, op.getLoc(), op.getInput().getType(), dy, op.getFromAttr());
  }
};

struct SliceRowsRule : RuleBase<SliceRowsRule, SliceRowsOp> {
  static void vjp(SliceRowsOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = PadRowsOp::create(b, op.getLoc(), op.getInput().getType(), dy, op.getFromAttr());
  }
};

struct SelectTokenRule : RuleBase<SelectTokenRule, SelectTokenOp> {
  static void vjp(SelectTokenOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = ScatterTokenOp::create(b, op.getLoc(), op.getInput().getType(), dy, op.getIndexAttr());
  }
};

struct MeanTokensRule : RuleBase<MeanTokensRule, MeanTokensOp> {
  static void vjp(MeanTokensOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = ExpandTokensOp::create(b, op.getLoc(), op.getInput().getType(), dy);
  }
};

/// The prepended tokens are shared by the batch; they come first, in the order of the operands.
struct PrependTokensRule : RuleBase<PrependTokensRule, PrependTokensOp> {
  static void vjp(PrependTokensOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    int64_t from = 0;
    auto slice = [&](Value operand) -> Value {
      int64_t size = cast<RankedTensorType>(operand.getType()).getDimSize(1);
      Value part = SliceTokensOp::create(b, op.getLoc(), withDim(dy.getType(), 1, size), dy, from);
      return sumToShape(b, op.getLoc(), part, operand.getType());
    };
    for (auto [index, token] : llvm::enumerate(op.getTokens())) {
      if (wanted[index + 1])
        results[index + 1] = slice(token);
      from += cast<RankedTensorType>(token.getType()).getDimSize(1);
    }
    if (wanted[0])
      results[0] = slice(op.getInput());
  }
};

/// Each operand's gradient is its range of the result's.
template <typename ConcatOp, typename SliceOp>
struct ConcatRule : RuleBase<ConcatRule<ConcatOp, SliceOp>, ConcatOp> {
  static void vjp(ConcatOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    bool isLast = std::is_same_v<SliceOp, SliceChannelsOp>; // the dimension: the last, or the first
    int64_t from = 0;
    for (auto [index, input] : llvm::enumerate(op.getInputs())) {
      auto type = cast<RankedTensorType>(input.getType());
      if (wanted[index])
        results[index] = SliceOp::create(b, op.getLoc(), type, dy, from);
      from += isLast ? type.getShape().back() : type.getDimSize(0);
    }
  }
};

/// `like` gives its batch only.
struct ExpandBatchRule : RuleBase<ExpandBatchRule, ExpandBatchOp> {
  static bool inactive(unsigned index) { return index == 1; }
  static void vjp(ExpandBatchOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = sumToShape(b, op.getLoc(), dy, op.getInput().getType());
  }
};

struct ConcatBatchRule : RuleBase<ConcatBatchRule, ConcatBatchOp> {
  static void vjp(ConcatBatchOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    auto lhsType = cast<RankedTensorType>(op.getLhs().getType());
    if (wanted[0])
      results[0] = SliceBatchOp::create(b, op.getLoc(), lhsType, dy, 0);
    if (wanted[1])
      results[1] = SliceBatchOp::create(b, op.getLoc(), op.getRhs().getType(), dy, lhsType.getDimSize(0));
  }
};

} // namespace

void attachTokenRules(MLIRContext &context) {
  ConcatBatchOp::attachInterface<ConcatBatchRule>(context);
  ConcatChannelsOp::attachInterface<ConcatRule<ConcatChannelsOp, SliceChannelsOp>>(context);
  ConcatRowsOp::attachInterface<ConcatRule<ConcatRowsOp, SliceRowsOp>>(context);
  ExpandBatchOp::attachInterface<ExpandBatchRule>(context);
  MeanTokensOp::attachInterface<MeanTokensRule>(context);
  PrependTokensOp::attachInterface<PrependTokensRule>(context);
  SelectTokenOp::attachInterface<SelectTokenRule>(context);
  SliceChannelsOp::attachInterface<SliceChannelsRule>(context);
  SliceRowsOp::attachInterface<SliceRowsRule>(context);
  SliceTokensOp::attachInterface<SliceTokensRule>(context);
}

} // namespace ns::autodiff
