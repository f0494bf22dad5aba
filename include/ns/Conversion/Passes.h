//===- Passes.h - conversions between dialects -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_PASSES_H
#define NS_CONVERSION_PASSES_H

#include "mlir/Pass/Pass.h"

namespace ns {
/// The symbol of the image in the object that holds it (`rt-to-llvm{device}`).
inline constexpr llvm::StringLiteral kImageSymbol = "nsrt_image";

#define GEN_PASS_DECL
#include "ns/Conversion/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "ns/Conversion/Passes.h.inc"
} // namespace ns

#endif // NS_CONVERSION_PASSES_H
