//===- RTOps.cpp - verifiers and helpers of the rt ops -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Destinations.h"

using namespace mlir;
using namespace ns::rt;

int64_t ns::rt::rowPitch(RankedTensorType type) {
  return type.getRank() < 2 ? 1 : type.getShape().back();
}

int64_t ns::rt::byteSize(RankedTensorType type) {
  return type.getNumElements() * (type.getElementTypeBitWidth() / 8);
}

LogicalResult ViewOp::verify() {
  auto source = typeOf(getSource());
  auto result = typeOf(getResult());
  if (source.getElementType() != result.getElementType())
    return emitOpError("expected element type to be ")
           << source.getElementType() << ", but got " << result.getElementType();
  int64_t offset = getOffset();
  if (offset < 0 || offset + result.getNumElements() > source.getNumElements())
    return emitOpError("expected elements ")
           << offset << " to " << offset + result.getNumElements() << " to lie in a source of "
           << source.getNumElements() << " elements";
  return success();
}

/// An op with destinations writes memory, so that it stays even where nobody reads its results.
static void
destinationEffects(OperandRange dests,
                   SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  if (!dests.empty())
    effects.emplace_back(MemoryEffects::Write::get());
}

void GemmOp::getEffects(
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  destinationEffects(getODSOperands(2), effects);
}

void FusedOp::getEffects(
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  destinationEffects(getDests(), effects);
}

void LaunchOp::getEffects(
    SmallVectorImpl<SideEffects::EffectInstance<MemoryEffects::Effect>> &effects) {
  destinationEffects(getDests(), effects);
}

/// Elements of the operands and the result, of one product or of a batch; `a` and `b` are those of
/// one matrix.
static LogicalResult verifyExtents(GemmOp op, int64_t a, int64_t b) {
  int64_t c = op.getMnk()[0] * op.getMnk()[1], count = op.getBatchCount();
  if (auto batch = op.getBatch()) {
    if (batch->size() != 3 || count < 1 || (*batch)[1] < 0 || (*batch)[2] < 0)
      return op.emitOpError("expected batch to be a positive count and two strides, but got [")
             << *batch << "]";
    if (op.getPacked())
      return op.emitOpError("expected no batch of products with a packed b");
    a += (count - 1) * (*batch)[1];
    b += (count - 1) * (*batch)[2];
    c *= count;
  }
  for (auto [name, value, wanted] : {std::tuple<StringRef, Value, int64_t>("a", op.getA(), a),
                                     {"b", op.getB(), b},
                                     {"result", op.getResult(), c}}) {
    int64_t found = typeOf(value).getNumElements();
    bool mayBeMore = op.getBatch() && name != "result"; // a stride may pass over some at the end
    if (found != wanted && !(mayBeMore && found > wanted))
      return op.emitOpError("expected ")
             << name << " to have " << wanted << " elements, but got " << found;
  }
  return success();
}

/// What a GPU's library asks of a product of e4m3 (Hopper's tensor cores read rows along k alone).
static LogicalResult verifyQuantized(GemmOp op) {
  constexpr int64_t kMultiple = GemmOp::kQuantizedMultiple;
  if (op.getTransA() || !op.getTransB())
    return op.emitOpError("expected operands of f8E4M3FN to be rows along k: trans_b, no trans_a");
  if (op.getBatch() || op.getDest() || op.getBias())
    return op.emitOpError("expected a product of f8E4M3FN without a batch, dest or bias");
  if (op.getMnk()[1] % kMultiple != 0 || op.getMnk()[2] % kMultiple != 0)
    return op.emitOpError("expected n and k of a product of f8E4M3FN to be multiples of ")
           << kMultiple << ", but got " << op.getMnk()[1] << " and " << op.getMnk()[2];
  return success();
}

