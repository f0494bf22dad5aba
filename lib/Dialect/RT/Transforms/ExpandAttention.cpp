//===- ExpandAttention.cpp - attention as products and row programs -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/RT/IR/AttentionShape.h"
#include "ns/Dialect/RT/IR/RowProgram.h"
#include "ns/Dialect/RT/Transforms/Passes.h"

#include "llvm/Support/MathExtras.h"

#include <map>

namespace ns::rt {
#define GEN_PASS_DEF_RTEXPANDATTENTIONPASS
#include "ns/Dialect/RT/Transforms/Passes.h.inc"
} // namespace ns::rt

using namespace mlir;
using namespace ns;
using namespace ns::rt;

namespace {

/// One matrix for each head of each image or window, one after the other: `stride` elements from
/// one to the next.
struct Heads {
  Value value;
  int64_t stride;
};

/// What is made once from the operands of an attention, whichever of its ops asks first.
struct Moved {
  Heads parts[3];        ///< q, k, v
  Value scoreBias, mask; ///< in rows as wide as those of the scores, or null
  Value probabilities;   ///< of the forward op, or null
};

/// Expands one op, before it.
class Expander {
public:
  Expander(Operation *op, int64_t multiple)
      : op(op), shape(op), b(op), loc(op->getLoc()),
        element(typeOf(op->getOperand(0)).getElementType()),
        paddedKeys(llvm::alignTo(shape.keys, multiple)), numImages(shape.images * shape.windows),
        numHeads(numImages * shape.heads) {}

  /// q, k, v and what is added to the scores.
  Moved move();
  /// The result; for at most `keepKeys` keys the probabilities stay in `moved`.
  Value forward(Moved &moved, int64_t keepKeys);
  /// The results of the gradient.
  SmallVector<Value> backward(const Moved &moved);

  int64_t numMoves = 0;

private:
  RankedTensorType tensor(ArrayRef<int64_t> extents) {
    return RankedTensorType::get(extents, element);
  }
  RowProgram program(int64_t rows, int64_t cols) {
    return RowProgram(b, loc, element, {rows, 1, cols});
  }
  Value finish(RowProgram &p) { return named(p.finish()).getResult(0); }
  FusedOp named(FusedOp program) {
    program->setDiscardableAttrs(op->getDiscardableAttrDictionary());
    return program;
  }
  Value view(Value value, ArrayRef<int64_t> extents, int64_t offset = 0);
  int64_t rowsOf(unsigned part) const { return part == 0 ? shape.queries : shape.keys; }
  SmallVector<unsigned> partsOf(unsigned input) const;
  void moveInput(unsigned input, Moved &moved);
  Value padded(Value stack);
  Value movedBack(Value heads, int64_t rows, int64_t paddedRows, int64_t part, int64_t parts,
                  double factor, Value dest);
  Value product(Heads left, Heads right, std::array<int64_t, 3> mnk, bool transA, bool transB);
  Value exponentials(RowProgram &p, const Moved &moved, Value scores);
  RowProgram scoresProgram() { return program(numHeads * shape.queries, paddedKeys); }
  RankedTensorType scoresType() { return tensor({numHeads, shape.queries, paddedKeys}); }

  Operation *op;
  AttentionShape shape;
  OpBuilder b;
  Location loc;
  Type element;
  int64_t paddedKeys, numImages, numHeads;
};
} // namespace

Value Expander::view(Value value, ArrayRef<int64_t> extents, int64_t offset) {
  auto type = RankedTensorType::get(extents, typeOf(value).getElementType());
  if (type == value.getType())
    return value;
  return ViewOp::create(b, loc, type, value, offset);
}

//===----------------------------------------------------------------------===//
// Moves
//===----------------------------------------------------------------------===//

SmallVector<unsigned> Expander::partsOf(unsigned input) const {
  SmallVector<unsigned> parts;
  for (unsigned part = 0; part < 3; ++part)
    if (shape.parts[part].input == input)
      parts.push_back(part);
  return parts;
}

