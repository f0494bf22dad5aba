//===- Grid.cpp - moving tokens of a grid -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"

using namespace mlir;
using namespace ns;

LogicalResult ns::lower(nn::ImageToTokensOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  int64_t pixels = type.getDimSize(1), channels = type.getDimSize(2);
  auto normalize = op.getImage().getDefiningOp<nn::NormalizeOp>();
  Value image = l.get(normalize ? normalize.getImage() : op.getImage());
  RowProgram p = l.rowwise(op, type);
  AffineExpr first = p.r.floorDiv(pixels) * (channels * pixels) + p.r % pixels;
  Value x = p.in(l.view(image, {type.getNumElements()}), first, p.c * pixels);
  if (normalize) {
    x = p.sub(x, p.perIndex(p.c, normalize.getMean()));
    x = p.div(x, p.perIndex(p.c, normalize.getStd()));
  }
  p.out(x, type);
  l.finish(p, op.getResult());
  return success();
}

LogicalResult ns::lower(nn::TokensToImageOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType(), tokens = op.getInput().getType();
  int64_t pixels = tokens.getDimSize(1), channels = tokens.getDimSize(2);
  RowProgram p = l.program(op, {type.getDimSize(0) * channels, 1, pixels});
  AffineExpr first = p.r.floorDiv(channels) * (channels * pixels) + p.r % channels;
  Value x = p.in(l.view(l.get(op.getInput()), {type.getNumElements()}), first, p.c * channels);
  p.out(x, l.tensor({type.getDimSize(0) * channels, pixels}));
  l.finish(p, op.getResult());
  return success();
}

/// Writes row `source` of `input` to each row.
static void moveTokens(Lowering &l, Operation *op, Value input,
                       llvm::function_ref<AffineExpr(AffineExpr)> source) {
  RankedTensorType type = typeOf(op->getResult(0));
  RowProgram p = l.rowwise(op, type);
  p.out(p.in(l.get(input), source(p.r), p.c), type);
  l.finish(p, op->getResults());
}

LogicalResult ns::lower(nn::PermuteTokensOp op, Lowering &l) {
  ArrayRef<int64_t> digits = op.getDigits(), order = op.getOrder();
  SmallVector<int64_t> weights(digits.size(), 1); // of each digit of the input
  for (int64_t i = int64_t(digits.size()) - 2; i >= 0; --i)
    weights[i] = weights[i + 1] * digits[i + 1];
  moveTokens(l, op, op.getInput(), [&](AffineExpr r) {
    int64_t tokens = op.getInput().getType().getDimSize(1), weight = 1;
    AffineExpr row = r.floorDiv(tokens) * tokens;
    for (int64_t source : llvm::reverse(order)) {
      row = row + r.floorDiv(weight) % digits[source] * weights[source];
      weight *= digits[source];
    }
    return row;
  });
  return success();
}

LogicalResult ns::lower(nn::RollTokensOp op, Lowering &l) {
  int64_t height = op.getGrid()[0], width = op.getGrid()[1];
  auto back = [](int64_t shift, int64_t extent) { // the shift from result to input, in [0, extent)
    return ((-shift % extent) + extent) % extent;
  };
  moveTokens(l, op, op.getInput(), [&](AffineExpr r) {
    AffineExpr y = (r.floorDiv(width) % height + back(op.getShifts()[0], height)) % height;
    AffineExpr x = (r % width + back(op.getShifts()[1], width)) % width;
    return (r.floorDiv(width * height) * height + y) * width + x;
  });
  return success();
}

LogicalResult ns::lower(nn::ReshapeTokensOp op, Lowering &l) {
  l.set(op.getResult(), l.view(l.get(op.getInput()), op.getResult().getType().getShape()));
  return success();
}
