//===- Pipelines.cpp - the phases up to differentiation -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Pipelines/Pipelines.h"

#include "ns/Autodiff/Passes.h"
#include "ns/Conversion/Passes.h"
#include "ns/Dialect/NN/Transforms/Passes.h"
#include "ns/Dialect/NS/Transforms/Passes.h"
#include "ns/Dialect/RT/Transforms/Passes.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Arith/Transforms/Passes.h"
#include "mlir/Transforms/Passes.h"

#include "mlir/Pass/PassRegistry.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;

SmallVector<StringRef> ns::getEntries(StringRef emit) {
  enum : unsigned { Synth = 1, Finetune = 2, Evaluate = 4, Library = 8 };
  static constexpr std::pair<llvm::StringLiteral, unsigned> entries[] = {
      {"forward", Synth | Finetune | Evaluate | Library},
      {"forward_noised", Evaluate | Library},
      {"site_norm", Synth | Finetune | Library},
      {"synth_step", Synth | Finetune | Library},
      {"synth_step_l2", Synth | Finetune | Library},
      {"synth_update", Synth | Finetune | Library},
      {"stop_test", Synth | Finetune | Evaluate | Library},
      {"finetune_step", Finetune | Library},
      {"finetune_step_noised", Finetune | Library},
      {"finetune_step_trades", Finetune | Library},
      {"finetune_update", Finetune | Library},
      {"value_and_grad", Finetune | Evaluate | Library},
      {"trades_grad", Finetune | Library},
      {"attack_grad", Evaluate | Library},
      {"attention_received", Evaluate | Library},
      {"patchfool_grad", Evaluate | Library},
      {"attack_update", Finetune | Evaluate | Library},
      {"attack_update_l2", Evaluate | Library},
      {"attack_update_momentum", Evaluate | Library}};
  const unsigned kind = llvm::StringSwitch<unsigned>(emit)
                            .Case("synth", Synth)
                            .Case("finetune", Finetune)
                            .Case("evaluate", Evaluate)
                            .Case("library", Library)
                            .Default(0);
  SmallVector<StringRef> chosen;
  for (auto &[name, kinds] : entries)
    if (kinds & kind)
      chosen.push_back(name);
  return chosen;
}

/// Have the steps products of fewer bits than the parameters?
static bool isNarrow(StringRef precision) { return precision == "bf16" || precision == "fp8"; }

void ns::buildHardenPipeline(OpPassManager &manager, const HardenOptions &options) {
  manager.addPass(harden::createVerifyImportedPass());
  if (options.basis)
    manager.addPass(harden::createComputeBasisPass({.file = options.basisFile}));
  manager.addPass(harden::createMarkForwardPass());
  manager.addPass(harden::createInsertNoisePass(
      {.site = options.site, .init = options.init, .lim = options.lim}));
  bool trainsBatchNorm = options.batchNorm == "train";
  // Every entry is made, then those not asked for go: a pass need not know what the others leave.
  for (StringRef objective : {"logit_l2sq", "logit_l2"})
    manager.addPass(harden::createInsertSynthesisLossPass({.objective = objective.str()}));
  for (StringRef arm : {"none", "noised", "trades"})
    manager.addPass(
        harden::createInsertFinetuneLossPass({.arm = arm.str(), .separate = trainsBatchNorm}));
  if (trainsBatchNorm)
    manager.addPass(nn::createTrainBatchNormPass());
  manager.addPass(
      harden::createInsertDropoutPass({.dropout = options.dropout, .dropPath = options.dropPath}));
  manager.addPass(harden::createInsertAttackGradientPass());
  manager.addPass(harden::createInsertAttackUpdatePass());
  manager.addPass(harden::createInsertAttentionTapsPass());
  harden::SelectEntriesPassOptions select;
  for (StringRef entry : {"attention_received", "patchfool_grad"}) // not every network attends
    select.optional.push_back(entry.str());
  for (StringRef entry : getEntries(options.emit))
    select.entries.push_back(entry.str());
  if (select.entries.empty())
    select.entries.push_back(options.emit);
  if (isNarrow(options.precision) && llvm::is_contained(select.entries, "synth_step"))
    select.entries.push_back("clean_logits");
  manager.addPass(harden::createSelectEntriesPass(select));
  manager.addPass(harden::createVerifyHardenedPass());
}

void ns::buildSimplifyPipeline(OpPassManager &manager, const SimplifyOptions &options) {
  manager.addPass(nn::createBindBatchPass({.batch = options.batch}));
  manager.addPass(nn::createSetPrecisionPass(
      {.precision = isNarrow(options.precision) ? "f32" : std::string(options.precision)}));
  manager.addPass(nn::createSinkTokenSelectPass());
  manager.addPass(nn::createFoldFrozenPass());
}

void ns::buildDifferentiatePipeline(OpPassManager &manager) {
  manager.addPass(autodiff::createDifferentiatePass());
  manager.addPass(harden::createVerifyDifferentiatedPass());
  manager.addPass(harden::createVerifyLowerablePass());
}

