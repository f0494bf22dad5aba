//===- NSOps.cpp - verifiers of the ns ops -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../../NN/IR/Verifiers.h"
#include "ns/Dialect/NS/IR/NS.h"

using namespace mlir;
using namespace ns::harden;
using namespace ns::verify;

//===----------------------------------------------------------------------===//
// Nullspace and noise
//===----------------------------------------------------------------------===//

LogicalResult BasisOp::verify() {
  return success(succeeded(expectAtLeast(*this, "rank", 0, getRank())) &&
                 succeeded(expectAtLeast(*this, "structural", 0, getStructural())) &&
                 succeeded(expectAtLeast(*this, "nullity", getStructural(), getNullity())) &&
                 succeeded(expectExtent(*this, "rank + nullity", getCols(), getRank() + getNullity())));
}

LogicalResult BasisOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto param = symbols.lookupNearestSymbolFrom<ns::nn::ParamOp>(*this, getParamAttr());
  if (!param)
    return emitOpError("expected @") << getParam() << " to be an nn.param, but got none of that name";
  if (getKind() == InputMap::Image)
    return success(); // the extents of the image are not in the weight
  RankedTensorType type = param.getTensorType();
  int64_t rows = type.getRank() ? type.getDimSize(0) : 0;
  return success(succeeded(expectExtent(*this, "rows", rows, getRows())) &&
                 succeeded(expectExtent(*this, "cols", rows ? type.getNumElements() / rows : 0, getCols())));
}

LogicalResult NoiseOp::verify() {
  RankedTensorType type = getTensorType();
  if (!type.hasStaticShape())
    return emitOpError("expected the noise's shape to be static, but got ") << type;
  if (failed(expectAtLeast(*this, "the noise's rank", 1, type.getRank())) ||
      failed(expectExtent(*this, "the noise's batch dimension", 1, type.getDimSize(0))))
    return failure();
  if (double lim = getLim().convertToDouble(); !(lim >= 0))
    return emitOpError("expected lim to be at least 0, but got ") << lim;
  return success();
}

/// The noise called `name`, of type `type`.
static LogicalResult verifyNoise(Operation *op, SymbolTableCollection &symbols, FlatSymbolRefAttr name, Type type) {
  auto noise = symbols.lookupNearestSymbolFrom<NoiseOp>(op, name);
  if (!noise)
    return op->emitOpError("expected @") << name.getValue() << " to be an ns.noise, but got none of that name";
  if (type && noise.getType() != type) {
    auto diag = op->emitOpError("expected the type to be ") << noise.getType() << ", the noise's, but got " << type;
    diag.attachNote(noise.getLoc()) << "declared here";
    return diag;
  }
  return success();
}

LogicalResult ReadNoiseOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyNoise(*this, symbols, getNoiseAttr(), getType());
}

/// A noise is shared by the batch.
static LogicalResult verifyShared(Operation *op, Value input, Value noise) {
  if (failed(expectOneFloatType(op)) || failed(expectAtLeast(op, "the rank", 1, rankOf(input))))
    return failure();
  return expectShape(op, "noise", withExtent(shapeOf(input), 0, 1), noise);
}

LogicalResult InjectOp::verify() { return verifyShared(*this, getInput(), getNoise()); }
LogicalResult ClipGradOp::verify() { return verifyShared(*this, getInput(), getNoise()); }

//===----------------------------------------------------------------------===//
// Losses and measures
//===----------------------------------------------------------------------===//

static LogicalResult verifyPerImage(Operation *op, StringRef what, Value input, Value perImage) {
  return success(succeeded(expectOneFloatType(op)) && succeeded(expectAtLeast(op, "the rank", 1, rankOf(input))) &&
                 succeeded(expectShape(op, what, {extent(input, 0)}, perImage)));
}

LogicalResult SynthesisLossOp::verify() { return verifyPerImage(*this, "result", getNoised(), getResult()); }
LogicalResult SynthesisLossGradOp::verify() { return verifyPerImage(*this, "grad", getNoised(), getGrad()); }

/// Two rows of logits for each label.
static LogicalResult verifyTradesLoss(Operation *op, StringRef what, Value perRow, Value logits, Value labels) {
  if (failed(verifyPerImage(op, what, logits, perRow)))
    return failure();
  int64_t rows = extent(logits, 0), images = extent(labels, 0);
  if (ShapedType::isDynamic(rows) || ShapedType::isDynamic(images) || rows == 2 * images)
    return success();
  return op->emitOpError("expected two rows of logits for each of ") << images << " labels, but got " << rows;
}

