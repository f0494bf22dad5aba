//===- RngTest.cpp - counter-based random numbers -------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Rng.h"
#include "ns/Numerics/Statistics.h"

#include <gtest/gtest.h>

#include <algorithm>

using namespace ns::runtime;
using namespace ns::numerics;

// Known answers of Random123's kat_vectors for philox4x32-10.
TEST(Rng, PhiloxKnownAnswers) {
  std::array<uint32_t, 4> zeros = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  EXPECT_EQ(philox({0, 0, 0, 0}, 0), zeros);
  std::array<uint32_t, 4> ones = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
  EXPECT_EQ(philox({~0u, ~0u, ~0u, ~0u}, ~0ull), ones);
  std::array<uint32_t, 4> pi = {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822ull), pi);
}

TEST(Rng, MomentsOfUniformAndNormal) {
  Rng rng(3, Stream::NoiseInit);
  const int n = 100000;
  double u = 0, uu = 0, z = 0, zz = 0;
  for (int i = 0; i < n; ++i) {
    u += rng.uniform(i), uu += rng.uniform(i) * rng.uniform(i);
    z += rng.normal(i), zz += rng.normal(i) * rng.normal(i);
  }
  EXPECT_NEAR(u / n, 0.5, 0.005);
  EXPECT_NEAR(uu / n, 1.0 / 3, 0.005);
  EXPECT_NEAR(z / n, 0, 0.015);
  EXPECT_NEAR(zz / n, 1, 0.02);
}

TEST(Rng, StreamsStepsAndSeedsDiffer) {
  uint32_t base = Rng(1, Stream::Order).bits(0);
  EXPECT_NE(base, Rng(2, Stream::Order).bits(0));
  EXPECT_NE(base, Rng(1, Stream::Split).bits(0));
  EXPECT_NE(base, Rng(1, Stream::Order, 1).bits(0));
  EXPECT_NE(base, Rng(1, Stream::Order, uint64_t(1) << 48).bits(0));
  EXPECT_EQ(base, Rng(1, Stream::Order).bits(0));
}

TEST(Rng, PermutationHoldsEveryNumberOnce) {
  auto order = permutation(1000, Rng(5, Stream::Order)), sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (int i = 0; i < 1000; ++i)
    EXPECT_EQ(sorted[i], i);
  EXPECT_NE(order, sorted);
  EXPECT_EQ(order, permutation(1000, Rng(5, Stream::Order)));
}

// scipy.stats: binomtest(k, n).proportion_ci(method="wilson").
TEST(Statistics, WilsonAgreesWithScipy) {
  Interval a = wilson(7, 20);
  EXPECT_NEAR(a.low, 0.18119182, 1e-7);
  EXPECT_NEAR(a.high, 0.56714573, 1e-7);
  EXPECT_EQ(wilson(0, 10).low, 0);
  EXPECT_NEAR(wilson(0, 10).high, 0.27753279, 1e-7);
  EXPECT_EQ(wilson(10, 10).high, 1);
  EXPECT_EQ(wilson(0, 0).high, 1);
}

// scipy.stats.binomtest(min(b, c), b + c, 0.5).pvalue.
TEST(Statistics, McNemarIsTheExactBinomialTest) {
  EXPECT_NEAR(mcNemarExact(3, 12), 0.03515625, 1e-10);
  EXPECT_NEAR(mcNemarExact(12, 3), 0.03515625, 1e-10);
  EXPECT_NEAR(mcNemarExact(0, 5), 0.0625, 1e-12);
  EXPECT_EQ(mcNemarExact(4, 4), 1);
  // scipy.stats.chi2.sf((abs(b - c) - 1)**2 / (b + c), 1).
  EXPECT_NEAR(mcNemarChiSquare(10, 40), 4.109787809945886e-05, 1e-15);
  EXPECT_NEAR(mcNemarChiSquare(40, 10), 4.109787809945886e-05, 1e-15);
  EXPECT_NEAR(mcNemarChiSquare(30, 31), 1, 1e-15);
  EXPECT_EQ(mcNemarChiSquare(0, 0), 1);
  EXPECT_TRUE(mcNemar(3, 21).exact);
  EXPECT_FALSE(mcNemar(4, 21).exact);
  EXPECT_EQ(mcNemar(4, 21).p, mcNemarChiSquare(4, 21));
}

TEST(Statistics, PercentilesAreNumpys) {
  // numpy.quantile([5, 1, 2, 4, 3], [.025, .975]).
  Interval interval = percentiles95({5, 1, 2, 4, 3});
  EXPECT_NEAR(interval.low, 1.1, 1e-12);
  EXPECT_NEAR(interval.high, 4.9, 1e-12);
  EXPECT_EQ(percentiles95({7}).low, 7);
  EXPECT_EQ(percentiles95({}).high, 0);
  EXPECT_EQ(mcNemarExact(0, 0), 1);
  EXPECT_GT(mcNemarExact(0, 900), 0);
  EXPECT_LT(mcNemarExact(0, 900), 1e-200);
}

TEST(Statistics, MeanInterval) {
  double values[] = {1, 2, 3, 4};
  MeanEstimate estimate = meanEstimate(values);
  EXPECT_EQ(estimate.mean, 2.5);
  EXPECT_NEAR(estimate.interval.high - 2.5, 1.959963984540054 * 1.2909944487358056 / 2, 1e-12);
  EXPECT_EQ(meanEstimate({}).mean, 0);
}
