//===- Passes.h - passes on the ns dialect -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NS_TRANSFORMS_PASSES_H
#define NS_DIALECT_NS_TRANSFORMS_PASSES_H

#include "mlir/Pass/Pass.h"
#include "ns/Dialect/NS/IR/NS.h"

namespace ns::harden {
#define GEN_PASS_DECL
#include "ns/Dialect/NS/Transforms/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "ns/Dialect/NS/Transforms/Passes.h.inc"
} // namespace ns::harden

#endif // NS_DIALECT_NS_TRANSFORMS_PASSES_H