/// The parts that one input holds, with its bias: a matrix of tokens x dim for each part, image and
/// head. Where keys or values are among them, zeros pad the tokens.
void Expander::moveInput(unsigned input, Moved &moved) {
  SmallVector<unsigned> parts = partsOf(input);
  int64_t count = parts.size(), heads = shape.heads, dim = shape.dim;
  int64_t tokens = rowsOf(parts.back()), total = parts.back() == 0 ? tokens : paddedKeys;
  RowProgram p = program(count * numHeads * total, dim);
  AffineExpr part = count == 1 ? p.lit(0) : p.r.floorDiv(numHeads * total);
  AffineExpr image = p.r.floorDiv(heads * total), head = p.r.floorDiv(total) % heads;
  if (count > 1)
    image = image % numImages;
  AffineExpr token = p.r % total;
  AffineExpr column = part * heads + head; // in pieces of `dim` channels
  Value source = shape.inputs[input];
  int64_t pieces = count * heads;
  AffineExpr row = (image * tokens + (total == tokens ? token : token % tokens)) * pieces + column;
  Value x = p.in(view(source, {typeOf(source).getNumElements() / dim, dim}), row, p.c);
  if (!shape.biases.empty())
    x = p.add(x, p.in(view(shape.biases[input], {pieces, dim}), column, p.c));
  if (total != tokens)
    x = p.select(p.compare(arith::CmpIPredicate::slt, p.index(token), p.integer(tokens)), x,
                 p.constant(0.0));
  p.out(x, tensor({count * numHeads, total, dim}));
  Value result = finish(p);
  ++numMoves;
  for (auto [i, part] : llvm::enumerate(parts))
    moved.parts[part] = {view(result, {numHeads, total, dim}, int64_t(i) * numHeads * total * dim),
                         total * dim};
}

/// A stack of matrices queries x keys in rows as wide as those of the scores; what lies past column
/// `keys` is not written.
Value Expander::padded(Value stack) {
  if (!stack || paddedKeys == shape.keys)
    return stack;
  int64_t count = typeOf(stack).getDimSize(0);
  RowProgram p = program(count * shape.queries, shape.keys);
  p.out(p.in(stack), tensor({count, shape.queries, paddedKeys}));
  ++numMoves;
  return finish(p);
}

Moved Expander::move() {
  Moved moved;
  for (unsigned input = 0; input < shape.inputs.size(); ++input)
    moveInput(input, moved);
  moved.scoreBias = padded(shape.scoreBias);
  moved.mask = padded(shape.mask);
  return moved;
}

/// factor * heads, as the rows of `part` of `parts` of a tensor of images x tokens x channels: a
/// new one, or `dest`. Of each matrix's `paddedRows` rows the first `rows` count.
Value Expander::movedBack(Value heads, int64_t rows, int64_t paddedRows, int64_t part,
                          int64_t parts, double factor, Value dest) {
  int64_t dim = shape.dim, pieces = parts * shape.heads;
  RowProgram p = program(numImages * rows * shape.heads, dim); // (image, token, head)
  AffineExpr token = p.r.floorDiv(shape.heads), head = p.r % shape.heads;
  AffineExpr from =
      token.floorDiv(rows) * (shape.heads * paddedRows) + head * paddedRows + token % rows;
  Value x = p.in(heads, from, p.c);
  if (factor != 1.0)
    x = p.mul(x, p.constant(factor));
  AffineExpr to = parts == 1 ? p.r : token * pieces + (head + part * shape.heads);
  p.out(x, tensor({numImages * rows * pieces, dim}), to, p.c, dest);
  ++numMoves;
  return finish(p);
}

//===----------------------------------------------------------------------===//
// Products and softmax
//===----------------------------------------------------------------------===//

/// One product of m x n x k for each head.
Value Expander::product(Heads left, Heads right, std::array<int64_t, 3> mnk, bool transA,
                        bool transB) {
  auto gemm = GemmOp::create(
      b, loc, tensor({numHeads, mnk[0], mnk[1]}), left.value, right.value,
      /*dest=*/Value(), /*accumulate=*/Value(), /*bias=*/Value(), b.getDenseI64ArrayAttr(mnk),
      b.getDenseI64ArrayAttr({numHeads, left.stride, right.stride}), transA, transB);
  gemm->setDiscardableAttrs(op->getDiscardableAttrDictionary());
  return gemm;
}

/// exp(x - max(x)) of a row x of scores, scaled and with what is added to them; 0 past the last
/// key.
Value Expander::exponentials(RowProgram &p, const Moved &moved, Value scores) {
  AffineExpr query = p.r % shape.queries, head = p.r.floorDiv(shape.queries) % shape.heads;
  AffineExpr window = p.r.floorDiv(shape.queries * shape.heads) % shape.windows;
  Value x = p.mul(p.in(scores), p.constant(shape.scale));
  if (moved.scoreBias)
    x = p.add(x, p.in(moved.scoreBias, head * shape.queries + query, p.c));
  if (moved.mask)
    x = p.add(x, p.in(moved.mask, window * shape.queries + query, p.c));
  /// Whose exponential is 0, with no infinity on the way.
  constexpr double kNothing = -1e30;
  if (paddedKeys != shape.keys)
    x = p.select(p.compare(arith::CmpIPredicate::slt, p.index(p.c), p.integer(shape.keys)), x,
                 p.constant(kNothing));
  return p.exp(p.sub(x, p.max(x)));
}

