//===- Fold.cpp - parameters that take others over -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A program writes its parameter in place: it reads each element where it writes it. Programs run
// in the order of the nn ops, so a bias that reads a weight comes before the program of that
// weight.
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"

using namespace mlir;
using namespace ns;

LogicalResult ns::lower(nn::FoldNormBiasOp op, Lowering &l) {
  RowProgram p = l.rowwise(op, op.getWeight().getType());
  Value weight = p.in(l.get(op.getWeight())), beta = p.inColumn(l.get(op.getBeta()));
  Value bias = p.in(l.get(op.getBias()), p.r, p.lit(0));
  p.out(p.add(bias, p.sum(p.mul(weight, beta))), op.getResult().getType(), p.r, p.lit(0));
  l.finish(p, op.getResult());
  return success();
}

LogicalResult ns::lower(nn::FoldNormWeightOp op, Lowering &l) {
  return lowerProduct(op, op.getWeight(), op.getGamma(), Varies::ByColumn, l);
}

LogicalResult ns::lower(nn::FoldScaleBiasOp op, Lowering &l) {
  return lowerProduct(op, op.getBias(), op.getGamma(), Varies::ByPoint, l);
}

LogicalResult ns::lower(nn::FoldScaleWeightOp op, Lowering &l) {
  return lowerProduct(op, op.getWeight(), op.getGamma(), Varies::ByRow, l);
}

LogicalResult ns::lower(nn::StoreParamOp op, Lowering &l) {
  RankedTensorType type = typeOf(op.getValue());
  Value value = l.get(op.getValue()), dest = l.slot(rt::Region::Params, op.getParam(), type);
  if (retarget(value, dest))
    return success();
  RowProgram p = l.rowwise(op, type);
  p.out(p.in(value), type, p.r, p.c, dest);
  p.finish();
  return success();
}
