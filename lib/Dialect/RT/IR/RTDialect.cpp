//===- RTDialect.cpp - the rt dialect -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/RT/IR/RT.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"

using namespace mlir;
using namespace ns::rt;

#include "ns/Dialect/RT/IR/RTDialect.cpp.inc"
#include "ns/Dialect/RT/IR/RTEnums.cpp.inc"

#define GET_OP_CLASSES
#include "ns/Dialect/RT/IR/RTOps.cpp.inc"

void RTDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "ns/Dialect/RT/IR/RTOps.cpp.inc"
      >();
}
