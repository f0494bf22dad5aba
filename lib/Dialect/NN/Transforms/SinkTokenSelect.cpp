//===- SinkTokenSelect.cpp - compute only the tokens that are read -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A value whose readers all are token selections within one range is replaced by the same op on sliced inputs; the inputs, now
// read through a slice, come next. A value with a full reader (the residual stream under the last block's key projection) stops
// the walk.
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Dialect/NN/Transforms/Passes.h"
#include "ns/Dialect/NN/Transforms/Utils.h"

#include "mlir/IR/IRMapping.h"

using namespace mlir;

namespace ns::nn {
#define GEN_PASS_DEF_SINKTOKENSELECTPASS
#include "ns/Dialect/NN/Transforms/Passes.h.inc"

namespace {

/// Tokens [from, from + size).
struct TokenRange {
  int64_t from = 0, size = 0;
};

int64_t numTokens(Value value) { return cast<RankedTensorType>(value.getType()).getDimSize(1); }

Type withDim(Value value, unsigned dim, int64_t size) {
  auto type = cast<RankedTensorType>(value.getType());
  SmallVector<int64_t> shape(type.getShape());
  shape[dim] = size;
  return type.clone(shape);
}

/// The smallest range that holds every token read of `value`, or nothing where a reader takes all of it.
std::optional<TokenRange> readRange(Value value) {
  int64_t from = std::numeric_limits<int64_t>::max(), to = 0;
  for (Operation *user : value.getUsers()) {
    if (auto select = dyn_cast<SelectTokenOp>(user)) {
      from = std::min<int64_t>(from, select.getIndex());
      to = std::max<int64_t>(to, select.getIndex() + 1);
    } else if (auto slice = dyn_cast<SliceTokensOp>(user)) {
      from = std::min<int64_t>(from, slice.getFrom());
      to = std::max<int64_t>(to, slice.getFrom() + numTokens(slice.getResult()));
    } else {
      return std::nullopt;
    }
  }
  if (to <= from)
    return std::nullopt;
  return TokenRange{from, to - from};
}

/// Tokens `range` of `value`.
Value sliced(OpBuilder &builder, Value value, TokenRange range) {
  return SliceTokensOp::create(builder, value.getLoc(), withDim(value, 1, range.size), value, range.from);
}

/// Channels [from, from + size) of a linear layer, as a linear layer of its own.
Value linearOfRows(OpBuilder &builder, LinearOp linear, Value input, int64_t from, int64_t size) {
  Location loc = linear.getLoc();
  Value weight = SliceRowsOp::create(builder, loc, withDim(linear.getWeight(), 0, size), linear.getWeight(), from);
  Value bias = linear.getBias();
  if (bias)
    bias = SliceRowsOp::create(builder, loc, withDim(bias, 0, size), bias, from);
  auto inputType = cast<RankedTensorType>(input.getType());
  SmallVector<int64_t> shape(inputType.getShape());
  shape.back() = size;
  auto result = LinearOp::create(builder, loc, inputType.clone(shape), input, weight, bias);
  result->setDiscardableAttrs(linear->getDiscardableAttrDictionary());
  return result;
}

/// Queries of the tokens in `range`, and keys with values of all tokens, of a packed `B x N x 3C` projection.
std::pair<Value, Value> splitPacked(OpBuilder &builder, Value packed, TokenRange range, int64_t channels) {
  Location loc = packed.getLoc();
  auto linear = packed.getDefiningOp<LinearOp>();
  if (linear && packed.hasOneUse()) {
    Value query = linearOfRows(builder, linear, sliced(builder, linear.getInput(), range), 0, channels);
    return {query, linearOfRows(builder, linear, linear.getInput(), channels, 2 * channels)};
  }
  Value rows = sliced(builder, packed, range);
  Value query = SliceChannelsOp::create(builder, loc, withDim(rows, 2, channels), rows, 0);
  return {query, SliceChannelsOp::create(builder, loc, withDim(packed, 2, 2 * channels), packed, channels)};
}

Value rebuildAttention(OpBuilder &builder, AttentionOp op, TokenRange range) {
  SmallVector<Value> inputs(op.getInputs());
  if (inputs.size() == 1) {
    auto [query, keyValue] = splitPacked(builder, inputs[0], range, op.getType().getDimSize(2));
    inputs = {query, keyValue};
  } else {
    inputs[0] = sliced(builder, inputs[0], range);
  }
  auto rows = [&](Value scores) { return scores ? sliced(builder, scores, range) : Value(); }; // dimension 1: queries
  auto result = AttentionOp::create(builder, op.getLoc(), withDim(op.getResult(), 1, range.size), inputs, rows(op.getBias()),
                                    rows(op.getMask()), op.getHeadsAttr(), op.getScaleAttr(), /*window=*/IntegerAttr());
  result->setDiscardableAttrs(op->getDiscardableAttrDictionary());
  return result;
}

/// `op` for the tokens in `range` only, or null where it mixes tokens.
Value rebuild(OpBuilder &builder, Operation *op, TokenRange range) {
  if (auto attention = dyn_cast<AttentionOp>(op))
    return attention.getWindow() ? Value() : rebuildAttention(builder, attention, range);
  auto dropout = dyn_cast<DropoutOp>(op);
  bool dropsImages = dropout && dropout.getUnit() == DropoutUnit::Image; // an element's draw depends on its place
  if (!dropsImages && !isa<LayerNormOp, LinearOp, GeluOp, ActivationOp, AddOp, MulOp, ScaleOp, LayerScaleOp>(op))
    return nullptr;
  IRMapping mapping;
  mapping.map(op->getOperand(0), sliced(builder, op->getOperand(0), range));
  if (isa<AddOp, MulOp>(op) && !mapping.contains(op->getOperand(1)))
    mapping.map(op->getOperand(1), sliced(builder, op->getOperand(1), range));
  Operation *clone = builder.clone(*op, mapping);
  clone->getResult(0).setType(withDim(op->getResult(0), 1, range.size));
  return clone->getResult(0);
}

/// Points the selections from `value` at `narrow`, which holds its tokens `range`.
void narrowReaders(Value value, Value narrow, TokenRange range) {
  for (Operation *user : llvm::make_early_inc_range(value.getUsers())) {
    if (auto select = dyn_cast<SelectTokenOp>(user)) {
      select.getInputMutable().assign(narrow);
      select.setIndex(select.getIndex() - range.from);
      continue;
    }
    auto slice = cast<SliceTokensOp>(user);
    if (slice.getType() == narrow.getType()) {
      slice.getResult().replaceAllUsesWith(narrow);
      slice.erase();
    } else {
      slice.getInputMutable().assign(narrow);
      slice.setFrom(slice.getFrom() - range.from);
    }
  }
}

/// Computes `value` for the tokens that are read, where that is possible and at most half of them.
bool sink(Value value) {
  Operation *op = value.getDefiningOp();
  auto type = dyn_cast<RankedTensorType>(value.getType());
  if (!op || !type || type.getRank() != 3)
    return false;
  std::optional<TokenRange> range = readRange(value);
  if (!range || 2 * range->size > numTokens(value))
    return false;
  OpBuilder builder(op);
  Value narrow = rebuild(builder, op, *range);
  if (!narrow)
    return false;
  narrowReaders(value, narrow, *range);
  return true;
}

/// Sinks one selection of the block; returns false where none can be.
bool sinkOne(Block &block) {
  for (Operation &op : llvm::reverse(block))
    if (isa<SelectTokenOp, SliceTokensOp>(op) && sink(op.getOperand(0))) {
      // What nobody reads any more would count as a reader.
      eraseDeadOps(block);
      return true;
    }
  return false;
}

struct SinkTokenSelectPass : impl::SinkTokenSelectPassBase<SinkTokenSelectPass> {
  using SinkTokenSelectPassBase::SinkTokenSelectPassBase;

  void runOnOperation() override {
    for (func::FuncOp func : getOperation().getOps<func::FuncOp>())
      while (!func.isExternal() && sinkOne(func.getBody().front()))
        ++numSunk;
  }
};

} // namespace
} // namespace ns::nn
