//===- ParameterShare.cpp - a pass outside the tree ----------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Says in remarks which layers hold a model's parameters. It reads the `nn.param` ops of an imported model and changes
// nothing; what it shows is how little a pass of one's own needs: a class, and the query at the end of the file.
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/NN/IR/NN.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Tools/Plugins/PassPlugin.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/FormatVariadic.h"

namespace {

/// Remarks, for each layer with at least `min-share` of the model's parameters, how many it has. A layer is a parameter's
/// name without its last part: `blocks.0.attn.qkv` of `blocks.0.attn.qkv.weight`.
struct ParameterSharePass : mlir::PassWrapper<ParameterSharePass, mlir::OperationPass<mlir::ModuleOp>> {
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(ParameterSharePass)

  ParameterSharePass() = default;
  ParameterSharePass(const ParameterSharePass &other) : PassWrapper(other) {}

  llvm::StringRef getArgument() const final { return "parameter-share"; }
  llvm::StringRef getDescription() const final { return "Report how many of the parameters each layer holds"; }

  void runOnOperation() final {
    struct Layer {
      ns::nn::ParamOp first;
      int64_t size = 0;
    };
    llvm::MapVector<llvm::StringRef, Layer> layers;
    int64_t total = 0;
    for (auto param : getOperation().getOps<ns::nn::ParamOp>()) {
      Layer &layer = layers[param.getSymName().rsplit('.').first];
      if (!layer.first)
        layer.first = param;
      int64_t size = param.getTensorType().getNumElements();
      layer.size += size;
      total += size;
    }
    for (auto &[name, layer] : layers) {
      double share = double(layer.size) / total;
      if (share >= minShare)
        layer.first.emitRemark(llvm::formatv("layer '{0}' has {1} of {2} parameters, {3:P}", name,
                                             layer.size, total, share));
    }
    markAllAnalysesPreserved();
  }

  Option<double> minShare{*this, "min-share", llvm::cl::desc("Layers below this share are left out"), llvm::cl::init(0.01)};
};

} // namespace

extern "C" LLVM_ATTRIBUTE_WEAK mlir::PassPluginLibraryInfo mlirGetPassPluginInfo() {
  return {MLIR_PLUGIN_API_VERSION, "ParameterShare", "0.1", [] { mlir::PassRegistration<ParameterSharePass>(); }};
}
