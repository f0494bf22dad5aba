//===- Statistics.cpp - intervals and paired tests ------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Numerics/Statistics.h"

#include <algorithm>
#include <cmath>

using namespace ns::numerics;

Interval ns::numerics::wilson(int64_t successes, int64_t trials, double z) {
  if (trials <= 0)
    return {0, 1};
  double n = static_cast<double>(trials), p = successes / n, z2 = z * z;
  double center = (p + z2 / (2 * n)) / (1 + z2 / n);
  double half = z / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return {successes == 0 ? 0 : std::max(0.0, center - half),
          successes == trials ? 1 : std::min(1.0, center + half)};
}

MeanEstimate ns::numerics::meanEstimate(std::span<const double> values, double z) {
  if (values.empty())
    return {};
  double n = static_cast<double>(values.size()), sum = 0, squares = 0;
  for (double x : values)
    sum += x;
  double mean = sum / n;
  for (double x : values)
    squares += (x - mean) * (x - mean);
  double half = values.size() < 2 ? 0 : z * std::sqrt(squares / (n - 1) / n);
  return {mean, {mean - half, mean + half}};
}

double ns::numerics::mcNemarExact(int64_t onlyFirst, int64_t onlySecond) {
  int64_t n = onlyFirst + onlySecond, k = std::min(onlyFirst, onlySecond);
  if (n == 0)
    return 1;
  // Twice the lower tail of Binomial(n, 1/2), from its largest term down.
  double logTerm =
      std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0) - n * std::log(2.0);
  double ratio = 1, sum = 0;
  for (int64_t i = k; i >= 0 && ratio > 1e-18; --i) {
    sum += ratio;
    ratio *= static_cast<double>(i) / static_cast<double>(n - i + 1);
  }
  return std::min(1.0, 2 * sum * std::exp(logTerm));
}

double ns::numerics::mcNemarChiSquare(int64_t onlyFirst, int64_t onlySecond) {
  double n = static_cast<double>(onlyFirst + onlySecond);
  double difference =
      std::max(0.0, std::abs(static_cast<double>(onlyFirst - onlySecond)) - 1); // continuity
  return n == 0 ? 1 : std::erfc(difference / std::sqrt(2 * n));
}

PairedTest ns::numerics::mcNemar(int64_t onlyFirst, int64_t onlySecond) {
  bool exact = onlyFirst + onlySecond < kManyDiscordant;
  return {exact ? mcNemarExact(onlyFirst, onlySecond) : mcNemarChiSquare(onlyFirst, onlySecond),
          exact};
}

Interval ns::numerics::percentiles95(std::vector<double> values) {
  if (values.empty())
    return {};
  std::sort(values.begin(), values.end());
  auto quantile = [&](double q) {
    double at = q * static_cast<double>(values.size() - 1);
    auto low = static_cast<size_t>(at);
    double next = values[std::min(low + 1, values.size() - 1)];
    return values[low] + (at - static_cast<double>(low)) * (next - values[low]);
  };
  return {quantile(0.025), quantile(0.975)};
}
