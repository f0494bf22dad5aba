//===- Reports.h - what the entries of a planned module cost -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_TARGET_REPORTS_H
#define NS_TARGET_REPORTS_H

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/JSON.h"

namespace ns {

/// Bytes of region params, state, io or work of a planned module; work is that of the largest
/// entry.
int64_t regionBytes(mlir::ModuleOp module, llvm::StringRef region);

/// Parameters in whose place their packed form lies once the weights are loaded (rt-pack-weights).
llvm::StringSet<> packedParams(mlir::ModuleOp module);

/// FLOPs of products and attention of each entry: what the step needs after all that is not read,
/// or known before, has gone; apart from them what backward computes again. docs/abi.md has the
/// keys.
llvm::json::Object flopReport(mlir::ModuleOp module, int64_t batch);
void printFlopReport(mlir::ModuleOp module, int64_t batch, llvm::raw_ostream &os);

/// The regions, what lies in them, and the arena of each entry by value and by time.
llvm::json::Object memoryReport(mlir::ModuleOp module);
void printMemoryReport(mlir::ModuleOp module, llvm::raw_ostream &os);
/// A page with one picture for each entry: offset over time, a rectangle for each value.
void drawMemory(mlir::ModuleOp module, llvm::raw_ostream &os);

} // namespace ns

#endif // NS_TARGET_REPORTS_H
