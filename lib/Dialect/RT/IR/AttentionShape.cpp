//===- AttentionShape.cpp - extents of an attention op -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/RT/IR/AttentionShape.h"

using namespace mlir;
using namespace ns::rt;

template <typename OpT> static void read(OpT op, RankedTensorType output, AttentionShape &shape) {
  OperandRange inputs = op.getInputs();
  shape.inputs = inputs;
  shape.biases = op.getBiases();
  shape.scoreBias = op.getScoreBias();
  shape.mask = op.getMask();
  shape.heads = op.getHeads();
  shape.scale = op.getScale().convertToDouble();
  shape.images = output.getDimSize(0);
  shape.queries = output.getDimSize(1);
  shape.width = output.getDimSize(2);
  shape.keys = typeOf(inputs.back()).getDimSize(1);
  shape.dim = shape.width / shape.heads;
  if (std::optional<uint64_t> window = op.getWindow()) {
    shape.windows = shape.keys / int64_t(*window);
    shape.queries = shape.keys = *window;
  }
  int64_t part = 0;
  for (auto [i, input] : llvm::enumerate(inputs)) {
    int64_t pitch = typeOf(input).getDimSize(2);
    for (int64_t channel = 0; channel < pitch; channel += shape.width)
      shape.parts[part++] = {unsigned(i), channel, pitch};
  }
}

AttentionShape::AttentionShape(Operation *op) {
  if (auto forward = dyn_cast<AttentionOp>(op))
    read(forward, typeOf(forward.getResult()), *this);
  else
    read(cast<AttentionGradOp>(op), typeOf(op->getOperand(0)), *this);
}

std::vector<const void *> ns::rt::scoresKey(Operation *attention) {
  AttentionShape shape(attention);
  std::vector<const void *> key;
  for (ValueRange values : {shape.inputs, shape.biases}) {
    for (Value value : values)
      key.push_back(value.getAsOpaquePointer());
    key.push_back(nullptr);
  }
  for (Value value : {shape.scoreBias, shape.mask})
    key.push_back(value ? value.getAsOpaquePointer() : nullptr);
  for (StringRef name : {"heads", "scale", "window"})
    key.push_back(attention->getAttr(name).getAsOpaquePointer());
  return key;
}

std::string AttentionShape::whyNotCall() const {
  if (scoreBias || mask)
    return "something is added to its scores";
  if (dim % 8 != 0 || dim > 128)
    return "its heads have " + std::to_string(dim) +
           " channels, expected a multiple of 8 up to 128";
  return queries == 1 || keys == 1 ? "it has one query or key" : "";
}
