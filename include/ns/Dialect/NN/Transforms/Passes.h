//===- Passes.h - passes on the nn dialect -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NN_TRANSFORMS_PASSES_H
#define NS_DIALECT_NN_TRANSFORMS_PASSES_H

#include "mlir/Pass/Pass.h"
#include "ns/Dialect/NN/IR/NN.h"

namespace ns::nn {
#define GEN_PASS_DECL
#include "ns/Dialect/NN/Transforms/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "ns/Dialect/NN/Transforms/Passes.h.inc"
} // namespace ns::nn

#endif // NS_DIALECT_NN_TRANSFORMS_PASSES_H
