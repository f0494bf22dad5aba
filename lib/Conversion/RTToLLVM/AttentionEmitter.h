//===- AttentionEmitter.h - attention, head by head -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_RTTOLLVM_ATTENTIONEMITTER_H
#define NS_CONVERSION_RTTOLLVM_ATTENTIONEMITTER_H

#include "KernelEmitter.h"

namespace ns {

/// Makes the tasks of `rt.attention` and `rt.attention_grad`: one for each shape. A task computes
/// heads [begin, end), head i = (image or window i / heads, head i % heads), in the thread's
/// scratch: the biased, scaled q, k, v of the head, its scores, and in the gradient those of dP.
class AttentionEmitter {
public:
  AttentionEmitter(mlir::ModuleOp module, KernelEmitter &kernels)
      : module(module), kernels(kernels) {}

  /// The task. Its argument is an array of pointers: the host, the op's operands, the op's results.
  mlir::LLVM::LLVMFuncOp task(mlir::Operation *op);

private:
  mlir::ModuleOp module;
  KernelEmitter &kernels;
  llvm::StringMap<mlir::LLVM::LLVMFuncOp> tasks;
};

} // namespace ns

#endif // NS_CONVERSION_RTTOLLVM_ATTENTIONEMITTER_H
