//===- NNGridOps.cpp - verifiers of ops on grids -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Verifiers.h"
#include "ns/Dialect/NN/IR/NN.h"

using namespace mlir;
using namespace ns::nn;
using namespace ns::verify;

/// Tokens against the image whose pixels they are.
static LogicalResult verifyPixels(Operation *op, Value image, Value tokens) {
  int64_t height = extent(image, 2), width = extent(image, 3);
  if (ShapedType::isDynamic(height) || ShapedType::isDynamic(width))
    return op->emitOpError("expected the image's height and width to be static, but got ") << printShape(shapeOf(image));
  return success(succeeded(expectOneFloatType(op)) &&
                 succeeded(expectShape(op, "tokens", {extent(image, 0), height * width, extent(image, 1)}, tokens)));
}

LogicalResult ImageToTokensOp::verify() { return verifyPixels(*this, getImage(), getResult()); }
LogicalResult TokensToImageOp::verify() { return verifyPixels(*this, getResult(), getInput()); }

//===----------------------------------------------------------------------===//
// Sliding windows
//===----------------------------------------------------------------------===//

/// Tokens on the grid `from` against tokens on the grid of the windows that slide over it.
static LogicalResult verifyWindows(Operation *op, ArrayRef<int64_t> grid, ArrayRef<int64_t> kernel, ArrayRef<int64_t> stride,
                                   ArrayRef<int64_t> padding, ArrayRef<int64_t> dilation, Value from, Value to) {
  if (failed(expectOneFloatType(op)) || failed(verifyExtents(op, "grid", grid, 1)) ||
      failed(verifyExtents(op, "kernel", kernel, 1)) || failed(verifyExtents(op, "stride", stride, 1)) ||
      failed(verifyExtents(op, "padding", padding, 0)) || failed(verifyExtents(op, "dilation", dilation, 1)))
    return failure();
  int64_t windows = 1;
  for (unsigned axis : {0, 1}) {
    int64_t span = dilation[axis] * (kernel[axis] - 1) + 1, padded = grid[axis] + 2 * padding[axis];
    if (failed(expectAtLeast(op, "the padded grid", span, padded)))
      return failure();
    windows *= (padded - span) / stride[axis] + 1;
  }
  return success(succeeded(expectExtent(op, "the number of tokens on the grid", grid[0] * grid[1], extent(from, 1))) &&
                 succeeded(expectShape(op, "windows", {extent(from, 0), windows, extent(to, 2)}, to)));
}

/// A convolution from tokens `from` to tokens `to`.
template <typename OpT> static LogicalResult verifyConv(OpT op, Value weight, Value from, Value to) {
  Shape kernel = shapeOf(weight);
  if (failed(verifyWindows(op, op.getGrid(), {kernel[2], kernel[3]}, op.getStride(), op.getPadding(), op.getDilation(), from, to)))
    return failure();
  int64_t groups = op.getGroups(), channels = extent(from, 2), outputs = extent(to, 2);
  if (groups != 1 && (groups != channels || groups != outputs))
    return op->emitOpError("expected groups to be 1 or the number of input and of output channels, ")
           << channels << " and " << outputs << ", but got " << groups;
  return expectShape(op, "weight", {outputs, channels / groups, kernel[2], kernel[3]}, weight);
}

LogicalResult ConvOp::verify() {
  if (failed(verifyConv(*this, getWeight(), getInput(), getResult())))
    return failure();
  return getBias() ? expectShape(*this, "bias", {extent(getWeight(), 0)}, getBias()) : success();
}
LogicalResult ConvGradInputOp::verify() { return verifyConv(*this, getWeight(), getResult(), getGrad()); }
LogicalResult ConvGradWeightOp::verify() { return verifyConv(*this, getResult(), getInput(), getGrad()); }

/// Max pooling from `from` to `to`: no window lies in the padding alone.
template <typename OpT> static LogicalResult verifyPool(OpT op, Value from, Value to) {
  if (failed(verifyWindows(op, op.getGrid(), op.getKernel(), op.getStride(), op.getPadding(), {1, 1}, from, to)))
    return failure();
  for (unsigned axis : {0, 1})
    if (op.getPadding()[axis] > op.getKernel()[axis] / 2)
      return op->emitOpError("expected padding to be at most half the kernel, ")
             << op.getKernel()[axis] / 2 << ", but got " << op.getPadding()[axis];
  return expectExtent(op, "the number of channels", extent(from, 2), extent(to, 2));
}

