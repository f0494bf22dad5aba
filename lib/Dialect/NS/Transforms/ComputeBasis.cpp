//===- ComputeBasis.cpp - exact nullspace of the patch embedding -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Entries.h"
#include "TensorFile.h"
#include "ns/Dialect/NS/Transforms/Passes.h"
#include "ns/Numerics/Nullspace.h"

#include "llvm/Support/Format.h"
#include "llvm/Support/Path.h"

#include <cmath>

using namespace mlir;

namespace ns::harden {
#define GEN_PASS_DEF_COMPUTEBASISPASS
#include "ns/Dialect/NS/Transforms/Passes.h.inc"

namespace {

/// The patch embedding, the parameter it reads and the standard deviations of the pixels before it.
struct PatchEmbedding {
  nn::PatchEmbedOp op;
  StringRef param;
  std::vector<double> std;
};

FailureOr<PatchEmbedding> findPatchEmbedding(func::FuncOp forward) {
  auto embeds = llvm::to_vector(forward.getBody().front().getOps<nn::PatchEmbedOp>());
  if (embeds.size() != 1) {
    auto diag = emitError(forward.getLoc()) << "expected @forward to have one nn.patch_embed, but got " << embeds.size();
    diag.attachNote() << "other stems have no matrix of one patch";
    return diag;
  }
  nn::PatchEmbedOp embed = embeds.front();
  auto load = embed.getWeight().getDefiningOp<nn::LoadParamOp>();
  if (!load)
    return embed.emitOpError("expected the weight to be a parameter, but got a computed value");
  PatchEmbedding result{embed, load.getParam(), {}};
  if (auto normalize = embed.getImage().getDefiningOp<nn::NormalizeOp>())
    result.std.assign(normalize.getStd().begin(), normalize.getStd().end());
  else
    result.std.assign(cast<RankedTensorType>(embed.getImage().getType()).getDimSize(1), 1.0);
  return result;
}

struct ComputeBasisPass : impl::ComputeBasisPassBase<ComputeBasisPass> {
  using ComputeBasisPassBase::ComputeBasisPassBase;

  void runOnOperation() override {
    if (failed(run()))
      signalPassFailure();
  }

  LogicalResult run();
  FailureOr<std::string> findWeightsFile();
  FailureOr<numerics::Nullspace> compute(PatchEmbedding &embedding);
  void report(PatchEmbedding &embedding, const numerics::Nullspace &space);
};

FailureOr<std::string> ComputeBasisPass::findWeightsFile() {
  ModuleOp module = getOperation();
  auto weights = module->getAttrOfType<nn::FileAttr>(nn::NNDialect::kWeightsAttr);
  if (!weights)
    return emitError(module.getLoc()) << "expected the module to name its weights file (" << nn::NNDialect::kWeightsAttr
                                      << "), but got no such attribute";
  SmallString<128> path(weightsDir);
  if (path.empty())
    if (auto loc = module.getLoc()->findInstanceOf<FileLineColLoc>())
      path = llvm::sys::path::parent_path(loc.getFilename().getValue());
  if (llvm::sys::path::is_absolute(weights.getPath()))
    path.clear();
  llvm::sys::path::append(path, weights.getPath());
  return path.str().str();
}

FailureOr<numerics::Nullspace> ComputeBasisPass::compute(PatchEmbedding &embedding) {
  FailureOr<std::string> path = findWeightsFile();
  if (failed(path))
    return failure();
  Location loc = embedding.op.getLoc();
  llvm::Expected<StoredTensor> weight = readTensor(*path, embedding.param);
  if (!weight)
    return emitError(loc) << llvm::toString(weight.takeError());
  auto type = cast<RankedTensorType>(embedding.op.getWeight().getType());
  if (type.getShape() != ArrayRef<int64_t>(weight->shape)) {
    auto diag = emitError(loc) << *path << ": expected entry " << embedding.param << " to have shape [";
    llvm::interleaveComma(type.getShape(), diag);
    diag << "], but got [";
    llvm::interleaveComma(weight->shape, diag);
    return diag << "]";
  }
  if (!llvm::all_of(weight->values, [](double value) { return std::isfinite(value); }))
    return emitError(loc) << *path << ": expected entry " << embedding.param << " to hold finite numbers, but got others";
  int64_t rows = type.getDimSize(0), cols = rows ? type.getNumElements() / rows : 0;
  numerics::scaleColumnsByChannel(weight->values, cols, embedding.std);
  return numerics::computeNullspace(weight->values.data(), rows, cols, weight->epsilon, tol);
}

void ComputeBasisPass::report(PatchEmbedding &embedding, const numerics::Nullspace &space) {
  std::string numbers;
  llvm::raw_string_ostream(numbers) << llvm::format(
      "singular values %.3g to %.3g, tol %.2g, max |W' Q| %.2g (structural part %.2g)", space.sigmaMax, space.sigmaMin, space.tol,
      space.residual, space.structuralResidual);
  emitRemark(embedding.op.getLoc()) << "nullspace of " << embedding.param << " (" << space.rows << " x " << space.cols
                                    << "): rank " << space.rank << ", nullity " << space.nullity << " (structural "
                                    << space.structural << ", numerical " << space.nullity - space.structural << "), "
                                    << numbers;
}

LogicalResult ComputeBasisPass::run() {
  ModuleOp module = getOperation();
  if (module.lookupSymbol("patch_basis"))
    return emitError(module.getLoc()) << "expected the symbol @patch_basis to be free, but got a definition";
  FailureOr<func::FuncOp> forward = getForward(module);
  if (failed(forward))
    return failure();
  FailureOr<PatchEmbedding> embedding = findPatchEmbedding(*forward);
  if (failed(embedding))
    return failure();
  FailureOr<numerics::Nullspace> space = compute(*embedding);
  if (failed(space))
    return failure();
  if (!file.empty()) {
    int64_t shape[] = {space->nullity, space->cols};
    int64_t spectrum = space->singularValues.size();
    if (llvm::Error error = writeTensors(file, {{"basis", shape, space->basis}, {"singular_values", spectrum, space->singularValues}}))
      return emitError(module.getLoc()) << llvm::toString(std::move(error));
  }
  OpBuilder builder(*forward);
  StringAttr fileName = file.empty() ? StringAttr() : builder.getStringAttr(file);
  auto real = [&](double value) { return builder.getF64FloatAttr(value); };
  auto integer = [&](int64_t value) { return builder.getI64IntegerAttr(value); };
  BasisOp::create(builder, embedding->op.getLoc(), builder.getStringAttr("patch_basis"),
                  FlatSymbolRefAttr::get(&getContext(), embedding->param), integer(space->rank), integer(space->nullity),
                  integer(space->structural), real(space->tol), real(space->sigmaMax), real(space->sigmaMin),
                  real(space->residual), real(space->structuralResidual), fileName);
  report(*embedding, *space);
  nullity += space->nullity;
  return success();
}

} // namespace
} // namespace ns::harden
