//===- NSDialect.cpp - the ns dialect -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/NS/IR/NS.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"

using namespace mlir;
using namespace ns::harden;

#include "ns/Dialect/NS/IR/NSDialect.cpp.inc"
#include "ns/Dialect/NS/IR/NSEnums.cpp.inc"

#define GET_OP_CLASSES
#include "ns/Dialect/NS/IR/NSOps.cpp.inc"

void NSDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "ns/Dialect/NS/IR/NSOps.cpp.inc"
      >();
}
