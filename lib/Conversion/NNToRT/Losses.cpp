//===- Losses.cpp - losses and measures -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"

using namespace mlir;
using namespace ns;

namespace {
/// Pieces of a softmax over the row.
struct Softmax {
  Value max, exponentials, sum;
};
} // namespace

static Softmax softmax(RowProgram &p, Value x) {
  Value max = p.max(x);
  Value exponentials = p.exp(p.sub(x, max));
  return {max, exponentials, p.sum(exponentials)};
}

/// One value for each row, as a vector.
static void outPerRow(RowProgram &p, Value value, Value result) {
  p.out(value, typeOf(result), p.r, p.lit(0));
}

LogicalResult ns::lower(nn::CrossEntropyOp op, Lowering &l) {
  int64_t labels = typeOf(op.getLabels()).getDimSize(0);
  RowProgram p = l.rowwise(op, op.getLogits().getType());
  Value z = p.in(l.get(op.getLogits()));
  Value label = p.in(l.get(op.getLabels()), p.r % labels, p.lit(0));
  auto [max, exponentials, sum] = softmax(p, z);
  Value ofLabel = p.sum(p.select(p.isColumn(label), p.sub(z, max), p.constant(0.0)));
  outPerRow(p, p.sub(p.log(sum), ofLabel), op.getResult());
  l.finish(p, op->getResults());
  return success();
}

LogicalResult ns::lower(nn::CrossEntropyGradOp op, Lowering &l) {
  int64_t labels = typeOf(op.getLabels()).getDimSize(0);
  RowProgram p = l.rowwise(op, op.getLogits().getType());
  Value z = p.in(l.get(op.getLogits()));
  Value label = p.in(l.get(op.getLabels()), p.r % labels, p.lit(0));
  Value grad = p.in(l.get(op.getGrad()), p.r, p.lit(0));
  auto [max, exponentials, sum] = softmax(p, z);
  Value onehot = p.select(p.isColumn(label), p.constant(1.0), p.constant(0.0));
  p.out(p.mul(grad, p.sub(p.div(exponentials, sum), onehot)), typeOf(op.getResult()));
  l.finish(p, op->getResults());
  return success();
}

LogicalResult ns::lower(nn::WeightedSumOp op, Lowering &l) {
  int64_t rows = typeOf(op.getLosses()).getDimSize(0),
          batch = typeOf(op.getWeights()).getDimSize(0);
  RowProgram p = l.program(op, {1, rows / batch, batch});
  Value losses = p.in(l.view(l.get(op.getLosses()), {rows / batch, batch}), p.k, p.c);
  Value total = p.sum(p.mul(losses, p.inColumn(l.get(op.getWeights()))));
  p.out(total, op.getResult().getType(), p.lit(0), p.lit(0));
  l.finish(p, op->getResults());
  return success();
}

LogicalResult ns::lower(nn::WeightedSumGradOp op, Lowering &l) {
  int64_t rows = typeOf(op.getResult()).getDimSize(0),
          batch = typeOf(op.getWeights()).getDimSize(0);
  RowProgram p = l.program(op, {rows / batch, 1, batch});
  Value weight = p.inColumn(l.get(op.getWeights()));
  if (op.getGrad())
    weight = p.mul(weight, p.inScalar(l.get(op.getGrad())));
  p.out(weight, l.tensor({rows / batch, batch}));
  l.finish(p, op->getResults());
  return success();
}

LogicalResult ns::lower(harden::SynthesisLossOp op, Lowering &l) {
  RowProgram p = l.rowwise(op, op.getNoised().getType());
  Value d = p.sub(p.in(l.get(op.getNoised())), p.in(l.get(op.getClean())));
  Value square = p.sum(p.mul(d, d));
  outPerRow(p, op.getObjective() == harden::Objective::LogitL2 ? p.sqrt(square) : square,
            op.getResult());
  l.finish(p, op->getResults());
  return success();
}

LogicalResult ns::lower(harden::SynthesisLossGradOp op, Lowering &l) {
  RowProgram p = l.rowwise(op, op.getNoised().getType());
  Value d = p.sub(p.in(l.get(op.getNoised())), p.in(l.get(op.getClean())));
  Value grad = p.in(l.get(op.getGrad()), p.r, p.lit(0)), factor;
  if (op.getObjective() == harden::Objective::LogitL2) {
    Value norm = p.sqrt(p.sum(p.mul(d, d))), zero = p.constant(0.0);
    factor = p.select(p.compare(arith::CmpFPredicate::OEQ, norm, zero), zero, p.div(grad, norm));
  } else {
    factor = p.mul(grad, p.constant(2.0));
  }
  p.out(p.mul(d, factor), typeOf(op.getResult()));
  l.finish(p, op->getResults());
  return success();
}

