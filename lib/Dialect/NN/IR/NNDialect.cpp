//===- NNDialect.cpp - the nn dialect -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/NN/IR/NN.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

#include <charconv>

using namespace mlir;
using namespace ns::nn;

#include "ns/Dialect/NN/IR/NNDialect.cpp.inc"
#include "ns/Dialect/NN/IR/NNEnums.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "ns/Dialect/NN/IR/NNAttrs.cpp.inc"

/// Prints the shortest decimals that are read as these numbers, where an array attribute prints six
/// digits of each.
static void printDecimals(OpAsmPrinter &printer, Operation *, DenseF64ArrayAttr numbers) {
  auto print = [&](double number) {
    char text[32];
    std::string_view digits(text, std::to_chars(text, text + sizeof(text), number).ptr - text);
    // The lexer wants a point in every number: 1e-05 is 1.0e-05.
    size_t end = std::min(digits.find('e'), digits.size());
    const bool hasPoint = digits.find('.') != std::string_view::npos;
    printer << digits.substr(0, end) << (hasPoint ? "" : ".0") << digits.substr(end);
  };
  printer << '[';
  llvm::interleaveComma(numbers.asArrayRef(), printer, print);
  printer << ']';
}

static ParseResult parseDecimals(OpAsmParser &parser, DenseF64ArrayAttr &numbers) {
  SmallVector<double> values;
  if (parser.parseCommaSeparatedList(OpAsmParser::Delimiter::Square,
                                     [&] { return parser.parseFloat(values.emplace_back()); }))
    return failure();
  numbers = parser.getBuilder().getDenseF64ArrayAttr(values);
  return success();
}

#define GET_OP_CLASSES
#include "ns/Dialect/NN/IR/NNOps.cpp.inc"

void NNDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "ns/Dialect/NN/IR/NNAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "ns/Dialect/NN/IR/NNOps.cpp.inc"
      >();
}
