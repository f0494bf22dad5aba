//===- Planes.cpp - float images and filters on them ----------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Planes.h"

#include <algorithm>
#include <cmath>

using namespace ns::runtime;
using namespace ns::runtime::corruptions;

Planes::Planes(const Image &image) : Planes(image.width, image.height, 3) {
  float scaled[256];
  for (int i = 0; i < 256; ++i)
    scaled[i] = static_cast<float>(i) / 255.f;
  for (size_t i = 0; i < area(); ++i)
    for (int c = 0; c < 3; ++c)
      plane(c)[i] = scaled[image.pixels[3 * i + c]];
}

Image Planes::toImage() const {
  Image image(width, height);
  for (size_t i = 0; i < area(); ++i)
    for (int c = 0; c < 3;
         ++c) // an 8-bit value that came from a division by 255 must come back whole
      image.pixels[3 * i + c] =
          static_cast<uint8_t>(std::clamp(plane(c)[i], 0.f, 1.f) * 255.f + 1e-4f);
  return image;
}

int corruptions::borderIndex(int i, int size, Border border) {
  if (i >= 0 && i < size)
    return i;
  if (border == Border::Nearest || size == 1)
    return std::clamp(i, 0, size - 1);
  int period = border == Border::Reflect ? 2 * size : 2 * size - 2;
  i = ((i % period) + period) % period;
  if (i < size)
    return i;
  return border == Border::Reflect ? period - 1 - i : period - i;
}

//===----------------------------------------------------------------------===//
// Filters
//===----------------------------------------------------------------------===//

/// `line` with `radius` pixels more on each side.
static void extend(const float *line, int size, int stride, int radius, Border border, float *out) {
  for (int i = -radius; i < size + radius; ++i)
    out[i + radius] = line[size_t(borderIndex(i, size, border)) * stride];
}

static std::vector<float> gaussianWeights(double sigma, int radius) {
  std::vector<double> weights(2 * radius + 1);
  double sum = 0;
  for (int i = -radius; i <= radius; ++i)
    sum += weights[i + radius] = std::exp(-0.5 * i * i / (sigma * sigma));
  std::vector<float> result;
  for (double weight : weights)
    result.push_back(static_cast<float>(weight / sum));
  return result;
}

Planes corruptions::gaussianFilter(const Planes &in, double sigma, Border border, double truncate) {
  int radius = sigma > 0 ? static_cast<int>(truncate * sigma + 0.5) : 0;
  if (radius == 0)
    return in;
  std::vector<float> weights = gaussianWeights(sigma, radius);
  Planes down(in.width, in.height, in.channels), out = down;
  std::vector<float> line(std::max(in.width, in.height) + 2 * radius);
  for (int c = 0; c < in.channels; ++c) {
    // Down the columns: whole rows at a time.
    for (int y = 0; y < in.height; ++y) {
      float *to = down.row(c, y);
      for (int k = -radius; k <= radius; ++k) {
        const float *from = in.row(c, borderIndex(y + k, in.height, border));
        float weight = weights[k + radius];
        for (int x = 0; x < in.width; ++x)
          to[x] += weight * from[x];
      }
    }
    for (int y = 0; y < in.height; ++y) {
      extend(down.row(c, y), in.width, 1, radius, border, line.data());
      float *to = out.row(c, y);
      for (int k = 0; k <= 2 * radius; ++k)
        for (int x = 0; x < in.width; ++x)
          to[x] += weights[k] * line[x + k];
    }
  }
  return out;
}