LogicalResult GemmOp::verify() {
  if (getMnk().size() != 3)
    return emitOpError("expected mnk to have 3 entries, but got ") << getMnk().size();
  int64_t m = getMnk()[0], n = getMnk()[1], k = getMnk()[2];
  if (getPacked() && getTransB())
    return emitOpError("expected a packed b not to be transposed");
  int64_t columns = getPacked() ? PackOp::alignedColumns(n) : n;
  if (failed(verifyExtents(*this, m * k, k * columns)))
    return failure();
  if (getDest() && getDest().getType() != getResult().getType())
    return emitOpError("expected dest type to be ")
           << getResult().getType() << ", but got " << getDest().getType();
  if (getAccumulate() && !getDest())
    return emitOpError("expected a dest to accumulate into");
  if (getBias() && getPacked())
    return emitOpError("expected no bias beside a packed b");
  if (getBias() && typeOf(getBias()).getNumElements() != n)
    return emitOpError("expected bias to have ")
           << n << " elements, but got " << typeOf(getBias()).getNumElements();
  Type element = typeOf(getA()).getElementType(), made = typeOf(getResult()).getElementType();
  bool isNarrow = element.getIntOrFloatBitWidth() < 32; // its products are f32 or bf16
  Type wanted = !isNarrow ? element : made.isBF16() ? made : Float32Type::get(getContext());
  for (auto [name, value, type] : {std::tuple<StringRef, Value, Type>("b", getB(), element),
                                   {"result", getResult(), wanted},
                                   {"bias", getBias(), made}})
    if (value && typeOf(value).getElementType() != type)
      return emitOpError("expected ")
             << name << " to be of " << type << ", but got " << typeOf(value).getElementType();
  if (isa<Float8E4M3FNType>(element))
    return verifyQuantized(*this);
  return success();
}

LogicalResult PackOp::verify() {
  if (getNk().size() != 2)
    return emitOpError("expected nk to have 2 entries, but got ") << getNk().size();
  int64_t n = getNk()[0], k = getNk()[1];
  auto source = typeOf(getSource()), result = typeOf(getResult());
  if (getPacked() && getTransB())
    return emitOpError("expected a packed source not to be transposed");
  int64_t elements = n * (getPacked() ? alignedColumns(k) : k);
  if (source.getNumElements() != elements)
    return emitOpError("expected source to have ")
           << elements << " elements, but got " << source.getNumElements();
  if (result.getElementType() != source.getElementType() ||
      result.getShape() != ArrayRef<int64_t>{k, alignedColumns(n)})
    return emitOpError("expected the result to be ")
           << k << "x" << alignedColumns(n) << " of " << source.getElementType() << ", but got "
           << result;
  return success();
}

/// Shared shape rules of attention and its gradient: 1 to 3 inputs, parts of `heads` heads, biases
/// as wide as their inputs.
static LogicalResult verifyAttention(Operation *op, OperandRange inputs, OperandRange biases,
                                     int64_t heads, int64_t width) {
  if (inputs.empty() || inputs.size() > 3)
    return op->emitOpError("expected 1 to 3 inputs, but got ") << inputs.size();
  int64_t total = 0;
  for (Value input : inputs)
    total += typeOf(input).getShape().back();
  if (total != 3 * width)
    return op->emitOpError("expected inputs to have ")
           << 3 * width << " channels together, but got " << total;
  if (heads <= 0 || width % heads != 0)
    return op->emitOpError("expected heads to divide ") << width << " channels, but got " << heads;
  if (!biases.empty() && biases.size() != inputs.size())
    return op->emitOpError("expected one bias for each input, but got ") << biases.size();
  for (auto [input, bias] : llvm::zip(inputs, biases))
    if (typeOf(bias).getNumElements() != typeOf(input).getShape().back())
      return op->emitOpError("expected bias to have ")
             << typeOf(input).getShape().back() << " elements, but got "
             << typeOf(bias).getNumElements();
  return success();
}

