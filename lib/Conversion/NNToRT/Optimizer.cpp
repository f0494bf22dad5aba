//===- Optimizer.cpp - slots, gradients, AdamW -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"

using namespace mlir;
using namespace ns;

LogicalResult ns::lower(nn::LoadParamOp op, Lowering &l) {
  l.set(op.getResult(), l.slot(rt::Region::Params, op.getParam(), typeOf(op.getResult())));
  return success();
}

LogicalResult ns::lower(harden::ReadNoiseOp op, Lowering &l) {
  l.set(op.getResult(), l.slot(rt::Region::State, op.getNoise(), typeOf(op.getResult())));
  return success();
}

/// Makes the program of a sum over k write `value` + `accumulate` * `dest` to `dest`: the old
/// content joins the first term. False if the value is no such sum.
static bool accumulateSum(Value value, Value dest, Value accumulate) {
  auto sum = value.getDefiningOp<rt::FusedOp>();
  if (!sum || sum.getInner() == 1 || !sum.isSingleStage() || !value.use_empty())
    return false;
  AffineExpr c = getAffineDimExpr(2, sum.getContext());
  for (unsigned i = 0; i < sum.getNumResults(); ++i)
    if (sum.getOutMap(i).isFunctionOfDim(1) || sum.getOutMap(i).getResult(1) != c)
      return false;
  unsigned index = cast<OpResult>(value).getResultNumber();
  Location loc = sum.getLoc();
  Block &body = sum.getBody().front();
  auto yield = cast<rt::YieldOp>(body.getTerminator());
  Type element = typeOf(dest).getElementType();
  Value old = body.addArgument(element, loc), factor = body.addArgument(element, loc);
  OpBuilder b(yield);
  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(element));
  // An accumulator that holds anything, NaN too, counts as 0 on the first micro-batch.
  Value counts = arith::CmpFOp::create(b, loc, arith::CmpFPredicate::UNE, factor, zero);
  Value k = rt::IndexOp::create(b, loc, b.getI32Type(),
                                AffineMapAttr::get(AffineMap::get(3, 0, b.getAffineDimExpr(1))));
  Value isFirst = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, k,
                                        arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(0)));
  Value kept = arith::SelectOp::create(b, loc, arith::AndIOp::create(b, loc, counts, isFirst),
                                       arith::MulFOp::create(b, loc, factor, old), zero);
  yield->setOperand(index, arith::AddFOp::create(b, loc, yield.getOperand(index), kept));

  SmallVector<Attribute> maps(sum.getInMaps().getValue());
  maps.push_back(AffineMapAttr::get(sum.getOutMap(index)));
  maps.push_back(AffineMapAttr::get(AffineMap::get(
      3, 0, {b.getAffineConstantExpr(0), b.getAffineConstantExpr(0)}, sum.getContext())));
  sum.setInMapsAttr(b.getArrayAttr(maps));
  sum.getInputsMutable().append({dest, accumulate});
  SmallVector<int64_t> destOf(sum.getNumResults(), -1);
  if (auto known = sum.getDestOfAttr())
    destOf.assign(known.asArrayRef().begin(), known.asArrayRef().end());
  destOf[index] = sum.getDests().size();
  sum.setDestOfAttr(b.getDenseI64ArrayAttr(destOf));
  sum.getDestsMutable().append(dest);
  return true;
}

LogicalResult ns::lower(harden::StoreGradOp op, Lowering &l) {
  auto module = op->getParentOfType<ModuleOp>();
  bool isParam = isa_and_nonnull<nn::ParamOp>(module.lookupSymbol(op.getTarget()));
  std::string name =
      isParam ? ("params.grad:" + op.getTarget()).str() : (op.getTarget() + ".grad").str();
  RankedTensorType type = typeOf(op.getValue());
  Value dest = l.slot(rt::Region::State, name, type);
  Value value = l.get(op.getValue()), accumulate = l.get(op.getAccumulate());
  if (auto gemm = value.getDefiningOp<rt::GemmOp>(); gemm && !gemm.getDest() && value.use_empty()) {
    OpBuilder::InsertionGuard guard(l.builder);
    l.builder.setInsertionPoint(gemm);
    gemm.getDestMutable().assign(l.view(dest, typeOf(value).getShape()));
    gemm.getAccumulateMutable().assign(accumulate);
    return success();
  }
  if (op.getValue().hasOneUse() && accumulateSum(value, dest, accumulate))
    return success();
  RowProgram p = l.rowwise(op, type);
  Value new_ = p.in(value), old = p.in(dest), factor = p.inScalar(accumulate),
        zero = p.constant(0.0);
  // An accumulator that holds anything, NaN too, counts as 0 on the first micro-batch.
  Value kept =
      p.select(p.compare(arith::CmpFPredicate::OEQ, factor, zero), zero, p.mul(factor, old));
  p.out(p.add(new_, kept), type, p.r, p.c, dest);
  p.finish();
  return success();
}

namespace {
/// Positions in `hyper` (docs/abi.md).
enum Hyper {
  LearningRate,
  Beta1,
  Beta2,
  Epsilon,
  WeightDecay,
  Correction1,
  Correction2,
  Lambda,
  Norm
};
/// Parameter and moments after one step, at one element.
struct AdamWResult {
  Value param, moment, square;
};
} // namespace

