//===- DifferentiableOpInterface.h - derivative rules of ops -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_AUTODIFF_DIFFERENTIABLEOPINTERFACE_H
#define NS_AUTODIFF_DIFFERENTIABLEOPINTERFACE_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/OpDefinition.h"
#include "llvm/ADT/BitVector.h"

#include "ns/Autodiff/DifferentiableOpInterface.h.inc"

#endif // NS_AUTODIFF_DIFFERENTIABLEOPINTERFACE_H
