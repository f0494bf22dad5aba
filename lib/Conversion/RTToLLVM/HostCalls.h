//===- HostCalls.h - calls of the host's services -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_RTTOLLVM_HOSTCALLS_H
#define NS_CONVERSION_RTTOLLVM_HOSTCALLS_H

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/Builders.h"

namespace ns {

/// Says that a function does little beside what it calls: no time of the optimizer is worth it.
inline void markCold(mlir::LLVM::LLVMFuncOp function) {
  function.setOptimizeNone(true);
  function.setNoInline(true); // LLVM wants both
}

/// Fields of nsrt_host by position (ns/Runtime/Abi.h).
enum class HostField {
  Context = 2,
  ParallelFor = 3,
  GemmF32 = 4,
  GemmF64 = 5,
  Scratch = 6,
  Mark = 7,
  GemmBF16 = 8,
  Launch = 9,
  DeviceGemm = 10,
  DeviceAttention = 11,
  NumFields
};

/// Emits loads of the host's fields and calls of its functions.
class HostCalls {
public:
  HostCalls(mlir::OpBuilder &b, mlir::Location loc, mlir::Value host)
      : b(b), loc(loc), host(host) {}

  mlir::Value pointerField(HostField field);
  void parallelFor(mlir::LLVM::LLVMFuncOp task, mlir::Value argument, mlir::Value count,
                   int64_t grain);
  /// An array of pointers on the function's stack.
  mlir::Value array(llvm::ArrayRef<mlir::Value> pointers);
  /// C[m, n] = alpha op(A) op(B) + beta C on operands of `element`; C, alpha and beta are of it
  /// too, or f32 where it is bf16.
  void gemm(mlir::Type element, bool transA, bool transB, mlir::Value m, int64_t n, int64_t k,
            mlir::Value alpha, mlir::Value a, int64_t lda, mlir::Value other, int64_t ldb,
            mlir::Value beta, mlir::Value c, int64_t ldc);
  mlir::Value scratch(int64_t bytes);
  /// The device's kernel number `kernel`; `gridBlock` and `arguments` as nsrt_host.launch takes
  /// them.
  void launch(int64_t kernel, mlir::Value gridBlock, mlir::Value arguments, int64_t numArguments);
  /// The device's product `description`, an nsrt_gemm; `bias` and `beta` may be null values.
  void deviceGemm(mlir::Value description, mlir::Value a, mlir::Value other, mlir::Value bias,
                  mlir::Value beta, mlir::Value c);
  /// The device's attention `description`, an nsrt_attention; `arguments`: an array of addresses.
  void deviceAttention(mlir::Value description, mlir::Value arguments);
  /// Op number `op` of the entry begins.
  void mark(int64_t op);

  mlir::Value i64(int64_t value);
  mlir::Value i32(int32_t value);
  mlir::Value number(mlir::Type element, double value);
  /// pointer + index elements.
  mlir::Value offset(mlir::Value pointer, mlir::Type element, mlir::Value index);
  /// pointer + bytes.
  mlir::Value bytes(mlir::Value pointer, int64_t count);

private:
  mlir::OpBuilder &b;
  mlir::Location loc;
  mlir::Value host;
};

} // namespace ns

#endif // NS_CONVERSION_RTTOLLVM_HOSTCALLS_H