Planes corruptions::filter2d(const Planes &in, const Kernel &kernel) {
  int radius = kernel.side / 2;
  Planes out(in.width, in.height, in.channels);
  std::vector<float> line(in.width + 2 * radius);
  for (int c = 0; c < in.channels; ++c)
    for (int source = -radius; source < in.height + radius; ++source) {
      extend(in.row(c, borderIndex(source, in.height, Border::Reflect101)), in.width, 1, radius,
             Border::Reflect101, line.data());
      // This row enters the outputs within the radius.
      for (int y = std::max(0, source - radius); y <= std::min(in.height - 1, source + radius);
           ++y) {
        const float *weights = &kernel.weights[size_t(source - y + radius) * kernel.side];
        float *to = out.row(c, y);
        for (int k = 0; k < kernel.side; ++k)
          if (weights[k] != 0)
            for (int x = 0; x < in.width; ++x)
              to[x] += weights[k] * line[x + k];
      }
    }
  return out;
}

Kernel corruptions::diskKernel(double radius, double aliasSigma) {
  int half = radius <= 8 ? 8 : static_cast<int>(radius), side = 2 * half + 1;
  Planes disk(side, side, 1);
  double count = 0;
  for (int y = -half; y <= half; ++y)
    for (int x = -half; x <= half; ++x)
      if (x * x + y * y <= radius * radius) {
        disk.row(0, y + half)[x + half] = 1;
        ++count;
      }
  for (float &value : disk.values)
    value = static_cast<float>(value / count);
  int blur = radius <= 8 ? 3 : 5;
  std::vector<float> line = gaussianWeights(aliasSigma, blur / 2);
  Kernel alias{blur, {}};
  for (float a : line)
    for (float b : line)
      alias.weights.push_back(a * b);
  return {side, filter2d(disk, alias).values};
}

Planes corruptions::clippedZoom(const Planes &in, double factor) {
  Planes out(in.width, in.height, in.channels);
  // The place in the image of each pixel of the result, along one axis.
  auto positions = [&](int size) {
    int crop = static_cast<int>(std::ceil(size / factor)), start = (size - crop) / 2;
    int zoomed = static_cast<int>(std::nearbyint(crop * factor)), trim = (zoomed - size) / 2;
    double step = zoomed > 1 ? double(crop - 1) / (zoomed - 1) : 0;
    std::vector<double> at(size);
    for (int i = 0; i < size; ++i)
      at[i] = start + std::min((i + trim) * step, double(crop - 1));
    return at;
  };
  std::vector<double> xs = positions(in.width), ys = positions(in.height);
  for (int c = 0; c < in.channels; ++c)
    for (int y = 0; y < in.height; ++y) {
      int top = static_cast<int>(ys[y]), bottom = std::min(top + 1, in.height - 1);
      float down = static_cast<float>(ys[y] - top);
      const float *a = in.row(c, top), *b = in.row(c, bottom);
      float *to = out.row(c, y);
      for (int x = 0; x < in.width; ++x) {
        int left = static_cast<int>(xs[x]), right = std::min(left + 1, in.width - 1);
        float along = static_cast<float>(xs[x] - left);
        float upper = a[left] + along * (a[right] - a[left]),
              lower = b[left] + along * (b[right] - b[left]);
        to[x] = upper + down * (lower - upper);
      }
    }
  return out;
}

Planes corruptions::motionBlur(const Planes &in, int radius, double sigma, double degrees) {
  int taps = 2 * radius + 1;
  std::vector<double> weights(taps);
  double sum = 0, angle = degrees * 3.14159265358979323846 / 180;
  for (int i = 0; i < taps; ++i)
    sum += weights[i] = std::exp(-0.5 * i * i / (sigma * sigma));
  Planes out(in.width, in.height, in.channels);
  std::vector<float> line(in.width + 2 * taps);
  for (int i = 0; i < taps; ++i) {
    int dx = static_cast<int>(std::ceil(i * std::cos(angle) - 0.5)),
        dy = static_cast<int>(std::ceil(i * std::sin(angle) - 0.5));
    float weight = static_cast<float>(weights[i] / sum);
    for (int c = 0; c < in.channels; ++c)
      for (int y = 0; y < in.height; ++y) {
        extend(in.row(c, borderIndex(y + dy, in.height, Border::Nearest)), in.width, 1, taps,
               Border::Nearest, line.data());
        const float *from = &line[taps + dx];
        float *to = out.row(c, y);
        for (int x = 0; x < in.width; ++x)
          to[x] += weight * from[x];
      }
  }
  for (float &value : out.values)
    value = std::round(value * 255.f) / 255.f;
  return out;
}

