//===- HostCalls.cpp - calls of the host's services -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "HostCalls.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ns;

static LLVM::LLVMPointerType pointerType(OpBuilder &b) {
  return LLVM::LLVMPointerType::get(b.getContext());
}

/// nsrt_host as an LLVM struct.
static LLVM::LLVMStructType hostType(OpBuilder &b) {
  SmallVector<Type> fields(unsigned(HostField::NumFields), pointerType(b));
  fields[0] = fields[1] = b.getI32Type();
  return LLVM::LLVMStructType::getLiteral(b.getContext(), fields);
}

Value HostCalls::i64(int64_t value) {
  return arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(value));
}
Value HostCalls::i32(int32_t value) {
  return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(value));
}
Value HostCalls::number(Type element, double value) {
  return arith::ConstantOp::create(b, loc, b.getFloatAttr(element, value));
}
Value HostCalls::offset(Value pointer, Type element, Value index) {
  return LLVM::GEPOp::create(b, loc, pointerType(b), element, pointer,
                             ArrayRef<LLVM::GEPArg>{index});
}
Value HostCalls::bytes(Value pointer, int64_t count) {
  return count == 0 ? pointer : offset(pointer, b.getI8Type(), i64(count));
}

Value HostCalls::pointerField(HostField field) {
  Value at = LLVM::GEPOp::create(b, loc, pointerType(b), hostType(b), host,
                                 ArrayRef<LLVM::GEPArg>{0, int32_t(field)});
  return LLVM::LoadOp::create(b, loc, pointerType(b), at);
}

/// Calls a function pointer of the host; `result` may be null.
static Value callHost(OpBuilder &b, Location loc, HostCalls &host, HostField field, Type result,
                      ArrayRef<Value> arguments) {
  SmallVector<Value> operands = {host.pointerField(field), host.pointerField(HostField::Context)};
  llvm::append_range(operands, arguments);
  SmallVector<Type> types;
  for (Value operand : ArrayRef(operands).drop_front())
    types.push_back(operand.getType());
  auto type =
      LLVM::LLVMFunctionType::get(result ? result : LLVM::LLVMVoidType::get(b.getContext()), types);
  auto call = LLVM::CallOp::create(b, loc, type, operands);
  return result ? call.getResult() : Value();
}

Value HostCalls::array(ArrayRef<Value> pointers) {
  Value array;
  {
    OpBuilder::InsertionGuard guard(b);
    Operation *function = b.getInsertionBlock()->getParentOp();
    if (!isa<LLVM::LLVMFuncOp>(function))
      function = function->getParentOfType<LLVM::LLVMFuncOp>();
    b.setInsertionPointToStart(&function->getRegion(0).front()); // allocas are static there
    array = LLVM::AllocaOp::create(
        b, loc, pointerType(b), LLVM::LLVMArrayType::get(pointerType(b), pointers.size()), i64(1));
  }
  for (auto [i, pointer] : llvm::enumerate(pointers)) {
    Value at = LLVM::GEPOp::create(b, loc, pointerType(b), pointerType(b), array,
                                   ArrayRef<LLVM::GEPArg>{int32_t(i)});
    LLVM::StoreOp::create(b, loc, pointer, at);
  }
  return array;
}

void HostCalls::parallelFor(LLVM::LLVMFuncOp task, Value argument, Value count, int64_t grain) {
  Value function = LLVM::AddressOfOp::create(b, loc, task);
  callHost(b, loc, *this, HostField::ParallelFor, {}, {function, argument, count, i64(grain)});
}

void HostCalls::gemm(Type element, bool transA, bool transB, Value m, int64_t n, int64_t k,
                     Value alpha, Value a, int64_t lda, Value other, int64_t ldb, Value beta,
                     Value c, int64_t ldc) {
  HostField field = element.isF64()    ? HostField::GemmF64
                    : element.isBF16() ? HostField::GemmBF16
                                       : HostField::GemmF32;
  callHost(b, loc, *this, field, {},
           {i32(transA), i32(transB), m, i64(n), i64(k), alpha, a, i64(lda), other, i64(ldb), beta,
            c, i64(ldc)});
}

Value HostCalls::scratch(int64_t bytes) {
  return callHost(b, loc, *this, HostField::Scratch, pointerType(b), {i64(bytes)});
}

void HostCalls::launch(int64_t kernel, Value gridBlock, Value arguments, int64_t numArguments) {
  callHost(b, loc, *this, HostField::Launch, {},
           {i64(kernel), gridBlock, arguments, i64(numArguments)});
}

void HostCalls::deviceGemm(Value description, Value a, Value other, Value bias, Value beta,
                           Value c) {
  callHost(b, loc, *this, HostField::DeviceGemm, {}, {description, a, other, bias, beta, c});
}

void HostCalls::deviceAttention(Value description, Value arguments) {
  callHost(b, loc, *this, HostField::DeviceAttention, {}, {description, arguments});
}

void HostCalls::mark(int64_t op) { callHost(b, loc, *this, HostField::Mark, {}, {i64(op)}); }
