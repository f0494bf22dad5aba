//===- RowProgram.cpp - builds the region of an rt.fused -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/RT/IR/RowProgram.h"

#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace ns;

RowProgram::RowProgram(OpBuilder &builder, Location loc, Type element, std::array<int64_t, 3> space)
    : outer(builder), context(builder.getContext()), loc(loc), space(space), element(element),
      region(std::make_unique<Region>()), body(builder.getContext()) {
  r = getAffineDimExpr(0, context);
  k = getAffineDimExpr(1, context);
  c = getAffineDimExpr(2, context);
  body.setInsertionPointToEnd(&region->emplaceBlock());
}

RowProgram::~RowProgram() = default;

Value RowProgram::in(Value tensor, AffineExpr row, AffineExpr col) {
  AffineMap map = AffineMap::get(3, 0, {row, col}, context);
  for (auto [i, input] :
       llvm::enumerate(inputs)) // one argument for one element, however often it is asked for
    if (input == tensor && inMaps[i] == map)
      return region->front().getArgument(i);
  inputs.push_back(tensor);
  inMaps.push_back(map);
  return region->front().addArgument(rt::typeOf(tensor).getElementType(), loc);
}

void RowProgram::out(Value value, RankedTensorType type, AffineExpr row, AffineExpr col,
                     Value dest) {
  yielded.push_back(value);
  resultTypes.push_back(type);
  outMaps.push_back(AffineMap::get(3, 0, {row, col}, context));
  destOf.push_back(dest ? int64_t(dests.size()) : -1);
  if (dest)
    dests.push_back(dest);
}

Value RowProgram::constant(double value) {
  return arith::ConstantOp::create(body, loc, body.getFloatAttr(element, value));
}
Value RowProgram::add(Value a, Value b) { return arith::AddFOp::create(body, loc, a, b); }
Value RowProgram::sub(Value a, Value b) { return arith::SubFOp::create(body, loc, a, b); }
Value RowProgram::mul(Value a, Value b) { return arith::MulFOp::create(body, loc, a, b); }
Value RowProgram::div(Value a, Value b) { return arith::DivFOp::create(body, loc, a, b); }
Value RowProgram::fma(Value a, Value b, Value c) { return math::FmaOp::create(body, loc, a, b, c); }
Value RowProgram::sqrt(Value a) { return math::SqrtOp::create(body, loc, a); }
Value RowProgram::exp(Value a) { return math::ExpOp::create(body, loc, a); }
Value RowProgram::log(Value a) { return math::LogOp::create(body, loc, a); }
Value RowProgram::neg(Value a) { return arith::NegFOp::create(body, loc, a); }
Value RowProgram::erfc(Value a) { return math::ErfcOp::create(body, loc, a); }
Value RowProgram::tanh(Value a) { return math::TanhOp::create(body, loc, a); }
Value RowProgram::abs(Value a) { return math::AbsFOp::create(body, loc, a); }
Value RowProgram::compare(arith::CmpFPredicate predicate, Value a, Value b) {
  return arith::CmpFOp::create(body, loc, predicate, a, b);
}
Value RowProgram::select(Value condition, Value a, Value b) {
  return arith::SelectOp::create(body, loc, condition, a, b);
}
Value RowProgram::index(AffineExpr expr) {
  return rt::IndexOp::create(body, loc, body.getI32Type(),
                             AffineMapAttr::get(AffineMap::get(3, 0, expr)));
}
Value RowProgram::swapPairs(Value a) { return rt::SwapPairsOp::create(body, loc, a); }
Value RowProgram::integer(uint32_t value) {
  return arith::ConstantOp::create(body, loc, body.getI32IntegerAttr(int32_t(value)));
}
Value RowProgram::addInt(Value a, Value b) { return arith::AddIOp::create(body, loc, a, b); }
Value RowProgram::mulInt(Value a, Value b) { return arith::MulIOp::create(body, loc, a, b); }
Value RowProgram::bitAnd(Value a, Value b) { return arith::AndIOp::create(body, loc, a, b); }
Value RowProgram::bitXor(Value a, Value b) { return arith::XOrIOp::create(body, loc, a, b); }
Value RowProgram::shiftRight(Value a, uint32_t bits) {
  return arith::ShRUIOp::create(body, loc, a, integer(bits));
}
Value RowProgram::bits(Value a) {
  return arith::BitcastOp::create(body, loc, body.getI32Type(), a);
}
Value RowProgram::fromBits(Value a) {
  return arith::BitcastOp::create(body, loc, body.getF32Type(), a);
}
Value RowProgram::rounded(Value a, Type to) { return arith::TruncFOp::create(body, loc, to, a); }
Value RowProgram::compare(arith::CmpIPredicate predicate, Value a, Value b) {
  return arith::CmpIOp::create(body, loc, predicate, a, b);
}
Value RowProgram::isColumn(Value label) {
  return compare(arith::CmpIPredicate::eq, index(c), label);
}
Value RowProgram::either(Value a, Value b) { return arith::OrIOp::create(body, loc, a, b); }
Value RowProgram::inRange(AffineExpr expr, int64_t from, int64_t to) {
  Value i = index(expr);
  Value above = compare(arith::CmpIPredicate::sge, i, integer(uint32_t(from)));
  return bitAnd(above, compare(arith::CmpIPredicate::slt, i, integer(uint32_t(to))));
}
Value RowProgram::number(AffineExpr expr) {
  return arith::SIToFPOp::create(body, loc, element, index(expr));
}
Value RowProgram::perIndex(AffineExpr expr, ArrayRef<double> values) {
  Value which = index(expr);
  Value result = constant(values.back());
  for (int64_t i = int64_t(values.size()) - 2; i >= 0; --i) {
    Value number = arith::ConstantOp::create(body, loc, body.getI32IntegerAttr(i));
    Value hit = arith::CmpIOp::create(body, loc, arith::CmpIPredicate::eq, which, number);
    result = arith::SelectOp::create(body, loc, hit, constant(values[i]), result);
  }
  return result;
}
Value RowProgram::reduce(rt::Reduction kind, Value a) {
  return rt::RowReduceOp::create(body, loc, kind, a);
}

