//===- NNGradOps.cpp - verifiers of the backward ops -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/NN/IR/NN.h"

using namespace mlir;
using namespace ns::nn;

LogicalResult LinearGradInputOp::verify() { return success(); }
LogicalResult LinearGradWeightOp::verify() { return success(); }
LogicalResult SumRowsOp::verify() { return success(); }
LogicalResult SumBatchOp::verify() { return success(); }
LogicalResult LayerNormGradOp::verify() { return success(); }
LogicalResult LayerNormGradParamsOp::verify() { return success(); }
LogicalResult AttentionGradOp::verify() { return success(); }
LogicalResult LayerScaleGradGammaOp::verify() { return success(); }
LogicalResult PadTokensOp::verify() { return success(); }
LogicalResult PadChannelsOp::verify() { return success(); }
LogicalResult PadRowsOp::verify() { return success(); }
LogicalResult ScatterTokenOp::verify() { return success(); }
LogicalResult ExpandTokensOp::verify() { return success(); }
LogicalResult SliceBatchOp::verify() { return success(); }
LogicalResult NormalizeGradOp::verify() { return success(); }
LogicalResult PatchEmbedGradInputOp::verify() { return success(); }
LogicalResult PatchEmbedGradWeightOp::verify() { return success(); }
LogicalResult CrossEntropyGradOp::verify() { return success(); }
LogicalResult WeightedSumGradOp::verify() { return success(); }
