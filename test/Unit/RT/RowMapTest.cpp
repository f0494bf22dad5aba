//===- RowMapTest.cpp - where the rows of an access lie -------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/RT/IR/RowMap.h"

#include "mlir/AsmParser/AsmParser.h"
#include "mlir/IR/AffineMap.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/MLIRContext.h"

#include "gtest/gtest.h"

#include <random>
#include <set>
#include <vector>

using namespace mlir;

namespace {

/// The values of `row` at all points, as MLIR folds them.
std::vector<int64_t> valuesOf(AffineExpr row, int64_t rows, int64_t inner) {
  std::vector<int64_t> values;
  MLIRContext *context = row.getContext();
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < inner; ++k) {
      AffineExpr point[] = {getAffineConstantExpr(r, context), getAffineConstantExpr(k, context)};
      values.push_back(cast<AffineConstantExpr>(row.replaceDims(point)).getValue());
    }
  return values;
}

bool areEachRow(const std::vector<int64_t> &values) {
  std::set<int64_t> seen(values.begin(), values.end());
  return seen.size() == values.size() && *seen.begin() == 0 &&
         *seen.rbegin() == int64_t(values.size()) - 1;
}

bool areInUnit(const std::vector<int64_t> &values, int64_t valueRows, int64_t units) {
  const int64_t points = values.size() / units, unitValues = valueRows / units;
  for (int64_t i = 0; i < int64_t(values.size()); ++i)
    if (values[i] < 0 || values[i] / unitValues != i / points)
      return false;
  return true;
}

struct RowMap : testing::Test {
  MLIRContext context{MLIRContext::Threading::DISABLED};

  AffineExpr parse(const std::string &row) {
    Attribute map = parseAttribute("affine_map<(r, k) -> (" + row + ")>", &context);
    return cast<AffineMapAttr>(map).getValue().getResult(0);
  }

  /// Both answers, against those by points, for each number of units that divides both.
  void compare(AffineExpr row, int64_t rows, int64_t inner, int64_t valueRows) {
    std::string text;
    llvm::raw_string_ostream(text) << row << " of " << rows << " x " << inner;
    std::vector<int64_t> values = valuesOf(row, rows, inner);
    const bool areEach = areEachRow(values);
    EXPECT_EQ(ns::rt::visitsEachRow(row, rows, inner), areEach) << text;
    visiting += areEach && rows > 1;
    for (int64_t units = 1; units <= rows; ++units) {
      if (rows % units != 0 || valueRows % units != 0)
        continue;
      const bool areInside = areInUnit(values, valueRows, units);
      EXPECT_EQ(ns::rt::staysInUnit(row, rows, inner, valueRows, units), areInside)
          << text << ", " << units << " units of " << valueRows;
      staying += areInside && units > 1;
    }
  }

  int visiting = 0, staying = 0; // how often the answer was yes
};

/// Sums and products of r, k, constants, and floordiv and mod of these.
struct RandomRow {
  MLIRContext *context;
  std::mt19937 random;

  int64_t below(int64_t limit) { return int64_t(random() % limit); }
  AffineExpr operator()(int depth) {
    if (depth == 0 || below(6) == 0)
      return below(5) == 0 ? getAffineConstantExpr(below(4), context)
                           : getAffineDimExpr(below(3) == 0, context);
    AffineExpr lhs = (*this)(depth - 1);
    switch (below(4)) {
    case 0:
      return lhs + (*this)(depth - 1);
    case 1:
      return lhs * (1 + below(6));
    case 2:
      return lhs.floorDiv(1 + below(6));
    default:
      return lhs % (1 + below(12));
    }
  }
};

} // namespace

TEST_F(RowMap, theAccessesOfModels) {
  struct {
    const char *row;
    int64_t rows, inner, valueRows;
  } accesses[] = {
      {"r", 24, 1, 24},
      {"r", 24, 3, 24},
      {"r * 3 + k", 24, 3, 72},
      {"k * 24 + r", 24, 3, 72}, // each row once, and none in its unit
      {"(r mod 24) * 3 + r floordiv 24", 72, 1, 72},
      {"r mod 6", 24, 1, 6}, // a table for every image
      {"23 - r", 24, 1, 24},
      {"r + 1", 24, 1, 25},
      // Windows of 2 x 2 of images of 4 x 4, and moved by one.
      {"(r floordiv 16) * 16 + (((r mod 16) floordiv 8) * 2 + (r mod 4) floordiv 2) * 4 + "
       "((r mod 8) floordiv 4) * 2 + r mod 2",
       48, 1, 48},
      {"(r floordiv 16) * 16 + (((r mod 16) floordiv 4 + 1) mod 4) * 4 + (r mod 4 + 1) mod 4", 48,
       1, 48},
      // Patches of 2 x 2 merged.
      {"(r floordiv 4) * 16 + (((r mod 4) floordiv 2) * 2 + k floordiv 2) * 4 + (r mod 2) * 2 + k "
       "mod 2",
       12, 4, 48},
      // A token before those of an image.
      {"(r floordiv 8) * 9 + r mod 8 + 1", 24, 1, 27},
  };
  for (auto &access : accesses)
    compare(parse(access.row), access.rows, access.inner, access.valueRows);
}

TEST_F(RowMap, randomRows) {
  RandomRow random{&context, std::mt19937(7)};
  for (int i = 0; i < 20000; ++i) {
    int64_t rows = 1 + random.below(36), inner = 1 + random.below(3);
    int64_t valueRows = random.below(2) ? rows * inner : 1 + random.below(48);
    compare(random(4), rows, inner, valueRows);
  }
  EXPECT_GT(visiting, 50);
  EXPECT_GT(staying, 50);
}

/// A batch of 4096 images has more points than are looked at one by one.
TEST_F(RowMap, whatRepeatsIsLookedAtOnce) {
  AffineExpr row = parse("(r floordiv 3136) * 3136 + ((r mod 3136) floordiv 56) * 56 + (r mod 56 + "
                         "3) mod 56");
  const int64_t rows = 4096 * 3136;
  EXPECT_TRUE(ns::rt::visitsEachRow(row, rows, 1));
  EXPECT_TRUE(ns::rt::staysInUnit(row, rows, 1, rows, 4096));
  EXPECT_TRUE(ns::rt::staysInUnit(row, rows, 1, rows, 4096 * 56));
  EXPECT_FALSE(ns::rt::staysInUnit(row, rows, 1, rows, 4096 * 112));
  EXPECT_FALSE(ns::rt::staysInUnit(parse("r + 1"), rows, 1, rows, 4096));
}
