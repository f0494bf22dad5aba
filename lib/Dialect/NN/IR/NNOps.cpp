//===- NNOps.cpp - verifiers of the forward ops -*- C++ -*-===//
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

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

LogicalResult ParamOp::verify() {
  if (!getTensorType().hasStaticShape())
    return emitOpError("expected the parameter's shape to be static, but got ") << getType();
  return success();
}

/// The parameter that an op names has the type of the op's value.
static LogicalResult verifyParam(Operation *op, SymbolTableCollection &symbols, FlatSymbolRefAttr name, StringRef what, Type type) {
  auto param = symbols.lookupNearestSymbolFrom<ParamOp>(op, name);
  if (!param)
    return op->emitOpError("expected @") << name.getValue() << " to be an nn.param, but got none of that name";
  if (param.getType() != type) {
    auto diag = op->emitOpError("expected the ") << what << " type to be " << param.getType() << ", the parameter's, but got " << type;
    diag.attachNote(param.getLoc()) << "declared here";
    return diag;
  }
  return success();
}

LogicalResult LoadParamOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyParam(*this, symbols, getParamAttr(), "result", getType());
}

LogicalResult StoreParamOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyParam(*this, symbols, getParamAttr(), "value", getValue().getType());
}

//===----------------------------------------------------------------------===//
// Image and patches
//===----------------------------------------------------------------------===//

static LogicalResult verifyChannelValues(Operation *op, StringRef what, ArrayRef<double> values, Value image) {
  if (failed(expectExtent(op, "the number of " + what + " values", extent(image, 1), values.size())))
    return failure();
  for (double value : values) {
    if (!std::isfinite(value))
      return op->emitOpError("expected ") << what << " to be finite, but got " << value;
    if (what == "std" && !(value > 0))
      return op->emitOpError("expected std to be positive, but got ") << value;
  }
  return success();
}

LogicalResult NormalizeOp::verify() {
  return success(succeeded(verifyChannelValues(*this, "mean", getMean(), getImage())) &&
                 succeeded(verifyChannelValues(*this, "std", getStd(), getImage())));
}

LogicalResult NormalizeGradOp::verify() { return verifyChannelValues(*this, "std", getStd(), getGrad()); }

/// Kernel and tokens of a patch embedding against its images.
static LogicalResult verifyPatches(Operation *op, Value image, Value weight, Value tokens, ArrayRef<int64_t> patch) {
  if (failed(expectOneFloatType(op)) || failed(expectExtent(op, "the number of patch extents", 2, patch.size())))
    return failure();
  for (int64_t size : patch)
    if (failed(expectAtLeast(op, "patch extents", 1, size)))
      return failure();
  Shape kernel = {extent(weight, 0), extent(image, 1), patch[0], patch[1]};
  if (failed(expectShape(op, "weight", kernel, weight)))
    return failure();
  int64_t height = extent(image, 2), width = extent(image, 3);
  if (ShapedType::isDynamic(height) || ShapedType::isDynamic(width))
    return op->emitOpError("expected the image's height and width to be static, but got ") << printShape(shapeOf(image));
  if (failed(expectAtLeast(op, "the image's height", patch[0], height)) ||
      failed(expectAtLeast(op, "the image's width", patch[1], width)))
    return failure();
  Shape wanted = {extent(image, 0), (height / patch[0]) * (width / patch[1]), extent(weight, 0)};
  return expectShape(op, "tokens", wanted, tokens);
}

LogicalResult PatchEmbedOp::verify() {
  if (failed(verifyPatches(*this, getImage(), getWeight(), getResult(), getPatch())))
    return failure();
  return getBias() ? expectShape(*this, "bias", {extent(getWeight(), 0)}, getBias()) : success();
}

LogicalResult PatchEmbedGradInputOp::verify() {
  return verifyPatches(*this, getResult(), getWeight(), getGrad(), getPatch());
}

