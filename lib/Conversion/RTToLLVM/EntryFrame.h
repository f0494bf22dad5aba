//===- EntryFrame.h - the function of an entry and its places -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_RTTOLLVM_ENTRYFRAME_H
#define NS_CONVERSION_RTTOLLVM_ENTRYFRAME_H

#include "HostCalls.h"
#include "../Places.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace ns {

/// Makes `int32_t entry(host, regions)` of a planned function: knows where each value lies, and
/// leaves the ops that take time to what derives from it.
class EntryFrame {
public:
  virtual ~EntryFrame() = default;
  mlir::FailureOr<mlir::LLVM::LLVMFuncOp> emit(mlir::func::FuncOp source);

protected:
  explicit EntryFrame(mlir::ModuleOp module) : module(module) {}

  /// At the start of each entry, in its function.
  virtual void begin(mlir::func::FuncOp) {}
  virtual mlir::LogicalResult emitTimed(mlir::Operation *op) = 0;
  /// The address of a value.
  mlir::Value pointer(mlir::Value value);

  mlir::ModuleOp module;
  PlaceMap places;
  mlir::OpBuilder *builder = nullptr;
  HostCalls *host = nullptr;
  mlir::Value hostPointer;

private:
  mlir::LogicalResult emitOp(mlir::Operation *op);

  llvm::SmallVector<mlir::Value> regions;
  int64_t numTimed = 0; ///< ops of this entry so far that the host hears of
};

} // namespace ns

#endif // NS_CONVERSION_RTTOLLVM_ENTRYFRAME_H
