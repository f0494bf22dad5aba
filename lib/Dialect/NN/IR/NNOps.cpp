//===- NNOps.cpp - verifiers of the forward ops -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/NN/IR/NN.h"

using namespace mlir;
using namespace ns::nn;

LogicalResult NormalizeOp::verify() { return success(); }
LogicalResult PatchEmbedOp::verify() { return success(); }
LogicalResult LinearOp::verify() { return success(); }
LogicalResult LayerNormOp::verify() { return success(); }
LogicalResult AttentionOp::verify() { return success(); }
LogicalResult AddOp::verify() { return success(); }
LogicalResult LayerScaleOp::verify() { return success(); }
LogicalResult PrependTokensOp::verify() { return success(); }
LogicalResult SelectTokenOp::verify() { return success(); }
LogicalResult SliceTokensOp::verify() { return success(); }
LogicalResult SliceChannelsOp::verify() { return success(); }
LogicalResult SliceRowsOp::verify() { return success(); }
LogicalResult MeanTokensOp::verify() { return success(); }
LogicalResult ConcatBatchOp::verify() { return success(); }
LogicalResult CrossEntropyOp::verify() { return success(); }
LogicalResult WeightedSumOp::verify() { return success(); }
LogicalResult ParamOp::verify() { return success(); }
LogicalResult LoadParamOp::verifySymbolUses(SymbolTableCollection &) { return success(); }
