//===- AttackLoss.cpp - losses that attacks climb -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"

#include "llvm/ADT/APFloat.h"

#include <limits>

using namespace mlir;
using namespace ns;

namespace {

/// The logits of one image as its attack's losses see them. Values are elements or, where a comment
/// says so, the same for the whole row; conditions that pick one logit pick it by its column.
class AttackRow {
public:
  AttackRow(RowProgram &p, Lowering &l, Value logits, Value labels, Value targets, Value objective)
      : p(p), z(p.in(l.get(logits))), isLabel(p.isColumn(p.in(l.get(labels), p.r, p.lit(0)))),
        isTarget(p.isColumn(p.in(l.get(targets), p.r, p.lit(0)))) {
    for (int64_t i = 0; i < 6; ++i)
      weights[i] = p.in(l.get(objective), p.r, p.lit(i));
    Value rest = z;
    for (int i = 0; i < 4; ++i) {
      largest[i] = p.max(rest);
      isLargest[i] = first(rest, largest[i]);
      rest = p.select(isLargest[i], nothing(), rest);
    }
    Value others = p.select(isLabel, nothing(), z);
    other = p.max(others);
    isOther = first(others, other);
    ofLabel = pick(isLabel);
    ofTarget = pick(isTarget);
  }

  Value loss() {
    Value exponentials = p.exp(p.sub(z, largest[0]));
    Value crossEntropy = p.add(p.log(p.sum(exponentials)), p.sub(largest[0], ofLabel));
    Value margin = p.sub(other, ofLabel);
    Value capped = p.select(aboveCap(margin), weights[5], margin);
    Value terms[] = {crossEntropy, p.div(margin, spread()),
                     p.div(p.sub(ofTarget, ofLabel), targetedSpread()), capped,
                     p.sub(ofTarget, ofLabel)};
    return weightedSum(terms);
  }

  /// d loss / d z at this column.
  Value gradient() {
    Value exponentials = p.exp(p.sub(z, largest[0]));
    Value probability = p.div(exponentials, p.sum(exponentials));
    Value toOther = p.sub(one(isOther), one(isLabel)),
          toTarget = p.sub(one(isTarget), one(isLabel));
    Value margin = p.sub(other, ofLabel), targetMargin = p.sub(ofTarget, ofLabel);
    // (u / v)' = (u' - (u / v) v') / v
    auto quotient = [&](Value u, Value du, Value v, Value dv) {
      return p.div(p.sub(du, p.mul(p.div(u, v), dv)), v);
    };
    Value half = p.constant(0.5);
    Value dSpread = p.sub(one(isLargest[0]), one(isLargest[2]));
    Value dTargeted =
        p.sub(one(isLargest[0]), p.mul(half, p.add(one(isLargest[2]), one(isLargest[3]))));
    Value terms[] = {p.sub(probability, one(isLabel)), quotient(margin, toOther, spread(), dSpread),
                     quotient(targetMargin, toTarget, targetedSpread(), dTargeted),
                     p.select(aboveCap(margin), p.constant(0.0), toOther), toTarget};
    return weightedSum(terms);
  }

private:
  Value nothing() { return p.constant(-std::numeric_limits<double>::infinity()); }
  Value one(Value condition) { return p.select(condition, p.constant(1.0), p.constant(0.0)); }
  /// Is this the first column where `value` is `max`?
  Value first(Value value, Value max) {
    Value column = p.column();
    Value at =
        p.min(p.select(p.compare(arith::CmpFPredicate::OEQ, value, max), column, p.constant(1e9)));
    return p.compare(arith::CmpFPredicate::OEQ, column, at);
  }
  Value pick(Value condition) { return p.sum(p.select(condition, z, p.constant(0.0))); }
  Value spread() { return p.add(p.sub(largest[0], largest[2]), p.constant(1e-12)); }
  Value targetedSpread() {
    Value mean = p.mul(p.constant(0.5), p.add(largest[2], largest[3]));
    return p.add(p.sub(largest[0], mean), p.constant(1e-12));
  }
  Value aboveCap(Value margin) { return p.compare(arith::CmpFPredicate::OGT, margin, weights[5]); }
  /// Terms of weight 0 are left out, whatever they are.
  Value weightedSum(ArrayRef<Value> terms) {
    Value zero = p.constant(0.0), sum = zero;
    for (auto [term, weight] : llvm::zip(terms, weights)) {
      Value absent = p.compare(arith::CmpFPredicate::OEQ, weight, zero);
      sum = p.add(sum, p.select(absent, zero, p.mul(weight, term)));
    }
    return sum;
  }