float corruptions::sampleBilinear(const float *plane, int width, int height, double x, double y,
                                  Border border) {
  int left = static_cast<int>(std::floor(x)), top = static_cast<int>(std::floor(y));
  float along = static_cast<float>(x - left), down = static_cast<float>(y - top);
  int x0 = borderIndex(left, width, border), x1 = borderIndex(left + 1, width, border);
  const float *a = plane + size_t(borderIndex(top, height, border)) * width,
              *b = plane + size_t(borderIndex(top + 1, height, border)) * width;
  float upper = a[x0] + along * (a[x1] - a[x0]), lower = b[x0] + along * (b[x1] - b[x0]);
  return upper + down * (lower - upper);
}

//===----------------------------------------------------------------------===//
// Random fields
//===----------------------------------------------------------------------===//

void corruptions::fillUniform(float *out, size_t count, const Rng &rng, uint64_t first) {
  for (size_t i = 0; i < count; i += 4) {
    std::array<uint32_t, 4> words = rng.block((first + i) / 4);
    for (size_t j = 0; j < std::min<size_t>(4, count - i); ++j)
      out[i + j] = static_cast<float>(words[j] >> 8) * 0x1p-24f; // below 1 in float too
  }
}

void corruptions::fillNormal(float *out, size_t count, const Rng &rng, uint64_t first) {
  for (size_t i = 0; i < count; i += 4) {
    std::array<uint32_t, 4> words = rng.block((first + i) / 4);
    float values[4];
    for (int pair = 0; pair < 2; ++pair) { // Box and Muller
      float radius = std::sqrt(
                -2.f * std::log((static_cast<float>(words[2 * pair] >> 8) + 0.5f) * 0x1p-24f)),
            angle = static_cast<float>(words[2 * pair + 1]) * (6.2831853f * 0x1p-32f);
      values[2 * pair] = radius * std::cos(angle);
      values[2 * pair + 1] = radius * std::sin(angle);
    }
    std::copy_n(values, std::min<size_t>(4, count - i), out + i);
  }
}

int corruptions::nextPowerOfTwo(int n) {
  int power = 1;
  while (power < n)
    power *= 2;
  return power;
}

std::vector<float> corruptions::plasmaFractal(int side, double decay, Rng &rng) {
  std::vector<double> map(size_t(side) * side, 0.0);
  auto at = [&](int y, int x) -> double & {
    return map[size_t(y & (side - 1)) * side + (x & (side - 1))]; // the map is a torus
  };
  double wibble = 100;
  auto mean = [&](double a, double b, double c, double d) {
    return (a + b + c + d) / 4 + wibble * wibble * (2 * rng.next() - 1);
  };
  for (int step = side; step >= 2; step /= 2, wibble /= decay) {
    int half = step / 2;
    for (int y = half; y < side; y += step)
      for (int x = half; x < side; x += step)
        at(y, x) = mean(at(y - half, x - half), at(y - half, x + half), at(y + half, x - half),
                        at(y + half, x + half));
    for (bool across : {true, false})
      for (int y = across ? 0 : half; y < side; y += step)
        for (int x = across ? half : 0; x < side; x += step)
          at(y, x) = mean(at(y - half, x), at(y + half, x), at(y, x - half), at(y, x + half));
  }
  auto [low, high] = std::minmax_element(map.begin(), map.end());
  double floor = *low, range = std::max(*high - *low, 1e-30);
  std::vector<float> result;
  result.reserve(map.size());
  for (double value : map)
    result.push_back(static_cast<float>((value - floor) / range));
  return result;
}
