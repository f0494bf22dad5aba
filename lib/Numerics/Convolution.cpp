//===- Convolution.cpp - a convolution as a map of the whole image -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Numerics/Convolution.h"

#include <Eigen/Core>

#include <algorithm>

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Strided = Eigen::Map<RowMajor, 0, Eigen::OuterStride<>>;
using ConstStrided = Eigen::Map<const RowMajor, 0, Eigen::OuterStride<>>;

namespace ns::numerics {

/// Output positions whose windows are gathered at once: enough for a matrix product, few enough for
/// a cache.
static constexpr int64_t kChunk = 512;

int64_t ConvolutionShape::extent(unsigned dim) const {
  int64_t room = image[dim] + 2 * padding[dim] - dilation[dim] * (kernel[dim] - 1) - 1;
  return room < 0 ? 0 : room / stride[dim] + 1;
}

/// Pixels along `dim` that some window reads.
static int64_t countRead(const ConvolutionShape &shape, unsigned dim) {
  std::vector<bool> read(shape.image[dim]);
  for (int64_t out = 0; out < shape.extent(dim); ++out)
    for (int64_t k = 0; k < shape.kernel[dim]; ++k) {
      int64_t at = out * shape.stride[dim] + k * shape.dilation[dim] - shape.padding[dim];
      if (at >= 0 && at < shape.image[dim])
        read[at] = true;
    }
  return std::count(read.begin(), read.end(), true);
}

int64_t structuralNullity(const ConvolutionShape &shape) {
  int64_t inputs = shape.channels / shape.groups, taps = inputs * shape.kernel[0] * shape.kernel[1];
  int64_t bySeen = inputs * countRead(shape, 0) * countRead(shape, 1);
  int64_t byOutputs =
      std::min(shape.outputs / shape.groups, taps) * shape.extent(0) * shape.extent(1);
  return shape.cols() - shape.groups * std::min(bySeen, byOutputs);
}

ImageConvolution::ImageConvolution(const ConvolutionShape &shape, std::vector<double> weight,
                                   const std::vector<double> &std)
    : shape(shape), weight(std::move(weight)) {
  int64_t inputs = shape.channels / shape.groups, window = shape.kernel[0] * shape.kernel[1];
  for (size_t i = 0; i < this->weight.size(); ++i) {
    int64_t group = int64_t(i) / taps() / (shape.outputs / shape.groups);
    this->weight[i] /= std[group * inputs + int64_t(i) / window % inputs];
  }
}

template <class Visit>
void ImageConvolution::forWindow(int64_t position, int64_t group, Visit visit) const {
  int64_t top = position / shape.extent(1) * shape.stride[0] - shape.padding[0];
  int64_t left = position % shape.extent(1) * shape.stride[1] - shape.padding[1];
  int64_t inputs = shape.channels / shape.groups, tap = 0;
  for (int64_t channel = group * inputs; channel < (group + 1) * inputs; ++channel)
    for (int64_t ky = 0; ky < shape.kernel[0]; ++ky) {
      int64_t y = top + ky * shape.dilation[0];
      int64_t row = (channel * shape.image[0] + y) * shape.image[1];
      bool inside = y >= 0 && y < shape.image[0];
      for (int64_t kx = 0; kx < shape.kernel[1]; ++kx, ++tap) {
        int64_t x = left + kx * shape.dilation[1];
        if (inside && x >= 0 && x < shape.image[1])
          visit(row + x, tap);
      }
    }
}

void ImageConvolution::apply(const double *x, double *y) const {
  int64_t positions = shape.extent(0) * shape.extent(1), width = shape.outputs / shape.groups;
  RowMajor windows(kChunk, taps());
  for (int64_t first = 0; first < positions; first += kChunk) {
    int64_t count = std::min(kChunk, positions - first);
    for (int64_t group = 0; group < shape.groups; ++group) {
      windows.setZero();
      for (int64_t i = 0; i < count; ++i)
        forWindow(first + i, group,
                  [&](int64_t pixel, int64_t tap) { windows(i, tap) = x[pixel]; });
      Eigen::Map<const RowMajor> kernel(weight.data() + group * width * taps(), width, taps());
      Strided out(y + first * shape.outputs + group * width, count, width,
                  Eigen::OuterStride<>(shape.outputs));
      out.noalias() = windows.topRows(count) * kernel.transpose();
    }
  }
}

void ImageConvolution::applyTransposed(const double *y, double *x) const {
  int64_t positions = shape.extent(0) * shape.extent(1), width = shape.outputs / shape.groups;
  std::fill(x, x + cols(), 0.0);
  RowMajor windows(kChunk, taps());
  for (int64_t first = 0; first < positions; first += kChunk) {
    int64_t count = std::min(kChunk, positions - first);
    for (int64_t group = 0; group < shape.groups; ++group) {
      Eigen::Map<const RowMajor> kernel(weight.data() + group * width * taps(), width, taps());
      ConstStrided out(y + first * shape.outputs + group * width, count, width,
                       Eigen::OuterStride<>(shape.outputs));
      windows.topRows(count).noalias() = out * kernel;
      for (int64_t i = 0; i < count; ++i)
        forWindow(first + i, group,
                  [&](int64_t pixel, int64_t tap) { x[pixel] += windows(i, tap); });
    }
  }
}

} // namespace ns::numerics
