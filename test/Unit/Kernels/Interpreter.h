//===- Interpreter.h - row programs, point by point -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_TEST_UNIT_KERNELS_INTERPRETER_H
#define NS_TEST_UNIT_KERNELS_INTERPRETER_H

#include "ns/Dialect/RT/IR/RT.h"

#include <vector>

namespace ns::test {

/// The elements of a tensor of f32, bf16 or i32, as numbers.
using Elements = std::vector<double>;

/// Runs a program on elements of its inputs; returns those of its results, which begin as
/// `results`. Arithmetic is rounded to f32 after every op, sums are in double precision.
std::vector<Elements> interpret(rt::FusedOp op, llvm::ArrayRef<Elements> inputs,
                                std::vector<Elements> results);

/// A number rounded to a type: f32, bf16, or a wrapped i32.
double roundTo(mlir::Type type, double value);

} // namespace ns::test

#endif // NS_TEST_UNIT_KERNELS_INTERPRETER_H