void RowProgram::orderByUse(Operation *yield) {
  Block &block = region->front();
  llvm::SetVector<Value> order; // operands before their users
  auto visit = [&](auto &&self, Value v) -> void {
    if (order.contains(v))
      return;
    if (Operation *op = v.getDefiningOp())
      for (Value operand : op->getOperands())
        self(self, operand);
    order.insert(v);
  };
  for (Value v : yielded)
    visit(visit, v);

  SmallVector<Value> read;
  SmallVector<AffineMap> maps;
  for (Value v : order) {
    if (Operation *op = v.getDefiningOp()) {
      op->moveBefore(yield);
      continue;
    }
    unsigned known = cast<BlockArgument>(v).getArgNumber();
    read.push_back(inputs[known]);
    maps.push_back(inMaps[known]);
    v.replaceAllUsesWith(block.addArgument(v.getType(), loc));
  }
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (&op != yield && !order.contains(op.getResult(0)))
      op.erase();
  block.eraseArguments(0, inputs.size());
  inputs = std::move(read);
  inMaps = std::move(maps);
}

rt::FusedOp RowProgram::finish() {
  orderByUse(rt::YieldOp::create(body, loc, yielded));
  DenseI64ArrayAttr destination =
      dests.empty() ? DenseI64ArrayAttr() : outer.getDenseI64ArrayAttr(destOf);
  auto op = rt::FusedOp::create(
      outer, loc, resultTypes, inputs, dests, outer.getDenseI64ArrayAttr(space),
      outer.getAffineMapArrayAttr(inMaps), outer.getAffineMapArrayAttr(outMaps), destination);
  op.getBody().takeBody(*region);
  return op;
}
