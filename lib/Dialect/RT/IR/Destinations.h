//===- Destinations.h - results in the place of operands -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_RT_IR_DESTINATIONS_H
#define NS_DIALECT_RT_IR_DESTINATIONS_H

#include "ns/Dialect/RT/IR/RT.h"

namespace ns::rt {

/// The destination of result i of an op with `dests` and `dest_of`, or null for a new value.
template <typename OpT> mlir::Value destinationAt(OpT op, unsigned i) {
  auto destOf = op.getDestOfAttr();
  if (!destOf || destOf[i] < 0)
    return {};
  return op.getDests()[destOf[i]];
}

/// Does `dest_of` name a destination of as many elements for each result that has one?
template <typename OpT> mlir::LogicalResult verifyDestinations(OpT op) {
  auto destOf = op.getDestOfAttr();
  if (!destOf)
    return mlir::success();
  if (destOf.size() != op.getNumResults())
    return op.emitOpError("expected a destination index for each of ")
           << op.getNumResults() << " results, but got " << destOf.size();
  for (unsigned i = 0; i < op.getNumResults(); ++i) {
    if (destOf[i] >= int64_t(op.getDests().size()))
      return op.emitOpError("expected destination index ")
             << i << " to be below " << op.getDests().size() << ", but got " << destOf[i];
    mlir::Value dest = destinationAt(op, i);
    int64_t elements = typeOf(op.getResult(i)).getNumElements();
    if (dest && typeOf(dest).getNumElements() != elements)
      return op.emitOpError("expected destination of result ")
             << i << " to have " << elements << " elements";
  }
  return mlir::success();
}

} // namespace ns::rt

#endif // NS_DIALECT_RT_IR_DESTINATIONS_H