/// What trains and attacks; what is measured stays f32.
static const StringRef kNarrowEntries[] = {
    "clean_logits",         "synth_step",           "synth_step_l2",  "finetune_step",
    "finetune_step_noised", "finetune_step_trades", "value_and_grad", "trades_grad",
    "attack_grad",          "patchfool_grad"};

void ns::buildPlanPipeline(OpPassManager &manager, const PlanOptions &options) {
  manager.addPass(createCanonicalizerPass());
  manager.addPass(createCSEPass());
  manager.addNestedPass<func::FuncOp>(nn::createRecomputePass());
  bool isDevice = options.target == "cuda";
  // A GPU shares out sums by rows, the CPU by images.
  manager.addPass(createNNToRTPass({.sumRows = isDevice ? 32 : 0}));
  if (options.attention == "library" && options.precision == "bf16") {
    rt::RTCallAttentionPassOptions call;
    for (StringRef entry : kNarrowEntries)
      call.entries.push_back(entry.str());
    manager.addNestedPass<func::FuncOp>(rt::createRTCallAttentionPass(call));
  }
  if (options.attention != "generated")
    manager.addNestedPass<func::FuncOp>(
        rt::createRTExpandAttentionPass({.keepKeys = 256})); // docs/decisions/gpu-plan.md
  if (options.precision == "fp8") {                          // docs/decisions/fp8.md
    rt::RTQuantizeProductsPassOptions quantize;
    for (StringRef entry : kNarrowEntries)
      quantize.entries.push_back(entry.str());
    manager.addPass(rt::createRTQuantizeProductsPass(quantize));
  }
  if (isNarrow(options.precision)) {
    rt::RTNarrowProductsPassOptions narrow;
    narrow.results = options.results;
    for (StringRef entry : kNarrowEntries)
      narrow.entries.push_back(entry.str());
    manager.addPass(rt::createRTNarrowProductsPass(narrow));
  }
  if (isDevice) { // docs/decisions/gpu-plan.md
    manager.addNestedPass<func::FuncOp>(
        rt::createRTFusePass({.parallelRows = 128, .parallelElements = 0x8000, .maxVectors = 12}));
  } else {
    manager.addNestedPass<func::FuncOp>(rt::createRTFusePass());
    manager.addPass(rt::createRTPackOperandsPass({.products = options.products}));
    manager.addPass(rt::createRTPackWeightsPass());
    manager.addNestedPass<func::FuncOp>(rt::createRTTileRowsPass());
  }
  manager.addNestedPass<func::FuncOp>(rt::createRTPlanMemoryPass());
}

void ns::buildKernelsPipeline(OpPassManager &manager) {
  manager.addPass(createRTOutlineKernelsPass());
  manager.addPass(createRTVerifyDevicePass());
}

void ns::buildEmitPipeline(OpPassManager &manager, const EmitOptions &options) {
  manager.addPass(createRTToLLVMPass({.metadata = options.metadata,
                                      .vectorBits = options.vectorBits,
                                      .table = options.table,
                                      .device = options.device,
                                      .imageSize = options.imageSize,
                                      .tf32 = options.tf32}));
  manager.addPass(createExpandMathPass());
  if (options.expandBf16)
    manager.addPass(arith::createArithExpandOpsPass({.includeBf16 = true}));
  manager.addPass(createCSEPass());
  manager.addPass(createSCFToControlFlowPass());
  manager.addPass(createConvertVectorToLLVMPass());
  manager.addPass(createConvertMathToLLVMPass());
  manager.addPass(createArithToLLVMConversionPass());
  manager.addPass(createConvertControlFlowToLLVMPass());
  manager.addPass(createConvertFuncToLLVMPass());
  manager.addPass(createReconcileUnrealizedCastsPass());
}

void ns::registerPipelines() {
  PassPipelineRegistration<HardenOptions>(
      "ns-harden-pipeline", "Imported network -> entries with losses and gradient requests",
      buildHardenPipeline);
  PassPipelineRegistration<SimplifyOptions>(
      "ns-simplify-pipeline",
      "Bind batch and precision, compute only what is read, fold into frozen weights",
      buildSimplifyPipeline);
  PassPipelineRegistration<>("ns-differentiate-pipeline", "Gradient requests -> backward ops",
                             buildDifferentiatePipeline);
  PassPipelineRegistration<PlanOptions>(
      "ns-plan-pipeline", "nn and ns ops -> fused rt ops with offsets", buildPlanPipeline);
  PassPipelineRegistration<>("ns-kernels-pipeline",
                             "Planned row programs -> launches of a GPU's kernels",
                             buildKernelsPipeline);
  PassPipelineRegistration<EmitOptions>("ns-emit-pipeline", "Planned rt ops -> the LLVM dialect",
                                        buildEmitPipeline);
}
