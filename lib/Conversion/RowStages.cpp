//===- RowStages.cpp - the stages of a row program -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RowStages.h"

using namespace mlir;
using namespace ns;

/// Worth a register or a store and a load rather than computing it again.
static bool isCostly(Operation *op) {
  return isa_and_nonnull<math::ExpOp, math::ErfcOp, math::TanhOp, math::LogOp, math::SqrtOp,
                         arith::DivFOp>(op);
}

RowStages::RowStages(rt::FusedOp op)
    : yield(cast<rt::YieldOp>(op.getBody().front().getTerminator())) {
  for (BlockArgument arg : op.getBody().getArguments()) {
    uniform[arg] = isa<AffineConstantExpr>(op.getInMap(arg.getArgNumber()).getResult(1));
    vectorInputs += !uniform[arg];
    depth[arg] = 0;
  }
  unsigned deepest = 0;
  for (Operation &inner : op.getBody().front().without_terminator()) {
    bool allUniform = true;
    unsigned level = 0;
    for (Value operand : inner.getOperands()) {
      allUniform &= uniform.lookup(operand);
      level = std::max(level, depth.lookup(operand));
    }
    if (auto index = dyn_cast<rt::IndexOp>(inner))
      allUniform = !index.getMap().isFunctionOfDim(2);
    if (isa<rt::RowReduceOp>(inner)) {
      allUniform = true;
      level += 1;
    }
    uniform[inner.getResult(0)] = allUniform;
    depth[inner.getResult(0)] = level;
    deepest = std::max(deepest, level);
  }
  reductionsOf.resize(deepest + 1);
  resultsOf.resize(deepest + 1);
  for (auto reduce : op.getBody().front().getOps<rt::RowReduceOp>())
    reductionsOf[depth[reduce.getValue()]].push_back(reduce);
  for (unsigned i = 0; i < yield.getNumOperands(); ++i)
    if (!isa<AffineConstantExpr>(op.getOutMap(i).getResult(1)))
      resultsOf[depth[yield.getOperand(i)]].push_back(i);

  for (unsigned stage = 0; stage < size(); ++stage)
    for (Value v : valuesOf(stage))
      if (!firstUse.insert({v, stage}).second && isCostly(v.getDefiningOp()))
        kept.insert(v);
}

llvm::SetVector<Value> RowStages::valuesOf(unsigned stage) const {
  llvm::SetVector<Value> values;
  SmallVector<Value> work;
  for (rt::RowReduceOp reduce : reductionsOf[stage])
    work.push_back(reduce.getValue());
  for (unsigned i : resultsOf[stage])
    work.push_back(yield.getOperand(i));
  while (!work.empty()) {
    Value v = work.pop_back_val();
    if (uniform.lookup(v) || !values.insert(v))
      continue;
    if (Operation *op = v.getDefiningOp())
      work.append(op->operand_begin(), op->operand_end());
  }
  return values;
}

SmallVector<Value> RowStages::uniformOperands(unsigned stage) const {
  llvm::SetVector<Value> operands;
  for (rt::RowReduceOp reduce : reductionsOf[stage])
    if (uniform.lookup(reduce.getValue()))
      operands.insert(reduce.getValue());
  for (unsigned i : resultsOf[stage])
    if (uniform.lookup(yield.getOperand(i)))
      operands.insert(yield.getOperand(i));
  for (Value v : valuesOf(stage))
    if (Operation *op = v.getDefiningOp())
      for (Value operand : op->getOperands())
        if (uniform.lookup(operand))
          operands.insert(operand);
  return operands.takeVector();
}