LogicalResult PatchEmbedGradWeightOp::verify() {
  return verifyPatches(*this, getImage(), getResult(), getGrad(), getPatch());
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

LogicalResult LinearOp::verify() {
  if (failed(expectOneFloatType(*this)) ||
      failed(expectExtent(*this, "weight dimension 1", lastExtent(getInput()), extent(getWeight(), 1))))
    return failure();
  int64_t outputs = extent(getWeight(), 0);
  if (getBias() && failed(expectShape(*this, "bias", {outputs}, getBias())))
    return failure();
  return expectShape(*this, "result", withExtent(shapeOf(getInput()), rankOf(getInput()) - 1, outputs), getResult());
}

/// Gamma and beta against the channels they scale.
static LogicalResult verifyNormParams(Operation *op, Value input, Value gamma, Value beta, double eps) {
  if (failed(expectOneFloatType(op)))
    return failure();
  if (!(eps >= 0))
    return op->emitOpError("expected eps to be at least 0, but got ") << eps;
  if (gamma && failed(expectMultiple(op, "the number of channels", extent(gamma, 0), lastExtent(input))))
    return failure();
  return gamma && beta ? expectShape(op, "beta", shapeOf(gamma), beta) : success();
}

LogicalResult LayerNormOp::verify() {
  return verifyNormParams(*this, getInput(), getGamma(), getBeta(), getEps().convertToDouble());
}

LogicalResult LayerNormGradOp::verify() {
  return verifyNormParams(*this, getInput(), getGamma(), {}, getEps().convertToDouble());
}

LogicalResult LayerNormGradParamsOp::verify() {
  return verifyNormParams(*this, getInput(), getDgamma(), getDbeta(), getEps().convertToDouble());
}

/// Bias and mask of an attention over windows of `queries` x `keys`.
static LogicalResult verifyScores(Operation *op, Value bias, Value mask, int64_t heads, int64_t windows, int64_t queries,
                                  int64_t keys) {
  if (bias && failed(expectShape(op, "bias", {heads, queries, keys}, bias)))
    return failure();
  return mask ? expectShape(op, "mask", {windows, queries, keys}, mask) : success();
}

/// The operands of an attention (inputs packed, query and packed key-value, or three) against its result.
template <typename OpT> static LogicalResult verifyAttention(OpT op, Value result) {
  ValueRange inputs = op.getInputs();
  int64_t heads = op.getHeads();
  if (failed(expectOneFloatType(op)) || failed(expectInRange(op, "the number of inputs", 1, 4, inputs.size())) ||
      failed(expectAtLeast(op, "heads", 1, heads)))
    return failure();
  int64_t channels = lastExtent(inputs[0]);
  if (inputs.size() == 1) {
    if (failed(expectMultiple(op, "the number of packed channels", 3, channels)))
      return failure();
    channels /= 3;
  }
  if (failed(expectMultiple(op, "the number of channels", heads, channels)))
    return failure();
  int64_t queries = extent(inputs[0], 1), tokens = extent(inputs.back(), 1);
  Shape keys = {extent(inputs[0], 0), tokens, channels};
  if (inputs.size() == 2 && failed(expectShape(op, "packed key and value", withExtent(keys, 2, 2 * channels), inputs[1])))
    return failure();
  if (inputs.size() == 3 &&
      (failed(expectShape(op, "key", keys, inputs[1])) || failed(expectShape(op, "value", keys, inputs[2]))))
    return failure();
  int64_t windows = 1;
  if (std::optional<uint64_t> window = op.getWindow()) {
    int64_t size = *window;
    if (failed(expectAtLeast(op, "window", 1, size)) || failed(expectExtent(op, "the number of keys", queries, tokens)) ||
        failed(expectMultiple(op, "the number of tokens", size, tokens)))
      return failure();
    windows = tokens / size;
    queries = tokens = size;
  }
  return success(succeeded(verifyScores(op, op.getBias(), op.getMask(), heads, windows, queries, tokens)) &&
                 succeeded(expectShape(op, "result", withExtent(shapeOf(inputs[0]), 2, channels), result)));
}

LogicalResult AttentionOp::verify() { return verifyAttention(*this, getResult()); }

LogicalResult AttentionGradOp::verify() {
  int64_t inputs = getInputs().size();
  if (failed(verifyAttention(*this, getGrad())) ||
      failed(expectInRange(*this, "the number of results", inputs, inputs + (getBias() ? 2 : 1), getNumResults())))
    return failure();
  for (auto [input, result] : llvm::zip(getInputs(), getResults()))
    if (failed(expectShape(*this, "result", shapeOf(input), result)))
      return failure();
  return getDbias() ? expectShape(*this, "the gradient of the bias", shapeOf(getBias()), getDbias()) : success();
}

/// The table of relative positions of a grid against the bias of its tokens.
static LogicalResult verifyRelativeBias(Operation *op, Value table, Value bias, ArrayRef<int64_t> grid, int64_t prefix) {
  if (failed(expectOneFloatType(op)) || failed(verifyExtents(op, "grid", grid, 1)) ||
      failed(expectInRange(op, "prefix", 0, 2, prefix)))
    return failure();
  int64_t tokens = grid[0] * grid[1] + prefix, entries = (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3 * prefix;
  return success(succeeded(expectExtent(op, "the number of the table's rows", entries, extent(table, 0))) &&
                 succeeded(expectShape(op, "bias", {extent(table, 1), tokens, tokens}, bias)));
}

LogicalResult RelativeBiasOp::verify() {
  return verifyRelativeBias(*this, getTable(), getResult(), getGrid(), getPrefix());
}
LogicalResult RelativeBiasGradOp::verify() {
  return verifyRelativeBias(*this, getResult(), getGrad(), getGrid(), getPrefix());
}

LogicalResult RotaryOp::verify() {
  int64_t heads = getHeads(), prefix = getPrefix(), tokens = extent(getInput(), 1);
  if (failed(expectOneFloatType(*this)) || failed(expectAtLeast(*this, "heads", 1, heads)) ||
      failed(expectInRange(*this, "prefix", 0, tokens, prefix)) ||
      failed(expectMultiple(*this, "the number of channels", 2 * heads, lastExtent(getInput()))))
    return failure();
  return expectShape(*this, "sin and cos", {tokens - prefix, lastExtent(getInput()) / heads}, getSin());
}

LogicalResult DropoutOp::verify() {
  double rate = getRate().convertToDouble();
  if (!(rate >= 0 && rate < 1))
    return emitOpError("expected rate to be in [0, 1), but got ") << rate;
  return success(succeeded(expectExtent(*this, "the number of seeds", 1, extent(getSeed(), 0))) &&
                 succeeded(expectAtLeast(*this, "stream", 0, getStream())));
}

/// rhs has lhs's shape, or that of one image.
static LogicalResult verifyShared(Operation *op, Value lhs, Value rhs) {
  if (failed(expectOneFloatType(op)))
    return failure();
  Shape wanted = shapeOf(lhs);
  if (rankOf(rhs) > 0 && rankOf(rhs) == rankOf(lhs) && extent(rhs, 0) == 1)
    wanted[0] = 1;
  return expectShape(op, "rhs", wanted, rhs);
}

LogicalResult AddOp::verify() { return verifyShared(*this, getLhs(), getRhs()); }
LogicalResult MulOp::verify() { return verifyShared(*this, getLhs(), getRhs()); }

LogicalResult LayerScaleOp::verify() {
  return success(succeeded(expectOneFloatType(*this)) &&
                 succeeded(expectShape(*this, "gamma", {lastExtent(getInput())}, getGamma())));
}

//===----------------------------------------------------------------------===//
// Folding
//===----------------------------------------------------------------------===//

LogicalResult FoldNormBiasOp::verify() {
  return success(succeeded(expectOneFloatType(*this)) &&
                 succeeded(expectShape(*this, "weight", {extent(getBias(), 0), extent(getBeta(), 0)}, getWeight())));
}

LogicalResult FoldNormWeightOp::verify() {
  return success(succeeded(expectOneFloatType(*this)) &&
                 succeeded(expectShape(*this, "gamma", {extent(getWeight(), 1)}, getGamma())));
}

LogicalResult FoldScaleWeightOp::verify() {
  return success(succeeded(expectOneFloatType(*this)) &&
                 succeeded(expectShape(*this, "gamma", {extent(getWeight(), 0)}, getGamma())));
}

//===----------------------------------------------------------------------===//
// Tokens, channels, batches
//===----------------------------------------------------------------------===//

LogicalResult PrependTokensOp::verify() {
  if (failed(expectOneFloatType(*this)) || failed(expectAtLeast(*this, "the number of operands", 2, getNumOperands())))
    return failure();
  int64_t tokens = extent(getInput(), 1), channels = extent(getInput(), 2);
  for (Value token : getTokens()) {
    if (failed(expectShape(*this, "prepended tokens", {1, extent(token, 1), channels}, token)))
      return failure();
    tokens += extent(token, 1);
  }
  return expectShape(*this, "result", {extent(getInput(), 0), tokens, channels}, getResult());
}

/// One token of `tokens` against one row of features per image.
static LogicalResult verifyToken(Operation *op, Value tokens, Value features, int64_t index) {
  return success(succeeded(expectOneFloatType(op)) && succeeded(expectInRange(op, "index", 0, extent(tokens, 1), index)) &&
                 succeeded(expectShape(op, "features", {extent(tokens, 0), extent(tokens, 2)}, features)));
}

LogicalResult SelectTokenOp::verify() { return verifyToken(*this, getInput(), getResult(), getIndex()); }
LogicalResult ScatterTokenOp::verify() { return verifyToken(*this, getResult(), getInput(), getIndex()); }

LogicalResult MeanTokensOp::verify() { return verifyToken(*this, getInput(), getResult(), 0); }
LogicalResult ExpandTokensOp::verify() { return verifyToken(*this, getResult(), getInput(), 0); }

/// `part` is the range of `whole` that starts at `from` in dimension `dim`; a negative dimension counts from the end.
static LogicalResult verifyRange(Operation *op, Value whole, Value part, int64_t dim, int64_t from) {
  if (failed(expectOneFloatType(op)))
    return failure();
  if (dim < 0)
    dim += rankOf(whole);
  if (failed(expectAtLeast(op, "the rank", dim + 1, rankOf(whole))) ||
      failed(expectExtent(op, "the rank of the range", rankOf(whole), rankOf(part))))
    return failure();
  int64_t size = extent(part, dim);
  if (ShapedType::isDynamic(size))
    return op->emitOpError("expected the extent of the range to be static, but got ") << printShape(shapeOf(part));
  if (!ShapedType::isDynamic(extent(whole, dim)) &&
      failed(expectInRange(op, "the start of the range", 0, extent(whole, dim) - size + 1, from)))
    return failure();
  return expectShape(op, "range", withExtent(shapeOf(whole), dim, size), part);
}

LogicalResult SliceTokensOp::verify() { return verifyRange(*this, getInput(), getResult(), 1, getFrom()); }
LogicalResult SliceChannelsOp::verify() { return verifyRange(*this, getInput(), getResult(), -1, getFrom()); }
LogicalResult SliceRowsOp::verify() { return verifyRange(*this, getInput(), getResult(), 0, getFrom()); }
LogicalResult SliceBatchOp::verify() { return verifyRange(*this, getInput(), getResult(), 0, getFrom()); }
LogicalResult PadTokensOp::verify() { return verifyRange(*this, getResult(), getInput(), 1, getFrom()); }
LogicalResult PadChannelsOp::verify() { return verifyRange(*this, getResult(), getInput(), -1, getFrom()); }
LogicalResult PadRowsOp::verify() { return verifyRange(*this, getResult(), getInput(), 0, getFrom()); }

/// `inputs` side by side in dimension `dim` (negative: from the end) are `result`.
static LogicalResult verifyConcat(Operation *op, ValueRange inputs, Value result, int64_t dim) {
  if (failed(expectOneFloatType(op)) || failed(expectAtLeast(op, "the number of operands", 1, inputs.size())))
    return failure();
  dim = dim < 0 ? dim + rankOf(result) : dim;
  if (failed(expectAtLeast(op, "the rank", dim + 1, rankOf(result))))
    return failure();
  int64_t sum = 0;
  for (Value input : inputs) {
    if (failed(expectExtent(op, "the rank of an operand", rankOf(result), rankOf(input))) ||
        failed(expectShape(op, "operand", withExtent(shapeOf(result), dim, extent(input, dim)), input)))
      return failure();
    if (ShapedType::isDynamic(extent(input, dim)))
      return op->emitOpError("expected the joined extents to be static, but got ") << printShape(shapeOf(input));
    sum += extent(input, dim);
  }
  return expectShape(op, "result", withExtent(shapeOf(result), dim, sum), result);
}

LogicalResult ConcatChannelsOp::verify() { return verifyConcat(*this, getInputs(), getResult(), -1); }
LogicalResult ConcatRowsOp::verify() { return verifyConcat(*this, getInputs(), getResult(), 0); }

LogicalResult ExpandBatchOp::verify() {
  if (failed(expectOneFloatType(*this)) || failed(expectAtLeast(*this, "the rank", 1, rankOf(getInput()))) ||
      failed(expectAtLeast(*this, "the rank of like", 1, rankOf(getLike()))))
    return failure();
  if (failed(expectExtent(*this, "the batch of the input", 1, extent(getInput(), 0))))
    return failure();
  return expectShape(*this, "result", withExtent(shapeOf(getInput()), 0, extent(getLike(), 0)), getResult());
}

LogicalResult ConcatBatchOp::verify() {
  if (failed(expectOneFloatType(*this)) || failed(expectAtLeast(*this, "the rank", 1, rankOf(getLhs()))) ||
      failed(expectExtent(*this, "the rank of rhs", rankOf(getLhs()), rankOf(getRhs()))))
    return failure();
  Shape wanted = shapeOf(getLhs());
  if (failed(expectShape(*this, "rhs", withExtent(wanted, 0, extent(getRhs(), 0)), getRhs())))
    return failure();
  bool isDynamic = ShapedType::isDynamic(wanted[0]) || ShapedType::isDynamic(extent(getRhs(), 0));
  wanted[0] = isDynamic ? ShapedType::kDynamic : wanted[0] + extent(getRhs(), 0);
  return expectShape(*this, "result", wanted, getResult());
}

//===----------------------------------------------------------------------===//
// Losses
//===----------------------------------------------------------------------===//

/// Losses, one per row, and values shared by the rows of stacked batches.
static LogicalResult verifyRows(Operation *op, int64_t rows, Value losses, Value shared) {
  return success(succeeded(expectOneFloatType(op)) && succeeded(expectShape(op, "losses", {rows}, losses)) &&
                 succeeded(expectMultiple(op, "the number of rows", extent(shared, 0), rows)));
}

LogicalResult CrossEntropyOp::verify() {
  return verifyRows(*this, extent(getLogits(), 0), getResult(), getLabels());
}

LogicalResult CrossEntropyGradOp::verify() {
  return success(succeeded(verifyRows(*this, extent(getLogits(), 0), getGrad(), getLabels())) &&
                 succeeded(expectShape(*this, "result", shapeOf(getLogits()), getResult())));
}

LogicalResult WeightedSumOp::verify() {
  return verifyRows(*this, extent(getLosses(), 0), getLosses(), getWeights());
}

LogicalResult WeightedSumGradOp::verify() {
  return verifyRows(*this, extent(getResult(), 0), getResult(), getWeights());
}
