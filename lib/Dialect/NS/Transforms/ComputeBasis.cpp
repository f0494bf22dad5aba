//===- ComputeBasis.cpp - exact nullspace of the linear map at the input -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Entries.h"
#include "InputMap.h"
#include "TensorFile.h"
#include "ns/Dialect/NS/Transforms/Passes.h"
#include "ns/Numerics/Convolution.h"
#include "ns/Numerics/Nullspace.h"

#include "llvm/Support/Format.h"
#include "llvm/Support/Path.h"

#include <cmath>
#include <numeric>
#include <random>

using namespace mlir;

namespace ns::harden {
#define GEN_PASS_DEF_COMPUTEBASISPASS
#include "ns/Dialect/NS/Transforms/Passes.h.inc"

namespace {

/// What an image of the nullspace may keep of the first layer's response, relative to |A| |x|.
constexpr double kResidual = 1e-10;

/// The numbers of `ns.basis`, of either kind, and what goes to the file.
struct Result {
  InputMap kind;
  numerics::Nullspace space; ///< of an image's map without basis
  std::vector<double> image; ///< of the nullspace; empty where none was found
  std::string note;
};

template <class... Args> std::string print(const char *format, Args... args) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format(format, args...);
  return text;
}

double squaredNorm(ArrayRef<double> values) {
  return std::inner_product(values.begin(), values.end(), values.begin(), 0.0);
}

struct ComputeBasisPass : impl::ComputeBasisPassBase<ComputeBasisPass> {
  using ComputeBasisPassBase::ComputeBasisPassBase;

  void runOnOperation() override {
    if (failed(checkOptions()) || failed(run()))
      signalPassFailure();
  }

