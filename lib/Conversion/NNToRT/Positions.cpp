//===- Positions.cpp - relative and rotary positions -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ns;

//===----------------------------------------------------------------------===//
// Relative positions
//===----------------------------------------------------------------------===//

namespace {
/// The table of relative positions of a grid, and the tokens that look it up. Kernels divide
/// without sign, so that every expression here that is divided is at least 0.
struct RelativeTable {
  int64_t gh, gw, prefix, heads;

  RelativeTable(ArrayRef<int64_t> grid, int64_t prefix, int64_t heads)
      : gh(grid[0]), gw(grid[1]), prefix(prefix), heads(heads) {}

  int64_t cells() const { return gh * gw; }
  int64_t tokens() const { return cells() + prefix; }
  /// Entries for pairs of cells; those of the class token follow.
  int64_t pairs() const { return (2 * gh - 1) * (2 * gw - 1); }
  int64_t entries() const { return pairs() + 3 * prefix; }
  /// Cell of token n; any one for a class token.
  AffineExpr cell(AffineExpr n) const {
    return prefix == 0 ? n : (n + (cells() - prefix)) % cells();
  }
  /// Entry of the cells i and j.
  AffineExpr entry(AffineExpr i, AffineExpr j) const {
    AffineExpr dy = i.floorDiv(gw) - j.floorDiv(gw) + (gh - 1);
    AffineExpr dx = i % gw - j % gw + (gw - 1);
    return dy * (2 * gw - 1) + dx;
  }
};
} // namespace

LogicalResult ns::lower(nn::RelativeBiasOp op, Lowering &l) {
  RelativeTable t(op.getGrid(), op.getPrefix(), op.getTable().getType().getDimSize(1));
  int64_t tokens = t.tokens();
  RowProgram p = l.program(op, {t.heads * tokens, tokens, 1}); // r = (head, i), k = j
  AffineExpr head = p.r.floorDiv(tokens), i = p.r % tokens, j = p.k;
  Value table = l.view(l.get(op.getTable()), {t.entries() * t.heads});
  auto at = [&](AffineExpr entry) { return p.in(table, entry * t.heads + head, p.lit(0)); };
  Value value = at(t.entry(t.cell(i), t.cell(j)));
  if (t.prefix) {
    auto isClass = [&](AffineExpr n) {
      return p.compare(arith::CmpIPredicate::eq, p.index(n), p.integer(0));
    };
    Value fromClass = at(p.lit(t.pairs())), toClass = at(p.lit(t.pairs() + 1)),
          both = at(p.lit(t.pairs() + 2));
    value = p.select(isClass(i), p.select(isClass(j), both, fromClass),
                     p.select(isClass(j), toClass, value));
  }
  p.out(value, l.tensor({t.heads * tokens * tokens}), p.r * tokens + p.k, p.lit(0));
  l.finish(p, op.getResult());
  return success();
}

/// The three entries of a class token: sums of the first row, of the first column, and the corner.
/// Written behind those of pairs, in `dest`.
static Value sumClassEntries(Lowering &l, Operation *op, const RelativeTable &t, Value grad,
                             Value dest) {
  int64_t tokens = t.tokens();
  RowProgram p =
      l.program(op, {3 * t.heads, t.cells(), 1}); // r = (entry, head), k = the other token
  AffineExpr which = p.r.floorDiv(t.heads), first = p.r % t.heads * (tokens * tokens);
  auto at = [&](AffineExpr element) { return p.in(grad, first + element, p.lit(0)); };
  auto is = [&](AffineExpr expr, uint32_t value) {
    return p.compare(arith::CmpIPredicate::eq, p.index(expr), p.integer(value));
  };
  Value corner = p.select(is(p.k, 0), at(p.lit(0)), p.constant(0.0));
  Value side = p.select(is(which, 0), at(p.k + 1), at((p.k + 1) * tokens));
  p.out(p.select(is(which, 2), corner, side), typeOf(dest), p.r + t.pairs() * t.heads, p.lit(0),
        dest);
  return p.finish().getResult(0);
}