/// Windows of an attention, and what its scores are added to, against the queries in `output`.
template <typename OpT> static LogicalResult verifyScores(OpT op, RankedTensorType output) {
  int64_t queries = output.getDimSize(1), keys = typeOf(op.getInputs().back()).getDimSize(1);
  int64_t heads = op.getHeads(), windows = 1;
  if (std::optional<uint64_t> window = op.getWindow()) {
    int64_t size = *window;
    if (size <= 0 || queries != keys || queries % size != 0)
      return op.emitOpError("expected window to divide the tokens, ")
             << queries << " queries and " << keys << " keys, but got " << size;
    windows = queries / size;
    queries = keys = size;
  }
  auto check = [&](StringRef name, Value value, int64_t first) -> LogicalResult {
    if (!value || typeOf(value).getShape() == ArrayRef<int64_t>{first, queries, keys})
      return success();
    return op.emitOpError("expected ") << name << " to be " << first << "x" << queries << "x"
                                       << keys << ", but got " << value.getType();
  };
  if (failed(check("score_bias", op.getScoreBias(), heads)) ||
      failed(check("mask", op.getMask(), windows)))
    return failure();
  if constexpr (std::is_same_v<OpT, AttentionGradOp>)
    if (Value scores = op.getScoresGrad();
        scores && typeOf(scores).getShape() !=
                      ArrayRef<int64_t>{output.getDimSize(0) * windows, heads * queries, keys})
      return op.emitOpError("expected the gradient of the scores to be ")
             << output.getDimSize(0) * windows << "x" << heads * queries << "x" << keys
             << ", but got " << scores.getType();
  return success();
}

bool ns::rt::isLibraryAttention(Operation *op) {
  if (auto forward = dyn_cast<AttentionOp>(op))
    return bool(forward.getStatistics());
  auto gradient = dyn_cast<AttentionGradOp>(op);
  return gradient && gradient.getStatistics();
}

/// What a call of the library has and has not; `output` is the attention's result.
template <typename OpT> static LogicalResult verifyCall(OpT op, Value output) {
  if (!isLibraryAttention(op))
    return success();
  if (!op.getBiases().empty() || op.getScoreBias() || op.getMask())
    return op.emitOpError("expected no bias, score_bias or mask beside statistics");
  auto type = typeOf(output);
  int64_t images = type.getDimSize(0), queries = type.getDimSize(1), heads = op.getHeads();
  if (std::optional<uint64_t> window = op.getWindow()) {
    images *= queries / int64_t(*window);
    queries = *window;
  }
  auto statistics = typeOf(op.getStatistics());
  if (statistics.getShape() != ArrayRef<int64_t>{images, heads, queries})
    return op.emitOpError("expected statistics to be ")
           << images << "x" << heads << "x" << queries << ", but got " << statistics;
  return success();
}

LogicalResult AttentionOp::verify() {
  RankedTensorType output = typeOf(getResult());
  return success(succeeded(verifyAttention(*this, getInputs(), getBiases(), getHeads(),
                                           output.getShape().back())) &&
                 succeeded(verifyScores(*this, output)) &&
                 succeeded(verifyCall(*this, getResult())));
}

LogicalResult AttentionGradOp::verify() {
  unsigned inputs = getInputs().size();
  if (getNumResults() < inputs || getNumResults() > inputs + 1 ||
      TypeRange(getResultTypes()).take_front(inputs) != TypeRange(getInputs()))
    return emitOpError("expected one result of each input's type");
  RankedTensorType output = typeOf(getGrad());
  if (bool(getOutput()) != bool(getStatistics()))
    return emitOpError("expected both of output and statistics, or none");
  if (getOutput() && typeOf(getOutput()).getShape() != output.getShape())
    return emitOpError("expected output to have the shape of grad, ")
           << getGrad().getType() << ", but got " << getOutput().getType();
  return success(succeeded(verifyAttention(*this, getInputs(), getBiases(), getHeads(),
                                           output.getShape().back())) &&
                 succeeded(verifyScores(*this, output)) && succeeded(verifyCall(*this, getGrad())));
}

//===----------------------------------------------------------------------===//
// FusedOp
//===----------------------------------------------------------------------===//

Value FusedOp::getDestOf(unsigned i) { return destinationAt(*this, i); }

bool FusedOp::isSingleStage() { return getBody().front().getOps<RowReduceOp>().empty(); }

/// Is `column` c, or, where `isRead`, a positive multiple of it?
static bool isColumn(AffineExpr column, bool isRead) {
  AffineExpr c = getAffineDimExpr(2, column.getContext());
  auto product = dyn_cast<AffineBinaryOpExpr>(column);
  if (!isRead || !product || product.getKind() != AffineExprKind::Mul)
    return column == c;
  auto stride = dyn_cast<AffineConstantExpr>(product.getRHS());
  return product.getLHS() == c && stride && stride.getValue() > 0;
}

