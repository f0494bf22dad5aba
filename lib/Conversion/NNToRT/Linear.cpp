//===- Linear.cpp - linear layers, patches, attention -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Lowering.h"

using namespace mlir;
using namespace ns;

Value ns::gemm(Lowering &l, Operation *op, RankedTensorType type, Value a, Value b, int64_t m,
               int64_t n, int64_t k, bool transA, bool transB) {
  return rt::GemmOp::create(l.builder, op->getLoc(), type, a, b, /*dest=*/Value(),
                            /*accumulate=*/Value(), /*bias=*/Value(),
                            l.builder.getDenseI64ArrayAttr({m, n, k}),
                            /*batch=*/DenseI64ArrayAttr(), transA, transB);
}

void ns::addBias(Lowering &l, Operation *op, Value product, Value bias, Value result) {
  RowProgram p = l.rowwise(op, typeOf(result));
  p.out(p.add(p.in(product), p.inColumn(bias)), typeOf(result));
  l.finish(p, result);
}

LogicalResult ns::lower(nn::LinearOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  int64_t n = numCols(type), k = numCols(op.getInput().getType());
  Value product = gemm(l, op, type, l.get(op.getInput()), l.get(op.getWeight()), numRows(type), n,
                       k, false, true);
  l.set(op.getResult(), product);
  if (!op.getBias())
    return success();
  // Attention adds the bias on the way into its scratch: one pass over memory less.
  if (llvm::all_of(op->getUsers(), [](Operation *user) {
        return isa<nn::AttentionOp, nn::AttentionGradOp>(user);
      })) {
    l.biasOf[op.getResult()] = l.get(op.getBias());
    return success();
  }
  addBias(l, op, product, l.get(op.getBias()), op.getResult());
  return success();
}

LogicalResult ns::lower(nn::LinearGradInputOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  l.set(op.getResult(), gemm(l, op, type, l.get(op.getGrad()), l.get(op.getWeight()), numRows(type),
                             numCols(type), numCols(op.getGrad().getType()), false, false));
  return success();
}

LogicalResult ns::lower(nn::LinearGradWeightOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  l.set(op.getResult(),
        gemm(l, op, type, l.get(op.getGrad()), l.get(op.getInput()), type.getDimSize(0),
             type.getDimSize(1), numRows(op.getGrad().getType()), true, false));
  return success();
}

//===----------------------------------------------------------------------===//
// Patches
//===----------------------------------------------------------------------===//

namespace {
/// Where row r of the patch matrix, seen as rows of one patch line (b, gy, gx, channel, py), lies
/// in the image seen as rows of ph-wide pieces.
struct PatchGeometry {
  int64_t batch, channels, height, width, ph, pw, gh, gw;

  static FailureOr<PatchGeometry> get(Operation *op, RankedTensorType image,
                                      ArrayRef<int64_t> patch) {
    PatchGeometry g{image.getDimSize(0),
                    image.getDimSize(1),
                    image.getDimSize(2),
                    image.getDimSize(3),
                    patch[0],
                    patch[1],
                    0,
                    0};
    g.gh = g.height / g.ph;
    g.gw = g.width / g.pw;
    if (g.gh * g.ph != g.height || g.gw * g.pw != g.width)
      return op->emitOpError("expected patches of ")
             << g.ph << "x" << g.pw << " to tile an image of " << g.height << "x" << g.width;
    return g;
  }
  int64_t lines() const { return batch * gh * gw * channels * ph; }
  int64_t tokens() const { return gh * gw; }
  int64_t patchSize() const { return channels * ph * pw; }
  AffineExpr channel(AffineExpr r) const { return r.floorDiv(ph) % channels; }
  AffineExpr imageRow(AffineExpr r) const {
    AffineExpr py = r % ph, gx = r.floorDiv(ph * channels) % gw,
               gy = r.floorDiv(ph * channels * gw) % gh;
    AffineExpr b = r.floorDiv(ph * channels * gw * gh);
    return ((b * channels + channel(r)) * height + gy * ph + py) * gw + gx;
  }
};
} // namespace

FailureOr<Value> Lowering::patches(Operation *user, Value image, ArrayRef<int64_t> patch,
                                   int64_t tokens) {
  if (Value known = patchesOf.lookup(image))
    return known;
  auto normalize = image.getDefiningOp<nn::NormalizeOp>();
  Value pixels = normalize ? normalize.getImage() : image;
  auto geometry = PatchGeometry::get(user, typeOf(pixels), patch);
  if (failed(geometry))
    return failure();
  const PatchGeometry &g = *geometry;
  RowProgram p = program(user, {g.lines(), 1, g.pw});
  Value x =
      p.in(view(get(pixels), {g.batch * g.channels * g.height * g.gw, g.pw}), g.imageRow(p.r), p.c);
  if (normalize) {
    x = p.sub(x, p.perIndex(g.channel(p.r), normalize.getMean()));
    x = p.div(x, p.perIndex(g.channel(p.r), normalize.getStd()));
  }
  p.out(x, tensor({g.lines(), g.pw}));
  Value matrix = view(p.finish().getResult(0), {g.batch * g.tokens(), g.patchSize()});
  patchesOf[image] = matrix;
  return matrix;
}