Value Expander::forward(Moved &moved, int64_t keepKeys) {
  int64_t m = shape.queries, n = paddedKeys, d = shape.dim;
  auto [q, k, v] = moved.parts;
  Value scores = product(q, k, {m, n, d}, false, true);
  RowProgram p = scoresProgram();
  Value e = exponentials(p, moved, scores);
  p.out(p.mul(e, p.div(p.constant(1.0), p.sum(e))), scoresType());
  Value probabilities = finish(p);
  if (shape.keys <= keepKeys)
    moved.probabilities = probabilities;
  Value heads = product({probabilities, m * n}, v, {m, d, n}, false, false);
  return view(movedBack(heads, m, m, 0, 1, 1.0, {}),
              {shape.images, shape.windows * m, shape.width});
}

SmallVector<Value> Expander::backward(const Moved &moved) {
  int64_t m = shape.queries, n = paddedKeys, d = shape.dim, heads = shape.heads;
  auto [q, k, v] = moved.parts;
  RowProgram move = program(numHeads * m, d);
  Value grad = cast<AttentionGradOp>(op).getGrad();
  AffineExpr image = move.r.floorDiv(m * heads), head = move.r.floorDiv(m) % heads;
  move.out(move.in(view(grad, {typeOf(grad).getNumElements() / d, d}),
                   (image * m + move.r % m) * heads + head, move.c),
           tensor({numHeads, m, d}));
  Heads dOut{finish(move), m * d};
  ++numMoves;

  Value dProbabilities = product(dOut, v, {m, n, d}, false, true);
  RowProgram p = scoresProgram();
  Value dp = p.in(dProbabilities), probability, probabilities = moved.probabilities;
  Value mean;
  if (probabilities) {
    probability = p.in(probabilities);
    mean = p.sum(p.mul(probability, dp));
  } else {
    Value e = exponentials(p, moved, product(q, k, {m, n, d}, false, true));
    Value inverse = p.div(p.constant(1.0), p.sum(e)); // both sums in one pass
    mean = p.mul(p.sum(p.mul(e, dp)), inverse);
    probability = p.mul(e, inverse);
    p.out(probability, scoresType());
  }
  p.out(p.mul(probability, p.sub(dp, mean)), scoresType());
  FusedOp softmax = named(p.finish());
  if (!probabilities)
    probabilities = softmax.getResult(0);
  Heads dScores{softmax.getResults().back(), m * n};

  Value parts[3] = {product(dScores, k, {m, d, n}, false, false),
                    product(dScores, q, {n, d, m}, true, false),
                    product({probabilities, m * n}, dOut, {n, d, m}, true, false)};
  SmallVector<Value> results;
  for (unsigned input = 0; input < shape.inputs.size(); ++input) {
    SmallVector<unsigned> mine = partsOf(input);
    Value result;
    for (auto [i, part] : llvm::enumerate(mine))
      result = movedBack(parts[part], rowsOf(part), part == 0 ? m : n, i, mine.size(),
                         part == 2 ? 1.0 : shape.scale, result);
    results.push_back(view(result, typeOf(shape.inputs[input]).getShape()));
  }
  if (Value scoresGrad = cast<AttentionGradOp>(op).getScoresGrad()) {
    RowProgram copy = program(numHeads * m, shape.keys);
    copy.out(copy.in(dScores.value), typeOf(scoresGrad));
    results.push_back(finish(copy));
    ++numMoves;
  }
  return results;
}

namespace {
struct RTExpandAttentionPass
    : public ns::rt::impl::RTExpandAttentionPassBase<RTExpandAttentionPass> {
  using RTExpandAttentionPassBase::RTExpandAttentionPassBase;

  void runOnOperation() override {
    func::FuncOp entry = getOperation();
    if (padKeys < 1) {
      entry.emitError("expected pad-keys to be at least 1, but got ") << int64_t(padKeys);
      return signalPassFailure();
    }
    std::map<std::vector<const void *>, Moved> known;
    for (Operation &op : llvm::make_early_inc_range(entry.getBody().front())) {
      if (!isa<AttentionOp, AttentionGradOp>(op) || isLibraryAttention(&op))
        continue;
      Expander expander(&op, padKeys);
      auto [place, isNew] = known.try_emplace(scoresKey(&op));
      if (isNew)
        place->second = expander.move();
      if (isa<AttentionOp>(op))
        op.getResult(0).replaceAllUsesWith(expander.forward(place->second, keepKeys));
      else
        op.replaceAllUsesWith(expander.backward(place->second));
      numMoves += expander.numMoves;
      ++numExpanded;
      op.erase();
    }
  }
};
} // namespace
