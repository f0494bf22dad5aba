//===- OpTable.cpp - what the ops of an entry are and cost -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "OpTable.h"

#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Dialect/RT/IR/RT.h"

#include "mlir/Transforms/RegionUtils.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/raw_ostream.h"

#include <limits>
#include <numeric>

using namespace mlir;
using namespace ns;
using rt::typeOf;

static std::string shapeText(ArrayRef<int64_t> extents) {
  std::string text;
  llvm::raw_string_ostream os(text);
  llvm::interleave(extents, os, "x");
  return text;
}

/// Rows, k and columns of a row program, or of the one that a launch was made of.
static ArrayRef<int64_t> spaceOf(Operation *op) {
  if (auto fused = dyn_cast<rt::FusedOp>(op))
    return fused.getSpace();
  return op->getAttrOfType<DenseI64ArrayAttr>(rt::RTDialect::kSpaceAttr).asArrayRef();
}

/// Bytes of operands and results, each counted once; of a row program no more of one than its
/// points reach.
static int64_t bytesOf(Operation *op) {
  int64_t points = std::numeric_limits<int64_t>::max();
  bool isProgram = isa<rt::FusedOp, rt::LaunchOp>(op);
  if (isProgram)
    points = std::accumulate(spaceOf(op).begin(), spaceOf(op).end(), int64_t(1),
                             std::multiplies<int64_t>());
  llvm::SetVector<Value> values(op->operand_begin(), op->operand_end());
  values.insert(op->result_begin(), op->result_end());
  if (!isProgram)
    getUsedValuesDefinedAbove(op->getRegions(), values);
  int64_t bytes = 0;
  for (Value value : values)
    if (auto type = dyn_cast<RankedTensorType>(value.getType()))
      bytes += rt::byteSize(type) / std::max<int64_t>(type.getNumElements(), 1) *
               std::min(type.getNumElements(), points);
  return bytes;
}

static void describeProduct(rt::GemmOp op, OpInfo &info) {
  // Y = X W^T, dX = dY W, dW = dY^T X, as weights lie in memory.
  auto pack = op.getB().getDefiningOp<rt::PackOp>();
  bool transB = pack ? pack.getTransB() : op.getTransB() || op.getPacked(); // packed at load
  info.kind = op.getBatch()      ? "batched_product"
              : op.getTransA() ? "weight_gradient"
              : transB         ? "product"
                               : "input_gradient";
  SmallVector<int64_t> extents(op.getMnk());
  if (op.getBatch())
    extents.insert(extents.begin(), op.getBatchCount());
  info.shape = shapeText(extents);
  info.flops = 2 * op.getBatchCount() * op.getMnk()[0] * op.getMnk()[1] * op.getMnk()[2];
}

/// `tokens`: the queries, or the gradient of the result; `width`: channels of the result.
static void describeAttention(Operation *op, ValueRange inputs, RankedTensorType tokens,
                              int64_t width, OpInfo &info) {
  int64_t heads = op->getAttrOfType<IntegerAttr>("heads").getInt();
  int64_t images = tokens.getDimSize(0), queries = tokens.getDimSize(1),
          keys = typeOf(inputs.back()).getDimSize(1);
  if (auto window = op->getAttrOfType<IntegerAttr>("window")) {
    images *= queries / window.getInt();
    queries = keys = window.getInt();
  }
  info.shape = shapeText({images, heads, queries, keys, width / heads});
  int64_t product = 2 * images * queries * keys * width;
  bool forward = isa<rt::AttentionOp>(op);
  info.kind = forward ? "attention" : "attention_gradient";
  info.flops = (forward ? 2 : 4) * product; // Q K^T and P V; dV, dP, dQ and dK
  info.recomputed = forward ? 0 : product;  // Q K^T again
}

static OpInfo describe(Operation *op) {
  OpInfo info;
  info.op = op;
  info.bytes = bytesOf(op);
  if (auto layer = op->getAttrOfType<StringAttr>(nn::NNDialect::kLayerAttr))
    info.layer = layer.getValue();
  if (auto gemm = dyn_cast<rt::GemmOp>(op)) {
    describeProduct(gemm, info);
  } else if (auto attention = dyn_cast<rt::AttentionOp>(op)) {
    auto tokens = typeOf(op->getOperand(0));
    describeAttention(op, attention.getInputs(), tokens,
                      typeOf(attention.getResult()).getDimSize(2), info);
  } else if (auto gradient = dyn_cast<rt::AttentionGradOp>(op)) {
    auto tokens = typeOf(gradient.getGrad());
    describeAttention(op, gradient.getInputs(), tokens, tokens.getDimSize(2), info);
  } else if (isa<rt::FusedOp, rt::LaunchOp>(op)) {
    info.kind = "rows";
    info.shape = shapeText(spaceOf(op));
    if (auto launch = dyn_cast<rt::LaunchOp>(op))
      info.kernel = launch.getKernel().getLeafReference().getValue();
    if (auto flops = op->getAttrOfType<IntegerAttr>(rt::RTDialect::kFlopsAttr))
      info.flops = flops.getInt();
  } else if (auto pack = dyn_cast<rt::PackOp>(op)) {
    info.kind = "pack";
    info.shape = shapeText(pack.getNk());
  } else {
    info.kind = "group";
    for (Region &region : op->getRegions())
      for (Operation &member : region.getOps())
        if (rt::isTimed(&member))
          info.members.push_back(describe(&member));
    for (const OpInfo &member : info.members) {
      info.flops += member.flops;
      info.recomputed += member.recomputed;
    }
  }
  return info;
}

std::vector<OpInfo> ns::listOps(func::FuncOp entry) {
  std::vector<OpInfo> ops;
  for (Operation &op : entry.getBody().front())
    if (rt::isTimed(&op))
      ops.push_back(describe(&op));
  return ops;
}
