//===- GemmKernel.h - micro-kernels of matrix products ----------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_RTTOLLVM_GEMMKERNEL_H
#define NS_CONVERSION_RTTOLLVM_GEMMKERNEL_H

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringMap.h"

namespace ns {

/// The division of a product's columns into panels of whole vectors.
struct GemmPanels {
  int64_t lanes;       ///< elements of a vector
  int64_t perPanel;    ///< vectors of every panel but the last
  int64_t count;       ///< panels
  int64_t lastVectors; ///< vectors of the last panel
  int64_t lastLanes;   ///< elements of the last panel's last vector that are columns
};

/// The left operand that a micro-kernel is made for: op(A)(i, p) lies at i * row + p * k.
struct GemmStrides {
  mlir::Type element;
  int64_t row, k;
};

/// The micro-kernels of a module, made when they are first asked for.
class GemmKernels {
public:
  GemmKernels(mlir::ModuleOp module, int64_t vectorBits) : module(module), vectorBits(vectorBits) {}

  GemmPanels panels(mlir::Type element, int64_t columns) const;
  int64_t lanes(mlir::Type element) const;

  /// `void panel(ptr a, ptr b, ptr c, i64 rows, i64 k, i64 ldc, i64 lanes, T beta, ptr next,
  /// i64 lines)`: `rows` rows of A against a packed panel of `vectors` vectors and k rows, tile by
  /// tile; stores `lanes` elements of each row's last vector. Meanwhile `lines` cache lines from
  /// `next` on, the panel that comes next, are fetched into L2.
  mlir::LLVM::LLVMFuncOp panel(const GemmStrides &strides, int64_t vectors);

  mlir::ModuleOp module;

private:
  mlir::LLVM::LLVMFuncOp tile(const GemmStrides &strides, int64_t rows, int64_t vectors);
  mlir::LLVM::LLVMFuncOp declare(llvm::StringRef name, mlir::ArrayRef<mlir::Type> types);
  int64_t maxRows(int64_t vectors) const;

  int64_t vectorBits;
  llvm::StringMap<mlir::LLVM::LLVMFuncOp> functions;
};

} // namespace ns

#endif // NS_CONVERSION_RTTOLLVM_GEMMKERNEL_H
