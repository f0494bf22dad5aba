//===- Schedule.h - how a row program becomes a kernel of a GPU -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_RTTOGPU_SCHEDULE_H
#define NS_CONVERSION_RTTOGPU_SCHEDULE_H

#include "../RowStages.h"

#include <array>

namespace ns {

/// What a device has, as the options of rt-outline-kernels say it.
struct GpuTarget {
  int64_t warpSize, vectorBits, maxShared, maxThreads, maxRegisters, processors;
};

/// A row program as the schedules see it. K = 1 where nothing is summed over k: its points are rows
/// then, too.
struct GpuProgram {
  GpuProgram(rt::FusedOp op, llvm::ArrayRef<int64_t> alignments);

  /// Result i is a sum over k.
  bool isSum(unsigned i) const { return hasSums && sums[i]; }
  /// Result i is one value for all columns.
  bool isUniformResult(unsigned i) const {
    return llvm::isa<mlir::AffineConstantExpr>(outMap(i).getResult(1));
  }
  mlir::AffineMap inMap(unsigned i) const { return maps[i]; }
  mlir::AffineMap outMap(unsigned i) const { return maps[numInputs + i]; }
  /// Input or result by position among the kernel's arguments.
  mlir::RankedTensorType argumentType(unsigned i) const { return types[i]; }
  mlir::AffineMap argumentMap(unsigned i) const { return maps[i]; }
  unsigned numArguments() const { return types.size(); }
  /// About as many elements as there are points: what moves through memory, unlike a bias.
  bool isFull(unsigned argument) const;
  /// What is stored for each point is rounded to bf16 or less.
  bool storesNarrow() const;
  /// How many elements, a power of two, are certain to lie aligned where the columns from a
  /// multiple of that number on are accessed.
  int64_t alignedElements(unsigned argument) const;

  mutable rt::FusedOp op; // an op handle: its accessors are not const
  RowStages stages;
  unsigned numInputs;
  /// The space, its rows made one long row where every operand runs through memory in that order.
  int64_t rows, inner, cols;
  bool collapsed = false, hasSums = false, swapsPairs = false;
  /// Bytes to which each argument's address is aligned.
  llvm::SmallVector<int64_t> alignments;

private:
  bool canCollapse() const;

  llvm::SmallVector<mlir::RankedTensorType> types;
  llvm::SmallVector<mlir::AffineMap> maps;
  llvm::SmallVector<bool> sums;
};

/// A group of `lanes` threads works on one point at a time; a block has `groups` of them. Lane l
/// holds the vectors of `width` columns that start at (i lanes + l) width, i < chunks.
struct Schedule {
  enum class Kind {
    Flat, ///< a thread takes `chunks` vectors anywhere; lanes = 1
    Rows, ///< a group takes a point
    Loop, ///< as Rows, the row in pieces of `chunks` vectors of each lane, once for each stage
    Sums  ///< a block takes a row and a block of columns, its groups share out k
  };
  Kind kind;
  int64_t width, lanes, groups, chunks;
  int64_t columnBlocks = 1; ///< Sums
  int64_t unroll = 1;       ///< Sums: points that a group takes at once
  std::array<int64_t, 3> grid = {1, 1, 1};

  int64_t threads() const { return lanes * groups; }
  llvm::StringRef name() const {
    return kind == Kind::Flat ? "flat" : kind == Kind::Sums ? "sums" : "rows";
  }
};

Schedule chooseSchedule(const GpuProgram &program, const GpuTarget &target);

} // namespace ns

#endif // NS_CONVERSION_RTTOGPU_SCHEDULE_H