LogicalResult TradesLossOp::verify() { return verifyTradesLoss(*this, "result", getResult(), getLogits(), getLabels()); }
LogicalResult TradesLossGradOp::verify() { return verifyTradesLoss(*this, "grad", getGrad(), getLogits(), getLabels()); }

/// One label, target and row of weights for each image.
static LogicalResult verifyAttackLoss(Operation *op, StringRef what, Value perImage, Value logits, Value labels,
                                      Value targets, Value objective) {
  int64_t images = extent(logits, 0);
  return success(succeeded(verifyPerImage(op, what, logits, perImage)) &&
                 succeeded(expectShape(op, "labels", {images}, labels)) &&
                 succeeded(expectShape(op, "targets", {images}, targets)) &&
                 succeeded(expectShape(op, "objective", {images, 6}, objective)));
}

LogicalResult AttackLossOp::verify() {
  return verifyAttackLoss(*this, "result", getResult(), getLogits(), getLabels(), getTargets(), getObjective());
}
LogicalResult AttackLossGradOp::verify() {
  return verifyAttackLoss(*this, "grad", getGrad(), getLogits(), getLabels(), getTargets(), getObjective());
}

/// A number for each token of `tokens`.
static LogicalResult verifyPerToken(Operation *op, StringRef what, Value tokens, Value perToken) {
  return success(succeeded(expectOneFloatType(op)) &&
                 succeeded(expectShape(op, what, {extent(tokens, 0), extent(tokens, 1)}, perToken)));
}

LogicalResult ExpandChannelsOp::verify() { return verifyPerToken(*this, "input", getResult(), getInput()); }
LogicalResult MeanChannelsOp::verify() { return verifyPerToken(*this, "result", getInput(), getResult()); }
LogicalResult AttentionLossOp::verify() { return verifyPerImage(*this, "result", getInput(), getResult()); }
LogicalResult AttentionLossGradOp::verify() { return verifyPerImage(*this, "grad", getInput(), getGrad()); }

/// Where attack_hyper has its three numbers.
static LogicalResult verifyAttackStep(Operation *op, Value hyper) {
  return success(succeeded(expectOneFloatType(op)) && succeeded(expectShape(op, "hyper", {3}, hyper)));
}

LogicalResult MomentumOp::verify() { return verifyAttackStep(*this, getHyper()); }
LogicalResult AscendOp::verify() { return verifyAttackStep(*this, getHyper()); }

LogicalResult InvarianceOp::verify() { return verifyPerImage(*this, "results", getNoised(), getLogitSq()); }
LogicalResult SampleNormOp::verify() { return verifyPerImage(*this, "result", getInput(), getResult()); }

//===----------------------------------------------------------------------===//
// Gradients and updates
//===----------------------------------------------------------------------===//

LogicalResult GradientOp::verify() {
  if (failed(expectAtLeast(*this, "the number of wanted values", 1, getWrt().size())) ||
      failed(expectExtent(*this, "the number of results", getWrt().size(), getNumResults())))
    return failure();
  for (auto [wrt, grad] : llvm::zip(getWrt(), getGrads()))
    if (wrt.getType() != grad.getType())
      return emitOpError("expected the result type to be ") << wrt.getType() << ", the wanted value's, but got "
                                                            << grad.getType();
  return success();
}

LogicalResult StoreGradOp::verifySymbolUses(SymbolTableCollection &symbols) {
  Type type = getValue().getType();
  auto param = symbols.lookupNearestSymbolFrom<ns::nn::ParamOp>(*this, getTargetAttr());
  if (!param && !symbols.lookupNearestSymbolFrom<NoiseOp>(*this, getTargetAttr()))
    return emitOpError("expected @") << getTarget() << " to be an nn.param or ns.noise, but got none of that name";
  if (!param)
    return verifyNoise(*this, symbols, getTargetAttr(), type);
  if (param.getBuffer())
    return emitOpError("expected @") << getTarget() << " to be a trained parameter, but got a buffer";
  if (param.getType() != type)
    return emitOpError("expected the type to be ") << param.getType() << ", the parameter's, but got " << type;
  return success();
}

LogicalResult AdamWParamsOp::verify() { return expectShape(*this, "hyper", {7}, getHyper()); }
LogicalResult AdamWNoiseOp::verify() { return expectShape(*this, "hyper", {9}, getHyper()); }
LogicalResult AdamWNoiseOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyNoise(*this, symbols, getNoiseAttr(), Type());
}