namespace {
/// The pair of logits of one image as its row and its partner's both see it.
struct TradesRow {
  TradesRow(RowProgram &p, Lowering &l, Value logits, Value labels, Value beta)
      : images(typeOf(labels).getDimSize(0)), own(p.r % images), partner(own + images) {
    clean = p.in(l.get(logits), own, p.c);
    Value adversarial = p.in(l.get(logits), partner, p.c);
    isLabel = p.isColumn(p.in(l.get(labels), own, p.lit(0)));
    this->beta = p.inScalar(l.get(beta));
    isClean = p.inRange(p.r, 0, images);
    Softmax a = softmax(p, clean), b = softmax(p, adversarial);
    clean = p.sub(clean, a.max);
    logSum = p.log(a.sum);
    cleanProbability = p.div(a.exponentials, a.sum);
    adversarialProbability = p.div(b.exponentials, b.sum);
    logRatio = p.sub(p.sub(clean, logSum), p.sub(p.sub(adversarial, b.max), p.log(b.sum)));
    divergence = p.sum(p.mul(cleanProbability, logRatio));
  }

  int64_t images;
  AffineExpr own, partner; ///< rows of the clean and of the adversarial logits
  Value clean;             ///< less their maximum
  Value isLabel, isClean, beta, logSum, cleanProbability, adversarialProbability;
  Value logRatio; ///< log p - log q
  Value divergence;
};
} // namespace

LogicalResult ns::lower(harden::TradesLossOp op, Lowering &l) {
  RowProgram p = l.rowwise(op, op.getLogits().getType());
  TradesRow row(p, l, op.getLogits(), op.getLabels(), op.getBeta());
  Value ofLabel = p.sum(p.select(row.isLabel, row.clean, p.constant(0.0)));
  outPerRow(p,
            p.select(row.isClean, p.sub(row.logSum, ofLabel), p.mul(row.beta, row.divergence)),
            op.getResult());
  l.finish(p, op->getResults());
  return success();
}

LogicalResult ns::lower(harden::TradesLossGradOp op, Lowering &l) {
  RowProgram p = l.rowwise(op, op.getLogits().getType());
  TradesRow row(p, l, op.getLogits(), op.getLabels(), op.getBeta());
  Value grad = l.get(op.getGrad()), ofClean = p.in(grad, row.own, p.lit(0)),
        ofDivergence = p.mul(row.beta, p.in(grad, row.partner, p.lit(0)));
  Value onehot = p.select(row.isLabel, p.constant(1.0), p.constant(0.0));
  Value byClean = p.add(p.mul(ofClean, p.sub(row.cleanProbability, onehot)),
                        p.mul(ofDivergence, p.mul(row.cleanProbability,
                                                  p.sub(row.logRatio, row.divergence))));
  Value byAdversarial =
      p.mul(ofDivergence, p.sub(row.adversarialProbability, row.cleanProbability));
  p.out(p.select(row.isClean, byClean, byAdversarial), typeOf(op.getResult()));
  l.finish(p, op->getResults());
  return success();
}

LogicalResult ns::lower(harden::InvarianceOp op, Lowering &l) {
  RowProgram p = l.rowwise(op, op.getNoised().getType());
  Value noised = p.in(l.get(op.getNoised())), clean = p.in(l.get(op.getClean()));
  Softmax a = softmax(p, noised), b = softmax(p, clean);
  Value difference = p.sub(noised, clean);
  outPerRow(p, p.sum(p.mul(difference, difference)), op.getLogitSq());
  Value probability = p.sub(p.div(a.exponentials, a.sum), p.div(b.exponentials, b.sum));
  outPerRow(p, p.sum(p.mul(probability, probability)), op.getProbSq());
  Value one = p.constant(1.0); // the largest exponential is exp(0)
  outPerRow(p, p.abs(p.sub(p.div(one, a.sum), p.div(one, b.sum))), op.getConfDiff());
  Value none = p.constant(1e9), column = p.column();
  auto argmax = [&](Value logits, Value max) {
    return p.min(p.select(p.compare(arith::CmpFPredicate::OEQ, logits, max), column, none));
  };
  Value same = p.compare(arith::CmpFPredicate::OEQ, argmax(noised, a.max), argmax(clean, b.max));
  outPerRow(p, p.select(same, one, p.constant(0.0)), op.getSameArgmax());
  l.finish(p, op->getResults());
  return success();
}

LogicalResult ns::lower(harden::SampleNormOp op, Lowering &l) {
  RankedTensorType type = typeOf(op.getInput());
  int64_t batch = type.getDimSize(0), rows = numRows(type) / batch;
  RowProgram squares = l.program(op, {batch, rows, numCols(type)});
  Value x = squares.in(l.get(op.getInput()), squares.r * rows + squares.k, squares.c);
  outPerRow(squares, squares.sum(squares.mul(x, x)), op.getResult());
  Value total = squares.finish().getResult(0);
  RowProgram root = l.rowwise(op, typeOf(op.getResult()));
  root.out(root.sqrt(root.in(total)), typeOf(op.getResult()));
  l.finish(root, op->getResults());
  return success();
}
