//===- RowMap.cpp - where the rows of an access lie -----------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/RT/IR/RowMap.h"

#include "llvm/ADT/BitVector.h"

#include <numeric>
#include <optional>

using namespace mlir;

namespace {
/// An expression of r and k as steps on a stack: for many points, a walk over its tree takes too
/// long.
class RowFunction {
public:
  explicit RowFunction(AffineExpr row) { append(row); }

  int64_t operator()(int64_t r, int64_t k) {
    stack.clear();
    for (auto [kind, constant] : steps) {
      if (kind == AffineExprKind::Constant) {
        stack.push_back(constant);
        continue;
      }
      if (kind == AffineExprKind::DimId) {
        stack.push_back(constant == 0 ? r : k);
        continue;
      }
      int64_t rhs = stack.pop_back_val(), &lhs = stack.back();
      if (kind == AffineExprKind::Add)
        lhs += rhs;
      else if (kind == AffineExprKind::Mul)
        lhs *= rhs;
      else if (kind == AffineExprKind::FloorDiv)
        lhs /= rhs;
      else
        lhs %= rhs;
    }
    return stack.back();
  }

private:
  void append(AffineExpr row) {
    if (auto constant = dyn_cast<AffineConstantExpr>(row)) {
      steps.push_back({row.getKind(), constant.getValue()});
    } else if (auto dim = dyn_cast<AffineDimExpr>(row)) {
      steps.push_back({row.getKind(), dim.getPosition()});
    } else {
      auto binary = cast<AffineBinaryOpExpr>(row);
      append(binary.getLHS());
      append(binary.getRHS());
      steps.push_back({row.getKind(), 0});
    }
  }

  /// The value of a constant, or the number of a dimension.
  SmallVector<std::pair<AffineExprKind, int64_t>, 32> steps;
  SmallVector<int64_t, 8> stack;
};
} // namespace

/// What `row` grows by when r grows by `rows`, wherever r is; none if its form does not show that.
static std::optional<int64_t> growth(AffineExpr row, int64_t rows) {
  if (isa<AffineConstantExpr>(row))
    return 0;
  if (auto dim = dyn_cast<AffineDimExpr>(row))
    return dim.getPosition() == 0 ? rows : 0;
  auto binary = cast<AffineBinaryOpExpr>(row);
  std::optional<int64_t> lhs = growth(binary.getLHS(), rows);
  if (!lhs)
    return std::nullopt;
  if (row.getKind() == AffineExprKind::Add) {
    std::optional<int64_t> rhs = growth(binary.getRHS(), rows);
    return rhs ? std::optional(*lhs + *rhs) : std::nullopt;
  }
  auto constant = dyn_cast<AffineConstantExpr>(binary.getRHS());
  if (!constant)
    return std::nullopt;
  int64_t by = constant.getValue();
  if (row.getKind() == AffineExprKind::Mul)
    return *lhs * by;
  if (*lhs % by != 0) // the steps of a division lie elsewhere in the next period
    return std::nullopt;
  return row.getKind() == AffineExprKind::FloorDiv ? *lhs / by : 0;
}

namespace {
/// After `rows` rows a row is `growth` further on.
struct Period {
  int64_t rows, growth;
};
} // namespace

/// The shortest period of `row` that divides `rows`.
static std::optional<Period> periodOf(AffineExpr row, int64_t rows) {
  std::optional<Period> shortest;
  for (int64_t divisor = 1; divisor * divisor <= rows; ++divisor) {
    if (rows % divisor != 0)
      continue;
    if (std::optional<int64_t> by = growth(row, divisor))
      return Period{divisor, *by};
    // Its partner is the shortest but one so far: they shrink as `divisor` grows.
    if (std::optional<int64_t> by = growth(row, rows / divisor))
      shortest = Period{rows / divisor, *by};
  }
  return shortest;
}

bool ns::rt::visitsEachRow(AffineExpr row, int64_t rows, int64_t inner) {
  Period period = periodOf(row, rows).value_or(Period{rows, 0});
  RowFunction rowAt(row);
  auto visits = [&](int64_t periods) {
    const int64_t count = periods * period.rows * inner;
    llvm::BitVector seen(count);
    for (int64_t r = 0; r < period.rows; ++r)
      for (int64_t k = 0; k < inner; ++k) {
        int64_t at = rowAt(r, k);
        for (int64_t p = 0; p < periods; ++p, at += period.growth) {
          if (at < 0 || at >= count || seen[at])
            return false;
          seen.set(at);
        }
      }
    return true;
  };
  // Where a period fills a run of its own, the next one fills the next run.
  if (period.growth == period.rows * inner && visits(1))
    return true;
  return visits(rows / period.rows);
}

bool ns::rt::staysInUnit(AffineExpr row, int64_t rows, int64_t inner, int64_t valueRows,
                         int64_t units) {
  constexpr int64_t kMostPoints = int64_t(1) << 23;
  const int64_t unitRows = rows / units, unitValues = valueRows / units;
  Period period = periodOf(row, rows).value_or(Period{rows, 0});
  // Whole units and whole periods; a row moves on evenly over these spans, as its unit does, so
  // that it stays inside in all of them if it does in the first and in the last.
  const int64_t span = std::lcm(period.rows, unitRows);
  if (span * inner > kMostPoints)
    return false;
  const int64_t lastSpan = rows - span, lastGrowth = lastSpan / period.rows * period.growth;
  auto isInside = [&](int64_t r, int64_t at) {
    int64_t first = r / unitRows * unitValues;
    return at >= first && at < first + unitValues;
  };
  RowFunction rowAt(row);
  for (int64_t start = 0; start < period.rows; ++start)
    for (int64_t k = 0; k < inner; ++k) {
      int64_t at = rowAt(start, k);
      for (int64_t r = start; r < span; r += period.rows, at += period.growth)
        if (!isInside(r, at) || !isInside(r + lastSpan, at + lastGrowth))
          return false;
    }
  return true;
}
