//===- Resize.cpp - resampling as Pillow does it --------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Error.h"
#include "ns/Runtime/Image.h"

#include <algorithm>
#include <cmath>

using namespace ns::runtime;

// Weights are fixed-point numbers with this many fractional bits: 8 bits of pixel and 2 of
// overshoot are left.
static constexpr int kPrecision = 32 - 8 - 2;

Filter ns::runtime::parseFilter(const std::string &name) {
  if (name == "bicubic")
    return Filter::Bicubic;
  if (name == "bilinear")
    return Filter::Bilinear;
  if (name == "lanczos")
    return Filter::Lanczos;
  if (name == "box")
    return Filter::Box;
  if (name == "hamming")
    return Filter::Hamming;
  fail("interpolation '", name, "': expected bicubic, bilinear, lanczos, box or hamming");
}

static double sinc(double x) { return x == 0 ? 1 : std::sin(x * M_PI) / (x * M_PI); }

static double weightOf(Filter filter, double x) {
  x = filter == Filter::Box || filter == Filter::Lanczos ? x : std::fabs(x);
  switch (filter) {
  case Filter::Box:
    return x > -0.5 && x <= 0.5 ? 1 : 0;
  case Filter::Bilinear:
    return x < 1 ? 1 - x : 0;
  case Filter::Hamming:
    return x == 0   ? 1
           : x >= 1 ? 0
                    : std::sin(x * M_PI) / (x * M_PI) * (0.54 + 0.46 * std::cos(x * M_PI));
  case Filter::Bicubic: {
    constexpr double a = -0.5;
    return x < 1   ? ((a + 2) * x - (a + 3)) * x * x + 1
           : x < 2 ? (((x - 5) * x + 8) * x - 4) * a
                   : 0;
  }
  case Filter::Lanczos:
    return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
  }
  return 0;
}

static double supportOf(Filter filter) {
  return filter == Filter::Box       ? 0.5
         : filter == Filter::Bicubic ? 2
         : filter == Filter::Lanczos ? 3
                                     : 1;
}

namespace {

/// For each output pixel of one dimension: the first input pixel, how many, and their weights.
struct Kernel {
  int taps = 0;
  std::vector<int> first, count;
  std::vector<int32_t> weights; // taps for each output pixel

  Kernel(int inSize, double from, double to, int outSize, Filter filter) {
    double scale = (to - from) / outSize, filterScale = std::max(scale, 1.0);
    double support = supportOf(filter) * filterScale;
    taps = static_cast<int>(std::ceil(support)) * 2 + 1;
    first.resize(outSize);
    count.resize(outSize);
    weights.assign(size_t(outSize) * taps, 0);
    std::vector<double> k(taps);
    for (int out = 0; out < outSize; ++out) {
      double center = from + (out + 0.5) * scale, inverse = 1.0 / filterScale, sum = 0;
      int low = std::max(0, static_cast<int>(center - support + 0.5));
      int high = std::min(inSize, static_cast<int>(center + support + 0.5));
      first[out] = low;
      count[out] = high - low;
      for (int i = 0; i < high - low; ++i)
        sum += k[i] = weightOf(filter, (i + low - center + 0.5) * inverse);
      for (int i = 0; i < high - low; ++i) {
        double w = (sum != 0 ? k[i] / sum : k[i]) * (1 << kPrecision);
        weights[size_t(out) * taps + i] = static_cast<int32_t>(w < 0 ? w - 0.5 : w + 0.5);
      }
    }
  }
};

uint8_t clip(int32_t value) {
  return static_cast<uint8_t>(std::clamp(value >> kPrecision, 0, 255));
}

} // namespace

static Image horizontal(const Image &image, const Kernel &kernel, int width) {
  Image result(width, image.height);
  for (int y = 0; y < image.height; ++y)
    for (int x = 0; x < width; ++x) {
      const uint8_t *in = image.at(kernel.first[x], y);
      const int32_t *w = &kernel.weights[size_t(x) * kernel.taps];
      int32_t sum[3] = {1 << (kPrecision - 1), 1 << (kPrecision - 1), 1 << (kPrecision - 1)};
      for (int i = 0; i < kernel.count[x]; ++i)
        for (int c = 0; c < 3; ++c)
          sum[c] += in[3 * i + c] * w[i];
      for (int c = 0; c < 3; ++c)
        result.at(x, y)[c] = clip(sum[c]);
    }
  return result;
}

static Image vertical(const Image &image, const Kernel &kernel, int height) {
  Image result(image.width, height);
  size_t row = size_t(3) * image.width;
  std::vector<int32_t> sum(row);
  for (int y = 0; y < height; ++y) {
    std::fill(sum.begin(), sum.end(), 1 << (kPrecision - 1));
    for (int i = 0; i < kernel.count[y]; ++i) {
      const uint8_t *in = image.at(0, kernel.first[y] + i);
      int32_t w = kernel.weights[size_t(y) * kernel.taps + i];
      for (size_t x = 0; x < row; ++x)
        sum[x] += in[x] * w;
    }
    uint8_t *out = result.at(0, y);
    for (size_t x = 0; x < row; ++x)
      out[x] = clip(sum[x]);
  }
  return result;
}

Image ns::runtime::resizeImage(const Image &image, int width, int height, Filter filter, Box box) {
  bool wide = width != image.width || box.left != 0 || box.right != width;
  bool tall = height != image.height || box.top != 0 || box.bottom != height;
  if (!wide && !tall)
    return image;
  Image result = image;
  if (wide)
    result = horizontal(image, Kernel(image.width, box.left, box.right, width, filter), width);
  if (tall)
    result = vertical(result, Kernel(image.height, box.top, box.bottom, height, filter), height);
  return result;
}

Image ns::runtime::resizeImage(const Image &image, int width, int height, Filter filter) {
  return resizeImage(image, width, height, filter,
                     {0, 0, double(image.width), double(image.height)});
}