  RowProgram &p;
  Value z, isLabel, isTarget, isOther, isLargest[4];
  Value weights[6], largest[4], other, ofLabel, ofTarget; // one for the row
};

} // namespace

LogicalResult ns::lower(harden::AttackLossOp op, Lowering &l) {
  RowProgram p = l.rowwise(op, op.getLogits().getType());
  AttackRow row(p, l, op.getLogits(), op.getLabels(), op.getTargets(), op.getObjective());
  p.out(row.loss(), typeOf(op.getResult()), p.r, p.lit(0));
  l.finish(p, op->getResults());
  return success();
}

LogicalResult ns::lower(harden::AttackLossGradOp op, Lowering &l) {
  RowProgram p = l.rowwise(op, op.getLogits().getType());
  Value grad = p.in(l.get(op.getGrad()), p.r, p.lit(0));
  AttackRow row(p, l, op.getLogits(), op.getLabels(), op.getTargets(), op.getObjective());
  p.out(p.mul(grad, row.gradient()), typeOf(op.getResult()));
  l.finish(p, op->getResults());
  return success();
}

//===----------------------------------------------------------------------===//
// Attention to a patch
//===----------------------------------------------------------------------===//

LogicalResult ns::lower(harden::ExpandChannelsOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  RowProgram p = l.rowwise(op, type);
  p.out(p.in(l.view(l.get(op.getInput()), {numRows(type), 1}), p.r, p.lit(0)), type);
  l.finish(p, op->getResults());
  return success();
}

LogicalResult ns::lower(harden::MeanChannelsOp op, Lowering &l) {
  RankedTensorType type = op.getInput().getType();
  RowProgram p = l.rowwise(op, type);
  Value total = p.sum(p.in(l.get(op.getInput())));
  p.out(p.mul(total, p.constant(1.0 / double(numCols(type)))), l.tensor({numRows(type), 1}), p.r,
        p.lit(0));
  l.finish(p, op->getResults());
  return success();
}

/// The smallest attention that counts: the smallest normal number of the type.
static Value leastAttention(RowProgram &p, Lowering &l) {
  auto type = cast<FloatType>(l.tensor({1}).getElementType());
  return p.constant(APFloat::getSmallestNormalized(type.getFloatSemantics()).convertToDouble());
}

LogicalResult ns::lower(harden::AttentionLossOp op, Lowering &l) {
  RankedTensorType type = op.getInput().getType();
  RowProgram p = l.rowwise(op, type);
  Value attention = p.in(l.get(op.getInput())), least = leastAttention(p, l);
  Value above = p.select(p.compare(arith::CmpFPredicate::OLT, attention, least), least, attention);
  Value mean = p.mul(p.sum(p.log(above)), p.constant(1.0 / double(numCols(type))));
  p.out(mean, typeOf(op.getResult()), p.r, p.lit(0));
  l.finish(p, op->getResults());
  return success();
}

LogicalResult ns::lower(harden::AttentionLossGradOp op, Lowering &l) {
  RankedTensorType type = op.getInput().getType();
  RowProgram p = l.rowwise(op, type);
  Value attention = p.in(l.get(op.getInput())), grad = p.in(l.get(op.getGrad()), p.r, p.lit(0));
  Value share = p.div(p.mul(grad, p.constant(1.0 / double(numCols(type)))), attention);
  Value below = p.compare(arith::CmpFPredicate::OLT, attention, leastAttention(p, l));
  p.out(p.select(below, p.constant(0.0), share), typeOf(op.getResult()));
  l.finish(p, op->getResults());
  return success();
}