LogicalResult MaxPoolOp::verify() { return verifyPool(*this, getInput(), getResult()); }
LogicalResult MaxPoolGradOp::verify() { return verifyPool(*this, getInput(), getGrad()); }

//===----------------------------------------------------------------------===//
// Batch normalisation
//===----------------------------------------------------------------------===//

/// Each vector that is there has one value for each channel.
static LogicalResult verifyChannelVectors(Operation *op, Value input, ArrayRef<std::pair<StringRef, Value>> vectors) {
  if (failed(expectOneFloatType(op)))
    return failure();
  for (auto [name, vector] : vectors)
    if (vector && failed(expectShape(op, name, {lastExtent(input)}, vector)))
      return failure();
  return success();
}

static LogicalResult verifyEps(Operation *op, double eps) {
  if (eps >= 0)
    return success();
  return op->emitOpError("expected eps to be at least 0, but got ") << eps;
}

LogicalResult BatchNormOp::verify() {
  return success(succeeded(verifyChannelVectors(
                     *this, getInput(), {{"gamma", getGamma()}, {"beta", getBeta()}, {"mean", getMean()}, {"var", getVar()}})) &&
                 succeeded(verifyEps(*this, getEps().convertToDouble())));
}
LogicalResult BatchNormGradOp::verify() {
  return success(succeeded(verifyChannelVectors(*this, getInput(),
                                                {{"gamma", getGamma()}, {"mean", getMean()}, {"var", getVar()}})) &&
                 succeeded(verifyEps(*this, getEps().convertToDouble())));
}
LogicalResult BatchNormGradParamsOp::verify() {
  return success(succeeded(verifyChannelVectors(
                     *this, getInput(),
                     {{"mean", getMean()}, {"var", getVar()}, {"dgamma", getDgamma()}, {"dbeta", getDbeta()}})) &&
                 succeeded(verifyEps(*this, getEps().convertToDouble())));
}
LogicalResult BatchStatsOp::verify() {
  return verifyChannelVectors(*this, getInput(), {{"mean", getMean()}, {"var", getVar()}});
}

//===----------------------------------------------------------------------===//
// Moving tokens
//===----------------------------------------------------------------------===//

LogicalResult PermuteTokensOp::verify() {
  ArrayRef<int64_t> digits = getDigits(), order = getOrder();
  if (failed(expectExtent(*this, "the length of order", digits.size(), order.size())))
    return failure();
  int64_t tokens = 1;
  SmallVector<bool> seen(digits.size(), false);
  for (auto [digit, source] : llvm::zip(digits, order)) {
    if (failed(expectAtLeast(*this, "digits", 1, digit)) ||
        failed(expectInRange(*this, "order", 0, int64_t(digits.size()), source)))
      return failure();
    if (seen[source])
      return emitOpError("expected order to be a permutation, but got ") << source << " twice";
    seen[source] = true;
    tokens *= digit;
  }
  return expectExtent(*this, "the number of tokens", tokens, extent(getInput(), 1));
}

LogicalResult RollTokensOp::verify() {
  if (failed(verifyExtents(*this, "grid", getGrid(), 1)) ||
      failed(expectExtent(*this, "the number of shifts", 2, getShifts().size())))
    return failure();
  return expectExtent(*this, "the number of tokens", getGrid()[0] * getGrid()[1], extent(getInput(), 1));
}

LogicalResult ReshapeTokensOp::verify() {
  int64_t elements = extent(getInput(), 1) * extent(getInput(), 2);
  return success(succeeded(expectOneFloatType(*this)) &&
                 succeeded(expectExtent(*this, "the number of images", extent(getInput(), 0), extent(getResult(), 0))) &&
                 succeeded(expectExtent(*this, "the number of elements of an image", elements,
                                        extent(getResult(), 1) * extent(getResult(), 2))));
}
