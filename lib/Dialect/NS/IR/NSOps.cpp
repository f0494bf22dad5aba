//===- NSOps.cpp - verifiers of the ns ops -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/NS/IR/NS.h"

using namespace mlir;
using namespace ns::harden;

LogicalResult BasisOp::verify() { return success(); }
LogicalResult NoiseOp::verify() { return success(); }
LogicalResult InjectOp::verify() { return success(); }
LogicalResult ClipGradOp::verify() { return success(); }
LogicalResult SynthesisLossOp::verify() { return success(); }
LogicalResult SynthesisLossGradOp::verify() { return success(); }
LogicalResult InvarianceOp::verify() { return success(); }
LogicalResult SampleNormOp::verify() { return success(); }
LogicalResult GradientOp::verify() { return success(); }
LogicalResult AdamWParamsOp::verify() { return success(); }
LogicalResult AdamWNoiseOp::verify() { return success(); }
LogicalResult BasisOp::verifySymbolUses(SymbolTableCollection &) { return success(); }
LogicalResult ReadNoiseOp::verifySymbolUses(SymbolTableCollection &) { return success(); }
LogicalResult StoreGradOp::verifySymbolUses(SymbolTableCollection &) { return success(); }
LogicalResult AdamWNoiseOp::verifySymbolUses(SymbolTableCollection &) { return success(); }