/// Sums over the rows of the grid: element (x of i, x of j) of one matrix for each head and
/// difference of rows, `2 gh - 1` of them. A row of the grid is a row of columns here.
static Value sumOverGridRows(Lowering &l, Operation *op, const RelativeTable &t, Value grad) {
  int64_t tokens = t.tokens(), gh = t.gh, gw = t.gw, differences = 2 * gh - 1;
  // r = (head, difference, x of i), k = y of i, c = x of j
  RowProgram p = l.program(op, {t.heads * differences * gw, gh, gw});
  AffineExpr head = p.r.floorDiv(differences * gw), difference = p.r.floorDiv(gw) % differences;
  AffineExpr y = p.k - difference + (gh - 1); // of j, perhaps beside the grid
  AffineExpr i = p.k * gw + p.r % gw + t.prefix, j = (y + gh) % gh * gw + t.prefix;
  Value element = p.in(grad, (head * tokens + i) * tokens + j, p.c);
  p.out(p.select(p.inRange(y, 0, gh), element, p.constant(0.0)),
        l.tensor({t.heads * differences * gw, gw}));
  return p.finish().getResult(0);
}

LogicalResult ns::lower(nn::RelativeBiasGradOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  RelativeTable t(op.getGrid(), op.getPrefix(), type.getDimSize(1));
  int64_t tokens = t.tokens(), gw = t.gw;
  Value grad = l.view(l.get(op.getGrad()), {t.heads * tokens * tokens});
  Value sums = sumOverGridRows(l, op, t, grad);
  sums = l.view(sums, {typeOf(sums).getNumElements()});
  // r = (entry, head), k = x of i; an entry is a difference of rows and one of columns.
  RowProgram p = l.program(op, {t.pairs() * t.heads, gw, 1});
  AffineExpr entry = p.r.floorDiv(t.heads), head = p.r % t.heads;
  AffineExpr matrix = head * (2 * t.gh - 1) + entry.floorDiv(2 * gw - 1);
  AffineExpr x = p.k - entry % (2 * gw - 1) + (gw - 1); // of j, perhaps beside the grid
  Value element = p.in(sums, (matrix * gw + p.k) * gw + (x + gw) % gw, p.lit(0));
  p.out(p.select(p.inRange(x, 0, gw), element, p.constant(0.0)), l.tensor({t.entries() * t.heads}),
        p.r, p.lit(0));
  Value result = p.finish().getResult(0);
  if (t.prefix)
    result = sumClassEntries(l, op, t, grad, result);
  l.set(op.getResult(), l.view(result, type.getShape()));
  return success();
}

//===----------------------------------------------------------------------===//
// Rotary positions
//===----------------------------------------------------------------------===//

LogicalResult ns::lower(nn::RotaryOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  int64_t heads = op.getHeads(), prefix = op.getPrefix(), tokens = type.getDimSize(1);
  int64_t width = op.getSin().getType().getDimSize(1), positions = tokens - prefix;
  auto rows = l.tensor({type.getNumElements() / width, width}); // one for each head of each token
  RowProgram p = l.rowwise(op, rows);
  AffineExpr token = p.r.floorDiv(heads) % tokens;
  // token - prefix, kept at least 0: tokens before the grid read some row and ignore it.
  AffineExpr position = (token + int64_t(llvm::alignTo(prefix, positions) - prefix)) % positions;
  Value x = p.in(l.view(l.get(op.getInput()), rows.getShape()));
  Value cos = p.in(l.get(op.getCos()), position, p.c),
        sin = p.in(l.get(op.getSin()), position, p.c);
  Value isOdd =
      p.compare(arith::CmpIPredicate::ne, p.bitAnd(p.index(p.c), p.integer(1)), p.integer(0));
  Value turn = p.mul(sin, p.select(isOdd, p.constant(1.0), p.constant(-1.0)));
  Value across = op.getTransposed() ? p.swapPairs(p.mul(x, turn)) : p.mul(p.swapPairs(x), turn);
  Value result = p.fma(x, cos, across);
  if (prefix > 0)
    result = p.select(p.compare(arith::CmpIPredicate::uge, p.index(token), p.integer(prefix)),
                      result, x);
  p.out(result, rows);
  l.finish(p, op.getResult());
  return success();
}
