//===- Differentiate.cpp - replace gradient requests by the backward computation -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Autodiff/DifferentiableOpInterface.h"
#include "ns/Autodiff/Passes.h"
#include "ns/Dialect/NN/Transforms/Utils.h"
#include "ns/Dialect/NS/IR/NS.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

using namespace mlir;

namespace ns::autodiff {
#define GEN_PASS_DEF_DIFFERENTIATEPASS
#include "ns/Autodiff/Passes.h.inc"

namespace {

/// Reverse mode for one `ns.gradient`.
class Differentiator {
public:
  explicit Differentiator(harden::GradientOp request) : request(request), builder(request) {}

  /// Creates the backward ops before the request, replaces the request's results and erases it.
  LogicalResult run();

  int64_t numVjps = 0;
  llvm::SetVector<Value> saved;

private:
  void markActive();
  LogicalResult propagate(Operation *op);
  LogicalResult checkReads(Operation *op, Operation *before, ArrayRef<Value> allowed);
  void accumulate(Value value, Value contribution);
  LogicalResult replaceRequest();

  harden::GradientOp request;
  OpBuilder builder;
  /// Values that depend on one that a gradient is wanted of.
  DenseSet<Value> active;
  /// The sum of the contributions met so far; complete once the sweep reaches the value's definition.
  DenseMap<Value, Value> cotangents;
};

void Differentiator::markActive() {
  active.insert(request.getWrt().begin(), request.getWrt().end());
  for (Operation &op : llvm::make_range(request->getBlock()->begin(), request->getIterator())) {
    auto rule = dyn_cast<DifferentiableOpInterface>(op);
    bool isActive = false;
    for (auto [index, operand] : llvm::enumerate(op.getOperands()))
      isActive |= active.contains(operand) && !(rule && rule.isOperandInactive(index));
    if (isActive)
      active.insert(op.result_begin(), op.result_end());
  }
}

void Differentiator::accumulate(Value value, Value contribution) {
  Value &sum = cotangents[value];
  sum = sum ? nn::AddOp::create(builder, value.getLoc(), sum.getType(), sum, contribution).getResult() : contribution;
}

/// Holds a rule to what it declared: the ops it created after `before` read backward values and `allowed` ones only.
LogicalResult Differentiator::checkReads(Operation *op, Operation *before, ArrayRef<Value> allowed) {
  for (Operation *created = before ? before->getNextNode() : &op->getBlock()->front();
       created && created != request.getOperation(); created = created->getNextNode())
    for (Value operand : created->getOperands()) {
      bool isForward = operand.getDefiningOp() == op || llvm::is_contained(op->getOperands(), operand);
      if (isForward && !llvm::is_contained(allowed, operand))
        return op->emitOpError("expected the derivative rule to read only saved values, but got ") << operand;
    }
  return success();
}

LogicalResult Differentiator::propagate(Operation *op) {
  Value cotangent = cotangents.lookup(op->getResult(0));
  auto rule = dyn_cast<DifferentiableOpInterface>(op);
  BitVector wanted(op->getNumOperands());
  for (auto [index, operand] : llvm::enumerate(op->getOperands()))
    wanted[index] = active.contains(operand) && !(rule && rule.isOperandInactive(index));
  if (wanted.none())
    return success();
  if (!rule || op->getNumResults() != 1) {
    auto diag = op->emitOpError("expected an op between the loss and a wanted value to have a derivative rule, but got none");
    diag.attachNote() << "rules are external models of DifferentiableOpInterface, in lib/Autodiff/Rules";
    return diag;
  }
  SmallVector<Value> keep;
  rule.getSavedForBackward(wanted, keep);
  SmallVector<Value> contributions(op->getNumOperands());
  Operation *before = request->getPrevNode();
  if (failed(rule.buildVjp(builder, cotangent, wanted, contributions)) || failed(checkReads(op, before, keep)))
    return failure();
  if (auto layer = op->getAttr(nn::NNDialect::kLayerAttr))
    for (Operation *created = before->getNextNode(); created != request.getOperation(); created = created->getNextNode())
      created->setAttr(nn::NNDialect::kLayerAttr, layer);
  ++numVjps;
  for (Value value : keep)
    if (Operation *def = value.getDefiningOp(); def && !isa<nn::LoadParamOp, harden::ReadNoiseOp>(def))
      saved.insert(value);
  for (auto [index, operand] : llvm::enumerate(op->getOperands()))
    if (wanted[index] && contributions[index])
      accumulate(operand, contributions[index]);
  return success();
}

LogicalResult Differentiator::replaceRequest() {
  for (auto [wrt, grad] : llvm::zip(request.getWrt(), request.getGrads())) {
    Value cotangent = cotangents.lookup(wrt);
    if (!cotangent) {
      auto diag = request.emitOpError("expected the loss to depend on every wanted value, but got one that it does not depend on");
      diag.attachNote(wrt.getLoc()) << "this value, of type " << wrt.getType();
      return diag;
    }
    grad.replaceAllUsesWith(cotangent);
    for (Operation *user : llvm::make_early_inc_range(cotangent.getUsers()))
      if (isa<harden::StoreGradOp>(user) && cotangent.getDefiningOp())
        user->moveAfter(cotangent.getDefiningOp());
  }
  request.erase();
  return success();
}

LogicalResult Differentiator::run() {
  for (Value value : request->getOperands())
    if (!cast<RankedTensorType>(value.getType()).hasStaticShape()) {
      auto diag = request.emitOpError("expected static shapes, but got ") << value.getType();
      diag.attachNote() << "nn-bind-batch makes the batch static";
      return diag;
    }
  markActive();
  auto lossType = cast<RankedTensorType>(request.getLoss().getType());
  auto one = DenseElementsAttr::get(lossType, builder.getFloatAttr(lossType.getElementType(), 1.0));
  Value seed = arith::ConstantOp::create(builder, request.getLoc(), one);
  if (active.contains(request.getLoss()))
    cotangents[request.getLoss()] = seed;
  Operation *last = seed.getDefiningOp()->getPrevNode();
  for (Operation *op = last; op; op = op->getPrevNode())
    if (op->getNumResults() > 0 && cotangents.contains(op->getResult(0)) && failed(propagate(op)))
      return failure();
  return replaceRequest();
}

struct DifferentiatePass : impl::DifferentiatePassBase<DifferentiatePass> {
  using DifferentiatePassBase::DifferentiatePassBase;

