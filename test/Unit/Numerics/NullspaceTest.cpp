//===- NullspaceTest.cpp - exact nullspace of a patch embedding -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Numerics/Nullspace.h"

#include "gtest/gtest.h"

#include <cfloat>
#include <cmath>
#include <random>

using namespace ns::numerics;

namespace {

using Matrix = std::vector<double>;

Matrix randomMatrix(int64_t rows, int64_t cols, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  Matrix matrix(rows * cols);
  for (double &value : matrix)
    value = normal(generator);
  return matrix;
}

Matrix multiply(const Matrix &a, const Matrix &b, int64_t m, int64_t k, int64_t n) {
  Matrix c(m * n, 0.0);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t l = 0; l < k; ++l)
      for (int64_t j = 0; j < n; ++j)
        c[i * n + j] += a[i * k + l] * b[l * n + j];
  return c;
}

/// The invariants of the header, independently of how the result was computed.
void expectInvariants(const Matrix &matrix, const Nullspace &space, double rounding = 1e-10) {
  EXPECT_EQ(space.rank + space.nullity, space.cols);
  EXPECT_EQ(space.structural, std::max<int64_t>(0, space.cols - space.rows));
  EXPECT_GE(space.nullity, space.structural);
  EXPECT_EQ(int64_t(space.basis.size()), space.nullity * space.cols);
  EXPECT_EQ(int64_t(space.singularValues.size()), std::min(space.rows, space.cols));
  EXPECT_TRUE(std::is_sorted(space.singularValues.rbegin(), space.singularValues.rend()));
  double worst = 0;
  for (int64_t k = 0; k < space.nullity; ++k)
    for (int64_t i = 0; i < space.rows; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < space.cols; ++j)
        sum += matrix[i * space.cols + j] * space.basis[k * space.cols + j];
      worst = std::max(worst, std::abs(sum));
      if (k < space.structural)
        EXPECT_LT(std::abs(sum), rounding);
    }
  EXPECT_LE(worst, std::max(space.tol, rounding));
  EXPECT_NEAR(worst, space.residual, rounding);
  double offset = 0;
  for (int64_t k = 0; k < space.nullity; ++k)
    for (int64_t l = 0; l <= k; ++l) {
      double dot = 0;
      for (int64_t j = 0; j < space.cols; ++j)
        dot += space.basis[k * space.cols + j] * space.basis[l * space.cols + j];
      offset = std::max(offset, std::abs(dot - (k == l)));
    }
  EXPECT_LT(offset, 1e-12);
}

TEST(Nullspace, WorkedExampleOfTheHeader) {
  Matrix matrix = {1, 1};
  scaleColumnsByChannel(matrix, 2, {1, 2});
  EXPECT_EQ(matrix, (Matrix{1, 0.5}));
  Nullspace space = computeNullspace(matrix.data(), 1, 2, FLT_EPSILON);
  ASSERT_EQ(space.nullity, 1);
  EXPECT_NEAR(space.basis[1] / space.basis[0], -2, 1e-14);
  EXPECT_NEAR(space.sigmaMax, std::sqrt(1.25), 1e-14);
  expectInvariants(matrix, space);
}

TEST(Nullspace, ScalesByChannelNotByColumn) {
  Matrix matrix(12, 1.0); // 2 x 6, 3 channels of 2 pixels
  scaleColumnsByChannel(matrix, 6, {1, 2, 4});
  EXPECT_EQ(matrix, (Matrix{1, 1, .5, .5, .25, .25, 1, 1, .5, .5, .25, .25}));
}

struct RankCase {
  const char *name;
  int64_t rows, cols, rank;
};

class NullspaceOfRank : public testing::TestWithParam<RankCase> {};

TEST_P(NullspaceOfRank, RankAndInvariants) {
  auto [name, rows, cols, rank] = GetParam();
  Matrix matrix =
      multiply(randomMatrix(rows, rank, 2), randomMatrix(rank, cols, 3), rows, rank, cols);
  Nullspace space = computeNullspace(matrix.data(), rows, cols, FLT_EPSILON);
  EXPECT_EQ(space.rank, rank);
  EXPECT_LT(space.structuralResidual, 1e-11);
  if (rank == 0)
    EXPECT_EQ(space.sigmaMin, 0);
  if (rank == cols)
    EXPECT_EQ(space.residual, 0);
  expectInvariants(matrix, space);
}

INSTANTIATE_TEST_SUITE_P(Shapes, NullspaceOfRank,
                         testing::Values(RankCase{"DemoModel", 64, 192, 64},
                                         RankCase{"WideDeficient", 40, 90, 25},
                                         RankCase{"TallFull", 90, 40, 40}, // ViT-L/16's case
                                         RankCase{"TallDeficient", 90, 40, 10},
                                         RankCase{"Zero", 5, 7, 0}),
                         [](const auto &info) { return std::string(info.param.name); });

TEST(Nullspace, KnownSpectrum) {
  Matrix matrix = {3, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1e-9, 0}; // diag(3, 2, 1e-9), one column more
  Nullspace space = computeNullspace(matrix.data(), 3, 4, FLT_EPSILON);
  EXPECT_EQ(space.rank, 2);
  EXPECT_EQ(space.nullity, 2);
  EXPECT_NEAR(space.sigmaMax, 3, 1e-15);
  EXPECT_NEAR(space.sigmaMin, 2, 1e-15);
  EXPECT_NEAR(space.singularValues[2], 1e-9, 1e-20);
  EXPECT_NEAR(space.tol, 4 * FLT_EPSILON * 3, 1e-18);
  EXPECT_NEAR(space.residual, 1e-9, 1e-20);
  // A tolerance below 1e-9 counts it.
  EXPECT_EQ(computeNullspace(matrix.data(), 3, 4, FLT_EPSILON, 1e-12).rank, 3);
}

TEST(Nullspace, OneColumnAndOneRow) {
  Matrix matrix = {2, 0, 0};
  expectInvariants(matrix, computeNullspace(matrix.data(), 3, 1, FLT_EPSILON));
  expectInvariants(matrix, computeNullspace(matrix.data(), 1, 3, FLT_EPSILON));
}

TEST(Nullspace, SizesOfKnownModels) {
  struct {
    int64_t width, pixels, nullity;
  } const models[] = {
      {192, 768, 576}, {384, 768, 384}, {768, 768, 0}, {768, 3072, 2304}, {1024, 768, 0}};
  for (auto [width, pixels, nullity] : models) {
    Matrix matrix = randomMatrix(width, pixels, 7);
    Nullspace space = computeNullspace(matrix.data(), width, pixels, FLT_EPSILON);
    EXPECT_EQ(space.nullity, nullity);
    EXPECT_LT(space.structuralResidual, 1e-10);
  }
}

} // namespace
