//===- NS.h - the ns dialect ------------------------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NS_IR_NS_H
#define NS_DIALECT_NS_IR_NS_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "ns/Dialect/NN/IR/NN.h"

#include "ns/Dialect/NS/IR/NSDialect.h.inc"
#include "ns/Dialect/NS/IR/NSEnums.h.inc"


#define GET_OP_CLASSES
#include "ns/Dialect/NS/IR/NSOps.h.inc"

#endif // NS_DIALECT_NS_IR_NS_H
