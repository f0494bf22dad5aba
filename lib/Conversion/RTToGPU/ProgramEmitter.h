//===- ProgramEmitter.h - the values of a row program on a GPU -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_RTTOGPU_PROGRAMEMITTER_H
#define NS_CONVERSION_RTTOGPU_PROGRAMEMITTER_H

#include "Schedule.h"

#include "mlir/IR/Builders.h"

namespace ns {

/// Point (r, k) of a program and what is the same for all its columns. `exists` is null where it is
/// certain; where it is false, (r, k) is some other point of the program, so that it can be read.
struct Point {
  Point(mlir::Value r = {}, mlir::Value k = {}) : r(r), k(k) {}

  mlir::Value r, k, exists;
  llvm::DenseMap<mlir::Value, mlir::Value> scalars;
  llvm::DenseMap<mlir::AffineExpr, mlir::Value> rows;
};

/// `width` columns of a point, from base + step on. `exists` as for a point.
struct Chunk {
  Chunk(Point *point, mlir::Value base, int64_t step, mlir::Value exists = {})
      : point(point), base(base), step(step), exists(exists) {}

  Point *point;
  mlir::Value base;
  int64_t step;
  mlir::Value exists;
  llvm::DenseMap<mlir::Value, mlir::Value> vectors;
};

/// Emits what one thread computes at the points and columns that a schedule gives it. Elements are
/// counted in 32 bits where every tensor has fewer than 2^31, for 64-bit division is slow.
class ProgramEmitter {
public:
  ProgramEmitter(mlir::OpBuilder &b, const GpuProgram &program, mlir::ValueRange memrefs,
                 int64_t width);

  mlir::Value scalar(mlir::Value v, Point &point);
  mlir::Value vector(mlir::Value v, Chunk &chunk);
  /// Loads all inputs of a chunk that other points do not read, so that loads precede their uses by
  /// far.
  void loadFull(Chunk &chunk);
  /// Computes results of a chunk, then stores those that are no sums over k, in columns that exist.
  void storeColumns(llvm::ArrayRef<unsigned> results, Chunk &chunk);
  void store(unsigned result, mlir::Value vector, Chunk &chunk);
  /// Stores a result that is one value for all columns.
  void storeScalar(unsigned result, mlir::Value value, Point &point);
  /// What the columns of a stage and all addresses need of the point, computed here, before a loop.
  void prepare(unsigned stage, Point &point);

  // Integers of the type in which elements are counted.
  mlir::Type counter() const { return counterType; }
  mlir::Value count(int64_t value);
  mlir::Value add(mlir::Value a, mlir::Value b);
  mlir::Value mul(mlir::Value a, int64_t b);
  mlir::Value div(mlir::Value a, int64_t b);
  mlir::Value rem(mlir::Value a, int64_t b);
  mlir::Value less(mlir::Value a, int64_t b);
  mlir::Value equal(mlir::Value a, int64_t b);
  /// a and b, either of which may be null for true.
  mlir::Value both(mlir::Value a, mlir::Value b);
  mlir::Value select(mlir::Value condition, mlir::Value a, mlir::Value b);
  mlir::Value index(mlir::Value value);

  // Reductions.
  mlir::Value neutral(rt::Reduction kind, mlir::Type type);
  mlir::Value combine(rt::Reduction kind, mlir::Value a, mlir::Value b);
  /// Combines the elements of a vector, the two halves first.
  mlir::Value horizontal(rt::Reduction kind, mlir::Value vector);
  mlir::VectorType vectorOf(mlir::Type element) { return mlir::VectorType::get({width}, element); }
  /// Runs `body` under a condition; null is true.
  void when(mlir::Value condition, llvm::function_ref<void()> body);

  mlir::OpBuilder &b;
  const mlir::Location loc;
  const GpuProgram &program;
  const int64_t width;

private:
  mlir::Value expand(mlir::AffineExpr expr, Point &point);
  mlir::Value splat(mlir::Value v);
  mlir::Value compute(mlir::Value v, Chunk &chunk);
  /// Elements [from, from + size) of a vector.
  mlir::Value slice(mlir::Value v, int64_t from, int64_t size);
  /// The element of an argument at the point's row and a column; null: the column is in the map.
  mlir::Value element(unsigned argument, Point &point, mlir::Value column, int64_t step);
  mlir::Value loadInput(unsigned argument, Chunk &chunk);
  mlir::Value loadVector(unsigned argument, mlir::Value from, int64_t stride);

  llvm::SmallVector<mlir::Value> memrefs; // not a range: the kernel gets more arguments
  mlir::Type counterType;
};

} // namespace ns

#endif // NS_CONVERSION_RTTOGPU_PROGRAMEMITTER_H
