//===- Elementwise.cpp - norms, activations, sums, injection -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"

#include <cmath>

using namespace mlir;
using namespace ns;

LogicalResult ns::lower(nn::NormalizeOp op, Lowering &l) {
  // Patch embeddings and the change to tokens read the raw image and normalise on the way.
  if (llvm::all_of(op->getUsers(), [](Operation *user) {
        return isa<nn::PatchEmbedOp, nn::PatchEmbedGradWeightOp, nn::ImageToTokensOp>(user);
      }))
    return success();
  RankedTensorType type = op.getResult().getType();
  RowProgram p = l.rowwise(op, type);
  AffineExpr channel = p.r.floorDiv(type.getDimSize(2)) % type.getDimSize(1);
  Value x = p.sub(p.in(l.get(op.getImage())), p.perIndex(channel, op.getMean()));
  p.out(p.div(x, p.perIndex(channel, op.getStd())), type);
  l.finish(p, op.getResult());
  return success();
}

LogicalResult ns::lower(nn::NormalizeGradOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  RowProgram p = l.rowwise(op, type);
  AffineExpr channel = p.r.floorDiv(type.getDimSize(2)) % type.getDimSize(1);
  p.out(p.div(p.in(l.get(op.getGrad())), p.perIndex(channel, op.getStd())), type);
  l.finish(p, op.getResult());
  return success();
}

//===----------------------------------------------------------------------===//
// Layer normalisation
//===----------------------------------------------------------------------===//

namespace {
/// x - mean and 1 / sqrt(var + eps) of the row.
struct Statistics {
  Value centered, rstd;
};
} // namespace

static Statistics normStatistics(RowProgram &p, Value x, int64_t width, double eps) {
  Value inverse = p.constant(1.0 / double(width));
  Value centered = p.sub(x, p.mul(p.sum(x), inverse));
  Value variance = p.mul(p.sum(p.mul(centered, centered)), inverse);
  return {centered, p.div(p.constant(1.0), p.sqrt(p.add(variance, p.constant(eps))))};
}

/// Width of the normalised group.
static int64_t groupWidth(RankedTensorType type, Value gamma) {
  return gamma ? typeOf(gamma).getDimSize(0) : numCols(type);
}

/// `value` as rows of one group each.
static Value asGroups(Lowering &l, Value value, int64_t width) {
  RankedTensorType type = typeOf(value);
  return numCols(type) == width ? value : l.view(value, {type.getNumElements() / width, width});
}

namespace {
/// A program over rows of one normalised group each, and its row of the input, normalised.
struct NormProgram {
  template <typename Op>
  NormProgram(Op op, Lowering &l)
      : width(groupWidth(op.getResult().getType(), op.getGamma())),
        input(asGroups(l, l.get(op.getInput()), width)), type(typeOf(input)),
        p(l.rowwise(op, type)) {
    Statistics row = normStatistics(p, p.in(input), width, op.getEps().convertToDouble());
    rstd = row.rstd;
    xhat = p.mul(row.centered, rstd);
  }

  int64_t width;
  Value input;
  RankedTensorType type;
  RowProgram p;
  Value rstd, xhat;
};
} // namespace

LogicalResult ns::lower(nn::LayerNormOp op, Lowering &l) {
  NormProgram norm(op, l);
  RowProgram &p = norm.p;
  Value y = norm.xhat;
  if (op.getGamma())
    y = p.fma(y, p.inColumn(l.get(op.getGamma())), p.inColumn(l.get(op.getBeta())));
  p.out(y, norm.type);
  l.finish(p, op.getResult());
  return success();
}

LogicalResult ns::lower(nn::LayerNormGradOp op, Lowering &l) {
  NormProgram norm(op, l);
  RowProgram &p = norm.p;
  Value w = p.in(asGroups(l, l.get(op.getGrad()), norm.width));
  if (op.getGamma())
    w = p.mul(w, p.inColumn(l.get(op.getGamma())));
  Value inverse = p.constant(1.0 / double(norm.width));
  Value meanW = p.mul(p.sum(w), inverse);
  Value meanWX = p.mul(p.sum(p.mul(w, norm.xhat)), inverse);
  p.out(p.mul(norm.rstd, p.sub(p.sub(w, meanW), p.mul(norm.xhat, meanWX))), norm.type);
  l.finish(p, op.getResult());
  return success();
}

//===----------------------------------------------------------------------===//
// Sums
//===----------------------------------------------------------------------===//

int64_t Lowering::numGroups(RankedTensorType type) const {
  if (type.getRank() != 3)
    return 1;
  // A divisor of all rows, so that blocks need no mask; a quarter to twice of what was asked for.
  int64_t total = numRows(type);
  for (int64_t step = 0; step < sumRows; ++step)
    for (int64_t rows : {sumRows - step, sumRows + step})
      if (4 * rows >= sumRows && total % rows == 0)
        return total / rows;
  // Long sums are cut into parts of up to 256 rows: they gain in exactness, and one image alone
  // keeps several threads busy. An image whose tokens have no such divisor stays whole.
  int64_t images = type.getDimSize(0), tokens = type.getDimSize(1);
  for (int64_t rows = 256; tokens > rows && rows >= 64; --rows)
    if (tokens % rows == 0)
      return images * (tokens / rows);
  return images;
}

