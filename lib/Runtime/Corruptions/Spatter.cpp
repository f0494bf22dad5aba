//===- Spatter.cpp - drops of water and mud -------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The generator draws water with OpenCV: edges of the drops (Canny), distances from them (chamfer),
// relief by an equalised histogram and a filter. These are those steps, in 8 bits where OpenCV's
// are.
//
//===----------------------------------------------------------------------===//

#include "Kinds.h"

#include <algorithm>
#include <cmath>

using namespace ns::runtime;
using namespace ns::runtime::corruptions;

namespace {
/// A grey image of 8-bit values.
struct Grey {
  int width, height;
  std::vector<int> values;
  Grey(int width, int height) : width(width), height(height), values(size_t(width) * height) {}
  int &at(int x, int y) { return values[size_t(y) * width + x]; }
  int near(int x, int y) const {
    return values[size_t(std::clamp(y, 0, height - 1)) * width + std::clamp(x, 0, width - 1)];
  }
};
} // namespace

/// cv2.Canny with the L1 norm and a 3 x 3 Sobel filter: 255 on edges, else 0.
static Grey canny(const Grey &in, int low, int high) {
  int width = in.width, height = in.height;
  Grey magnitude(width, height), dx = magnitude, dy = magnitude, edges = magnitude;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      dx.at(x, y) = in.near(x + 1, y - 1) + 2 * in.near(x + 1, y) + in.near(x + 1, y + 1) -
                    in.near(x - 1, y - 1) - 2 * in.near(x - 1, y) - in.near(x - 1, y + 1);
      dy.at(x, y) = in.near(x - 1, y + 1) + 2 * in.near(x, y + 1) + in.near(x + 1, y + 1) -
                    in.near(x - 1, y - 1) - 2 * in.near(x, y - 1) - in.near(x + 1, y - 1);
      magnitude.at(x, y) = std::abs(dx.at(x, y)) + std::abs(dy.at(x, y));
    }
  auto strength = [&](int x, int y) { // nothing beyond the border
    return x < 0 || y < 0 || x >= width || y >= height ? 0 : magnitude.at(x, y);
  };
  std::vector<std::pair<int, int>> front;
  Grey candidate(width, height);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      int m = magnitude.at(x, y);
      if (m <= low)
        continue;
      int ax = std::abs(dx.at(x, y)), ay = std::abs(dy.at(x, y));
      int sign = (dx.at(x, y) < 0) != (dy.at(x, y) < 0) ? -1 : 1;
      bool peak;
      if (ay < 0.41421356 * ax)
        peak = m > strength(x - 1, y) && m >= strength(x + 1, y);
      else if (ay > 2.41421356 * ax)
        peak = m > strength(x, y - 1) && m >= strength(x, y + 1);
      else
        peak = m > strength(x - sign, y - 1) && m > strength(x + sign, y + 1);
      candidate.at(x, y) = peak;
      if (peak && m > high) {
        edges.at(x, y) = 255;
        front.push_back({x, y});
      }
    }
  while (!front.empty()) { // weak edges that touch strong ones
    auto [x, y] = front.back();
    front.pop_back();
    for (int ny = std::max(0, y - 1); ny <= std::min(height - 1, y + 1); ++ny)
      for (int nx = std::max(0, x - 1); nx <= std::min(width - 1, x + 1); ++nx)
        if (candidate.at(nx, ny) && !edges.at(nx, ny)) {
          edges.at(nx, ny) = 255;
          front.push_back({nx, ny});
        }
  }
  return edges;
}

