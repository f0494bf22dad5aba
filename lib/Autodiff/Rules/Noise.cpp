//===- Noise.cpp - rules of noise and the synthesis loss -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Rules.h"
#include "ns/Dialect/NS/IR/NS.h"

using namespace mlir;
using namespace ns::harden;

namespace ns::autodiff {
namespace {

struct InjectRule : RuleBase<InjectRule, InjectOp> {
  static void save(InjectOp op, const BitVector &, SmallVectorImpl<Value> &saved) {
    if (op.getClip())
      saved.append({op.getInput(), op.getNoise()});
  }
  static void vjp(InjectOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    if (op.getClip())
      dy = ClipGradOp::create(b, op.getLoc(), dy.getType(), dy, op.getInput(), op.getNoise());
    if (wanted[0])
      results[0] = dy;
    if (wanted[1])
      results[1] = sumToShape(b, op.getLoc(), dy, op.getNoise().getType());
  }
};

struct SynthesisLossRule : RuleBase<SynthesisLossRule, SynthesisLossOp> {
  static bool inactive(unsigned index) { return index == 1; } // clean logits
  static void save(SynthesisLossOp op, const BitVector &, SmallVectorImpl<Value> &saved) {
    saved.append({op.getNoised(), op.getClean()});
  }
  static void vjp(SynthesisLossOp op, OpBuilder &b, Value dy, const BitVector &wanted, MutableArrayRef<Value> results) {
    results[0] = SynthesisLossGradOp::create(b, op.getLoc(), op.getNoised().getType(), dy, op.getNoised(), op.getClean(),
                                             op.getObjective());
  }
};

} // namespace

void attachNoiseRules(MLIRContext &context) {
  InjectOp::attachInterface<InjectRule>(context);
  SynthesisLossOp::attachInterface<SynthesisLossRule>(context);
}

} // namespace ns::autodiff
