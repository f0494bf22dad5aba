//===- Passes.h - differentiation passes -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_AUTODIFF_PASSES_H
#define NS_AUTODIFF_PASSES_H

#include "mlir/IR/DialectRegistry.h"
#include "mlir/Pass/Pass.h"

namespace ns::autodiff {
#define GEN_PASS_DECL
#include "ns/Autodiff/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "ns/Autodiff/Passes.h.inc"

/// Attaches the derivative rules of every differentiable nn and ns op (external models of DifferentiableOpInterface).
void registerDifferentiableOpModels(mlir::DialectRegistry &registry);
} // namespace ns::autodiff

#endif // NS_AUTODIFF_PASSES_H
