//===- Tokens.cpp - moving tokens, channels, images -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"

#include <numeric>

using namespace mlir;
using namespace ns;

namespace {
/// Rows of a source that go to rows of a result; both maps are expressions of r in [0, rows).
struct RowMove {
  int64_t rows, cols;
  AffineExpr from, to;
};
} // namespace

/// Writes the moved rows of `source` into a tensor of `type`: a new one, or `dest` with the rows
/// written before.
static Value moveRows(Lowering &l, Operation *op, Value source, RankedTensorType type,
                      const RowMove &move, Value dest = {}) {
  RowProgram p = l.program(op, {move.rows, 1, move.cols});
  p.out(p.in(source, move.from, p.c), type, move.to, p.c, dest);
  return p.finish().getResult(0);
}

Value ns::zeros(Lowering &l, Operation *op, RankedTensorType type) {
  RowProgram p = l.rowwise(op, type);
  p.out(p.constant(0.0), type);
  return p.finish().getResult(0);
}

static AffineExpr dimR(Lowering &l) { return getAffineDimExpr(0, l.builder.getContext()); }

/// Rows of `count` tokens from `from` of each image of `total` tokens.
static AffineExpr tokenRow(AffineExpr r, int64_t count, int64_t total, int64_t from) {
  return r.floorDiv(count) * total + r % count + from;
}

LogicalResult ns::lower(nn::PrependTokensOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  int64_t batch = type.getDimSize(0), total = type.getDimSize(1), cols = type.getDimSize(2);
  AffineExpr r = dimR(l);
  int64_t patches = op.getInput().getType().getDimSize(1);
  Value result = moveRows(l, op, l.get(op.getInput()), type,
                          {batch * patches, cols, r, tokenRow(r, patches, total, total - patches)});
  int64_t from = 0;
  for (Value token : op.getTokens()) {
    int64_t count = typeOf(token).getDimSize(1);
    result = moveRows(l, op, l.get(token), type,
                      {batch * count, cols, r % count, tokenRow(r, count, total, from)}, result);
    from += count;
  }
  l.set(op.getResult(), result);
  return success();
}

LogicalResult ns::lower(nn::SelectTokenOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  int64_t total = op.getInput().getType().getDimSize(1);
  if (total == 1) {
    l.set(op.getResult(), l.view(l.get(op.getInput()), type.getShape()));
    return success();
  }
  AffineExpr r = dimR(l);
  l.set(op.getResult(), moveRows(l, op, l.get(op.getInput()), type,
                                 {numRows(type), numCols(type), r * total + op.getIndex(), r}));
  return success();
}

LogicalResult ns::lower(nn::ScatterTokenOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  int64_t total = type.getDimSize(1);
  if (total == 1) {
    l.set(op.getResult(), l.view(l.get(op.getInput()), type.getShape()));
    return success();
  }
  AffineExpr r = dimR(l);
  l.set(op.getResult(),
        moveRows(l, op, l.get(op.getInput()), type,
                 {type.getDimSize(0), type.getDimSize(2), r, r * total + op.getIndex()},
                 zeros(l, op, type)));
  return success();
}

LogicalResult ns::lower(nn::SliceTokensOp op, Lowering &l) {
  RankedTensorType type = typeOf(op.getResult()), source = typeOf(op.getInput());
  int64_t count = type.getDimSize(1), total = source.getDimSize(1), from = op.getFrom();
  if (type.getDimSize(0) == 1) {
    l.set(op.getResult(), l.view(l.get(op.getInput()), type.getShape(), from * type.getDimSize(2)));
    return success();
  }
  AffineExpr r = dimR(l);
  l.set(op.getResult(),
        moveRows(l, op, l.get(op.getInput()), type,
                 {numRows(type), numCols(type), tokenRow(r, count, total, from), r}));
  return success();
}

LogicalResult ns::lower(nn::PadTokensOp op, Lowering &l) {
  RankedTensorType type = typeOf(op.getResult()), source = typeOf(op.getInput());
  int64_t count = source.getDimSize(1), total = type.getDimSize(1);
  AffineExpr r = dimR(l);
  Value result = count == total ? Value() : zeros(l, op, type);
  l.set(op.getResult(),
        moveRows(l, op, l.get(op.getInput()), type,
                 {numRows(source), numCols(source), r, tokenRow(r, count, total, op.getFrom())},
                 result));
  return success();
}

/// Channels [from, from + count) of rows of `total`, as whole rows of a width that divides all
/// three.
static std::pair<RowMove, int64_t> channelMove(Lowering &l, int64_t rows, int64_t from,
                                               int64_t count, int64_t total) {
  int64_t width = std::gcd(std::gcd(from, count), total), parts = count / width;
  AffineExpr r = dimR(l);
  return {RowMove{rows * parts, width, tokenRow(r, parts, total / width, from / width), r}, width};
}

LogicalResult ns::lower(nn::SliceChannelsOp op, Lowering &l) {
  RankedTensorType type = typeOf(op.getResult()), source = typeOf(op.getInput());
  auto [move, width] = channelMove(l, numRows(type), op.getFrom(), numCols(type), numCols(source));
  Value result =
      moveRows(l, op, l.view(l.get(op.getInput()), {source.getNumElements() / width, width}),
               l.tensor({type.getNumElements() / width, width}), move);
  l.set(op.getResult(), l.view(result, type.getShape()));
  return success();
}

