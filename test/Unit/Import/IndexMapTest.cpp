//===- IndexMapTest.cpp - index maps against enumerated indices -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Import/IndexMap.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/Sequence.h"
#include "gtest/gtest.h"
#include <random>

using namespace llvm;
using namespace ns::pt2;

namespace {
/// A view as NumPy has it: its shape, and the position of each element in the root, in row-major
/// order.
struct Enumerated {
  SmallVector<int64_t> shape;
  std::vector<int64_t> positions;

  bool operator==(const Enumerated &) const = default;
};

/// Calls `function` with each index of `shape` in row-major order.
template <typename Function> void forEachIndex(ArrayRef<int64_t> shape, Function function) {
  SmallVector<int64_t> index(shape.size(), 0);
  for (int64_t left = *countElements(shape); left-- > 0;) {
    function(ArrayRef<int64_t>(index));
    for (size_t dim = shape.size(); dim-- > 0 && ++index[dim] == shape[dim];)
      index[dim] = 0;
  }
}

Enumerated enumerated(const IndexMap &map) {
  Enumerated result{map.shape(), {}};
  forEachIndex(result.shape,
               [&](ArrayRef<int64_t> index) { result.positions.push_back(map.at(index)); });
  return result;
}

/// The part of `view` that `keep` selects, with the shape `shape`; `source` maps new indices to old
/// ones.
template <typename Function>
Enumerated gathered(const Enumerated &view, ArrayRef<int64_t> shape, Function source) {
  Enumerated result{SmallVector<int64_t>(shape), {}};
  forEachIndex(shape, [&](ArrayRef<int64_t> index) {
    SmallVector<int64_t> old = source(index);
    int64_t flat = 0;
    for (auto [i, extent] : zip_equal(old, view.shape))
      flat = flat * extent + i;
    result.positions.push_back(view.positions[flat]);
  });
  return result;
}
} // namespace

TEST(IndexMap, HeadsOfAPackedLinearLayer) {
  const int64_t b = kProbeBatch, n = 197, h = 3, d = 64, c = h * d;
  IndexMap qkv = *IndexMap::identity({b, n, 3 * c}).reshape({b, n, 3, h, d});
  IndexMap key = qkv.permute({2, 0, 3, 1, 4}).select(0, 1);
  EXPECT_EQ(key, IndexMap({{b, n * 3 * c}, {h, d}, {n, 3 * c}, {d, 1}}, c));
  // Another spelling of the same layout: cut the channels first.
  IndexMap other = IndexMap::identity({b, n, 3 * c})
                       .slice(2, c, c)
                       ->reshape({b, n, h, d})
                       ->permute({0, 2, 1, 3});
  EXPECT_EQ(key, other);
  EXPECT_NE(key, qkv.permute({2, 0, 3, 1, 4}).select(0, 0));
}

TEST(IndexMap, MergingHeadsGivesTheIdentity) {
  IndexMap heads({{kProbeBatch, 17 * 48}, {3, 16}, {17, 48}, {16, 1}});
  EXPECT_EQ(heads.permute({0, 2, 1, 3}).reshape({kProbeBatch, 17, 48}),
            IndexMap::identity({kProbeBatch, 17, 48}));
}

TEST(IndexMap, ReshapeAcrossPermutedDimensionsIsRefused) {
  IndexMap transposed = IndexMap::identity({4, 6}).permute({1, 0});
  EXPECT_FALSE(transposed.reshape({4, 6}));
  EXPECT_FALSE(transposed.reshape({23}));
  EXPECT_TRUE(transposed.reshape({2, 3, 4}));
}

TEST(IndexMap, ExpandRepeatsOnlyOnes) {
  IndexMap token = IndexMap::identity({1, 1, 8});
  EXPECT_EQ(token.expand({5, 1, 8}), IndexMap({{5, 0}, {1, 0}, {8, 1}}));
  EXPECT_FALSE(token.expand({5, 1, 9}));
  EXPECT_FALSE(token.expand({8}));
}

TEST(IndexMap, RepeatedDimensions) {
  IndexMap mask = *IndexMap::identity({1, 4}).expand({3, 5, 4});
  EXPECT_TRUE(mask.isRepeated(0));
  EXPECT_TRUE(mask.isRepeated(1));
  EXPECT_FALSE(mask.isRepeated(2));
  EXPECT_TRUE(mask.slice(2, 3, 1)->isRepeated(2)); // one element
  EXPECT_TRUE(mask.reshape({15, 4})->isRepeated(0));
  EXPECT_FALSE(mask.reshape({60})->isRepeated(0));
}

TEST(IndexMap, RowsOfOtherWidth) {
  // torchvision's rows, N x B, before and after a linear layer from 32 to 96 channels.
  const int64_t b = kProbeBatch, n = 17;
  auto permuted = [&](int64_t channels) {
    return IndexMap::identity({b, n, channels}).permute({1, 0, 2});
  };
  EXPECT_EQ(permuted(32).withRows(32, 96), permuted(96));
  EXPECT_EQ(permuted(32).reshape({n * b, 32})->withRows(32, 96), permuted(96).reshape({n * b, 96}));
  EXPECT_EQ(permuted(32).withRows(32, 1), permuted(1));
  EXPECT_EQ(permuted(1).withRows(1, 32), permuted(32));
  EXPECT_EQ(IndexMap::identity({b, n, 32}).select(1, 5).withRows(32, 8),
            IndexMap::identity({b, n, 8}).select(1, 5));
  // No whole rows: a part of the channels, heads, channels that are not last.
  EXPECT_FALSE(IndexMap::identity({b, n, 32}).slice(2, 0, 16)->withRows(32, 96));
  EXPECT_FALSE(IndexMap::identity({b, n, 32}).reshape({b, n, 2, 16})->withRows(32, 96));
  EXPECT_FALSE(IndexMap::identity({b, n, 32}).permute({0, 2, 1}).withRows(32, 96));
}

