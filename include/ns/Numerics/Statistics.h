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
#include <vector>

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

/// The same by the chi-square distribution with one degree of freedom, of (|onlyFirst - onlySecond|
/// - 1)^2 / (onlyFirst + onlySecond): McNemar 1947 with Edwards' continuity correction.
double mcNemarChiSquare(int64_t onlyFirst, int64_t onlySecond);

/// From so many discordant pairs on the approximation is good.
inline constexpr int64_t kManyDiscordant = 25;

/// The exact test of fewer than kManyDiscordant discordant pairs, else the approximate one.
struct PairedTest {
  double p = 1;
  bool exact = true;
};
PairedTest mcNemar(int64_t onlyFirst, int64_t onlySecond);

/// The 2.5 % and 97.5 % quantiles of values, linear between neighbours as numpy.quantile takes
/// them; {0, 0} of none.
Interval percentiles95(std::vector<double> values);

} // namespace ns::numerics

#endif // NS_NUMERICS_STATISTICS_H
