//===- ConvolutionTest.cpp - convolutions as maps of the image --*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Numerics/Convolution.h"
#include "ns/Numerics/Nullspace.h"

#include "gtest/gtest.h"

#include <cmath>
#include <numeric>
#include <random>

using namespace ns::numerics;

namespace {

std::vector<double> noise(int64_t size, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<double> values(size);
  for (double &value : values)
    value = normal(generator);
  return values;
}

double dot(const std::vector<double> &a, const std::vector<double> &b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

struct Case {
  const char *name;
  ConvolutionShape shape;
  int64_t structural;
};

void PrintTo(const Case &value, std::ostream *os) { *os << value.name; }

std::vector<double> weightOf(const ConvolutionShape &shape) {
  return noise(shape.outputs * shape.channels / shape.groups * shape.kernel[0] * shape.kernel[1],
               1);
}

std::vector<double> stdOf(const ConvolutionShape &shape) {
  std::vector<double> std(shape.channels);
  std::iota(std.begin(), std.end(), 1.0);
  return std;
}

/// The matrix by the definition of the convolution, output o of position (oy, ox) in row (oy, ox,
/// o).
std::vector<double> denseMatrix(const ConvolutionShape &s) {
  std::vector<double> weight = weightOf(s), std = stdOf(s), matrix(s.rows() * s.cols());
  int64_t inputs = s.channels / s.groups;
  for (int64_t oy = 0; oy < s.extent(0); ++oy)
    for (int64_t ox = 0; ox < s.extent(1); ++ox)
      for (int64_t o = 0; o < s.outputs; ++o)
        for (int64_t i = 0; i < inputs; ++i)
          for (int64_t ky = 0; ky < s.kernel[0]; ++ky)
            for (int64_t kx = 0; kx < s.kernel[1]; ++kx) {
              int64_t y = oy * s.stride[0] + ky * s.dilation[0] - s.padding[0];
              int64_t x = ox * s.stride[1] + kx * s.dilation[1] - s.padding[1];
              if (y < 0 || y >= s.image[0] || x < 0 || x >= s.image[1])
                continue;
              int64_t channel = o / (s.outputs / s.groups) * inputs + i;
              int64_t row = (oy * s.extent(1) + ox) * s.outputs + o;
              int64_t column = (channel * s.image[0] + y) * s.image[1] + x;
              int64_t tap = ((o * inputs + i) * s.kernel[0] + ky) * s.kernel[1] + kx;
              matrix[row * s.cols() + column] = weight[tap] / std[channel];
            }
  return matrix;
}

class Convolution : public testing::TestWithParam<Case> {};

TEST_P(Convolution, AppliesTheMatrixAndItsTranspose) {
  const ConvolutionShape &shape = GetParam().shape;
  ImageConvolution map(shape, weightOf(shape), stdOf(shape));
  std::vector<double> matrix = denseMatrix(shape), x = noise(map.cols(), 2),
                      y = noise(map.rows(), 3);
  std::vector<double> image(map.cols()), result(map.rows());
  map.apply(x.data(), result.data());
  map.applyTransposed(y.data(), image.data());
  for (int64_t i = 0; i < map.rows(); ++i) {
    double expected = std::inner_product(x.begin(), x.end(), matrix.begin() + i * map.cols(), 0.0);
    EXPECT_NEAR(result[i], expected, 1e-12);
  }
  for (int64_t j = 0; j < map.cols(); ++j) {
    double expected = 0;
    for (int64_t i = 0; i < map.rows(); ++i)
      expected += matrix[i * map.cols() + j] * y[i];
    EXPECT_NEAR(image[j], expected, 1e-12);
  }
}

TEST_P(Convolution, StructuralNullityIsTheRandomMatrixs) {
  // For random weights nothing but the shape takes dimensions away; the count by shape must not
  // exceed the truth for any.
  const ConvolutionShape &shape = GetParam().shape;
  std::vector<double> matrix = denseMatrix(shape);
  Nullspace truth = computeNullspace(matrix.data(), shape.rows(), shape.cols(), 1e-14);
  EXPECT_EQ(structuralNullity(shape), GetParam().structural);
  EXPECT_EQ(truth.nullity, GetParam().structural);
}

TEST_P(Convolution, FindsTheExtremeSingularValues) {
  const ConvolutionShape &shape = GetParam().shape;
  ImageConvolution map(shape, weightOf(shape), stdOf(shape));
  std::vector<double> matrix = denseMatrix(shape);
  Nullspace truth = computeNullspace(matrix.data(), shape.rows(), shape.cols(), 1e-14);
  SingularRange range = extremeSingularValues(map, 1000);
  double largest = truth.singularValues.front(), smallest = truth.singularValues.back();
  EXPECT_NEAR(range.largest, largest, 1e-10 * largest);
  EXPECT_NEAR(range.smallest, smallest, 1e-6 * largest);
  SingularRange early = extremeSingularValues(map, 5);
  EXPECT_LE(early.steps, 5);
  EXPECT_LE(early.largest, largest * (1 + 1e-12));
  EXPECT_GE(early.smallest, smallest * (1 - 1e-12));
}

TEST_P(Convolution, ProjectsOntoTheNullspace) {
  const ConvolutionShape &shape = GetParam().shape;
  ImageConvolution map(shape, weightOf(shape), stdOf(shape));
  std::vector<double> matrix = denseMatrix(shape), x = noise(map.cols(), 4);
  Nullspace truth = computeNullspace(matrix.data(), shape.rows(), shape.cols(), 1e-14);
  Projection found = projectOntoNullspace(map, x, truth.sigmaMax, 1e-10, 100000);
  ASSERT_TRUE(found.converged);
  EXPECT_LE(found.residual, 1e-10);
  std::vector<double> expected(map.cols());
  for (int64_t k = 0; k < truth.nullity; ++k) {
    std::vector<double> q(truth.basis.begin() + k * map.cols(),
                          truth.basis.begin() + (k + 1) * map.cols());
    double part = dot(q, x);
    for (int64_t j = 0; j < map.cols(); ++j)
      expected[j] += part * q[j];
  }
  for (int64_t j = 0; j < map.cols(); ++j)
    EXPECT_NEAR(found.vector[j], expected[j], 1e-5 * std::sqrt(dot(x, x)));
}

INSTANTIATE_TEST_SUITE_P(Shapes, Convolution,
                         testing::Values(
                             // 4 pixels, kernel [a b]: the header's examples
                             Case{"Stride2", {1, 1, 1, {1, 4}, {1, 2}, {1, 2}}, 2},
                             Case{"Stride1", {1, 1, 1, {1, 4}, {1, 2}}, 1},
                             // a ResNet's: more outputs than c s^2
                             Case{"ResNet", {3, 14, 1, {10, 10}, {7, 7}, {2, 2}, {3, 3}}, 0},
                             // fewer: 3 * 12 * 12 - 8 * 3 * 3
                             Case{"Wide", {3, 8, 1, {12, 12}, {7, 7}, {4, 4}, {3, 3}}, 360},
                             Case{"Uneven", {2, 3, 1, {9, 7}, {3, 2}, {2, 3}, {1, 0}}, 96},
                             // one pixel of 3 in each direction is read
                             Case{"Gaps", {2, 8, 1, {9, 9}, {1, 1}, {3, 3}}, 144},
                             Case{
                                 "Dilated", {2, 2, 1, {8, 8}, {3, 3}, {2, 2}, {1, 1}, {2, 2}}, 110},
                             Case{"Depthwise", {3, 3, 3, {6, 6}, {3, 3}, {2, 2}, {1, 1}}, 81},
                             Case{"Groups", {4, 6, 2, {6, 6}, {3, 3}, {2, 2}, {1, 1}}, 90},
                             // more outputs than a window has pixels: 27 of 40
                             Case{"ManyOutputs", {3, 40, 1, {9, 9}, {3, 3}, {3, 3}}, 0}),
                         [](const auto &info) { return std::string(info.param.name); });

TEST(Projection, KeepsPatchesOfTheBasisAndUnreadPixels) {
  // 2 channels, patches 1 x 2 of a 2 x 5 image: the last column is not read.
  std::vector<double> matrix = noise(2 * 4, 5), image = noise(2 * 2 * 5, 6);
  Nullspace space = computeNullspace(matrix.data(), 2, 4, 1e-14);
  std::vector<double> found = projectPatches(space, image, 2, {2, 5}, {1, 2});
  std::vector<double> again = projectPatches(space, found, 2, {2, 5}, {1, 2});
  for (int64_t y = 0; y < 2; ++y) {
    for (int64_t left : {0, 2})
      for (int64_t row = 0; row < 2; ++row) {
        double response = 0, rest = 0;
        for (int64_t tap = 0; tap < 4; ++tap) {
          int64_t at = (tap / 2 * 2 + y) * 5 + left + tap % 2;
          response += matrix[row * 4 + tap] * found[at];
          rest += found[at] * (image[at] - found[at]);
        }
        EXPECT_NEAR(response, 0, 1e-13);
        EXPECT_NEAR(rest, 0, 1e-13); // orthogonal
      }
    for (int64_t channel : {0, 1})
      EXPECT_EQ(found[(channel * 2 + y) * 5 + 4], image[(channel * 2 + y) * 5 + 4]);
  }
  for (size_t i = 0; i < found.size(); ++i)
    EXPECT_NEAR(again[i], found[i], 1e-14);
  EXPECT_GT(dot(found, found), 0.1);
}

} // namespace
