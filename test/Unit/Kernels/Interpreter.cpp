//===- Interpreter.cpp - row programs, point by point -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Interpreter.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace ns;
using namespace ns::test;

double ns::test::roundTo(Type type, double value) {
  if (type.isInteger(32))
    return double(int32_t(uint32_t(int64_t(value))));
  if (type.isInteger(1))
    return value != 0;
  if (type.getIntOrFloatBitWidth() < 32) {
    APFloat rounded{float(value)};
    bool loses;
    rounded.convert(cast<FloatType>(type).getFloatSemantics(), APFloat::rmNearestTiesToEven,
                    &loses);
    return rounded.convertToDouble();
  }
  return float(value);
}

/// col of a map at column c.
static int64_t columnAt(AffineExpr column, int64_t c) {
  if (auto constant = dyn_cast<AffineConstantExpr>(column))
    return constant.getValue();
  if (isa<AffineDimExpr>(column))
    return c;
  return c * cast<AffineConstantExpr>(cast<AffineBinaryOpExpr>(column).getRHS()).getValue();
}

static bool compare(arith::CmpFPredicate predicate, double a, double b) {
  switch (predicate) {
  case arith::CmpFPredicate::OEQ:
    return a == b;
  case arith::CmpFPredicate::UNE:
    return a != b;
  case arith::CmpFPredicate::OGT:
    return a > b;
  case arith::CmpFPredicate::OLT:
    return a < b;
  default:
    llvm_unreachable("a predicate that these tests do not use");
  }
}

static bool compare(arith::CmpIPredicate predicate, double a, double b) {
  switch (predicate) {
  case arith::CmpIPredicate::eq:
    return a == b;
  case arith::CmpIPredicate::slt:
    return a < b;
  case arith::CmpIPredicate::ult:
    return uint32_t(int64_t(a)) < uint32_t(int64_t(b));
  default:
    llvm_unreachable("a predicate that these tests do not use");
  }
}

/// One op at one column.
static double evaluate(Operation *op, ArrayRef<double> v) {
  auto bits = [&](unsigned i) { return uint32_t(int64_t(v[i])); };
  return llvm::TypeSwitch<Operation *, double>(op)
      .Case([&](arith::ConstantOp constant) {
        if (auto number = dyn_cast<FloatAttr>(constant.getValue()))
          return number.getValueAsDouble();
        return double(cast<IntegerAttr>(constant.getValue()).getValue().getSExtValue());
      })
      .Case([&](arith::AddFOp) { return v[0] + v[1]; })
      .Case([&](arith::SubFOp) { return v[0] - v[1]; })
      .Case([&](arith::MulFOp) { return v[0] * v[1]; })
      .Case([&](arith::DivFOp) { return v[0] / v[1]; })
      .Case([&](arith::NegFOp) { return -v[0]; })
      .Case([&](arith::CmpFOp cmp) { return compare(cmp.getPredicate(), v[0], v[1]); })
      .Case([&](arith::CmpIOp cmp) { return compare(cmp.getPredicate(), v[0], v[1]); })
      .Case([&](arith::SelectOp) { return v[0] ? v[1] : v[2]; })
      .Case<arith::ExtFOp, arith::TruncFOp, arith::SIToFPOp>([&](auto) { return v[0]; })
      .Case([&](arith::BitcastOp cast) {
        return cast.getType().isF32() ? double(llvm::bit_cast<float>(bits(0)))
                                      : double(llvm::bit_cast<uint32_t>(float(v[0])));
      })
      .Case([&](arith::AddIOp) { return double(bits(0) + bits(1)); })
      .Case([&](arith::MulIOp) { return double(bits(0) * bits(1)); })
      .Case([&](arith::XOrIOp) { return double(bits(0) ^ bits(1)); })
      .Case([&](arith::AndIOp) { return double(bits(0) & bits(1)); })
      .Case([&](arith::ShRUIOp) { return double(bits(0) >> bits(1)); })
      .Case([&](math::ExpOp) { return std::exp(v[0]); })
      .Case([&](math::LogOp) { return std::log(v[0]); })
      .Case([&](math::SqrtOp) { return std::sqrt(v[0]); })
      .Case([&](math::ErfcOp) { return std::erfc(v[0]); })
      .Case([&](math::TanhOp) { return std::tanh(v[0]); })
      .Case([&](math::AbsFOp) { return std::fabs(v[0]); })
      .Case([&](math::FmaOp) { return v[0] * v[1] + v[2]; });
}

