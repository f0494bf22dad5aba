//===- InitAll.h - registers every dialect and pass -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_INITALL_H
#define NS_INITALL_H

namespace mlir {
class DialectRegistry;
} // namespace mlir

namespace ns {
/// Registers the project's dialects, the upstream dialects that they lower to, and the external
/// models of the project's op interfaces.
void registerAllDialects(mlir::DialectRegistry &registry);
/// Registers the project's passes and named pipelines, and the upstream transformation passes.
void registerAllPasses();
} // namespace ns

#endif // NS_INITALL_H
