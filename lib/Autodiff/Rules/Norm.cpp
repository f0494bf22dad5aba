//===- Norm.cpp - rules of norms and activations -*- C++ -*-===//
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

struct LayerNormRule : RuleBase<LayerNormRule, LayerNormOp> {
  static void save(LayerNormOp op, const BitVector &wanted, SmallVectorImpl<Value> &saved) {
    saved.push_back(op.getInput());
    if (wanted[0] && op.getGamma())
      saved.push_back(op.getGamma());
  }
  static void vjp(LayerNormOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    if (wanted[0])
      results[0] = LayerNormGradOp::create(b, op.getLoc(), dy.getType(), dy, op.getInput(), op.getGamma(), op.getEpsAttr());
    if (!op.getGamma() || (!wanted[1] && !wanted[2]))
      return;
    Type type = op.getGamma().getType();
    auto params = LayerNormGradParamsOp::create(b, op.getLoc(), type, type, dy, op.getInput(), op.getEpsAttr());
    if (wanted[1])
      results[1] = params.getDgamma();
    if (wanted[2])
      results[2] = params.getDbeta();
  }
};

/// Keeps the pre-activation.
struct GeluRule : RuleBase<GeluRule, GeluOp> {
  static void save(GeluOp op, const BitVector &, SmallVectorImpl<Value> &saved) { saved.push_back(op.getInput()); }
  static void vjp(GeluOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = GeluGradOp::create(b, op.getLoc(), dy.getType(), dy, op.getInput(), op.getApproximate());
  }
};

struct ScaleRule : RuleBase<ScaleRule, ScaleOp> {
  static void vjp(ScaleOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = ScaleOp::create(b, op.getLoc(), dy.getType(), dy, op.getFactorAttr());
  }
};

struct LayerScaleRule : RuleBase<LayerScaleRule, LayerScaleOp> {
  static void save(LayerScaleOp op, const BitVector &wanted, SmallVectorImpl<Value> &saved) {
    if (wanted[0])
      saved.push_back(op.getGamma());
    if (wanted[1])
      saved.push_back(op.getInput());
  }
  static void vjp(LayerScaleOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    if (wanted[0])
      results[0] = LayerScaleOp::create(b, op.getLoc(), dy.getType(), dy, op.getGamma());
    if (wanted[1])
      results[1] = LayerScaleGradGammaOp::create(b, op.getLoc(), op.getGamma().getType(), dy, op.getInput());
  }
};

struct AddRule : RuleBase<AddRule, AddOp> {
  static void vjp(AddOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    if (wanted[0])
      results[0] = dy;
    if (wanted[1])
      results[1] = sumToShape(b, op.getLoc(), dy, op.getRhs().getType());
  }
};

struct MulRule : RuleBase<MulRule, MulOp> {
  static void save(MulOp op, const BitVector &wanted, SmallVectorImpl<Value> &saved) {
    if (wanted[0])
      saved.push_back(op.getRhs());
    if (wanted[1])
      saved.push_back(op.getLhs());
  }
  static void vjp(MulOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    if (wanted[0])
      results[0] = MulOp::create(b, op.getLoc(), dy.getType(), dy, op.getRhs());
    if (wanted[1])
      results[1] = sumToShape(b, op.getLoc(), MulOp::create(b, op.getLoc(), dy.getType(), dy, op.getLhs()), op.getRhs().getType());
  }
};

/// The mask is drawn again.
struct DropoutRule : RuleBase<DropoutRule, DropoutOp> {
  static void save(DropoutOp op, const BitVector &, SmallVectorImpl<Value> &saved) { saved.push_back(op.getSeed()); }
  static void vjp(DropoutOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = DropoutOp::create(b, op.getLoc(), dy.getType(), op.getUnitAttr(), dy, op.getSeed(), op.getRateAttr(), op.getStreamAttr());
  }
};

} // namespace

void attachNormRules(MLIRContext &context) {
  AddOp::attachInterface<AddRule>(context);
  DropoutOp::attachInterface<DropoutRule>(context);
  GeluOp::attachInterface<GeluRule>(context);
  LayerNormOp::attachInterface<LayerNormRule>(context);
  LayerScaleOp::attachInterface<LayerScaleRule>(context);
  MulOp::attachInterface<MulRule>(context);
  ScaleOp::attachInterface<ScaleRule>(context);
}

} // namespace ns::autodiff
