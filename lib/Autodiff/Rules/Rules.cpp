//===- Rules.cpp - helpers of the derivative rules -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Rules.h"

#include "ns/Dialect/NN/IR/NN.h"

using namespace mlir;

RankedTensorType ns::autodiff::withDim(Type type, unsigned dim, int64_t size) {
  auto tensor = cast<RankedTensorType>(type);
  SmallVector<int64_t> shape(tensor.getShape());
  shape[dim] = size;
  return tensor.clone(shape);
}

Value ns::autodiff::sumToShape(OpBuilder &builder, Location loc, Value cotangent, Type type) {
  if (cotangent.getType() == type)
    return cotangent;
  return nn::SumBatchOp::create(builder, loc, type, cotangent);
}