static double reduceColumns(rt::Reduction kind, ArrayRef<double> values) {
  double result = values.front();
  for (double value : values.drop_front())
    result = kind == rt::Reduction::Add   ? result + value
             : kind == rt::Reduction::Max ? std::fmax(result, value)
                                          : std::fmin(result, value);
  return result;
}

/// The value of a map's row at a point.
static int64_t rowAt(AffineExpr row, int64_t r, int64_t k) {
  MLIRContext *context = row.getContext();
  AffineExpr point[] = {getAffineConstantExpr(r, context), getAffineConstantExpr(k, context)};
  return cast<AffineConstantExpr>(row.replaceDims(point)).getValue();
}

/// All columns of every value of the body at one point.
static llvm::DenseMap<Value, Elements> evaluatePoint(rt::FusedOp op, ArrayRef<Elements> inputs,
                                                     int64_t r, int64_t k) {
  llvm::DenseMap<Value, Elements> values;
  int64_t cols = op.getCols();
  for (BlockArgument arg : op.getBody().getArguments()) {
    unsigned i = arg.getArgNumber();
    AffineMap map = op.getInMap(i);
    int64_t row = rowAt(map.getResult(0), r, k);
    int64_t first = row * rt::rowPitch(rt::typeOf(op.getInputs()[i]));
    Elements &column = values[arg];
    for (int64_t c = 0; c < cols; ++c)
      column.push_back(inputs[i].at(first + columnAt(map.getResult(1), c)));
  }
  for (Operation &inner : op.getBody().front().without_terminator()) {
    Elements result(cols);
    for (int64_t c = 0; c < cols; ++c) {
      SmallVector<double> operands;
      for (Value operand : inner.getOperands())
        operands.push_back(values[operand][isa<rt::SwapPairsOp>(inner) ? c ^ 1 : c]);
      if (auto place = dyn_cast<rt::IndexOp>(inner)) {
        AffineExpr expr = place.getMap().getResult(0);
        result[c] = double(expr.isFunctionOfDim(2) ? c : rowAt(expr, r, k));
      } else if (isa<rt::SwapPairsOp>(inner)) {
        result[c] = operands.front();
      } else if (auto reduce = dyn_cast<rt::RowReduceOp>(inner)) {
        result[c] = c == 0 ? reduceColumns(reduce.getKind(), values[reduce.getValue()]) : result[0];
      } else {
        result[c] = evaluate(&inner, operands);
      }
      result[c] = roundTo(inner.getResult(0).getType(), result[c]);
    }
    values[inner.getResult(0)] = std::move(result);
  }
  return values;
}

std::vector<Elements> ns::test::interpret(rt::FusedOp op, ArrayRef<Elements> inputs,
                                          std::vector<Elements> results) {
  Operation *yield = op.getBody().front().getTerminator();
  for (int64_t r = 0; r < op.getRows(); ++r)
    for (int64_t k = 0; k < op.getInner(); ++k) {
      auto values = evaluatePoint(op, inputs, r, k);
      for (unsigned i = 0; i < op.getNumResults(); ++i) {
        AffineMap map = op.getOutMap(i);
        auto type = rt::typeOf(op.getResult(i));
        bool isSum = op.getInner() > 1 && !map.isFunctionOfDim(1);
        int64_t first = rowAt(map.getResult(0), r, k) * rt::rowPitch(type);
        bool isUniform = isa<AffineConstantExpr>(map.getResult(1));
        for (int64_t c = 0; c < (isUniform ? 1 : op.getCols()); ++c) {
          double value = values[yield->getOperand(i)][c];
          double &to = results[i].at(first + columnAt(map.getResult(1), c));
          to = isSum && k > 0 ? to + value : value;
        }
      }
    }
  return results;
}
