//===- FoldFrozen.cpp - scales and shifts into frozen weights -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A fold changes a weight for all its readers. So the layers that share parameters are one group over all entries, and a group folds only if each use
// of its parameters is one that the fold accounts for.
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Dialect/NN/Transforms/Passes.h"
#include "ns/Dialect/NN/Transforms/Utils.h"
#include "ns/Dialect/NS/IR/NS.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;

namespace ns::nn {
#define GEN_PASS_DEF_FOLDFROZENPASS
#include "ns/Dialect/NN/Transforms/Passes.h.inc"

namespace {

constexpr llvm::StringLiteral kPrepare = "prepare";

/// Rows [from, ...) of a parameter; no parameter where the value is none.
struct ParamRows {
  StringAttr name;
  int64_t from = 0;
  bool isWhole = true;
};

ParamRows resolve(Value value) {
  ParamRows rows;
  while (auto slice = value ? value.getDefiningOp<SliceRowsOp>() : nullptr) {
    rows.from += slice.getFrom();
    rows.isWhole = false;
    value = slice.getInput();
  }
  if (auto load = value ? value.getDefiningOp<LoadParamOp>() : nullptr)
    rows.name = load.getParamAttr().getAttr();
  return rows;
}

/// The parameter that `value` is the whole of, or null.
StringAttr wholeParam(Value value) {
  ParamRows rows = resolve(value);
  return rows.isWhole ? rows.name : StringAttr();
}

/// Who reads each parameter, and which ones no entry writes or trains.
class ParamUses {
public:
  explicit ParamUses(ModuleOp module) {
    for (auto func : module.getOps<func::FuncOp>())
      func.getBody().walk([&](Operation *op) {
        if (auto load = dyn_cast<LoadParamOp>(op))
          return addReads(load.getParamAttr().getAttr(), load.getResult());
        for (NamedAttribute attr : op->getAttrs())
          if (auto symbol = dyn_cast<FlatSymbolRefAttr>(attr.getValue()))
            written.insert(symbol.getAttr());
      });
  }

  /// Is `param` frozen, and each of its reads operand `index` of one of `readers`?
  bool areOnly(StringAttr param, unsigned index, const llvm::SetVector<Operation *> &readers) const {
    return !written.contains(param) && llvm::all_of(reads.lookup(param), [&](OpOperand *use) {
      return use->getOperandNumber() == index && readers.contains(use->getOwner());
    });
  }

private:
  void addReads(StringAttr param, Value value) {
    for (OpOperand &use : value.getUses()) {
      if (auto slice = dyn_cast<SliceRowsOp>(use.getOwner()))
        addReads(param, slice.getResult());
      else
        reads[param].push_back(&use);
    }
  }

  llvm::DenseMap<StringAttr, SmallVector<OpOperand *>> reads;
  llvm::DenseSet<StringAttr> written;
};

/// Adds the linear layers that read `value`, through selections of tokens; fails at another reader.
LogicalResult addLinearReaders(Value value, llvm::SetVector<Operation *> &linears) {
  for (OpOperand &use : value.getUses()) {
    Operation *user = use.getOwner();
    if (isa<SelectTokenOp, SliceTokensOp>(user)) {
      if (failed(addLinearReaders(user->getResult(0), linears)))
        return failure();
    } else if (isa<LinearOp>(user) && use.getOperandNumber() == 0) {
      linears.insert(user);
    } else {
      return failure();
    }
  }
  return success();
}

/// The bias of each weight of some linear layers; a null bias where there is none.
using Weights = llvm::MapVector<StringAttr, StringAttr>;

/// Weights and biases of `linears`, if nothing else reads them, each weight goes with one bias, and the rows of the two correspond.
FailureOr<Weights> ownWeights(const ParamUses &uses, const llvm::SetVector<Operation *> &linears) {
  Weights weights;
  llvm::DenseMap<StringAttr, StringAttr> weightOf;
  for (Operation *op : linears) {
    auto linear = cast<LinearOp>(op);
    ParamRows weight = resolve(linear.getWeight()), bias = resolve(linear.getBias());
    if (!weight.name || (linear.getBias() && (!bias.name || weight.from != bias.from)))
      return failure();
    if (weights.insert({weight.name, bias.name}).first->second != bias.name)
      return failure();
    if (!uses.areOnly(weight.name, 1, linears))
      return failure();
    if (bias.name && (weightOf.insert({bias.name, weight.name}).first->second != weight.name || !uses.areOnly(bias.name, 2, linears)))
      return failure();
  }
  return weights;
}

/// The entry that overwrites the parameters. Folds of one weight compose: each works on the value that the last one made.
class Prepare {
public:
  explicit Prepare(ModuleOp module) : module(module), builder(module.getContext()) {}

  void foldNorm(StringAttr gamma, StringAttr beta, const Weights &weights) {
    for (auto [weight, bias] : weights) {
      Value w = get(weight), b = get(bias); // the bias reads the weight before gamma is in it
      set(bias, FoldNormBiasOp::create(builder, w.getLoc(), b.getType(), b, w, get(beta)));
      set(weight, FoldNormWeightOp::create(builder, w.getLoc(), w.getType(), w, get(gamma)));
    }
  }

