//===- GemmEmitter.h - generated matrix products ----------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_RTTOLLVM_GEMMEMITTER_H
#define NS_CONVERSION_RTTOLLVM_GEMMEMITTER_H

#include "GemmKernel.h"

namespace ns {

/// One product C = op(A) B + beta C on f32 or f64, static but for its rows; B is packed.
struct GemmSpec {
  mlir::Type element;
  int64_t n, k;
  bool transA; ///< false: op(A)(i, p) at i * lda + p; true: at p * lda + i
  int64_t lda, ldc;
};

/// A right operand, k x n, before it is packed.
struct GemmSource {
  mlir::Type element;
  int64_t n, k;
  bool transposed; ///< false: element (p, j) at p * ld + j; true: at j * ld + p
  int64_t ld;
  bool packed = false; ///< it lies transposed in panels of the columns p, and ld means nothing
};

/// Makes one function for each distinct product, after Goto and van de Geijn, "Anatomy of
/// high-performance matrix multiplication" (2008), without their copy of A: a block of rows of A
/// stays in L2 while the panels of B pass, and its elements are broadcast from where they lie.
class GemmEmitter {
public:
  GemmEmitter(mlir::ModuleOp module, int64_t vectorBits) : kernels(module, vectorBits) {}

  /// `void gemm(ptr a, ptr packed, ptr c, T beta, i64 begin, i64 end, i64 panelBegin,
  /// i64 panelEnd)`: rows [begin, end) of the columns of panels [panelBegin, panelEnd), out of
  /// panels(element, n).count, on the calling thread. The pointers are those of the whole matrices,
  /// aligned as elements are. No other element of C is touched; beta 0 does not read it. C overlaps
  /// neither A nor B. Each element is summed over p in one order, so that the bits depend neither
  /// on the rows nor on the panels of a call.
  mlir::LLVM::LLVMFuncOp function(const GemmSpec &spec);
  /// `void task(ptr array, i64 begin, i64 end)` for the host's parallel_for over taskCount: the
  /// array holds a, packed, c and, where `accumulates`, the place of beta, which is 0 without it.
  mlir::LLVM::LLVMFuncOp task(const GemmSpec &spec, int64_t rows, bool accumulates);
  /// The rows, or the panels where there are few rows.
  int64_t taskCount(const GemmSpec &spec, int64_t rows) const;

  /// `void pack(ptr b, ptr packed, i64 begin, i64 end)`: panels [begin, end) of B. Panel j but the
  /// last is k rows of panels(element, n).perPanel vectors; what pads the last has no meaning.
  mlir::LLVM::LLVMFuncOp pack(const GemmSource &source);
  /// `void task(ptr array, i64 begin, i64 end)`: the same, the array holding b and packed.
  mlir::LLVM::LLVMFuncOp packTask(const GemmSource &source);
  GemmPanels panels(mlir::Type element, int64_t n) const { return kernels.panels(element, n); }

private:
  friend class GemmFunction;
  mlir::LLVM::LLVMFuncOp declare(llvm::StringRef name, llvm::ArrayRef<mlir::Type> types);
  mlir::LLVM::LLVMFuncOp packPanel(const GemmSource &source, int64_t vectors, int64_t lastLanes);
  void packFromPanels(mlir::OpBuilder &b, mlir::Location loc, const GemmSource &source,
                      mlir::Value from, mlir::Value to, mlir::Value panel, int64_t vectors,
                      int64_t lastLanes);

  GemmKernels kernels;
  llvm::StringMap<mlir::LLVM::LLVMFuncOp> functions;
};

} // namespace ns

#endif // NS_CONVERSION_RTTOLLVM_GEMMEMITTER_H