/// No kernel computes it.
static bool hasCeilDiv(AffineMap map) {
  bool found = false;
  map.walkExprs([&](AffineExpr expr) { found |= expr.getKind() == AffineExprKind::CeilDiv; });
  return found;
}

/// A map must be (r, k, c) -> (row, col) with col = c or a constant, for an input also a multiple
/// of c.
static LogicalResult verifyMap(FusedOp op, AffineMap map, StringRef what, unsigned index) {
  if (map.getNumDims() != 3 || map.getNumSymbols() != 0 || map.getNumResults() != 2)
    return op.emitOpError("expected ")
           << what << " map " << index << " to be (r, k, c) -> (row, col), but got "
           << AffineMapAttr::get(map);
  AffineExpr column = map.getResult(1);
  if (map.getResult(0).isFunctionOfDim(2) ||
      !(isa<AffineConstantExpr>(column) || isColumn(column, /*isRead=*/what == "input")))
    return op.emitOpError("expected the column of ")
           << what << " map " << index << " to be c or a constant, but got "
           << AffineMapAttr::get(map);
  if (hasCeilDiv(map))
    return op.emitOpError("expected ")
           << what << " map " << index << " without ceildiv, but got " << AffineMapAttr::get(map);
  return success();
}

LogicalResult FusedOp::verify() {
  if (getSpace().size() != 3 ||
      llvm::any_of(getSpace(), [](int64_t extent) { return extent <= 0; }))
    return emitOpError("expected space to be three positive extents");
  Block &block = getBody().front();
  if (block.getNumArguments() != getInputs().size() || getInMaps().size() != getInputs().size())
    return emitOpError("expected a map and a block argument for each of ")
           << getInputs().size() << " inputs, but got " << getInMaps().size() << " and "
           << block.getNumArguments();
  auto yield = cast<YieldOp>(block.getTerminator());
  if (yield.getNumOperands() != getNumResults() || getOutMaps().size() != getNumResults())
    return emitOpError("expected a map and a yielded value for each of ")
           << getNumResults() << " results, but got " << getOutMaps().size() << " and "
           << yield.getNumOperands();
  for (unsigned i = 0; i < getInputs().size(); ++i) {
    if (failed(verifyMap(*this, getInMap(i), "input", i)))
      return failure();
    if (block.getArgument(i).getType() != typeOf(getInputs()[i]).getElementType())
      return emitOpError("expected block argument ")
             << i << " to be " << typeOf(getInputs()[i]).getElementType();
  }
  for (unsigned i = 0; i < getNumResults(); ++i) {
    if (failed(verifyMap(*this, getOutMap(i), "result", i)))
      return failure();
    bool sumsOverInner = getInner() > 1 && !getOutMap(i).isFunctionOfDim(1);
    if (sumsOverInner && typeOf(getResult(i)).getElementType().isBF16())
      return emitOpError("expected result ")
             << i << ", a sum over k, not to be of bf16, but got " << getResult(i).getType();
    if (yield.getOperand(i).getType() != typeOf(getResult(i)).getElementType())
      return emitOpError("expected yielded value ")
             << i << " to be " << typeOf(getResult(i)).getElementType();
  }
  return verifyDestinations(*this);
}

LogicalResult SwapPairsOp::verify() {
  auto program = (*this)->getParentOfType<FusedOp>();
  if (program && program.getCols() % 2 != 0)
    return emitOpError("expected an even number of columns, but got ") << program.getCols();
  return success();
}

LogicalResult IndexOp::verify() {
  AffineMap map = getMap();
  if (map.getNumDims() != 3 || map.getNumResults() != 1)
    return emitOpError("expected map to be (r, k, c) -> (i), but got ") << AffineMapAttr::get(map);
  AffineExpr index = map.getResult(0);
  if (index.isFunctionOfDim(2) && index != getAffineDimExpr(2, getContext()))
    return emitOpError("expected the index to be c or an expression of r and k, but got ")
           << AffineMapAttr::get(map);
  if (hasCeilDiv(map))
    return emitOpError("expected an index without ceildiv, but got ") << AffineMapAttr::get(map);
  return success();
}
