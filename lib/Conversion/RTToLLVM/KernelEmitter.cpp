//===- KernelEmitter.cpp - row programs to functions -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelEmitter.h"

#include "../Places.h"
#include "RowEmitter.h"

#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace ns;

LLVM::LLVMFuncOp KernelEmitter::kernel(rt::FusedOp op, ArrayRef<bool> overlaps) {
  std::string key = programKey(op);
  for (bool overlap : overlaps)
    key += overlap ? '1' : '0';
  LLVM::LLVMFuncOp &known = kernels[key];
  if (known)
    return known;
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  unsigned numPointers = op.getInputs().size() + op.getNumResults();
  SmallVector<Type> types(numPointers, pointer);
  types.append(2, b.getI64Type());
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()), types);
  auto function = LLVM::LLVMFuncOp::create(b, op.getLoc(),
                                           llvm::formatv("kernel_{0}", kernels.size() - 1).str(),
                                           type, LLVM::Linkage::Internal);
  function.setNoInline(true); // a task of many kernels would compile slowly as one function
  for (unsigned i = 0; i < op.getNumResults(); ++i)
    if (!overlaps[i])
      function.setArgAttr(op.getInputs().size() + i, LLVM::LLVMDialect::getNoAliasAttrName(),
                          b.getUnitAttr());
  Block *entry = function.addEntryBlock(b);
  b.setInsertionPointToStart(entry);
  RowEmitter emitter(b, op, entry->getArguments().take_front(numPointers), vectorBits);
  emitter.emitRows(entry->getArgument(numPointers), entry->getArgument(numPointers + 1));
  LLVM::ReturnOp::create(b, op.getLoc(), ValueRange());
  return known = function;
}

LLVM::LLVMFuncOp KernelEmitter::task(rt::FusedOp op, ArrayRef<bool> overlaps) {
  LLVM::LLVMFuncOp callee = kernel(op, overlaps);
  LLVM::LLVMFuncOp &known = tasks[callee.getSymName()];
  if (known)
    return known;
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  Location loc = op.getLoc();
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()),
                                          {pointer, b.getI64Type(), b.getI64Type()});
  auto function = LLVM::LLVMFuncOp::create(b, loc, (callee.getSymName() + "_task").str(), type,
                                           LLVM::Linkage::Internal);
  Block *entry = function.addEntryBlock(b);
  b.setInsertionPointToStart(entry);
  SmallVector<Value> arguments;
  for (unsigned i = 0; i + 2 < callee.getNumArguments(); ++i) {
    Value from = LLVM::GEPOp::create(b, loc, pointer, pointer, entry->getArgument(0),
                                     ArrayRef<LLVM::GEPArg>{int32_t(i)});
    arguments.push_back(LLVM::LoadOp::create(b, loc, pointer, from));
  }
  arguments.append({entry->getArgument(1), entry->getArgument(2)});
  LLVM::CallOp::create(b, loc, callee, arguments);
  LLVM::ReturnOp::create(b, loc, ValueRange());
  return known = function;
}
