//===- Pipelines.h - the phases up to differentiation -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_PIPELINES_PIPELINES_H
#define NS_PIPELINES_PIPELINES_H

#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassOptions.h"

namespace ns {

/// Options of `ns-harden-pipeline`: which entries the artefact gets, and where the noise sits.
struct HardenOptions : mlir::PassPipelineOptions<HardenOptions> {
  Option<std::string> emit{*this, "emit",
                           llvm::cl::desc("Entries to make: synth, finetune, evaluate or library"),
                           llvm::cl::init("library")};
  Option<std::string> site{
      *this, "site",
      llvm::cl::desc("Where the noise is added: image, tokens, stem, block.K or auto"),
      llvm::cl::init("auto")};
  Option<std::string> init{
      *this, "init", llvm::cl::desc("Start distribution of the noise: uniform, normal or zero"),
      llvm::cl::init("uniform")};
  Option<double> lim{*this, "lim", llvm::cl::desc("Width of the start distribution; 0: auto"),
                     llvm::cl::init(3.0)};
  Option<double> dropout{*this, "dropout",
                         llvm::cl::desc("Share of elements that finetuning drops"),
                         llvm::cl::init(0.0)};
  Option<double> dropPath{*this, "drop-path",
                          llvm::cl::desc("Share of images whose last branch finetuning drops"),
                          llvm::cl::init(0.0)};
  Option<std::string> batchNorm{
      *this, "batch-norm",
      llvm::cl::desc("Statistics of batch norms in finetuning: eval (running) or train (batch)"),
      llvm::cl::init("eval")};
  Option<std::string> precision{
      *this, "precision",
      llvm::cl::desc("bf16 and fp8 add @clean_logits, in the arithmetic of the synthesis steps"),
      llvm::cl::init("f32")};
  Option<bool> basis{
      *this, "basis",
      llvm::cl::desc("Compute the patch embedding's nullspace (needs the weights file)"),
      llvm::cl::init(false)};
  Option<std::string> basisFile{*this, "basis-file",
                                llvm::cl::desc("File to write the nullspace basis to"),
                                llvm::cl::init("")};
};

/// Options of `ns-simplify-pipeline`.
struct SimplifyOptions : mlir::PassPipelineOptions<SimplifyOptions> {
  Option<int64_t> batch{*this, "batch", llvm::cl::desc("Images per call"), llvm::cl::init(16)};
  Option<std::string> precision{*this, "precision",
                                llvm::cl::desc("f32, f64, or bf16 and fp8: f32 here, narrow products in "
                                               "the plan"),
                                llvm::cl::init("f32")};
};

/// Options of `ns-plan-pipeline`.
struct PlanOptions : mlir::PassPipelineOptions<PlanOptions> {
  Option<std::string> precision{
      *this, "precision",
      llvm::cl::desc("bf16: products of the entries that train or attack read bf16; fp8: so they do, "
                     "and e4m3 where one operand is a frozen weight"),
      llvm::cl::init("f32")};
  Option<std::string> attention{
      *this, "attention",
      llvm::cl::desc("Attention is: generated (one task for each head), expanded (batched products "
                     "and row programs) or library (a GPU's, in bf16, where it can; else expanded)"),
      llvm::cl::init("generated")};
  Option<std::string> results{
      *this, "results",
      llvm::cl::desc("With bf16, results of products for tokens and heads are: f32, bf16 (a GPU's), or "
                     "rounded (the same numbers in float32)"),
      llvm::cl::init("f32")};
  Option<std::string> target{*this, "target", llvm::cl::desc("cpu or cuda"), llvm::cl::init("cpu")};
  Option<std::string> products{*this, "products",
                               llvm::cl::desc("Products are: auto, library or generated"),
                               llvm::cl::init("auto")};
};

/// Options of the phase `emit`.
struct EmitOptions : mlir::PassPipelineOptions<EmitOptions> {
  Option<std::string> metadata{*this, "metadata",
                               llvm::cl::desc("JSON text that the artefact carries"),
                               llvm::cl::init("{}")};
  Option<int64_t> vectorBits{*this, "vector-bits", llvm::cl::desc("Width of a vector register"),
                             llvm::cl::init(512)};
  Option<bool> device{*this, "device", llvm::cl::desc("Entries of a GPU"), llvm::cl::init(false)};
  Option<int64_t> imageSize{*this, "image-size",
                            llvm::cl::desc("Bytes of the image of a GPU's kernels"),
                            llvm::cl::init(0)};
  Option<bool> tf32{*this, "tf32",
                    llvm::cl::desc("A GPU's products of f32 may round their operands to TF32"),
                    llvm::cl::init(false)};
  Option<bool> expandBf16{*this, "expand-bf16",
                          llvm::cl::desc("Round to bf16 by integer instructions"),
                          llvm::cl::init(false)};
  Option<std::string> table{
      *this, "table",
      llvm::cl::desc("Name of the table, without a query function; empty: both in one object"),
      llvm::cl::init("")};
};

/// The entries of an artefact for `emit`, in its order (docs/abi.md); empty where `emit` is none of
/// the four.
llvm::SmallVector<llvm::StringRef> getEntries(llvm::StringRef emit);

/// Imported network -> entries with losses and gradient requests. An unknown `emit` fails when the
/// pipeline runs.
void buildHardenPipeline(mlir::OpPassManager &manager, const HardenOptions &options);
/// Dynamic batch, f32 -> static shapes of the precision asked for; computes what is read.
void buildSimplifyPipeline(mlir::OpPassManager &manager, const SimplifyOptions &options);
/// Gradient requests -> backward ops.
void buildDifferentiatePipeline(mlir::OpPassManager &manager);

/// nn and ns ops -> fused rt ops with offsets.
void buildPlanPipeline(mlir::OpPassManager &manager, const PlanOptions &options);
/// Planned row programs -> launches of generated kernels.
void buildKernelsPipeline(mlir::OpPassManager &manager);
/// Planned rt ops -> the LLVM dialect. `metadata` is the artefact's JSON.
void buildEmitPipeline(mlir::OpPassManager &manager, const EmitOptions &options);

/// Registers the phases as `ns-harden-pipeline`, `ns-simplify-pipeline`,
/// `ns-differentiate-pipeline`, `ns-plan-pipeline`, `ns-kernels-pipeline` and `ns-emit-pipeline`.
void registerPipelines();

} // namespace ns

#endif // NS_PIPELINES_PIPELINES_H
