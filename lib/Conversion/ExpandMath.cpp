//===- ExpandMath.cpp - transcendental functions as arithmetic -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ExpandMath.h"

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

/// Arithmetic on f32 values of one type, scalar or vector.
struct Arithmetic {
  Arithmetic(OpBuilder &b, Location loc, Type type) : b(b), loc(loc), type(type) {
    bits = b.getI32Type();
    if (auto vector = dyn_cast<VectorType>(type))
      bits = vector.clone(b.getI32Type());
  }

  Value constant(float value) { return number(b.getF32FloatAttr(value), type); }
  Value add(Value x, Value y) { return arith::AddFOp::create(b, loc, x, y); }
  Value sub(Value x, Value y) { return arith::SubFOp::create(b, loc, x, y); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(b, loc, x, y); }
  Value fma(Value x, Value y, Value z) { return math::FmaOp::create(b, loc, x, y, z); }
  /// x, or `bound` where x is below it; NaN stays.
  Value atLeast(Value x, float bound) { return clamp(arith::CmpFPredicate::OLT, x, bound); }
  Value atMost(Value x, float bound) { return clamp(arith::CmpFPredicate::OGT, x, bound); }
  /// Sum of coefficients[i] x^i, by Horner's rule.
  Value polynomial(Value x, ArrayRef<float> coefficients) {
    Value result = constant(coefficients.back());
    for (float c : llvm::reverse(coefficients.drop_back()))
      result = fma(result, x, constant(c));
    return result;
  }
  /// The number whose bits are those of x, shifted to the left.
  Value shiftBits(Value x, int32_t by) {
    return fromBits(arith::ShLIOp::create(b, loc, toBits(x), integer(by)));
  }
  Value integer(int32_t value) { return number(b.getI32IntegerAttr(value), bits); }
  Value toBits(Value x) { return arith::BitcastOp::create(b, loc, bits, x); }
  Value fromBits(Value x) { return arith::BitcastOp::create(b, loc, type, x); }

private:
  Value number(TypedAttr value, Type type) {
    if (auto vector = dyn_cast<VectorType>(type))
      value = DenseElementsAttr::get(vector, value);
    return arith::ConstantOp::create(b, loc, value);
  }
  Value clamp(arith::CmpFPredicate outside, Value x, float bound) {
    Value limit = constant(bound);
    return arith::SelectOp::create(b, loc, arith::CmpFOp::create(b, loc, outside, x, limit), limit,
                                   x);
  }

  OpBuilder &b;
  Location loc;
  Type type, bits;
};

/// e^x = 2^n e^r, n the integer next to x / ln 2. Adding 1.5 * 2^23 rounds to integers, in the low
/// bits of the sum; 126 more makes them the exponent field of 2^(n - 1), which stays in the normal
/// range up to the largest float. The factor 2 is in the polynomial, a minimax one of relative
/// error 2e-9. At most 1.03 units in the last place; below 1.7e-38 the result is 0.
struct ExpandExp : OpRewritePattern<math::ExpOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(math::ExpOp op, PatternRewriter &rewriter) const override {
    if (!getElementTypeOrSelf(op.getType()).isF32())
      return failure();
    static constexpr float kTwiceExp[] = {2.0f,          2.0f,          0.999999821f,  0.333328396f,
                                          0.0833364576f, 0.0167497136f, 0.00276735891f};
    Arithmetic a(rewriter, op.getLoc(), op.getType());
    Value x = a.atMost(a.atLeast(op.getOperand(), -87.4f), 89.0f);
    Value rounder = a.constant(12582912.0f + 126.0f);
    Value shifted = a.fma(x, a.constant(1.44269504f), rounder);
    Value n = a.sub(shifted, rounder);
    // ln 2 in two parts: n times the first is exact.
    Value r = a.fma(n, a.constant(-0.693359375f), x);
    r = a.fma(n, a.constant(2.12194440e-4f), r);
    rewriter.replaceOp(op, a.mul(a.polynomial(r, kTwiceExp), a.shiftBits(shifted, 23)));
    return success();
  }
};

struct ExpandErfc : OpRewritePattern<math::ErfcOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(math::ErfcOp op, PatternRewriter &rewriter) const override {
    if (!getElementTypeOrSelf(op.getType()).isF32())
      return failure();
    rewriter.replaceOp(op, ns::expandErfc(rewriter, op.getLoc(), op.getOperand()));
    return success();
  }
};

struct ExpandMathPass : public ns::impl::ExpandMathPassBase<ExpandMathPass> {
  using ExpandMathPassBase::ExpandMathPassBase;

