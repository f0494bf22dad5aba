//===- Conv.cpp - convolutions and pooling -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A convolution is a matrix product with the columns, what each window sees; only the depthwise
// ones sum over the taps themselves. No program reads beyond its input: positions outside the grid
// are folded back into it by `mod`, and the value that lies there is replaced. Images of few
// channels are padded instead.
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"

#include <cmath>

using namespace mlir;
using namespace ns;

//===----------------------------------------------------------------------===//
// Geometry
//===----------------------------------------------------------------------===//

namespace {
/// Where a row is read, and whether what is read counts; always where `valid` is null.
struct Place {
  AffineExpr row;
  Value valid;
};

/// Both conditions; a null one holds always.
Value both(RowProgram &p, Value a, Value b) { return !a ? b : !b ? a : p.bitAnd(a, b); }

/// Windows along one axis of the grid.
struct Axis {
  int64_t grid, kernel, stride, padding, dilation;
  int64_t windows() const {
    return (grid + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1;
  }

  /// The position under `tap` of `window`. Multiples of the grid are added before `mod`, so that no
  /// number is negative.
  Place position(RowProgram &p, AffineExpr window, AffineExpr tap) const {
    int64_t lift = llvm::alignTo(padding, grid);
    AffineExpr at = window * stride + tap * dilation + (lift - padding);
    if (padding == 0)
      return {at, Value()};
    return {at % grid, p.inRange(at, lift, lift + grid)};
  }

  /// The window whose `tap` lies on `position`.
  Place window(RowProgram &p, AffineExpr position, AffineExpr tap) const {
    int64_t count = windows(), below = std::max<int64_t>(0, (kernel - 1) * dilation - padding);
    int64_t lift = llvm::alignTo(below, stride * count);
    AffineExpr at = position + tap * -dilation + (padding + lift);
    AffineExpr index = at.floorDiv(stride);
    Value valid = p.inRange(index, lift / stride, lift / stride + count);
    if (stride > 1)
      valid = both(p, valid, p.inRange(at % stride, 0, 1));
    return {index % count, valid};
  }
};

/// Windows that slide over a grid of tokens.
struct Windows {
  int64_t batch;
  Axis y, x;

  static Windows get(RankedTensorType tokens, ArrayRef<int64_t> grid, ArrayRef<int64_t> kernel,
                     ArrayRef<int64_t> stride, ArrayRef<int64_t> padding,
                     ArrayRef<int64_t> dilation) {
    return {tokens.getDimSize(0),
            {grid[0], kernel[0], stride[0], padding[0], dilation[0]},
            {grid[1], kernel[1], stride[1], padding[1], dilation[1]}};
  }
  template <typename OpT> static Windows ofConv(OpT op, Value tokens, Value weight) {
    return get(typeOf(tokens), op.getGrid(), typeOf(weight).getShape().drop_front(2),
               op.getStride(), op.getPadding(), op.getDilation());
  }
  template <typename OpT> static Windows ofPool(OpT op) {
    return get(op.getInput().getType(), op.getGrid(), op.getKernel(), op.getStride(),
               op.getPadding(), {1, 1});
  }

  int64_t taps() const { return y.kernel * x.kernel; }
  int64_t perImage() const { return y.windows() * x.windows(); }
  int64_t count() const { return batch * perImage(); }
  int64_t positions() const { return batch * y.grid * x.grid; }
  /// The windows are the positions themselves.
  bool isIdentity() const {
    return taps() == 1 && y.stride == 1 && x.stride == 1 && y.padding == 0 && x.padding == 0;
  }

  /// The row of tokens under `tap` of `window`; both count in row-major order.
  Place position(RowProgram &p, AffineExpr window, AffineExpr tap) const {
    auto [b, wy, wx] = split(window, y.windows(), x.windows());
    Place py = y.position(p, wy, tap.floorDiv(x.kernel));
    Place px = x.position(p, wx, tap % x.kernel);
    return {(b * y.grid + py.row) * x.grid + px.row, both(p, py.valid, px.valid)};
  }

