//===- Dropout.cpp - dropout and stochastic depth -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"

using namespace mlir;
using namespace ns;

/// The finalizer of MurmurHash3, a bijection of 32 bits.
static Value mix(RowProgram &p, Value x) {
  x = p.mulInt(p.bitXor(x, p.shiftRight(x, 16)), p.integer(0x85ebca6b));
  x = p.mulInt(p.bitXor(x, p.shiftRight(x, 13)), p.integer(0xc2b2ae35));
  return p.bitXor(x, p.shiftRight(x, 16));
}

// docs/abi.md states the draw, from which a mask can be made anywhere.
LogicalResult ns::lower(nn::DropoutOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  double rate = op.getRate().convertToDouble();
  RowProgram p = l.rowwise(op, type);
  Value index;
  if (op.getUnit() == nn::DropoutUnit::Image)
    index = p.index(p.r.floorDiv(numRows(type) / type.getDimSize(0)));
  else
    index = p.addInt(p.mulInt(p.index(p.r), p.integer(numCols(type))), p.index(p.c));
  Value stream = p.integer(0x9e3779b9u * (uint32_t(op.getStream()) + 1));
  Value key = mix(p, p.addInt(p.inScalar(l.get(op.getSeed())), stream));
  Value draw = mix(p, p.addInt(mix(p, p.bitXor(index, key)), key));
  Value keep = p.compare(arith::CmpIPredicate::uge, draw, p.integer(uint32_t(rate * 4294967296.0)));
  Value x = p.mul(p.in(l.get(op.getInput())), p.constant(1.0 / (1.0 - rate)));
  p.out(p.select(keep, x, p.constant(0.0)), type);
  l.finish(p, op.getResult());
  return success();
}