  void foldScale(StringAttr gamma, const Weights &weights) {
    for (auto [weight, bias] : weights) {
      if (bias)
        set(bias, FoldScaleBiasOp::create(builder, get(bias).getLoc(), get(bias).getType(), get(bias), get(gamma)));
      Value w = get(weight);
      set(weight, FoldScaleWeightOp::create(builder, w.getLoc(), w.getType(), w, get(gamma)));
    }
  }

  /// Stores what was folded and ends the entry; nothing where no fold was made.
  void finish() {
    for (StringAttr param : changed)
      StoreParamOp::create(builder, values[param].getLoc(), FlatSymbolRefAttr::get(param), values[param]);
    if (func)
      func::ReturnOp::create(builder, func.getLoc());
  }

private:
  /// The current value of a parameter; its load stands before every fold.
  Value get(StringAttr param) {
    Value &value = values[param];
    if (value)
      return value;
    if (!func)
      begin();
    auto declared = module.lookupSymbol<ParamOp>(param);
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(&func.getBody().front());
    return value = LoadParamOp::create(builder, declared.getLoc(), declared.getTensorType(), FlatSymbolRefAttr::get(param));
  }

  void set(StringAttr param, Value value) {
    values[param] = value;
    changed.insert(param);
  }

  void begin() {
    builder.setInsertionPointToEnd(module.getBody());
    func = func::FuncOp::create(builder, module.getLoc(), kPrepare, builder.getFunctionType({}, {}));
    func->setAttr(harden::NSDialect::kEntryAttr, builder.getUnitAttr());
    builder.setInsertionPointToEnd(func.addEntryBlock());
  }

  ModuleOp module;
  OpBuilder builder;
  func::FuncOp func;
  llvm::DenseMap<StringAttr, Value> values;
  llvm::SetVector<StringAttr> changed;
};

struct FoldFrozenPass : impl::FoldFrozenPassBase<FoldFrozenPass> {
  using FoldFrozenPassBase::FoldFrozenPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (Operation *other = module.lookupSymbol(kPrepare)) {
      other->emitOpError("expected the name @") << kPrepare << " to be free for the entry that nn-fold-frozen makes";
      return signalPassFailure();
    }
    Prepare prepare(module);
    ParamUses uses(module);
    foldNorms(module, uses, prepare);
    foldScales(module, uses, prepare);
    prepare.finish();
    for (auto func : module.getOps<func::FuncOp>())
      if (!func.isExternal())
        eraseDeadOps(func.getBody().front());
  }

  void foldNorms(ModuleOp module, const ParamUses &uses, Prepare &prepare) {
    llvm::MapVector<std::pair<StringAttr, StringAttr>, llvm::SetVector<Operation *>> groups;
    module.walk([&](LayerNormOp norm) {
      // Without parameters the group is the whole row: norms per head stay.
      StringAttr gamma = wholeParam(norm.getGamma()), beta = wholeParam(norm.getBeta());
      if (gamma && beta && norm.getGamma().getType().getDimSize(0) == norm.getInput().getType().getShape().back())
        groups[{gamma, beta}].insert(norm);
    });
    for (auto &[params, norms] : groups) {
      auto [gamma, beta] = params;
      llvm::SetVector<Operation *> linears;
      if (!uses.areOnly(gamma, 1, norms) || !uses.areOnly(beta, 2, norms) || llvm::any_of(norms, [&](Operation *norm) {
            return failed(addLinearReaders(norm->getResult(0), linears));
          }))
        continue;
      FailureOr<Weights> weights = ownWeights(uses, linears);
      if (failed(weights) || weights->empty() || llvm::any_of(*weights, [](auto &pair) { return !pair.second; }))
        continue;
      prepare.foldNorm(gamma, beta, *weights);
      for (Operation *norm : norms) {
        cast<LayerNormOp>(norm).getBetaMutable().clear();
        cast<LayerNormOp>(norm).getGammaMutable().clear();
      }
      ++numNorms;
    }
  }

  void foldScales(ModuleOp module, const ParamUses &uses, Prepare &prepare) {
    llvm::MapVector<StringAttr, llvm::SetVector<Operation *>> groups;
    module.walk([&](LayerScaleOp scale) {
      if (StringAttr gamma = wholeParam(scale.getGamma()))
        groups[gamma].insert(scale);
    });
    for (auto &[gamma, scales] : groups) {
      llvm::SetVector<Operation *> linears;
      for (Operation *scale : scales)
        if (auto linear = scale->getOperand(0).getDefiningOp<LinearOp>();
            linear && linear->hasOneUse() && resolve(linear.getWeight()).isWhole)
          linears.insert(linear);
      if (linears.size() != scales.size() || !uses.areOnly(gamma, 1, scales))
        continue;
      FailureOr<Weights> weights = ownWeights(uses, linears);
      if (failed(weights))
        continue;
      prepare.foldScale(gamma, *weights);
      for (Operation *scale : scales) {
        scale->getResult(0).replaceAllUsesWith(scale->getOperand(0));
        scale->erase();
      }
      ++numScales;
    }
  }
};

} // namespace
} // namespace ns::nn