  /// The window whose `tap` lies on `position`.
  Place window(RowProgram &p, AffineExpr position, AffineExpr tap) const {
    auto [b, py, px] = split(position, y.grid, x.grid);
    Place wy = y.window(p, py, tap.floorDiv(x.kernel));
    Place wx = x.window(p, px, tap % x.kernel);
    return {(b * y.windows() + wy.row) * x.windows() + wx.row, both(p, wy.valid, wx.valid)};
  }

private:
  static std::array<AffineExpr, 3> split(AffineExpr row, int64_t height, int64_t width) {
    return {row.floorDiv(height * width), row.floorDiv(width) % height, row % width};
  }
};
} // namespace

/// `value` where the place is valid, else 0.
static Value zeroOutside(RowProgram &p, const Place &place, Value value) {
  return place.valid ? p.select(place.valid, value, p.constant(0.0)) : value;
}

//===----------------------------------------------------------------------===//
// Lines: the columns of an image of few channels
//===----------------------------------------------------------------------===//

namespace {
/// A padded copy of the grid, in which the taps of one line of a window lie beside one another: the
/// pieces that are moved are as wide as the line, not as a pixel. All offsets are in elements.
struct PaddedLines {
  const Windows &g;
  int64_t channels;

  /// Worth it where a pixel fills less than a vector.
  static bool areFor(const Windows &g, int64_t channels) {
    return g.x.kernel > 1 && g.x.dilation == 1 && channels < 16;
  }
  int64_t height() const { return g.y.grid + 2 * g.y.padding; }
  int64_t pitch() const { return (g.x.grid + 2 * g.x.padding) * channels; }
  int64_t size() const { return g.batch * height() * pitch(); }
  int64_t lineWidth() const { return g.x.kernel * channels; }
  int64_t linesPerImage() const { return g.perImage() * g.y.kernel; }

  /// Where line `row` of the grids, of all images, begins.
  AffineExpr gridLine(AffineExpr row) const {
    AffineExpr y = row.floorDiv(g.y.grid) * height() + row % g.y.grid + g.y.padding;
    return y * pitch() + g.x.padding * channels;
  }
  /// Where line `line` of `window` begins; windows count over all images.
  AffineExpr windowLine(AffineExpr window, AffineExpr line) const {
    AffineExpr b = window.floorDiv(g.perImage()), wx = window % g.x.windows();
    AffineExpr wy = window.floorDiv(g.x.windows()) % g.y.windows();
    AffineExpr y = b * height() + wy * g.y.stride + line * g.y.dilation;
    return y * pitch() + wx * (g.x.stride * channels);
  }

