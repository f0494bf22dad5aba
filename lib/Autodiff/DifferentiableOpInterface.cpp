//===- DifferentiableOpInterface.cpp - derivative rules of ops -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Autodiff/DifferentiableOpInterface.h"

#include "Rules/Rules.h"
#include "ns/Autodiff/Passes.h"
#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Dialect/NS/IR/NS.h"

#include "ns/Autodiff/DifferentiableOpInterface.cpp.inc"

using namespace mlir;

void ns::autodiff::registerDifferentiableOpModels(DialectRegistry &registry) {
  registry.addExtension(+[](MLIRContext *context, nn::NNDialect *) {
    attachLinearRules(*context);
    attachGridRules(*context);
    attachNormRules(*context);
    attachAttentionRules(*context);
    attachTokenRules(*context);
    attachLossRules(*context);
  });
  registry.addExtension(+[](MLIRContext *context, harden::NSDialect *) {
    attachNoiseRules(*context);
    attachAttackLossRules(*context);
  });
}
