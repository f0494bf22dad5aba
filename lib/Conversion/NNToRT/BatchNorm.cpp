//===- BatchNorm.cpp - batch normalisation -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What depends on the channel alone is computed once, by a program of one row; the pass over the
// input is then two operations an element. Statistics and sums that the forward and the backward
// pass of one batch share are made once for an entry.
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"

using namespace mlir;
using namespace ns;

namespace {
/// Vectors, one value for each channel.
struct Moments {
  Value mean, var;
};

/// A program of one row over the channels.
struct ChannelProgram {
  ChannelProgram(Lowering &l, Operation *op, int64_t channels)
      : p(l.program(op, {1, 1, channels})), type(l.tensor({channels})) {}

  Value in(Value vector) { return p.inColumn(vector); }
  void out(Value value) { p.out(value, type, p.lit(0), p.c); }
  Value rstd(Value var, double eps) {
    return p.div(p.constant(1.0), p.sqrt(p.add(in(var), p.constant(eps))));
  }

  RowProgram p;
  RankedTensorType type;
};
} // namespace

/// factor * the sum over the rows of `input` of what `term` makes of a row.
static Value channelSum(Lowering &l, Operation *op, Value input, double factor,
                        llvm::function_ref<Value(RowProgram &, AffineExpr)> term) {
  RankedTensorType type = typeOf(input);
  Value sum = sumOverRows(l, op, type, [&](RowProgram &p, AffineExpr row) {
                return SmallVector<Value>{term(p, row)};
              }).front();
  ChannelProgram scale(l, op, numCols(type));
  scale.out(scale.p.mul(scale.in(sum), scale.p.constant(factor)));
  return scale.p.finish().getResult(0);
}

/// Mean and biased variance of each channel over all rows, by two passes.
static Moments batchMoments(Lowering &l, Operation *op, Value input) {
  SmallVector<Value> &known = l.memo("moments", {input});
  if (known.empty()) {
    double inverse = 1.0 / double(numRows(typeOf(input)));
    Value mean = channelSum(l, op, input, inverse,
                            [&](RowProgram &p, AffineExpr row) { return p.in(input, row, p.c); });
    Value var = channelSum(l, op, input, inverse, [&](RowProgram &p, AffineExpr row) {
      Value centered = p.sub(p.in(input, row, p.c), p.inColumn(mean));
      return p.mul(centered, centered);
    });
    known = {mean, var};
  }
  return {known[0], known[1]};
}

/// The running statistics, or those of the batch.
template <typename OpT> static Moments moments(OpT op, Lowering &l) {
  if (op.getMean())
    return {l.get(op.getMean()), l.get(op.getVar())};
  return batchMoments(l, op, l.get(op.getInput()));
}

namespace {
/// Sums over the rows, vectors: of the cotangent, and of the cotangent times x - mean.
struct GradSums {
  Value grad, gradCentered;
};
} // namespace

static GradSums gradSums(Lowering &l, Operation *op, Value grad, Value input, Value mean) {
  SmallVector<Value> &known = l.memo("batch norm sums", {grad, input, mean});
  if (known.empty())
    known = sumOverRows(l, op, typeOf(input), [&](RowProgram &p, AffineExpr row) {
      Value dy = p.in(grad, row, p.c);
      Value centered = p.sub(p.in(input, row, p.c), p.inColumn(mean));
      return SmallVector<Value>{dy, p.mul(dy, centered)};
    });
  return {known[0], known[1]};
}

LogicalResult ns::lower(nn::BatchNormOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  Moments stats = moments(op, l);
  ChannelProgram channel(l, op, numCols(type));
  Value gamma = channel.in(l.get(op.getGamma())), beta = channel.in(l.get(op.getBeta()));
  Value scale = channel.p.mul(gamma, channel.rstd(stats.var, op.getEps().convertToDouble()));
  channel.out(scale);
  channel.out(channel.p.sub(beta, channel.p.mul(channel.in(stats.mean), scale)));
  rt::FusedOp affine = channel.p.finish();
  RowProgram p = l.rowwise(op, type);
  Value x = p.in(l.get(op.getInput()));
  p.out(p.fma(x, p.inColumn(affine.getResult(0)), p.inColumn(affine.getResult(1))), type);
  l.finish(p, op.getResult());
  return success();
}

LogicalResult ns::lower(nn::BatchNormGradOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  double eps = op.getEps().convertToDouble(), inverse = 1.0 / double(numRows(type));
  Value input = l.get(op.getInput()), grad = l.get(op.getGrad()), gamma = l.get(op.getGamma());
  Moments stats = moments(op, l);
  bool isBatch = !op.getMean();
  GradSums sums = isBatch ? gradSums(l, op, grad, input, stats.mean) : GradSums();
  ChannelProgram channel(l, op, numCols(type));
  Value rstd = channel.rstd(stats.var, eps);
  channel.out(channel.p.mul(channel.in(gamma), rstd));
  if (isBatch) {
    Value factor = channel.p.constant(inverse);
    channel.out(channel.p.mul(channel.in(sums.grad), factor));
    Value slope = channel.p.mul(channel.in(sums.gradCentered), channel.p.mul(rstd, rstd));
    channel.out(channel.p.mul(slope, factor));
  }
  rt::FusedOp factors = channel.p.finish();
  RowProgram p = l.rowwise(op, type);
  Value dy = p.in(grad);
  if (isBatch) {
    Value centered = p.sub(p.in(input), p.inColumn(stats.mean));
    dy = p.sub(dy, p.inColumn(factors.getResult(1)));
    dy = p.sub(dy, p.mul(centered, p.inColumn(factors.getResult(2))));
  }
  p.out(p.mul(dy, p.inColumn(factors.getResult(0))), type);
  l.finish(p, op.getResult());
  return success();
}

LogicalResult ns::lower(nn::BatchNormGradParamsOp op, Lowering &l) {
  Moments stats = moments(op, l);
  Value input = l.get(op.getInput());
  GradSums sums = gradSums(l, op, l.get(op.getGrad()), input, stats.mean);
  ChannelProgram channel(l, op, numCols(typeOf(input)));
  Value rstd = channel.rstd(stats.var, op.getEps().convertToDouble());
  channel.out(channel.p.mul(channel.in(sums.gradCentered), rstd));
  l.set(op.getDgamma(), channel.p.finish().getResult(0));
  l.set(op.getDbeta(), sums.grad);
  return success();
}

LogicalResult ns::lower(nn::BatchStatsOp op, Lowering &l) {
  Value input = l.get(op.getInput());
  int64_t rows = numRows(typeOf(input));
  if (rows < 2)
    return op.emitOpError("expected more than one value for each channel, but got ") << rows;
  Moments stats = batchMoments(l, op, input);
  ChannelProgram channel(l, op, numCols(typeOf(input)));
  Value correction = channel.p.constant(double(rows) / double(rows - 1));
  channel.out(channel.p.mul(channel.in(stats.var), correction));
  l.set(op.getMean(), stats.mean);
  l.set(op.getVar(), channel.p.finish().getResult(0));
  return success();
}