  /// Zeros as vector.
  Value blank(Lowering &l, Operation *op) const {
    return l.view(zeros(l, op, l.tensor({g.batch * height(), pitch()})), {size()});
  }
};
} // namespace

static Value columnsByLines(Lowering &l, Operation *op, const PaddedLines &lines, Value input) {
  const Windows &g = lines.g;
  int64_t gridLines = g.batch * g.y.grid, width = g.x.grid * lines.channels;
  RowProgram pad = l.program(op, {gridLines, 1, width});
  pad.out(pad.in(l.view(input, {gridLines, width})), l.tensor({lines.size()}),
          lines.gridLine(pad.r), pad.c, lines.blank(l, op));
  Value padded = pad.finish().getResult(0);
  RowProgram p = l.program(op, {g.count(), g.y.kernel, lines.lineWidth()});
  p.out(p.in(padded, lines.windowLine(p.r, p.k), p.c),
        l.tensor({g.count() * g.y.kernel, lines.lineWidth()}), p.r * g.y.kernel + p.k, p.c);
  return p.finish().getResult(0);
}

/// The reverse: adds up, image by image, the lines of all windows where they lie, and leaves the
/// padding out.
static Value sumOfLines(Lowering &l, Operation *op, const PaddedLines &lines, Value cols) {
  const Windows &g = lines.g;
  int64_t perImage = lines.linesPerImage(), width = lines.lineWidth();
  Value sums = lines.blank(l, op);
  RowProgram add = l.program(op, {g.batch, perImage, width});
  AffineExpr window = add.r * g.perImage() + add.k.floorDiv(g.y.kernel);
  AffineExpr start = lines.windowLine(window, add.k % g.y.kernel);
  Value line = add.in(l.view(cols, {g.batch * perImage, width}), add.r * perImage + add.k, add.c);
  add.out(add.add(add.in(sums, start, add.c), line), typeOf(sums), start, add.c, sums);
  Value padded = add.finish().getResult(0);
  auto type = l.tensor({g.batch * g.y.grid, g.x.grid * lines.channels});
  RowProgram p = l.rowwise(op, type);
  p.out(p.in(padded, lines.gridLine(p.r), p.c), type);
  return p.finish().getResult(0);
}

//===----------------------------------------------------------------------===//
// Columns and weights
//===----------------------------------------------------------------------===//

/// What each window sees: a matrix of windows by (tap, channel).
static Value columns(Lowering &l, Operation *op, const Windows &g, Value input) {
  int64_t channels = numCols(typeOf(input)), taps = g.taps();
  if (g.isIdentity())
    return input;
  if (PaddedLines::areFor(g, channels))
    return columnsByLines(l, op, {g, channels}, input);
  RowProgram p = l.program(op, {g.count(), taps, channels});
  Place at = g.position(p, p.r, p.k);
  Value x = zeroOutside(p, at, p.in(input, at.row, p.c));
  p.out(x, l.tensor({g.count() * taps, channels}), p.r * taps + p.k, p.c);
  return p.finish().getResult(0);
}

/// A weight as outer x (tap, inner), from PyTorch's outer x inner x taps; made once for an entry.
static Value byTaps(Lowering &l, Operation *op, Value weight, int64_t outer, int64_t inner) {
  int64_t elements = typeOf(weight).getNumElements(), taps = elements / (outer * inner);
  if (taps == 1)
    return l.view(weight, {outer, inner});
  SmallVector<Value> &known = l.memo("by taps", {weight});
  if (known.empty()) {
    RowProgram p = l.program(op, {outer * taps, 1, inner});
    AffineExpr first = p.r.floorDiv(taps) * (inner * taps) + p.r % taps;
    p.out(p.in(l.view(weight, {elements}), first, p.c * taps), l.tensor({outer * taps, inner}));
    known = {p.finish().getResult(0)};
  }
  return known.front();
}

/// The reverse: binds the gradient of a weight.
static void setFromTaps(Lowering &l, Operation *op, Value byTaps, Value result, int64_t outer,
                        int64_t inner) {
  int64_t elements = typeOf(byTaps).getNumElements(), taps = elements / (outer * inner);
  if (taps == 1) {
    l.set(result, l.view(byTaps, typeOf(result).getShape()));
    return;
  }
  RowProgram p = l.program(op, {outer * inner, 1, taps});
  AffineExpr first = p.r.floorDiv(inner) * (inner * taps) + p.r % inner;
  p.out(p.in(l.view(byTaps, {elements}), first, p.c * inner), l.tensor({outer * inner, taps}));
  l.finish(p, result);
}

//===----------------------------------------------------------------------===//
// Convolution
//===----------------------------------------------------------------------===//

/// Notes the work of a program that multiplies and sums.
static void setFlops(rt::FusedOp op) {
  int64_t points = op.getRows() * op.getInner() * op.getCols();
  op->setAttr(rt::RTDialect::kFlopsAttr, Builder(op.getContext()).getI64IntegerAttr(2 * points));
}

using PlaceOf = Place (Windows::*)(RowProgram &, AffineExpr, AffineExpr) const;

/// One program over `rows` that sums over the taps `source` at a place times the tap's weight.
static Value sumOverTaps(Lowering &l, Operation *op, int64_t rows, const Windows &g, Value source,
                         Value weight, PlaceOf place) {
  int64_t channels = numCols(typeOf(source));
  Value taps = byTaps(l, op, weight, 1, channels);
  RowProgram p = l.program(op, {rows, g.taps(), channels});
  Place at = (g.*place)(p, p.r, p.k);
  Value x = zeroOutside(p, at, p.in(source, at.row, p.c));
  p.out(p.mul(x, p.in(taps, p.k, p.c)), l.tensor({rows, channels}));
  rt::FusedOp fused = p.finish();
  setFlops(fused);
  return fused.getResult(0);
}

LogicalResult ns::lower(nn::ConvOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  Windows g = Windows::ofConv(op, op.getInput(), op.getWeight());
  Value input = l.get(op.getInput()), weight = l.get(op.getWeight()), product;
  if (op.getGroups() > 1) {
    product = l.view(sumOverTaps(l, op, g.count(), g, input, weight, &Windows::position),
                     type.getShape());
  } else {
    int64_t inner = numCols(typeOf(input)), outer = numCols(type);
    Value seen = columns(l, op, g, input), taps = byTaps(l, op, weight, outer, inner);
    product = gemm(l, op, type, seen, taps, g.count(), outer, g.taps() * inner, false, true);
  }
  l.set(op.getResult(), product);
  if (op.getBias())
    addBias(l, op, product, l.get(op.getBias()), op.getResult());
  return success();
}

LogicalResult ns::lower(nn::ConvGradInputOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  Windows g = Windows::ofConv(op, op.getResult(), op.getWeight());
  Value grad = l.get(op.getGrad()), weight = l.get(op.getWeight());
  if (op.getGroups() > 1) {
    l.set(op.getResult(),
          l.view(sumOverTaps(l, op, g.positions(), g, grad, weight, &Windows::window),
                 type.getShape()));
    return success();
  }
  int64_t inner = numCols(type), outer = numCols(typeOf(grad)), taps = g.taps();
  RankedTensorType product = g.isIdentity() ? type : l.tensor({g.count() * taps, inner});
  Value cols = gemm(l, op, product, grad, byTaps(l, op, weight, outer, inner), g.count(),
                    taps * inner, outer, false, false);
  if (g.isIdentity()) {
    l.set(op.getResult(), cols);
    return success();
  }
  if (PaddedLines::areFor(g, inner)) {
    l.set(op.getResult(), l.view(sumOfLines(l, op, {g, inner}, cols), type.getShape()));
    return success();
  }
  RowProgram p = l.program(op, {g.positions(), taps, inner});
  Place at = g.window(p, p.r, p.k);
  p.out(zeroOutside(p, at, p.in(cols, at.row * taps + p.k, p.c)), type);
  l.finish(p, op.getResult());
  return success();
}

/// Gradient of a depthwise weight as taps x channels: sums for each image, then over the images.
static Value depthwiseGradWeight(Lowering &l, Operation *op, const Windows &g, Value grad,
                                 Value input) {
  int64_t channels = numCols(typeOf(grad)), taps = g.taps();
  RowProgram p = l.program(op, {g.batch * taps, g.perImage(), channels});
  AffineExpr window = p.r.floorDiv(taps) * g.perImage() + p.k;
  Place at = g.position(p, window, p.r % taps);
  Value x = zeroOutside(p, at, p.in(input, at.row, p.c));
  p.out(p.mul(p.in(grad, window, p.c), x), l.tensor({g.batch * taps, channels}));
  rt::FusedOp partial = p.finish();
  setFlops(partial);
  RowProgram sum = l.program(op, {taps, g.batch, channels});
  sum.out(sum.in(partial.getResult(0), sum.k * taps + sum.r, sum.c), l.tensor({taps, channels}));
  return sum.finish().getResult(0);
}

LogicalResult ns::lower(nn::ConvGradWeightOp op, Lowering &l) {
  Windows g = Windows::ofConv(op, op.getInput(), op.getResult());
  Value grad = l.get(op.getGrad()), input = l.get(op.getInput());
  int64_t inner = numCols(typeOf(input)), outer = numCols(typeOf(grad)), taps = g.taps();
  if (op.getGroups() > 1) {
    setFromTaps(l, op, depthwiseGradWeight(l, op, g, grad, input), op.getResult(), 1, inner);
    return success();
  }
  Value product = gemm(l, op, l.tensor({outer, taps * inner}), grad, columns(l, op, g, input),
                       outer, taps * inner, g.count(), true, false);
  setFromTaps(l, op, product, op.getResult(), outer, inner);
  return success();
}

//===----------------------------------------------------------------------===//
// Pooling
//===----------------------------------------------------------------------===//

namespace {
/// The largest value of a window and the tap of its first occurrence, as a float.
struct Maximum {
  Value value, tap;
};
} // namespace

/// A NaN is larger than all else, as in PyTorch.
static Maximum maximum(RowProgram &p, const Windows &g, Value input) {
  Maximum best;
  for (int64_t tap = 0; tap < g.taps(); ++tap) {
    Place at = g.position(p, p.r, p.lit(tap));
    Value x = p.in(input, at.row, p.c), number = p.constant(double(tap));
    if (at.valid)
      x = p.select(at.valid, x, p.constant(-INFINITY));
    if (!best.value) {
      best = {x, number};
      continue;
    }
    Value larger = p.either(p.compare(arith::CmpFPredicate::OGT, x, best.value),
                            p.compare(arith::CmpFPredicate::UNO, x, x));
    best = {p.select(larger, x, best.value), p.select(larger, number, best.tap)};
  }
  return best;
}

LogicalResult ns::lower(nn::MaxPoolOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  RowProgram p = l.rowwise(op, type);
  p.out(maximum(p, Windows::ofPool(op), l.get(op.getInput())).value, type);
  l.finish(p, op.getResult());
  return success();
}

LogicalResult ns::lower(nn::MaxPoolGradOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType(), windows = op.getGrad().getType();
  Windows g = Windows::ofPool(op);
  RowProgram find = l.rowwise(op, windows);
  find.out(maximum(find, g, l.get(op.getInput())).tap, windows);
  Value taps = find.finish().getResult(0);

  RowProgram p = l.program(op, {g.positions(), g.taps(), numCols(type)});
  Place at = g.window(p, p.r, p.k);
  Value isHere = p.compare(arith::CmpFPredicate::OEQ, p.in(taps, at.row, p.c), p.number(p.k));
  Value grad = p.in(l.get(op.getGrad()), at.row, p.c);
  p.out(p.select(both(p, at.valid, isHere), grad, p.constant(0.0)), type);
  l.finish(p, op.getResult());
  return success();
}