/// torch.optim.AdamW's single-tensor update, in its order of operations. What has a gradient that
/// is not finite stays: a host that runs ahead reads such a step's loss after its update.
static AdamWResult adamw(RowProgram &p, Value hyper, Value param, Value grad, Value moment,
                         Value square, bool decays) {
  AdamWResult before = {param, moment, square};
  Value one = p.constant(1.0), lr = p.inScalar(hyper, LearningRate),
        beta2 = p.inScalar(hyper, Beta2);
  if (decays)
    param = p.mul(param, p.sub(one, p.mul(lr, p.inScalar(hyper, WeightDecay))));
  moment = p.fma(p.sub(grad, moment), p.sub(one, p.inScalar(hyper, Beta1)), moment);
  square = p.fma(p.mul(grad, grad), p.sub(one, beta2), p.mul(square, beta2));
  Value denominator = p.add(p.div(p.sqrt(square), p.sqrt(p.inScalar(hyper, Correction2))),
                            p.inScalar(hyper, Epsilon));
  Value step = p.div(lr, p.inScalar(hyper, Correction1));
  Value finite = p.compare(arith::CmpFPredicate::OEQ, p.sub(grad, grad), p.constant(0.0));
  return {p.select(finite, p.sub(param, p.div(p.mul(step, moment), denominator)), before.param),
          p.select(finite, moment, before.moment), p.select(finite, square, before.square)};
}

LogicalResult ns::lower(harden::AdamWParamsOp op, Lowering &l) {
  for (StringRef group : {"decay", "no_decay"}) {
    int64_t elements = l.groupElements(group);
    if (elements == 0)
      continue;
    auto type = l.tensor({elements});
    SmallVector<int64_t> shape = {elements / Layout::kOptimizerRow, Layout::kOptimizerRow};
    auto flat = [&](rt::Region region, StringRef name) {
      return l.view(l.slot(region, (name + ":" + group).str(), type), shape);
    };
    Value param = flat(rt::Region::Params, ""), grad = flat(rt::Region::State, "params.grad");
    Value moment = flat(rt::Region::State, "params.m"),
          square = flat(rt::Region::State, "params.v");
    RowProgram p = l.program(op, {shape[0], 1, shape[1]});
    AdamWResult next = adamw(p, l.get(op.getHyper()), p.in(param), p.in(grad), p.in(moment),
                             p.in(square), group == "decay");
    p.out(next.param, l.tensor(shape), p.r, p.c, param);
    p.out(next.moment, l.tensor(shape), p.r, p.c, moment);
    p.out(next.square, l.tensor(shape), p.r, p.c, square);
    p.finish();
  }
  return success();
}

/// Sum of one value for each row.
static Value total(Lowering &l, Operation *op, Value perRow) {
  RowProgram p = l.rowwise(op, typeOf(perRow));
  p.out(p.sum(p.in(perRow)), l.tensor({}), p.lit(0), p.lit(0));
  return p.finish().getResult(0);
}

LogicalResult ns::lower(harden::AdamWNoiseOp op, Lowering &l) {
  auto module = op->getParentOfType<ModuleOp>();
  RankedTensorType type = cast<harden::NoiseOp>(module.lookupSymbol(op.getNoise())).getTensorType();
  int64_t rows = numRows(type);
  auto slot = [&](StringRef suffix) {
    return l.slot(rt::Region::State, (op.getNoise() + suffix).str(), type);
  };
  Value noise = slot(""), stored = slot(".grad"), moment = slot(".m"), square = slot(".v");
  Value hyper = l.get(op.getHyper());

  RowProgram before = l.rowwise(op, type);
  Value v = before.in(noise);
  before.out(before.sum(before.mul(v, v)), l.tensor({rows}), before.r, before.lit(0));
  Value squareNorm = total(l, op, before.finish().getResult(0));

  // d(-lambda log ||v||) / dv = -lambda v / ||v||^2
  RowProgram update = l.rowwise(op, type);
  v = update.in(noise);
  Value lambda = update.inScalar(hyper, Lambda), zero = update.constant(0.0);
  Value pull = update.select(update.compare(arith::CmpFPredicate::OEQ, lambda, zero), zero,
                             update.div(update.mul(lambda, v), update.inScalar(squareNorm)));
  Value grad = update.sub(update.in(stored), pull);
  AdamWResult next =
      adamw(update, hyper, v, grad, update.in(moment), update.in(square), /*decays=*/true);
  update.out(next.param, type, update.r, update.c, noise);
  update.out(next.moment, type, update.r, update.c, moment);
  update.out(next.square, type, update.r, update.c, square);
  Value updated = update.finish().getResult(0);

  RowProgram after = l.rowwise(op, type);
  v = after.in(updated);
  after.out(after.sum(after.mul(v, v)), l.tensor({rows}), after.r, after.lit(0));
  Value newSquareNorm = total(l, op, after.finish().getResult(0));

  RowProgram hold = l.rowwise(op, type);
  v = hold.in(updated);
  Value wanted = hold.inScalar(hyper, Norm);
  Value held = hold.compare(arith::CmpFPredicate::OGT, wanted, hold.constant(0.0));
  hold.out(
      hold.select(held, hold.mul(v, hold.div(wanted, hold.sqrt(hold.inScalar(newSquareNorm)))), v),
      type, hold.r, hold.c, updated);
  hold.finish();

  RowProgram norm = l.program(op, {1, 1, 1});
  wanted = norm.inScalar(hyper, Norm);
  held = norm.compare(arith::CmpFPredicate::OGT, wanted, norm.constant(0.0));
  norm.out(norm.select(held, wanted, norm.sqrt(norm.inScalar(newSquareNorm))), l.tensor({}),
           norm.lit(0), norm.lit(0));
  l.finish(norm, op->getResults());
  return success();
}