SmallVector<Value> ns::sumOverRows(Lowering &l, Operation *op, std::array<int64_t, 3> space,
                                   RowTerms terms) {
  auto [groups, perGroup, width] = space;
  RowProgram p = l.program(op, space);
  for (Value term : terms(p, p.r * perGroup + p.k))
    p.out(term, l.tensor({groups, width}));
  RowProgram sum = l.program(op, {1, groups, width});
  for (Value partial : p.finish().getResults())
    sum.out(sum.in(partial, sum.k, sum.c), l.tensor({width}), sum.lit(0), sum.c);
  return SmallVector<Value>(sum.finish().getResults());
}

SmallVector<Value> ns::sumOverRows(Lowering &l, Operation *op, RankedTensorType type,
                                   RowTerms terms) {
  int64_t groups = l.numGroups(type);
  return sumOverRows(l, op, {groups, numRows(type) / groups, numCols(type)}, terms);
}

/// True of a gradient by attention's keys: a shift of all keys adds the same to every score of a
/// query, which softmax takes away again. Over the tokens that gradient adds up to 0 exactly;
/// float32 would leave the rounding of what cancels, which AdamW takes for a direction.
static bool sumsToZero(Value grad) {
  auto attention = grad.getDefiningOp<nn::AttentionGradOp>();
  return attention && attention.getInputs().size() == 3 && grad == attention.getResults()[1];
}

LogicalResult ns::lower(nn::LayerNormGradParamsOp op, Lowering &l) {
  RankedTensorType type = op.getInput().getType();
  int64_t width = typeOf(op.getDgamma()).getDimSize(0), groups = l.numGroups(type);
  Value input = asGroups(l, l.get(op.getInput()), width);
  Value grad = asGroups(l, l.get(op.getGrad()), width);
  int64_t perGroup = type.getNumElements() / width / groups;
  bool zeroSum = sumsToZero(op.getGrad());
  SmallVector<Value> sums =
      sumOverRows(l, op, {groups, perGroup, width}, [&](RowProgram &p, AffineExpr row) {
        Value x = p.in(input, row, p.c), dy = p.in(grad, row, p.c);
        Statistics stats = normStatistics(p, x, width, op.getEps().convertToDouble());
        SmallVector<Value> terms = {p.mul(dy, p.mul(stats.centered, stats.rstd))};
        if (!zeroSum)
          terms.push_back(dy);
        return terms;
      });
  l.set(op.getDgamma(), sums[0]);
  l.set(op.getDbeta(), zeroSum ? zeros(l, op, typeOf(op.getDbeta())) : sums[1]);
  return success();
}

LogicalResult ns::lower(nn::SumRowsOp op, Lowering &l) {
  if (sumsToZero(op.getInput())) {
    l.set(op.getResult(), zeros(l, op, typeOf(op.getResult())));
    return success();
  }
  Value input = l.get(op.getInput());
  l.set(op.getResult(),
        sumOverRows(l, op, typeOf(op.getInput()), [&](RowProgram &p, AffineExpr row) {
          return SmallVector<Value>{p.in(input, row, p.c)};
        }).front());
  return success();
}

LogicalResult ns::lower(nn::LayerScaleGradGammaOp op, Lowering &l) {
  Value input = l.get(op.getInput()), grad = l.get(op.getGrad());
  l.set(op.getResult(),
        sumOverRows(l, op, typeOf(op.getInput()), [&](RowProgram &p, AffineExpr row) {
          return SmallVector<Value>{p.mul(p.in(grad, row, p.c), p.in(input, row, p.c))};
        }).front());
  return success();
}

LogicalResult ns::lower(nn::SumBatchOp op, Lowering &l) {
  RankedTensorType type = typeOf(op.getResult());
  int64_t rows = numRows(type), batch = typeOf(op.getInput()).getDimSize(0);
  RowProgram p = l.program(op, {rows, batch, numCols(type)});
  p.out(p.in(l.get(op.getInput()), p.k * rows + p.r, p.c), type);
  l.finish(p, op.getResult());
  return success();
}

//===----------------------------------------------------------------------===//
// Elementwise
//===----------------------------------------------------------------------===//

LogicalResult ns::lower(nn::GeluOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  RowProgram p = l.rowwise(op, type);
  Value x = p.in(l.get(op.getInput()));
  Value half = p.mul(x, p.constant(0.5));
  if (op.getApproximate() == nn::GeluApproximation::None) {
    // 1 + erf(z) = erfc(-z), which loses no digits where it is small.
    p.out(p.mul(half, p.erfc(p.mul(x, p.constant(-std::sqrt(0.5))))), type);
  } else {
    Value cube = p.mul(p.mul(x, x), x);
    Value shape =
        p.tanh(p.mul(p.constant(std::sqrt(2.0 / M_PI)), p.fma(p.constant(0.044715), cube, x)));
    p.out(p.fma(half, shape, half), type);
  }
  l.finish(p, op.getResult());
  return success();
}

