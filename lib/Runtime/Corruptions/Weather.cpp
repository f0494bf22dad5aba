//===- Weather.cpp - weather ----------------------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Kinds.h"

#include <algorithm>
#include <cmath>

using namespace ns::runtime;
using namespace ns::runtime::corruptions;

Planes corruptions::snow(const Planes &x, Parameters p, Rng &rng) {
  Planes layer(x.width, x.height, 1);
  fillNormal(layer.values.data(), layer.area(), rng);
  for (float &value : layer.values)
    value = static_cast<float>(p[0] + p[1] * value);
  layer = clippedZoom(layer, p[2]);
  for (float &value : layer.values) // 8 bits, as the generator's intermediate PNG
    value = value < p[3] ? 0.f : std::floor(std::clamp(value, 0.f, 1.f) * 255.f) / 255.f;
  Rng direction = rng;
  double degrees = -135 + 90 * direction.uniform(layer.area() + 4);
  layer = motionBlur(layer, static_cast<int>(p[4]), p[5], degrees);
  Planes out = x;
  float keep = static_cast<float>(p[6]);
  size_t area = x.area();
  for (size_t i = 0; i < area; ++i) {
    float grey = 0.299f * x.plane(0)[i] + 0.587f * x.plane(1)[i] + 0.114f * x.plane(2)[i];
    float flakes = layer.values[i] + layer.values[area - 1 - i]; // and turned by 180 degrees
    for (int c = 0; c < 3; ++c) {
      float value = x.plane(c)[i];
      out.plane(c)[i] = keep * value + (1 - keep) * std::max(value, grey * 1.5f + 0.5f) + flakes;
    }
  }
  return out;
}

Planes corruptions::fog(const Planes &x, Parameters p, Rng &rng) {
  int side = nextPowerOfTwo(std::max(x.width, x.height));
  std::vector<float> map = plasmaFractal(side, p[1], rng);
  float brightest = *std::max_element(x.values.begin(), x.values.end()),
        strength = static_cast<float>(p[0]), scale = brightest / (brightest + strength);
  Planes out = x;
  for (int c = 0; c < x.channels; ++c)
    for (int y = 0; y < x.height; ++y)
      for (int column = 0; column < x.width; ++column)
        out.row(c, y)[column] =
            (x.row(c, y)[column] + strength * map[size_t(y) * side + column]) * scale;
  return out;
}

Planes corruptions::brightness(const Planes &x, Parameters p) {
  // V of HSV grows; hue and saturation stay, which scales the pixel.
  Planes out = x;
  for (size_t i = 0; i < x.area(); ++i) {
    float value = std::max({x.plane(0)[i], x.plane(1)[i], x.plane(2)[i]});
    float brighter = std::clamp(value + static_cast<float>(p[0]), 0.f, 1.f);
    for (int c = 0; c < 3; ++c)
      out.plane(c)[i] = value > 0 ? x.plane(c)[i] * (brighter / value) : brighter;
  }
  return out;
}

//===----------------------------------------------------------------------===//
// Frost
//===----------------------------------------------------------------------===//

/// Shrunk by a factor without antialiasing (cv2.resize, bilinear).
static Image shrink(const Image &image, double factor) {
  Image out(static_cast<int>(std::lround(image.width * factor)),
            static_cast<int>(std::lround(image.height * factor)));
  Planes planes(image);
  Planes small(out.width, out.height, 3);
  for (int c = 0; c < 3; ++c)
    for (int y = 0; y < out.height; ++y)
      for (int x = 0; x < out.width; ++x)
        small.row(c, y)[x] =
            sampleBilinear(planes.plane(c), image.width, image.height, (x + 0.5) / factor - 0.5,
                           (y + 0.5) / factor - 0.5, Border::Nearest);
  return small.toImage();
}

Planes corruptions::frost(const Planes &x, Parameters p, Rng &rng, CorruptionTable table,
                          const FrostTextures &textures) {
  const Image *texture = &textures.texture(rng.nextBelow(textures.size()));
  double factor = table == CorruptionTable::Cifar          ? 0.2
                  : table == CorruptionTable::TinyImageNet ? 0.3
                                                           : 1;
  // Small pictures are enlarged, so that every image size has a crop.
  double least =
      std::max(double(x.width + 1) / texture->width, double(x.height + 1) / texture->height);
  Image scaled;
  if (factor != 1 || least > 1) {
    scaled = shrink(*texture, std::max(factor, least));
    texture = &scaled;
  }
  int top = static_cast<int>(rng.nextBelow(texture->height - x.height)),
      left = static_cast<int>(rng.nextBelow(texture->width - x.width));
  Planes ice(cropImage(*texture, left, top, x.width, x.height)), out = x;
  for (size_t i = 0; i < out.values.size(); ++i)
    out.values[i] = static_cast<float>(p[0] * x.values[i] + p[1] * ice.values[i]);
  return out;
}

Image corruptions::proceduralFrost(int width, int height, Rng &rng) {
  // Ridges of fractal height maps at three scales: crystals and veins, bluish white on dark.
  Planes ice(width, height, 3);
  int side = nextPowerOfTwo(std::max(width, height));
  for (auto [decay, weight] : {std::pair{1.6, 0.5f}, {2.0, 0.3f}, {1.3, 0.2f}}) {
    std::vector<float> map = plasmaFractal(side, decay, rng);
    for (int y = 0; y < height; ++y)
      for (int x = 0; x < width; ++x) {
        float ridge = 1 - std::abs(2 * map[size_t(y) * side + x] - 1);
        for (int c = 0; c < 3; ++c)
          ice.row(c, y)[x] += weight * ridge * ridge * ridge;
      }
  }
  // Brightness and contrast of the published pictures: mean 0.6, deviation 0.17.
  static constexpr float kTint[] = {0.93f, 1.0f, 1.07f};
  double sum = 0, squares = 0;
  for (float value : ice.values) {
    sum += value;
    squares += double(value) * value;
  }
  double mean = sum / ice.values.size(),
         deviation = std::sqrt(squares / ice.values.size() - mean * mean);
  for (int c = 0; c < 3; ++c)
    for (size_t i = 0; i < ice.area(); ++i)
      ice.plane(c)[i] = kTint[c] * static_cast<float>(0.6 + 0.17 * (ice.plane(c)[i] - mean) /
                                                                std::max(deviation, 1e-6));
  return ice.toImage();
}
