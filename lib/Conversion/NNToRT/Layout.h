//===- Layout.h - places of parameters, state and io -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_NNTORT_LAYOUT_H
#define NS_CONVERSION_NNTORT_LAYOUT_H

#include "ns/Dialect/RT/IR/RT.h"

#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/MapVector.h"

namespace ns {

/// Offsets of the named slots of a module, the same for all its entries. Region params holds the
/// decayed parameters, then those that weight decay leaves out, then buffers; each of the first two
/// groups is padded to whole rows of the optimizer's program, so that one update is two launches.
class Layout {
public:
  /// Elements of one row of the optimizer's program; groups are padded to it.
  static constexpr int64_t kOptimizerRow = 1024;
  static constexpr int64_t kAlignment = 64;

  struct Slot {
    int64_t offset;
    mlir::RankedTensorType type;
  };

  /// Reads nn.param and ns.noise ops. Adds gradient and moment slots where an entry trains
  /// parameters.
  explicit Layout(mlir::ModuleOp module);

  /// The slot, or nullptr.
  const Slot *find(rt::Region region, llvm::StringRef name) const;
  /// Adds an io slot, or returns the one of that name; failure where its type differs.
  mlir::LogicalResult addIO(llvm::StringRef name, mlir::RankedTensorType type, mlir::Location loc);
  /// Elements of a group ("decay" or "no_decay"), a multiple of kOptimizerRow; may be 0.
  int64_t groupElements(llvm::StringRef group) const;

  /// Writes `rt.layout`.
  void store(mlir::ModuleOp module) const;

  /// f32 or f64.
  mlir::Type element;

private:
  void place(rt::Region region, llvm::StringRef name, mlir::RankedTensorType type);
  void pad(rt::Region region, int64_t bytes);

  llvm::MapVector<llvm::StringRef, Slot> slots[3]; // params, state, io
  int64_t bytes[3] = {0, 0, 0};
  int64_t trainedBytes = 0;
  int64_t groups[2] = {0, 0}; // elements
};

} // namespace ns

#endif // NS_CONVERSION_NNTORT_LAYOUT_H