LogicalResult ns::lower(nn::PadChannelsOp op, Lowering &l) {
  RankedTensorType type = typeOf(op.getResult()), source = typeOf(op.getInput());
  auto [move, width] = channelMove(l, numRows(type), op.getFrom(), numCols(source), numCols(type));
  std::swap(move.from, move.to);
  auto wide = l.tensor({type.getNumElements() / width, width});
  Value result =
      moveRows(l, op, l.view(l.get(op.getInput()), {source.getNumElements() / width, width}), wide,
               move, zeros(l, op, wide));
  l.set(op.getResult(), l.view(result, type.getShape()));
  return success();
}

/// A slice of the first dimension is a view.
template <typename Op> static LogicalResult sliceLeading(Op op, Lowering &l) {
  RankedTensorType type = typeOf(op.getResult());
  int64_t perIndex = type.getNumElements() / type.getDimSize(0);
  l.set(op.getResult(), l.view(l.get(op.getInput()), type.getShape(), op.getFrom() * perIndex));
  return success();
}

LogicalResult ns::lower(nn::SliceRowsOp op, Lowering &l) { return sliceLeading(op, l); }

LogicalResult ns::lower(nn::SliceBatchOp op, Lowering &l) { return sliceLeading(op, l); }

LogicalResult ns::lower(nn::PadRowsOp op, Lowering &l) {
  RankedTensorType type = typeOf(op.getResult()), source = typeOf(op.getInput());
  if (type.getRank() == 1) { // a bias: elements are the rows
    RowProgram p = l.program(op, {source.getDimSize(0), 1, 1});
    p.out(p.in(l.get(op.getInput()), p.r, p.lit(0)), type, p.r + op.getFrom(), p.lit(0),
          zeros(l, op, type));
    l.finish(p, op->getResults());
    return success();
  }
  AffineExpr r = dimR(l);
  l.set(op.getResult(),
        moveRows(l, op, l.get(op.getInput()), type,
                 {numRows(source), numCols(source), r, r + op.getFrom()}, zeros(l, op, type)));
  return success();
}

LogicalResult ns::lower(nn::ConcatChannelsOp op, Lowering &l) {
  RankedTensorType type = typeOf(op.getResult());
  int64_t rows = numRows(type), total = numCols(type), width = total;
  for (Value input : op.getInputs())
    width = std::gcd(width, numCols(typeOf(input)));
  auto pieces =
      l.tensor({type.getNumElements() / width, width}); // each input's rows are whole ones
  AffineExpr r = dimR(l);
  Value result;
  int64_t from = 0;
  for (Value input : op.getInputs()) {
    int64_t parts = numCols(typeOf(input)) / width;
    RowMove move{rows * parts, width, r, tokenRow(r, parts, total / width, from)};
    result = moveRows(l, op, l.view(l.get(input), {rows * parts, width}), pieces, move, result);
    from += parts;
  }
  l.set(op.getResult(), l.view(result, type.getShape()));
  return success();
}

LogicalResult ns::lower(nn::ConcatRowsOp op, Lowering &l) {
  RankedTensorType type = typeOf(op.getResult());
  bool isVector = type.getRank() == 1; // then one row; its column 0 may be any element
  AffineExpr r = dimR(l);
  Value result;
  int64_t from = 0;
  for (Value input : op.getInputs()) {
    int64_t count = typeOf(input).getDimSize(0), rows = isVector ? 1 : numRows(typeOf(input));
    result = moveRows(l, op, l.get(input), type,
                      {rows, numCols(typeOf(input)), r, r + from * (rows / (isVector ? 1 : count))},
                      result);
    from += count;
  }
  l.set(op.getResult(), result);
  return success();
}

LogicalResult ns::lower(nn::ExpandBatchOp op, Lowering &l) {
  RankedTensorType type = typeOf(op.getResult());
  int64_t rows = numRows(type);
  AffineExpr r = dimR(l);
  l.set(op.getResult(), moveRows(l, op, l.get(op.getInput()), type,
                                 {rows, numCols(type), r % (rows / type.getDimSize(0)), r}));
  return success();
}

LogicalResult ns::lower(nn::ConcatBatchOp op, Lowering &l) {
  RankedTensorType type = typeOf(op.getResult()), lhs = typeOf(op.getLhs()),
                   rhs = typeOf(op.getRhs());
  AffineExpr r = dimR(l);
  Value result = moveRows(l, op, l.get(op.getLhs()), type, {numRows(lhs), numCols(lhs), r, r});
  result = moveRows(l, op, l.get(op.getRhs()), type,
                    {numRows(rhs), numCols(rhs), r, r + numRows(lhs)}, result);
  l.set(op.getResult(), result);
  return success();
}

LogicalResult ns::lower(nn::MeanTokensOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  int64_t tokens = op.getInput().getType().getDimSize(1);
  RowProgram p = l.program(op, {numRows(type), tokens, numCols(type)});
  p.out(
      p.mul(p.in(l.get(op.getInput()), p.r * tokens + p.k, p.c), p.constant(1.0 / double(tokens))),
      type);
  l.finish(p, op->getResults());
  return success();
}

LogicalResult ns::lower(nn::ExpandTokensOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  int64_t tokens = type.getDimSize(1);
  RowProgram p = l.rowwise(op, type);
  p.out(p.mul(p.in(l.get(op.getInput()), p.r.floorDiv(tokens), p.c),
              p.constant(1.0 / double(tokens))),
        type);
  l.finish(p, op->getResults());
  return success();
}
