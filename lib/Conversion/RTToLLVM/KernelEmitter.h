//===- KernelEmitter.h - row programs to vector loops -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_RTTOLLVM_KERNELEMITTER_H
#define NS_CONVERSION_RTTOLLVM_KERNELEMITTER_H

#include "ns/Dialect/RT/IR/RT.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"

namespace ns {

/// Makes one function `kernel(inputs..., results..., begin, end)` for each distinct row program,
/// and for those that are launched a task `task(pointers, begin, end)` for the host's parallel_for.
///
/// The columns of a row are cut into vectors of the target's width. A program runs in stages: a row
/// reduction ends the stage that computes its operand, and what later stages need of the columns is
/// computed again, except that transcendental functions and quotients are kept: in registers where
/// the row has at most kMaxUnrolled vectors, else in a row of scratch on the stack. The last,
/// partial vector is masked.
class KernelEmitter {
public:
  /// Rows of at most this many vectors are unrolled.
  static constexpr int64_t kMaxUnrolled = 16;

  KernelEmitter(mlir::ModuleOp module, int64_t vectorBits)
      : module(module), vectorBits(vectorBits) {}

  /// The kernel of a program. `overlaps[i]`: result i lies over an input, so that no alias can be
  /// excluded.
  mlir::LLVM::LLVMFuncOp kernel(rt::FusedOp op, llvm::ArrayRef<bool> overlaps);
  /// The task that loads the pointers from an array and calls the kernel.
  mlir::LLVM::LLVMFuncOp task(rt::FusedOp op, llvm::ArrayRef<bool> overlaps);

  int64_t numKernels() const { return kernels.size(); }
  int64_t getVectorBits() const { return vectorBits; }

private:
  mlir::ModuleOp module;
  int64_t vectorBits;
  llvm::StringMap<mlir::LLVM::LLVMFuncOp> kernels, tasks;
};

} // namespace ns

#endif // NS_CONVERSION_RTTOLLVM_KERNELEMITTER_H