/// Distance to the nearest edge, at most 20, by the 5 x 5 chamfer mask of cv2.distanceTransform.
static Planes distanceToEdges(const Grey &edges) {
  static constexpr float kFar = 1e6f, kStep = 1.f, kDiagonal = 1.4f, kKnight = 2.1969f;
  Planes distance(edges.width, edges.height, 1);
  for (size_t i = 0; i < distance.area(); ++i)
    distance.values[i] = edges.values[i] ? 0.f : kFar;
  auto relax = [&](int x, int y, int dx, int dy, float cost) {
    if (x + dx >= 0 && x + dx < edges.width && y + dy >= 0 && y + dy < edges.height)
      distance.row(0, y)[x] =
          std::min(distance.row(0, y)[x], distance.row(0, y + dy)[x + dx] + cost);
  };
  auto sweep = [&](int x, int y, int s) { // s: from which side
    relax(x, y, -s, 0, kStep);
    relax(x, y, 0, -s, kStep);
    for (int side : {-1, 1}) {
      relax(x, y, side, -s, kDiagonal);
      relax(x, y, 2 * side, -s, kKnight);
      relax(x, y, side, -2 * s, kKnight);
    }
  };
  for (int y = 0; y < edges.height; ++y)
    for (int x = 0; x < edges.width; ++x)
      sweep(x, y, 1);
  for (int y = edges.height - 1; y >= 0; --y)
    for (int x = edges.width - 1; x >= 0; --x)
      sweep(x, y, -1);
  for (float &value : distance.values)
    value = std::min(value, 20.f);
  return distance;
}

/// cv2.equalizeHist of values in 0 .. 255.
static void equalize(std::vector<float> &values) {
  int histogram[256] = {}, first = 0, sum = 0;
  for (float value : values)
    ++histogram[static_cast<int>(value)];
  while (!histogram[first])
    ++first;
  int rest = static_cast<int>(values.size()) - histogram[first];
  if (rest == 0)
    return;
  float table[256] = {}, scale = 255.f / rest;
  for (int i = first + 1; i < 256; ++i)
    table[i] = std::nearbyint(static_cast<float>(sum += histogram[i]) * scale);
  for (float &value : values)
    value = table[static_cast<int>(value)];
}

/// How much water lies on each pixel, at most `intensity`.
static Planes water(const Planes &liquid, float intensity) {
  Grey drops(liquid.width, liquid.height);
  for (size_t i = 0; i < liquid.area(); ++i)
    drops.values[i] = static_cast<int>(liquid.values[i] * 255) & 255;
  const Kernel mean{3, std::vector<float>(9, 1.f / 9)};
  Planes relief = filter2d(distanceToEdges(canny(drops, 50, 150)), mean);
  for (float &value : relief.values)
    value = std::floor(value);
  equalize(relief.values);
  auto toBytes = [](Planes planes) {
    for (float &value : planes.values)
      value = std::clamp(std::nearbyint(value), 0.f, 255.f);
    return planes;
  };
  relief = toBytes(filter2d(relief, {3, {-2, -1, 0, -1, 1, 1, 0, 1, 2}}));
  relief = toBytes(filter2d(relief, mean));
  float most = 0;
  for (size_t i = 0; i < relief.area(); ++i)
    most = std::max(most, relief.values[i] *= static_cast<float>(drops.values[i]));
  for (float &value : relief.values)
    value = most > 0 ? value / most * intensity : 0.f;
  return relief;
}

Planes corruptions::spatter(const Planes &x, Parameters p, Rng &rng) {
  Planes liquid(x.width, x.height, 1), out = x;
  fillNormal(liquid.values.data(), liquid.area(), rng);
  for (float &value : liquid.values)
    value = static_cast<float>(p[0] + p[1] * value);
  liquid = gaussianFilter(liquid, p[2]);
  for (float &value : liquid.values)
    value = value < p[3] ? 0.f : value;
  static constexpr float kWater[] = {175 / 255.f, 238 / 255.f, 238 / 255.f}, // pale turquoise
      kMud[] = {63 / 255.f, 42 / 255.f, 20 / 255.f};
  if (p[5] == 0) {
    Planes layer = water(liquid, static_cast<float>(p[4]));
    for (int c = 0; c < 3; ++c)
      for (size_t i = 0; i < x.area(); ++i)
        out.plane(c)[i] += layer.values[i] * kWater[c];
    return out;
  }
  for (float &value : liquid.values)
    value = value > p[3] ? 1.f : 0.f;
  Planes mud = gaussianFilter(liquid, p[4]);
  for (int c = 0; c < 3; ++c)
    for (size_t i = 0; i < x.area(); ++i) {
      float cover = mud.values[i] < 0.8f ? 0.f : mud.values[i];
      out.plane(c)[i] = x.plane(c)[i] * (1 - cover) + kMud[c] * cover;
    }
  return out;
}
