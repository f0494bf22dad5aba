//===- Activation.cpp - elementwise activations -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"

using namespace mlir;
using namespace ns;

/// The logistic function.
static Value sigmoid(RowProgram &p, Value x) {
  Value one = p.constant(1.0);
  return p.div(one, p.add(one, p.exp(p.sub(p.constant(0.0), x))));
}

/// x at the scale at which an activation takes the sigmoid.
static Value sigmoidOf(RowProgram &p, nn::ActivationKind kind, Value x) {
  return sigmoid(p, kind == nn::ActivationKind::QuickGelu ? p.mul(x, p.constant(1.702)) : x);
}

static Value activation(RowProgram &p, nn::ActivationKind kind, Value x) {
  switch (kind) {
  case nn::ActivationKind::Relu: { // NaN passes: the comparison is false then
    Value zero = p.constant(0.0);
    return p.select(p.compare(arith::CmpFPredicate::OLT, x, zero), zero, x);
  }
  case nn::ActivationKind::Sigmoid:
    return sigmoid(p, x);
  case nn::ActivationKind::Tanh:
    return p.tanh(x);
  case nn::ActivationKind::Silu:
  case nn::ActivationKind::QuickGelu:
    return p.mul(x, sigmoidOf(p, kind, x));
  }
  llvm_unreachable("all kinds are handled");
}

/// dy * f'(x).
static Value activationGrad(RowProgram &p, nn::ActivationKind kind, Value dy, Value x) {
  Value zero = p.constant(0.0), one = p.constant(1.0);
  switch (kind) {
  case nn::ActivationKind::Relu:
    return p.select(p.compare(arith::CmpFPredicate::OLE, x, zero), zero, dy);
  case nn::ActivationKind::Sigmoid: {
    Value s = sigmoid(p, x);
    return p.mul(dy, p.mul(s, p.sub(one, s)));
  }
  case nn::ActivationKind::Tanh: {
    Value t = p.tanh(x);
    return p.mul(dy, p.sub(one, p.mul(t, t)));
  }
  case nn::ActivationKind::Silu:
  case nn::ActivationKind::QuickGelu: {
    Value s = sigmoidOf(p, kind, x);
    Value inner = kind == nn::ActivationKind::QuickGelu ? p.mul(x, p.constant(1.702)) : x;
    return p.mul(dy, p.mul(s, p.fma(inner, p.sub(one, s), one)));
  }
  }
  llvm_unreachable("all kinds are handled");
}

LogicalResult ns::lower(nn::ActivationOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  RowProgram p = l.rowwise(op, type);
  p.out(activation(p, op.getKind(), p.in(l.get(op.getInput()))), type);
  l.finish(p, op.getResult());
  return success();
}

LogicalResult ns::lower(nn::ActivationGradOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  RowProgram p = l.rowwise(op, type);
  Value x = p.in(l.get(op.getInput())), dy = p.in(l.get(op.getGrad()));
  p.out(activationGrad(p, op.getKind(), dy, x), type);
  l.finish(p, op.getResult());
  return success();
}