LogicalResult ns::lower(nn::GeluGradOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  RowProgram p = l.rowwise(op, type);
  Value x = p.in(l.get(op.getInput())), dy = p.in(l.get(op.getGrad()));
  Value half = p.constant(0.5), one = p.constant(1.0), derivative;
  if (op.getApproximate() == nn::GeluApproximation::None) {
    Value z = p.mul(x, p.constant(-std::sqrt(0.5)));
    Value cdf = p.mul(half, p.erfc(z));
    Value bell = p.exp(p.mul(z, p.neg(z))); // the exponential that erfc needs too
    derivative = p.fma(p.mul(x, p.constant(1.0 / std::sqrt(2.0 * M_PI))), bell, cdf);
  } else {
    Value k = p.constant(std::sqrt(2.0 / M_PI)), square = p.mul(x, x);
    Value t = p.tanh(p.mul(k, p.fma(p.mul(p.constant(0.044715), square), x, x)));
    Value slope = p.mul(k, p.fma(p.constant(3 * 0.044715), square, one));
    Value left = p.mul(half, p.add(one, t));
    derivative = p.fma(p.mul(p.mul(half, x), p.sub(one, p.mul(t, t))), slope, left);
  }
  p.out(p.mul(dy, derivative), type);
  l.finish(p, op.getResult());
  return success();
}

/// Element of `value` for row r of a tensor of `type`: the same, or the row within the image where
/// it is shared by the batch.
static Value inShared(RowProgram &p, Value value, RankedTensorType type) {
  int64_t rows = numRows(typeOf(value));
  return rows == numRows(type) ? p.in(value) : p.in(value, p.r % rows, p.c);
}

/// result = combine(lhs, rhs), element by element.
template <typename Op>
static LogicalResult lowerBinary(Op op, Lowering &l, Value (RowProgram::*combine)(Value, Value)) {
  RankedTensorType type = typeOf(op.getResult());
  RowProgram p = l.rowwise(op, type);
  Value lhs = p.in(l.get(op.getLhs()));
  p.out((p.*combine)(lhs, inShared(p, l.get(op.getRhs()), type)), type);
  l.finish(p, op.getResult());
  return success();
}

LogicalResult ns::lower(nn::AddOp op, Lowering &l) { return lowerBinary(op, l, &RowProgram::add); }

LogicalResult ns::lower(nn::MulOp op, Lowering &l) { return lowerBinary(op, l, &RowProgram::mul); }

LogicalResult ns::lower(nn::ScaleOp op, Lowering &l) {
  RankedTensorType type = typeOf(op.getResult());
  RowProgram p = l.rowwise(op, type);
  p.out(p.mul(p.in(l.get(op.getInput())), p.constant(op.getFactor().convertToDouble())), type);
  l.finish(p, op.getResult());
  return success();
}

LogicalResult ns::lowerProduct(Operation *op, Value input, Value factor, Varies varies,
                               Lowering &l) {
  RankedTensorType type = typeOf(op->getResult(0));
  RowProgram p = l.rowwise(op, type);
  Value x = p.in(l.get(input)), by = l.get(factor);
  by = varies == Varies::ByColumn ? p.inColumn(by)
       : varies == Varies::ByRow  ? p.in(by, p.r, p.lit(0))
                                  : p.in(by);
  p.out(p.mul(x, by), type);
  l.finish(p, op->getResults());
  return success();
}

LogicalResult ns::lower(nn::LayerScaleOp op, Lowering &l) {
  return lowerProduct(op, op.getInput(), op.getGamma(), Varies::ByColumn, l);
}

Value ns::clamp(RowProgram &p, Value value, Value low, Value high) {
  // Each comparison with NaN is false.
  value = p.select(p.compare(arith::CmpFPredicate::OLT, value, low), low, value);
  return p.select(p.compare(arith::CmpFPredicate::OGT, value, high), high, value);
}

LogicalResult ns::lower(harden::InjectOp op, Lowering &l) {
  RankedTensorType type = typeOf(op.getResult());
  RowProgram p = l.rowwise(op, type);
  Value y = p.in(l.get(op.getInput()));
  y = p.add(y, inShared(p, l.get(op.getNoise()), type));
  if (op.getClip())
    y = clamp(p, y, p.constant(0.0), p.constant(1.0));
  p.out(y, type);
  l.finish(p, op.getResult());
  return success();
}

LogicalResult ns::lower(harden::ClipGradOp op, Lowering &l) {
  RankedTensorType type = typeOf(op.getResult());
  RowProgram p = l.rowwise(op, type);
  Value x = p.in(l.get(op.getInput())), zero = p.constant(0.0), dy = p.in(l.get(op.getGrad()));
  Value y = p.add(x, inShared(p, l.get(op.getNoise()), type));
  dy = p.select(p.compare(arith::CmpFPredicate::OGE, y, zero), dy, zero);
  p.out(p.select(p.compare(arith::CmpFPredicate::OLE, y, p.constant(1.0)), dy, zero), type);
  l.finish(p, op.getResult());
  return success();
}
