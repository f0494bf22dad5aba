//===- IndexMap.h - where the elements of a view lie in its root -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The heads of an attention layer are a fact about where elements lie, not about how a model's
// author spelled it:
//
//   qkv : B x N x 3C   reshape(B, N, 3, H, d)   permute(2, 0, 3, 1, 4)   unbind(0)   ->   q, k, v :
//   B x H x N x d
//
// So the importer matches no sequence of reshape, permute, select and so on. Each value carries its
// root (a value that an op computed, contiguous in row-major order) and the map from its own
// indices to positions in the root, and two spellings of the same layout have equal maps. For k
// above:
//
//   dim     factors (extent, stride)      position = C + b*N*3C + h*d + n*3C + j
//   b       (B, N*3C)
//   h       (H, d)
//   n       (N, 3C)
//   j       (d, 1)                        offset C
//
// A dimension is a mixed-radix number: its index is split into digits, outermost first, and each
// digit has a stride. Splitting a dimension by `reshape` splits a factor in two; merging two
// dimensions concatenates their factors.
//
// Invariants. No factor has extent 1; no two neighbours of one dimension could be one factor (outer
// stride = inner extent * inner stride). With these the representation is canonical: maps are equal
// as functions if and only if they are equal member by member, so comparing costs nothing and needs
// no enumeration of elements.
//
// The batch is dynamic. Its extent here is `kProbeBatch`, a prime that no other dimension of a
// network has, which makes arithmetic on extents such as 12 * batch exact without a symbolic
// algebra.
//
//===----------------------------------------------------------------------===//

#ifndef NS_IMPORT_INDEXMAP_H
#define NS_IMPORT_INDEXMAP_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include <optional>

namespace ns::pt2 {

/// Extent that stands for the batch.
constexpr int64_t kProbeBatch = 8191;

/// Shapes with more elements than this (at `kProbeBatch`) are rejected, so that positions never
/// overflow.
constexpr int64_t kMaxElements = int64_t(1) << 60;

/// The number of elements of `shape`; nothing when an extent is below 1 or the product is above
/// `kMaxElements`.
std::optional<int64_t> countElements(llvm::ArrayRef<int64_t> shape);

/// See the head of this file.
class IndexMap {
public:
  struct Factor {
    int64_t extent, stride;
    bool operator==(const Factor &) const = default;
  };
  using Dimension = llvm::SmallVector<Factor, 2>;

  IndexMap() = default;
  /// One factor for each dimension.
  explicit IndexMap(llvm::ArrayRef<Factor> factors, int64_t offset = 0);
  /// The whole of a root of this shape. Requires `countElements(shape)`.
  static IndexMap identity(llvm::ArrayRef<int64_t> shape);

  unsigned rank() const { return dimensions.size(); }
  int64_t extent(unsigned dim) const;
  llvm::SmallVector<int64_t> shape() const;
  int64_t getOffset() const { return offset; }
  /// The digits of `dim`, outermost first.
  llvm::ArrayRef<Factor> dimension(unsigned dim) const { return dimensions[dim]; }
  /// Whether the map has each position of [0, count) once, in whatever order.
  bool isBijection(int64_t count) const;
  /// The position in the root of one element.
  int64_t at(llvm::ArrayRef<int64_t> index) const;
  bool operator==(const IndexMap &) const = default;

  /// Dimension `i` of the result is dimension `order[i]`. Requires a permutation.
  IndexMap permute(llvm::ArrayRef<int64_t> order) const;
  /// The same elements in row-major order under another shape; nothing when the counts differ or
  /// when positions are no mixed-radix function of the new indices.
  std::optional<IndexMap> reshape(llvm::ArrayRef<int64_t> shape) const;
  /// The map at one index of `dim`, which disappears. Requires 0 <= index < extent(dim).
  IndexMap select(unsigned dim, int64_t index) const;
  /// `size` indices of `dim`, from `from` on, `step` apart; nothing when they straddle digits.
  /// Requires that they exist, and step >= 1.
  std::optional<IndexMap> slice(unsigned dim, int64_t from, int64_t size, int64_t step = 1) const;
  /// Repeats dimensions of extent 1 to reach `shape`, adding leading ones; nothing when another
  /// extent would change.
  std::optional<IndexMap> expand(llvm::ArrayRef<int64_t> shape) const;
  /// The maps one after the other along `dim`: equal ones whose offsets are those of a mixed-radix
  /// number, such as the four neighbours that a patch merging puts together. Nothing for others.
  /// Requires one map or more, and `dim` below their rank.
  static std::optional<IndexMap> concat(llvm::ArrayRef<IndexMap> parts, unsigned dim);
  /// Whether `dim` repeats the same elements.
  bool isRepeated(unsigned dim) const;
  /// Of a root whose rows have `channels` elements: where the last dimension is a whole row, the
  /// map of the same rows of a root that has `newChannels` in each. Nothing elsewhere.
  std::optional<IndexMap> withRows(int64_t channels, int64_t newChannels) const;

private:
  static void append(Dimension &dimension, Factor factor);

  llvm::SmallVector<Dimension, 5> dimensions;
  int64_t offset = 0;
};

} // namespace ns::pt2

#endif // NS_IMPORT_INDEXMAP_H