  void runOnOperation() override {
    for (func::FuncOp func : getOperation().getOps<func::FuncOp>())
      if (!func.isExternal() && failed(differentiate(func)))
        return signalPassFailure();
  }

  LogicalResult differentiate(func::FuncOp func) {
    Block &block = func.getBody().front();
    SmallVector<harden::GradientOp> requests(block.getOps<harden::GradientOp>());
    if (requests.empty())
      return success();
    llvm::SetVector<Value> saved;
    int64_t vjps = 0;
    for (harden::GradientOp request : requests) {
      Differentiator differentiator(request);
      if (failed(differentiator.run()))
        return failure();
      vjps += differentiator.numVjps;
      saved.insert(differentiator.saved.begin(), differentiator.saved.end());
    }
    nn::eraseDeadOps(block);
    int64_t bytes = 0;
    for (Value value : saved) {
      auto type = cast<RankedTensorType>(value.getType());
      bytes += type.getNumElements() * llvm::divideCeil(type.getElementTypeBitWidth(), 8);
    }
    numVjps += vjps;
    numSavedValues += saved.size();
    numSavedBytes += bytes;
    if (report)
      emitRemark(func.getLoc()) << "@" << func.getName() << ": backward forms of " << vjps << " ops read " << saved.size()
                                << " saved values, " << bytes << " bytes";
    return success();
  }
};

} // namespace
} // namespace ns::autodiff