LogicalResult ns::lower(nn::PatchEmbedOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  auto matrix = l.patches(op, op.getImage(), op.getPatch(), type.getDimSize(1));
  if (failed(matrix))
    return failure();
  int64_t size = numCols(typeOf(*matrix)), width = numCols(type);
  Value product = gemm(l, op, type, *matrix, l.view(l.get(op.getWeight()), {width, size}),
                       numRows(type), width, size, false, true);
  l.set(op.getResult(), product);
  if (op.getBias())
    addBias(l, op, product, l.get(op.getBias()), op.getResult());
  return success();
}

LogicalResult ns::lower(nn::PatchEmbedGradInputOp op, Lowering &l) {
  RankedTensorType type = op.getResult().getType();
  auto geometry = PatchGeometry::get(op, type, op.getPatch());
  if (failed(geometry))
    return failure();
  const PatchGeometry &g = *geometry;
  int64_t rows = g.batch * g.tokens(), width = numCols(op.getGrad().getType());
  Value grads = gemm(l, op, l.tensor({rows, g.patchSize()}), l.get(op.getGrad()),
                     l.view(l.get(op.getWeight()), {width, g.patchSize()}), rows, g.patchSize(),
                     width, false, false);
  RowProgram p = l.program(op, {g.lines(), 1, g.pw});
  auto pieces = l.tensor({g.batch * g.channels * g.height * g.gw, g.pw});
  p.out(p.in(l.view(grads, {g.lines(), g.pw})), pieces, g.imageRow(p.r), p.c);
  l.finish(p, op.getResult());
  return success();
}

LogicalResult ns::lower(nn::PatchEmbedGradWeightOp op, Lowering &l) {
  RankedTensorType grad = op.getGrad().getType();
  auto matrix = l.patches(op, op.getImage(), op.getPatch(), grad.getDimSize(1));
  if (failed(matrix))
    return failure();
  int64_t size = numCols(typeOf(*matrix)), width = numCols(grad);
  Value product = gemm(l, op, l.tensor({width, size}), l.get(op.getGrad()), *matrix, width, size,
                       numRows(grad), true, false);
  l.set(op.getResult(), l.view(product, op.getResult().getType().getShape()));
  return success();
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

/// The inputs as they leave the library, and their biases if every one has a bias.
static void attentionInputs(Lowering &l, OperandRange operands, SmallVectorImpl<Value> &inputs,
                            SmallVectorImpl<Value> &biases) {
  for (Value operand : operands) {
    inputs.push_back(l.get(operand));
    if (Value bias = l.biasOf.lookup(operand))
      biases.push_back(bias);
  }
  if (biases.empty() || biases.size() == inputs.size())
    return;
  biases.clear();
  for (auto [operand, input] : llvm::zip(operands, inputs))
    if (Value bias = l.biasOf.lookup(operand)) {
      addBias(l, operand.getDefiningOp(), input, bias, operand);
      l.biasOf.erase(operand);
      input = l.get(operand);
    }
}

LogicalResult ns::lower(nn::AttentionOp op, Lowering &l) {
  SmallVector<Value> inputs, biases;
  attentionInputs(l, op.getInputs(), inputs, biases);
  auto attention = rt::AttentionOp::create(
      l.builder, op.getLoc(), op.getResult().getType(),
      /*statistics=*/Type(), inputs, biases, l.get(op.getBias()), l.get(op.getMask()),
      op.getHeadsAttr(), op.getScaleAttr(), op.getWindowAttr());
  l.set(op.getResult(), attention.getResult());
  return success();
}

/// Sums the scores' gradients, one matrix for each head of each image or window, in that order.
static void sumScoresGrad(Lowering &l, nn::AttentionGradOp op, Value grads) {
  RankedTensorType type = typeOf(op.getDbias()), stacked = typeOf(grads);
  int64_t rows = stacked.getDimSize(1);
  RowProgram p = l.program(op, {rows, stacked.getDimSize(0), stacked.getDimSize(2)});
  p.out(p.in(grads, p.k * rows + p.r, p.c), type);
  l.finish(p, op.getDbias());
}

LogicalResult ns::lower(nn::AttentionGradOp op, Lowering &l) {
  SmallVector<Value> inputs, biases;
  attentionInputs(l, op.getInputs(), inputs, biases);
  SmallVector<Type> types(op.getInputs().getTypes());
  if (op.getDbias()) {
    RankedTensorType bias = typeOf(op.getDbias()), query = op.getGrad().getType();
    int64_t heads = bias.getDimSize(0), queries = bias.getDimSize(1), keys = bias.getDimSize(2);
    int64_t windows = query.getDimSize(0) * query.getDimSize(1) / queries;
    types.push_back(l.tensor({windows, heads * queries, keys}));
  }
  auto grad = rt::AttentionGradOp::create(l.builder, op.getLoc(), types, l.get(op.getGrad()),
                                          inputs, biases, l.get(op.getBias()), l.get(op.getMask()),
                                          /*output=*/Value(), /*statistics=*/Value(),
                                          op.getHeadsAttr(), op.getScaleAttr(), op.getWindowAttr());
  for (auto [input, result, value] : llvm::zip(op.getInputs(), op.getResults(), grad.getResults()))
    l.set(result, value);
  if (op.getDbias())
    sumScoresGrad(l, op, grad.getScoresGrad());
  return success();
}
