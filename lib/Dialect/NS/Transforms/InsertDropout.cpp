//===- InsertDropout.cpp - dropout and stochastic depth in finetuning -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Entries.h"
#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Dialect/NS/Transforms/Passes.h"

using namespace mlir;

namespace ns::harden {
#define GEN_PASS_DEF_INSERTDROPOUTPASS
#include "ns/Dialect/NS/Transforms/Passes.h.inc"

namespace {

/// True where `value` is computed from `source`.
bool dependsOn(Value value, Value source, llvm::SmallPtrSetImpl<Operation *> &seen) {
  if (value == source)
    return true;
  Operation *op = value.getDefiningOp();
  return op && seen.insert(op).second && llvm::any_of(op->getOperands(), [&](Value operand) {
           return dependsOn(operand, source, seen);
         });
}

/// The operand of a residual sum that is the branch: the one computed from the other; where both
/// are computed (a shortcut with a projection), the first, as the models write it.
OpOperand &branchOf(const Residual &residual) {
  nn::AddOp sum = residual.sum;
  llvm::SmallPtrSet<Operation *, 32> seen;
  bool second = sum.getLhs() == residual.input ||
                (sum.getRhs() != residual.input && dependsOn(sum.getRhs(), sum.getLhs(), seen));
  return sum->getOpOperand(second ? 1 : 0);
}

/// Inserts the dropouts of one entry; they are numbered in the order of the network.
class EntryDropout {
public:
  EntryDropout(func::FuncOp entry, Value seed)
      : entry(entry), seed(seed), builder(entry.getContext()) {}

  int64_t insert(double dropout, double dropPath);

private:
  /// Every reader of `value` reads it dropped.
  void drop(Value value, nn::DropoutUnit unit, double rate) {
    if (rate == 0)
      return;
    builder.setInsertionPointAfterValue(value);
    auto op = nn::DropoutOp::create(builder, value.getLoc(), value.getType(), unit, value, seed,
                                    APFloat(rate), count++);
    value.replaceAllUsesExcept(op.getResult(), op);
  }
  void dropBranch(Value branch, double rate);

  func::FuncOp entry;
  Value seed;
  OpBuilder builder;
  int64_t count = 0;
};

/// What timm's `proj_drop` drops: the output of the branch's last linear layer, and the input of
/// one that follows an activation.
void EntryDropout::dropBranch(Value branch, double rate) {
  while (auto scale = branch.getDefiningOp<nn::LayerScaleOp>())
    branch = scale.getInput();
  auto linear = branch.getDefiningOp<nn::LinearOp>();
  if (!linear)
    return;
  if (isa_and_nonnull<nn::GeluOp, nn::ActivationOp, nn::MulOp>(linear.getInput().getDefiningOp()))
    drop(linear.getInput(), nn::DropoutUnit::Element, rate);
  drop(branch, nn::DropoutUnit::Element, rate);
}

int64_t EntryDropout::insert(double dropout, double dropPath) {
  SmallVector<SmallVector<Residual>> blocks = findBlocks(entry);
  if (!blocks.empty())
    if (Value tokens = blocks.front().front().input;
        isa_and_nonnull<nn::AddOp, nn::PrependTokensOp>(tokens.getDefiningOp()))
      drop(tokens, nn::DropoutUnit::Element, dropout);
  for (auto [depth, block] : llvm::enumerate(blocks)) {
    double rate =
        blocks.size() > 1 ? dropPath * double(depth) / double(blocks.size() - 1) : dropPath;
    for (const Residual &residual : block) {
      OpOperand &branch = branchOf(residual);
      dropBranch(branch.get(), dropout);
      drop(branch.get(), nn::DropoutUnit::Image, rate);
    }
  }
  return count;
}

struct InsertDropoutPass : impl::InsertDropoutPassBase<InsertDropoutPass> {
  using InsertDropoutPassBase::InsertDropoutPassBase;

  void runOnOperation() override {
    for (auto [name, rate] :
         {std::pair("dropout", dropout.getValue()), {"drop-path", dropPath.getValue()}})
      if (!(rate >= 0 && rate < 1)) {
        emitError(getOperation().getLoc())
            << "expected option " << name << " to be in [0, 1), but got " << rate;
        return signalPassFailure();
      }
    if (dropout == 0 && dropPath == 0)
      return;
    for (StringRef name : {"finetune_step", "finetune_step_noised", "finetune_step_trades"})
      if (auto entry = getOperation().lookupSymbol<func::FuncOp>(name)) {
        unsigned index = entry.getNumArguments();
        auto type = RankedTensorType::get({1}, IntegerType::get(&getContext(), 32));
        (void)entry.insertArgument(index, type, DictionaryAttr(), entry.getLoc());
        nameArgument(entry, index, "dropout_seed");
        numDropouts += EntryDropout(entry, entry.getArgument(index)).insert(dropout, dropPath);
      }
  }
};

} // namespace
} // namespace ns::harden
