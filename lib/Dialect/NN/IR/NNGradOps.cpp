//===- NNGradOps.cpp - verifiers of backward ops without a forward twin -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Verifiers.h"
#include "ns/Dialect/NN/IR/NN.h"

using namespace mlir;
using namespace ns::nn;
using namespace ns::verify;

// Those whose shapes are tied as a forward op's are verified beside it, in NNOps.cpp.

LogicalResult LinearGradInputOp::verify() {
  if (failed(expectOneFloatType(*this)) ||
      failed(expectExtent(*this, "weight dimension 0", lastExtent(getGrad()), extent(getWeight(), 0))))
    return failure();
  Shape wanted = withExtent(shapeOf(getGrad()), rankOf(getGrad()) - 1, extent(getWeight(), 1));
  return expectShape(*this, "result", wanted, getResult());
}

/// Gradient and input of a layer have the same rows.
static LogicalResult verifySameRows(Operation *op, Value grad, Value input) {
  if (failed(expectOneFloatType(op)) || failed(expectExtent(op, "the rank of input", rankOf(grad), rankOf(input))))
    return failure();
  return expectShape(op, "input", withExtent(shapeOf(grad), rankOf(grad) - 1, lastExtent(input)), input);
}

LogicalResult LinearGradWeightOp::verify() {
  return success(succeeded(verifySameRows(*this, getGrad(), getInput())) &&
                 succeeded(expectShape(*this, "result", {lastExtent(getGrad()), lastExtent(getInput())}, getResult())));
}

LogicalResult SumRowsOp::verify() {
  return success(succeeded(expectOneFloatType(*this)) &&
                 succeeded(expectShape(*this, "result", {lastExtent(getInput())}, getResult())));
}

LogicalResult SumBatchOp::verify() {
  return success(succeeded(expectOneFloatType(*this)) && succeeded(expectAtLeast(*this, "the rank", 1, rankOf(getInput()))) &&
                 succeeded(expectShape(*this, "result", withExtent(shapeOf(getInput()), 0, 1), getResult())));
}

LogicalResult LayerScaleGradGammaOp::verify() {
  return success(succeeded(expectOneFloatType(*this)) &&
                 succeeded(expectShape(*this, "result", {lastExtent(getInput())}, getResult())));
}
