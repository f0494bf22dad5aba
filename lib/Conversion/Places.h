//===- Places.h - where the values of a planned entry lie -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_PLACES_H
#define NS_CONVERSION_PLACES_H

#include "ns/Dialect/RT/IR/RT.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/DenseMap.h"

namespace ns {

/// Where a value lies: a region of the arena, or the scratch of a task, and the bytes from its
/// start.
struct Place {
  static constexpr unsigned kScratch = ~0u;
  unsigned region;
  int64_t offset;
};
bool overlap(Place a, int64_t bytesOfA, Place b, int64_t bytesOfB);

using PlaceMap = llvm::DenseMap<mlir::Value, Place>;

/// Adds the places of the results of one op of an entry, whose operands' are known. Fails with a
/// message where a slot is not in `rt.layout` of the module or the memory is not planned.
mlir::LogicalResult assignPlaces(mlir::ModuleOp module, mlir::Operation *op, PlaceMap &places);

/// Text that two programs share exactly when one kernel serves both, as far as it depends neither
/// on how many rows there are, nor on the sizes of their operands or where they lie.
std::string programKey(rt::FusedOp op);

} // namespace ns

#endif // NS_CONVERSION_PLACES_H
