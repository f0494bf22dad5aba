//===- NN.h - the nn dialect ------------------------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NN_IR_NN_H
#define NS_DIALECT_NN_IR_NN_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "ns/Dialect/NN/IR/NNDialect.h.inc"
#include "ns/Dialect/NN/IR/NNEnums.h.inc"

#define GET_ATTRDEF_CLASSES
#include "ns/Dialect/NN/IR/NNAttrs.h.inc"

#define GET_OP_CLASSES
#include "ns/Dialect/NN/IR/NNOps.h.inc"

#endif // NS_DIALECT_NN_IR_NN_H
