//===- Passes.h - passes on the rt dialect -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_RT_TRANSFORMS_PASSES_H
#define NS_DIALECT_RT_TRANSFORMS_PASSES_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace ns::rt {

/// Unit attribute of a program that fusion must not move up: it makes again what an earlier one made.
constexpr llvm::StringLiteral kRecomputedAttr = "rt.recomputed";
#define GEN_PASS_DECL
#include "ns/Dialect/RT/Transforms/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "ns/Dialect/RT/Transforms/Passes.h.inc"
} // namespace ns::rt

#endif // NS_DIALECT_RT_TRANSFORMS_PASSES_H
