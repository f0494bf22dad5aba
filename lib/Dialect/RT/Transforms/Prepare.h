//===- Prepare.h - the entry that changes parameters once -------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// @prepare runs after each load of the weights (docs/abi.md). It is the one entry that may write
// parameters which no entry trains.
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_RT_TRANSFORMS_PREPARE_H
#define NS_DIALECT_RT_TRANSFORMS_PREPARE_H

#include "ns/Dialect/RT/IR/RT.h"

#include "llvm/ADT/DenseMap.h"

namespace ns::rt {

/// @prepare, or null.
mlir::func::FuncOp lookupPrepare(mlir::ModuleOp module);
/// @prepare, made empty where it is missing; there are other entries.
mlir::func::FuncOp getOrCreatePrepare(mlir::ModuleOp module);

/// The entries that `names` lists; all but @prepare where it is empty.
llvm::SmallVector<mlir::func::FuncOp> chooseEntries(mlir::ModuleOp module,
                                                    llvm::ArrayRef<std::string> names);

/// Does an entry but @prepare write parameters? Where none does they are frozen.
bool trainsParams(mlir::ModuleOp module);

/// Of each parameter that @prepare names, the value that it has at the end: its slot's, or the
/// result of the program that wrote it last. (No entry reads a slot that it wrote.)
llvm::DenseMap<mlir::StringAttr, mlir::Value> lastParamValues(mlir::func::FuncOp prepare);

/// Gives each parameter a place at the end of region params, 64-byte aligned.
void addParams(mlir::ModuleOp module,
               llvm::ArrayRef<std::pair<std::string, mlir::RankedTensorType>> added);

} // namespace ns::rt

#endif // NS_DIALECT_RT_TRANSFORMS_PREPARE_H