  void runOnOperation() override {
    auto expands = [](StringRef name) { return name == "math.tanh" || name == "math.log"; };
    RewritePatternSet polynomials(&getContext());
    populateMathPolynomialApproximationPatterns(polynomials, expands);
    polynomials.add<ExpandExp, ExpandErfc>(&getContext());
    // What is left is f64. Vectors are unrolled to scalars, and a scalar becomes a call; what the
    // processor has an instruction for stays.
    RewritePatternSet calls(&getContext());
    populateMathToLibmConversionPatterns(calls);
    if (failed(rewrite(std::move(polynomials))) || failed(rewrite(std::move(calls))))
      return signalPassFailure();
  }

  /// Rewrites transcendental functions and what comes of them, and looks at nothing else.
  LogicalResult rewrite(FrozenRewritePatternSet patterns) {
    SmallVector<Operation *> functions;
    getOperation().walk([&](Operation *op) {
      if (isa<math::ExpOp, math::ErfcOp, math::TanhOp, math::LogOp>(op))
        functions.push_back(op);
    });
    if (functions.empty())
      return success();
    auto config = GreedyRewriteConfig().setStrictness(GreedyRewriteStrictness::ExistingAndNewOps);
    return applyOpPatternsGreedily(functions, patterns, config);
  }
};
} // namespace

/// For z >= 0, erfc(z) = e^(-z^2) P(z) / Q(z) with a minimax quotient of relative error 5e-9 up to
/// z = 9.4, where the exponential vanishes; erfc(-z) = 2 - erfc(z). All coefficients are positive:
/// nothing cancels. The exponential is written as `exp(z * -z)`: a GELU's gradient needs the same,
/// and CSE makes it one.
Value ns::expandErfc(OpBuilder &b, Location loc, Value z, arith::FastMathFlags quotient,
                     arith::FastMathFlags exponential) {
  static constexpr float kP[] = {1.0f, 1.23226535f, 0.725183547f, 0.226163954f, 0.0321571976f};
  static constexpr float kQ[] = {1.0f,        2.36064506f,  2.38887811f,
                                 1.31338477f, 0.400894731f, 0.0569963381f};
  Arithmetic a(b, loc, z.getType());
  Value square = a.mul(z, arith::NegFOp::create(b, loc, z));
  Value t = a.atMost(math::AbsFOp::create(b, loc, z), 10.0f);
  Value ratio = arith::DivFOp::create(b, loc, a.polynomial(t, kP), a.polynomial(t, kQ), quotient);
  Value tail = a.mul(math::ExpOp::create(b, loc, square, exponential), ratio);
  Value isNegative = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, z, a.constant(0.0f));
  return arith::SelectOp::create(b, loc, isNegative, a.sub(a.constant(2.0f), tail), tail);
}

/// In units of a code's last bit: a normal number's are the upper bits of the f32, rounded; of the
/// others, 2^14 more puts the last one at the end of the f32.
Value ns::roundToE4M3(OpBuilder &b, Location loc, Value x) {
  Arithmetic a(b, loc, x.getType());
  constexpr int32_t kDropped = 20, kBias = (127 - 7) << 3; // mantissa bits; of the exponent
  constexpr int32_t kLeastNormal = 0x3c800000 /* 2^-6 */, kTooLarge = 0x43e80000 /* 464 */;
  auto shiftRight = [&](Value v, int32_t by) -> Value {
    return arith::ShRUIOp::create(b, loc, v, a.integer(by));
  };
  auto plus = [&](Value v, Value w) -> Value { return arith::AddIOp::create(b, loc, v, w); };
  auto both = [&](Value v, int32_t mask) -> Value {
    return arith::AndIOp::create(b, loc, v, a.integer(mask));
  };
  auto select = [&](arith::CmpIPredicate predicate, Value v, int32_t bound, Value yes, Value no) {
    Value is = arith::CmpIOp::create(b, loc, predicate, v, a.integer(bound));
    return arith::SelectOp::create(b, loc, is, yes, no).getResult();
  };
  Value bits = a.toBits(x), magnitude = both(bits, 0x7fffffff);
  Value half = plus(both(shiftRight(magnitude, kDropped), 1), a.integer((1 << (kDropped - 1)) - 1));
  Value normal = plus(shiftRight(plus(magnitude, half), kDropped), a.integer(-kBias));
  Value shifted = a.toBits(a.add(a.fromBits(magnitude), a.constant(0x1p14f)));
  Value small = plus(shifted, a.integer(-0x46800000)); // the bits of 2^14
  Value code = select(arith::CmpIPredicate::slt, magnitude, kLeastNormal, small, normal);
  code = select(arith::CmpIPredicate::sgt, magnitude, kTooLarge, a.integer(0x7f), code);
  code = arith::OrIOp::create(b, loc, code, both(shiftRight(bits, 24), 0x80));
  auto like = [&](Type element) -> Type {
    auto vector = dyn_cast<VectorType>(x.getType());
    return vector ? Type(vector.clone(element)) : element;
  };
  Value byte = arith::TruncIOp::create(b, loc, like(b.getI8Type()), code);
  return arith::BitcastOp::create(b, loc, like(Float8E4M3FNType::get(b.getContext())), byte);
}