TEST(IndexMap, NeighboursPutTogether) {
  // Patch merging: every second row and column, four times, along the channels.
  const int64_t b = kProbeBatch;
  const IndexMap grid = IndexMap::identity({b, 8, 8, 3});
  auto part = [&](int64_t y, int64_t x) { return *grid.slice(1, y, 4, 2)->slice(2, x, 4, 2); };
  const IndexMap merged =
      *grid.reshape({b, 4, 2, 4, 2, 3})->permute({0, 1, 3, 4, 2, 5}).reshape({b, 4, 4, 12});
  EXPECT_EQ(IndexMap::concat({part(0, 0), part(1, 0), part(0, 1), part(1, 1)}, 3), merged);
  EXPECT_TRUE(merged.isBijection(b * 8 * 8 * 3));
  EXPECT_EQ(IndexMap::concat({grid}, 2), grid);
  EXPECT_EQ(IndexMap::concat({*grid.slice(3, 0, 1), *grid.slice(3, 1, 1), *grid.slice(3, 2, 1)}, 3),
            grid);
  // Not in the order of a number's digits; the same part again; a part of another shape.
  EXPECT_FALSE(IndexMap::concat({part(0, 0), part(1, 1), part(0, 1), part(1, 0)}, 3));
  EXPECT_FALSE(IndexMap::concat({part(0, 0), part(1, 0), part(0, 1)}, 3));
  EXPECT_FALSE(IndexMap::concat({part(1, 0), part(0, 0)}, 3));
  EXPECT_FALSE(IndexMap::concat({part(0, 0), part(0, 0)}, 3));
  EXPECT_FALSE(IndexMap::concat({*grid.slice(3, 0, 1), *grid.slice(3, 1, 2)}, 3));
}

TEST(IndexMap, CountsRefuseEmptyAndHugeShapes) {
  EXPECT_EQ(countElements({}), 1);
  EXPECT_EQ(countElements({2, 3}), 6);
  EXPECT_FALSE(countElements({2, 0}));
  EXPECT_FALSE(countElements({2, -3}));
  EXPECT_FALSE(countElements({int64_t(1) << 40, int64_t(1) << 40}));
}

// Random chains of views: the map's positions are NumPy's, and maps are equal if and only if the
// enumerations are.
TEST(IndexMap, RandomChainsAgreeWithEnumeration) {
  std::mt19937 random(0);
  auto below = [&](int64_t n) { return static_cast<int64_t>(random() % n); };
  std::vector<std::pair<IndexMap, Enumerated>> seen;
  unsigned refused = 0;
  for (int chain = 0; chain < 400; ++chain) {
    IndexMap map = IndexMap::identity({2, 6, 12});
    Enumerated truth = enumerated(map);
    for (int step = 0; step < 5; ++step) {
      const int64_t rank = map.rank(), dim = rank ? below(rank) : 0;
      switch (below(4)) {
      case 0: { // permute
        SmallVector<int64_t> order = to_vector(seq<int64_t>(0, rank));
        std::shuffle(order.begin(), order.end(), random);
        truth = gathered(truth, map.permute(order).shape(), [&](ArrayRef<int64_t> index) {
          SmallVector<int64_t> old(rank);
          for (auto [i, from] : enumerate(order))
            old[from] = index[i];
          return old;
        });
        map = map.permute(order);
        break;
      }
      case 1: { // reshape: split one dimension, or merge two
        SmallVector<int64_t> shape = map.shape();
        if (rank > 1 && below(2)) {
          int64_t first = below(rank - 1);
          shape[first] *= shape[first + 1];
          shape.erase(shape.begin() + first + 1);
        } else if (int64_t part = 2 + below(2); rank > 0 && shape[dim] % part == 0) {
          shape[dim] /= part;
          shape.insert(shape.begin() + dim, part);
        }
        if (std::optional<IndexMap> reshaped = map.reshape(shape)) {
          map = *reshaped;
          truth.shape = shape;
        } else {
          ++refused;
        }
        break;
      }
      case 2: // select
        if (rank > 1) {
          int64_t at = below(map.extent(dim));
          IndexMap selected = map.select(dim, at);
          truth = gathered(truth, selected.shape(), [&](ArrayRef<int64_t> index) {
            SmallVector<int64_t> old(index);
            old.insert(old.begin() + dim, at);
            return old;
          });
          map = selected;
        }
        break;
      default: // slice
        if (rank > 0) {
          int64_t apart = 1 + below(3), from = below(map.extent(dim)),
                  size = 1 + below((map.extent(dim) - 1 - from) / apart + 1);
          if (std::optional<IndexMap> cut = map.slice(dim, from, size, apart)) {
            truth = gathered(truth, cut->shape(), [&](ArrayRef<int64_t> index) {
              SmallVector<int64_t> old(index);
              old[dim] = from + old[dim] * apart;
              return old;
            });
            map = *cut;
          }
        }
      }
      ASSERT_EQ(enumerated(map), truth) << "chain " << chain << " step " << step;
      std::vector<int64_t> sorted = truth.positions;
      llvm::sort(sorted);
      ASSERT_EQ(map.isBijection(2 * 6 * 12), llvm::equal(sorted, seq<int64_t>(0, 2 * 6 * 12)));
    }
    seen.emplace_back(map, truth);
  }
  EXPECT_GT(refused, 0u);
  for (const auto &[map, truth] : seen)
    for (const auto &[otherMap, otherTruth] : seen)
      ASSERT_EQ(map == otherMap, truth == otherTruth);
}
