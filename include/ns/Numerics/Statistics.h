//===- Statistics.h - intervals and paired tests ----------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_NUMERICS_STATISTICS_H
#define NS_NUMERICS_STATISTICS_H

#include <cstdint>
#include <span>

namespace ns::numerics {

struct Interval {
  double low = 0, high = 0;
};

/// Two-sided 95 % quantile of N(0, 1).
inline constexpr double kZ95 = 1.959963984540054;

/// Wilson's score interval of a share of `successes` among `trials`; [0, 1] where trials is 0.
/// Unlike the normal interval it stays inside [0, 1] and keeps its coverage near both ends.
Interval wilson(int64_t successes, int64_t trials, double z = kZ95);

/// Mean of values and its normal interval mean +- z s / sqrt(n), s with n - 1; zero width for n
/// < 2.
struct MeanEstimate {
  double mean = 0;
  Interval interval;
};
MeanEstimate meanEstimate(std::span<const double> values, double z = kZ95);

/// McNemar's exact two-sided test of paired yes/no outcomes: `onlyFirst` pairs where only the first
/// is yes, `onlySecond` where only the second is. Under the null hypothesis onlyFirst ~
/// Binomial(onlyFirst + onlySecond, 1/2).
double mcNemarExact(int64_t onlyFirst, int64_t onlySecond);

} // namespace ns::numerics

#endif // NS_NUMERICS_STATISTICS_H
