//===- ExpandMath.cpp - transcendental functions as arithmetic -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Conversion/Passes.h"

#include "mlir/Conversion/MathToLibm/MathToLibm.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace ns {
#define GEN_PASS_DEF_EXPANDMATHPASS
#include "ns/Conversion/Passes.h.inc"
} // namespace ns

using namespace mlir;

namespace {
struct ExpandMathPass : public ns::impl::ExpandMathPassBase<ExpandMathPass> {
  using ExpandMathPassBase::ExpandMathPassBase;

  void runOnOperation() override {
    auto expands = [](StringRef name) {
      return llvm::is_contained({"math.exp", "math.erf", "math.tanh", "math.log"}, name);
    };
    RewritePatternSet polynomials(&getContext());
    populateMathPolynomialApproximationPatterns(polynomials, expands);
    if (failed(applyPatternsGreedily(getOperation(), std::move(polynomials))))
      return signalPassFailure();
    // What is left is f64. Vectors are unrolled to scalars, and a scalar becomes a call; what the
    // processor has an instruction for stays.
    SmallVector<Operation *> left;
    getOperation().walk([&](Operation *op) {
      if (isa<math::ExpOp, math::ErfOp, math::TanhOp, math::LogOp>(op))
        left.push_back(op);
    });
    if (left.empty())
      return;
    RewritePatternSet calls(&getContext());
    populateMathToLibmConversionPatterns(calls);
    auto config = GreedyRewriteConfig().setStrictness(GreedyRewriteStrictness::ExistingAndNewOps);
    if (failed(applyOpPatternsGreedily(left, std::move(calls), config)))
      return signalPassFailure();
  }
};
} // namespace
