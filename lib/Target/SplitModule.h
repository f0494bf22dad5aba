//===- SplitModule.h - one module as several, for threads -------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_TARGET_SPLITMODULE_H
#define NS_LIB_TARGET_SPLITMODULE_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <vector>

namespace ns {

/// Divides the functions of a module of the LLVM dialect among modules that are linked together
/// later: one of globals and of what is `optimize_none`, and some of about equal work. Functions
/// stay together where the optimizer looks across a call: all calls but those from an
/// `optimize_none` function, and those of a `no_inline` function from one that is not. A function
/// that another module needs becomes hidden, its name followed by `suffix`, which keeps the modules
/// of two processors apart. What goes where follows from the module alone.
std::vector<mlir::OwningOpRef<mlir::ModuleOp>> splitModule(mlir::OwningOpRef<mlir::ModuleOp> module,
                                                           llvm::StringRef suffix);

} // namespace ns

#endif // NS_LIB_TARGET_SPLITMODULE_H
