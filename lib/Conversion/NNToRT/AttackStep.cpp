//===- AttackStep.cpp - steps of attacks on the pixels --------------------===//
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
/// Positions in attack_hyper (docs/abi.md).
enum Hyper { StepSize, Epsilon, Decay };

/// A term of a sum, one for each pixel.
using PixelTerm = llvm::function_ref<Value(RowProgram &p)>;
} // namespace

/// The sums of `term` over each image of `type`: over the pixels of a row, then over the rows.
static Value sumOverImages(Lowering &l, Operation *op, RankedTensorType type, PixelTerm term) {
  int64_t images = type.getDimSize(0), rows = numRows(type);
  RowProgram p = l.rowwise(op, type);
  p.out(p.sum(term(p)), l.tensor({rows}), p.r, p.lit(0));
  Value perRow = l.view(p.finish().getResult(0), {images, rows / images});
  RowProgram sum = l.rowwise(op, typeOf(perRow));
  sum.out(sum.sum(sum.in(perRow)), l.tensor({images}), sum.r, sum.lit(0));
  return sum.finish().getResult(0);
}

/// The number of the image that the row is of.
static Value inImage(RowProgram &p, Value perImage, RankedTensorType type) {
  return p.in(perImage, p.r.floorDiv(numRows(type) / type.getDimSize(0)), p.lit(0));
}

LogicalResult ns::lower(harden::MomentumOp op, Lowering &l) {
  RankedTensorType type = op.getGrad().getType();
  Value grad = l.get(op.getGrad()), hyper = l.get(op.getHyper());
  Value sums = sumOverImages(l, op, type, [&](RowProgram &p) { return p.abs(p.in(grad)); });
  RowProgram p = l.rowwise(op, type);
  double pixels = double(type.getNumElements() / type.getDimSize(0));
  Value zero = p.constant(0.0), decay = p.inScalar(hyper, Decay), least = p.constant(1e-30);
  Value mean = p.div(inImage(p, sums, type), p.constant(pixels));
  mean = p.select(p.compare(arith::CmpFPredicate::OLT, mean, least), least, mean);
  // A momentum that holds anything, NaN too, counts as 0 in the first step.
  Value kept = p.select(p.compare(arith::CmpFPredicate::OEQ, decay, zero), zero,
                        p.mul(decay, p.in(l.get(op.getMomentum()))));
  p.out(p.add(kept, p.div(p.in(grad), mean)), type);
  l.finish(p, op->getResults());
  return success();
}

static Value clip(RowProgram &p, Value y) { return clamp(p, y, p.constant(0.0), p.constant(1.0)); }

static void ascendLinf(harden::AscendOp op, Lowering &l, RowProgram &p) {
  Value hyper = l.get(op.getHyper()), zero = p.constant(0.0);
  Value clean = p.in(l.get(op.getClean())), d = p.in(l.get(op.getDirection())),
        size = p.inScalar(hyper, StepSize), eps = p.inScalar(hyper, Epsilon);
  Value down = p.select(p.compare(arith::CmpFPredicate::OLT, d, zero), p.neg(size), zero);
  Value step = p.select(p.compare(arith::CmpFPredicate::OGT, d, zero), size, down);
  Value y = p.add(p.in(l.get(op.getImage())), step);
  p.out(clip(p, clamp(p, y, p.sub(clean, eps), p.add(clean, eps))), op.getType());
}

static void ascendL2(harden::AscendOp op, Lowering &l, RowProgram &p) {
  RankedTensorType type = op.getType();
  Value image = l.get(op.getImage()), clean = l.get(op.getClean()),
        direction = l.get(op.getDirection()), hyper = l.get(op.getHyper());
  Value squares = sumOverImages(l, op, type, [&](RowProgram &q) {
    Value d = q.in(direction);
    return q.mul(d, d);
  });
  // y' and y' - x: the same in both programs.
  auto move = [&](RowProgram &q) {
    Value norm = q.add(q.sqrt(inImage(q, squares, type)), q.constant(1e-10));
    Value scale = q.div(q.inScalar(hyper, StepSize), norm);
    Value y = q.add(q.in(image), q.mul(scale, q.in(direction)));
    return std::pair(y, q.sub(y, q.in(clean)));
  };
  Value distances = sumOverImages(l, op, type, [&](RowProgram &q) {
    Value delta = move(q).second;
    return q.mul(delta, delta);
  });
  auto [y, delta] = move(p);
  Value distance = p.sqrt(inImage(p, distances, type)), eps = p.inScalar(hyper, Epsilon);
  Value onSphere = p.add(p.in(clean), p.mul(p.div(eps, distance), delta));
  Value isOutside = p.compare(arith::CmpFPredicate::OGT, distance, eps);
  p.out(clip(p, p.select(isOutside, onSphere, y)), type);
}

LogicalResult ns::lower(harden::AscendOp op, Lowering &l) {
  RowProgram p = l.rowwise(op, op.getType());
  if (op.getNorm() == harden::BallNorm::Linf)
    ascendLinf(op, l, p);
  else
    ascendL2(op, l, p);
  l.finish(p, op->getResults());
  return success();
}
