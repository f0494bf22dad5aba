//===- EntryFrame.cpp - the function of an entry and its places -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EntryFrame.h"

#include "ns/Runtime/Abi.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace ns;

Value EntryFrame::pointer(Value value) {
  Place place = places.lookup(value);
  return host->bytes(regions[place.region], place.offset);
}

FailureOr<LLVM::LLVMFuncOp> EntryFrame::emit(func::FuncOp source) {
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  Location loc = source.getLoc();
  Type pointer = LLVM::LLVMPointerType::get(b.getContext());
  auto type = LLVM::LLVMFunctionType::get(b.getI32Type(), {pointer, pointer});
  auto function = LLVM::LLVMFuncOp::create(b, loc, ("entry_" + source.getSymName()).str(), type,
                                           LLVM::Linkage::Internal);
  markCold(function);
  Block *block = function.addEntryBlock(b);
  b.setInsertionPointToStart(block);
  hostPointer = block->getArgument(0);
  HostCalls calls(b, loc, hostPointer);
  builder = &b;
  host = &calls;
  places.clear();
  numTimed = 0;
  regions.clear();
  for (int32_t region = 0; region < NSRT_NUM_REGIONS; ++region) {
    Value at = LLVM::GEPOp::create(b, loc, pointer, pointer, block->getArgument(1),
                                   ArrayRef<LLVM::GEPArg>{region});
    regions.push_back(LLVM::LoadOp::create(b, loc, pointer, at));
  }
  begin(source);
  for (Operation &op : source.getBody().front().without_terminator())
    if (failed(emitOp(&op)))
      return failure();
  LLVM::ReturnOp::create(b, loc, calls.i32(0));
  return function;
}

LogicalResult EntryFrame::emitOp(Operation *op) {
  if (rt::isTimed(op))
    host->mark(numTimed++);
  if (failed(assignPlaces(module, op, places)))
    return failure();
  return rt::isTimed(op) ? emitTimed(op) : success();
}