  LogicalResult checkOptions();
  LogicalResult run();
  FailureOr<std::string> findWeightsFile();
  FailureOr<StoredTensor> readWeight(const LinearInput &input);
  FailureOr<std::vector<double>> readImage(const LinearInput &input);
  LogicalResult computePatches(const LinearInput &input, StoredTensor &weight, Result &result);
  LogicalResult computeImage(const LinearInput &input, StoredTensor &weight, Result &result);
  LogicalResult write(const LinearInput &input, const Result &result);
  void declare(const LinearInput &input, const Result &result);
};

LogicalResult ComputeBasisPass::checkOptions() {
  Location loc = getOperation().getLoc();
  if (steps < 1 || steps > 10000)
    return emitError(loc) << "expected option steps to be 1 to 10000, but got " << steps.getValue();
  if (!(norm >= 0 && std::isfinite(norm)))
    return emitError(loc) << "expected option norm to be at least 0, but got " << norm.getValue();
  if (!image.empty() && file.empty())
    return emitError(loc)
           << "expected option image to come with option file, but got no file to write to";
  return success();
}

FailureOr<std::string> ComputeBasisPass::findWeightsFile() {
  ModuleOp module = getOperation();
  auto weights = module->getAttrOfType<nn::FileAttr>(nn::NNDialect::kWeightsAttr);
  if (!weights)
    return emitError(module.getLoc())
           << "expected the module to name its weights file (" << nn::NNDialect::kWeightsAttr
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

/// An entry of `path` that must have this shape and hold finite numbers.
FailureOr<StoredTensor> readChecked(Location loc, StringRef path, StringRef name,
                                    ArrayRef<int64_t> shape) {
  llvm::Expected<StoredTensor> tensor = readTensor(path, name);
  if (!tensor)
    return emitError(loc) << llvm::toString(tensor.takeError());
  if (shape != ArrayRef<int64_t>(tensor->shape)) {
    auto diag = emitError(loc) << path << ": expected entry " << name << " to have shape [";
    llvm::interleaveComma(shape, diag);
    diag << "], but got [";
    llvm::interleaveComma(tensor->shape, diag);
    return diag << "]";
  }
  if (!llvm::all_of(tensor->values, [](double value) { return std::isfinite(value); }))
    return emitError(loc) << path << ": expected entry " << name
                          << " to hold finite numbers, but got others";
  return std::move(*tensor);
}

FailureOr<StoredTensor> ComputeBasisPass::readWeight(const LinearInput &input) {
  FailureOr<std::string> path = findWeightsFile();
  if (failed(path))
    return failure();
  return readChecked(input.op->getLoc(), *path, input.param, input.weight.getShape());
}

/// The image to project: the user's, or noise.
FailureOr<std::vector<double>> ComputeBasisPass::readImage(const LinearInput &input) {
  if (!image.empty()) {
    FailureOr<StoredTensor> stored =
        readChecked(getOperation().getLoc(), image, "image", input.image);
    if (failed(stored))
      return failure();
    return std::move(stored->values);
  }
  std::mt19937_64 generator;
  std::normal_distribution<double> normal;
  std::vector<double> noise(input.image[0] * input.image[1] * input.image[2]);
  std::generate(noise.begin(), noise.end(), [&] { return normal(generator); });
  return noise;
}

LogicalResult ComputeBasisPass::computePatches(const LinearInput &input, StoredTensor &weight,
                                               Result &result) {
  int64_t rows = input.weight.getDimSize(0), cols = rows ? input.weight.getNumElements() / rows : 0;
  numerics::scaleColumnsByChannel(weight.values, cols, input.std);
  numerics::Nullspace &space = result.space;
  space = numerics::computeNullspace(weight.values.data(), rows, cols, weight.epsilon, tol);
  result.note = print("nullity %lld (structural %lld, numerical %lld), singular values %.3g to "
                      "%.3g, tol %.2g, max |W' Q| %.2g (structural part %.2g)",
                      (long long)space.nullity, (long long)space.structural,
                      (long long)(space.nullity - space.structural), space.sigmaMax, space.sigmaMin,
                      space.tol, space.residual, space.structuralResidual);
  if (file.empty() || !space.nullity)
    return success();
  FailureOr<std::vector<double>> pixels = readImage(input);
  if (failed(pixels))
    return failure();
  ArrayRef<int64_t> patch = cast<nn::PatchEmbedOp>(input.op).getPatch();
  auto [channels, height, width] = input.image;
  result.image = numerics::projectPatches(space, std::move(*pixels), channels, {height, width},
                                          {patch[0], patch[1]});
  return success();
}

numerics::ConvolutionShape shapeOf(const LinearInput &input) {
  auto conv = cast<nn::ConvOp>(input.op);
  ArrayRef<int64_t> weight = input.weight.getShape();
  auto pair = [](ArrayRef<int64_t> extents) {
    return std::array<int64_t, 2>{extents[0], extents[1]};
  };
  return {input.image[0],
          weight[0],
          int64_t(conv.getGroups()),
          {input.image[1], input.image[2]},
          pair(weight.take_back(2)),
          pair(conv.getStride()),
          pair(conv.getPadding()),
          pair(conv.getDilation())};
}

LogicalResult ComputeBasisPass::computeImage(const LinearInput &input, StoredTensor &weight,
                                             Result &result) {
  numerics::ConvolutionShape shape = shapeOf(input);
  numerics::ImageConvolution map(shape, std::move(weight.values), input.std);
  numerics::SingularRange range = numerics::extremeSingularValues(map, steps);
  numerics::Nullspace &space = result.space;
  space.rows = map.rows();
  space.cols = map.cols();
  space.structural = space.nullity = numerics::structuralNullity(shape);
  space.rank = space.cols - space.nullity;
  space.sigmaMax = range.largest;
  space.sigmaMin = range.smallest;
  space.singularValues = {range.largest, range.smallest};
  space.tol =
      tol > 0 ? tol.getValue()
              : numerics::defaultTolerance(space.rows, space.cols, weight.epsilon, range.largest);
  result.note = print(
      "nullity at least %lld, from its shape; singular values %.3g to at most %.3g (%lld steps)",
      (long long)space.nullity, range.largest, range.smallest, (long long)range.steps);
  if (file.empty())
    return success();
  FailureOr<std::vector<double>> pixels = readImage(input);
  if (failed(pixels))
    return failure();
  // Without dimensions to be sure of, the search is no longer than that for the singular values.
  numerics::Projection found = numerics::projectOntoNullspace(
      map, *pixels, range.largest, kResidual, space.nullity ? 100 * steps : steps.getValue());
  bool isZero = squaredNorm(found.vector) == 0;
  result.note += print(", |A x| %.2g |A| |x| after %lld iterations", found.residual,
                       (long long)found.iterations);
  if (!found.converged || isZero) {
    result.note +=
        isZero ? ": nothing of the image is in the nullspace" : ": no image of the nullspace found";
    return success();
  }
  space.residual = space.structuralResidual = found.residual;
  // Of Gaussian noise each dimension keeps 1 of the squared norm, with variance 2.
  double dimension = squaredNorm(found.vector);
  if (image.empty())
    result.note +=
        print(", by the noise it leaves nullity %.0f +- %.0f", dimension, std::sqrt(2 * dimension));
  result.image = std::move(found.vector);
  return success();
}

LogicalResult ComputeBasisPass::write(const LinearInput &input, const Result &result) {
  std::vector<double> pixels = result.image;
  double size = squaredNorm(pixels);
  if (norm > 0 && size > 0)
    for (double &value : pixels)
      value *= norm / std::sqrt(size);
  int64_t basisShape[] = {result.space.nullity, result.space.cols};
  int64_t spectrum = result.space.singularValues.size();
  SmallVector<NamedTensor> tensors = {{"singular_values", spectrum, result.space.singularValues}};
  if (result.kind == InputMap::Patch)
    tensors.push_back({"basis", basisShape, result.space.basis});
  if (!pixels.empty())
    tensors.push_back({"nullspace_image", input.image, pixels});
  if (llvm::Error error = writeTensors(file, tensors))
    return emitError(getOperation().getLoc()) << llvm::toString(std::move(error));
  return success();
}

void ComputeBasisPass::declare(const LinearInput &input, const Result &result) {
  const numerics::Nullspace &space = result.space;
  OpBuilder builder(&getContext());
  builder.setInsertionPoint(input.op->getParentOp());
  bool isPatch = result.kind == InputMap::Patch;
  StringAttr fileName = file.empty() ? StringAttr() : builder.getStringAttr(file);
  BasisOp::create(builder, input.op->getLoc(), isPatch ? "patch_basis" : "image_basis", input.param,
                  result.kind, space.rows, space.cols, space.rank, space.nullity, space.structural,
                  llvm::APFloat(space.tol), llvm::APFloat(space.sigmaMax),
                  llvm::APFloat(space.sigmaMin), llvm::APFloat(space.residual),
                  llvm::APFloat(space.structuralResidual), fileName);
  auto remark = emitRemark(input.op->getLoc()) << "nullspace of " << input.param;
  if (!isPatch)
    remark << " over the image";
  remark << " (" << space.rows << " x " << space.cols << "): ";
  if (isPatch)
    remark << "rank " << space.rank << ", ";
  remark << result.note;
}

LogicalResult ComputeBasisPass::run() {
  ModuleOp module = getOperation();
  for (StringRef name : {"patch_basis", "image_basis"})
    if (module.lookupSymbol(name))
      return emitError(module.getLoc())
             << "expected the symbol @" << name << " to be free, but got a definition";
  FailureOr<func::FuncOp> forward = getForward(module);
  if (failed(forward))
    return failure();
  std::string why;
  LinearInput input = findLinearInput(*forward, why);
  if (!input.op) {
    emitRemark(forward->getLoc()) << "no linear map at the input, so no exact nullspace: " << why;
    return success();
  }
  FailureOr<StoredTensor> weight = readWeight(input);
  if (failed(weight))
    return failure();
  Result result{isa<nn::PatchEmbedOp>(input.op) ? InputMap::Patch : InputMap::Image, {}, {}, {}};
  if (failed(result.kind == InputMap::Patch ? computePatches(input, *weight, result)
                                            : computeImage(input, *weight, result)))
    return failure();
  if (!file.empty() && failed(write(input, result)))
    return failure();
  declare(input, result);
  nullity += result.space.nullity;
  return success();
}

} // namespace
} // namespace ns::harden
