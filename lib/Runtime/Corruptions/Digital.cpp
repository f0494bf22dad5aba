//===- Digital.cpp - contrast, colour, warps, resolution ------------------===//
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

Planes corruptions::contrast(const Planes &x, Parameters p) {
  Planes out = x;
  for (int c = 0; c < x.channels; ++c) {
    double sum = 0;
    for (size_t i = 0; i < x.area(); ++i)
      sum += x.plane(c)[i];
    float mean = static_cast<float>(sum / x.area()), factor = static_cast<float>(p[0]);
    for (size_t i = 0; i < x.area(); ++i)
      out.plane(c)[i] = (x.plane(c)[i] - mean) * factor + mean;
  }
  return out;
}

Planes corruptions::saturate(const Planes &x, Parameters p) {
  // S of HSV changes; hue and value stay: each channel moves to or from the largest one.
  Planes out = x;
  for (size_t i = 0; i < x.area(); ++i) {
    float value = std::max({x.plane(0)[i], x.plane(1)[i], x.plane(2)[i]}),
          least = std::min({x.plane(0)[i], x.plane(1)[i], x.plane(2)[i]});
    float saturation = value > 0 ? (value - least) / value : 0;
    float wanted = std::clamp(static_cast<float>(saturation * p[0] + p[1]), 0.f, 1.f);
    for (int c = 0; c < 3; ++c) {
      if (saturation > 0)
        out.plane(c)[i] = value - (value - x.plane(c)[i]) * (wanted / saturation);
      else // grey has hue 0, red
        out.plane(c)[i] = c == 0 ? value : value * (1 - wanted);
    }
  }
  return out;
}

Image corruptions::pixelate(const Image &x, Parameters p) {
  Image small = resizeImage(x, std::max(1, static_cast<int>(x.width * p[0])),
                            std::max(1, static_cast<int>(x.height * p[0])), Filter::Box);
  return resizeImage(small, x.width, x.height, Filter::Box);
}

//===----------------------------------------------------------------------===//
// Elastic transform
//===----------------------------------------------------------------------===//

namespace {
/// (x, y) -> (a x + b y + c, d x + e y + f)
struct Affine {
  double a, b, c, d, e, f;

  /// Takes the three points `from` to the points `to`.
  static Affine through(const double from[3][2], const double to[3][2]) {
    double ux = from[1][0] - from[0][0], uy = from[1][1] - from[0][1], vx = from[2][0] - from[0][0],
           vy = from[2][1] - from[0][1];
    double determinant = ux * vy - uy * vx;
    auto solve = [&](int axis, double &along, double &down, double &at) {
      double p = to[1][axis] - to[0][axis], q = to[2][axis] - to[0][axis];
      along = (p * vy - q * uy) / determinant;
      down = (q * ux - p * vx) / determinant;
      at = to[0][axis] - along * from[0][0] - down * from[0][1];
    };
    Affine map;
    solve(0, map.a, map.b, map.c);
    solve(1, map.d, map.e, map.f);
    return map;
  }
};
} // namespace

/// The image moved by the affine map that shifts three points around the centre by up to `reach`
/// pixels.
static Planes randomAffine(const Planes &x, double reach, Rng &rng) {
  double cx = x.height / 2, cy = x.width / 2, square = std::min(x.width, x.height) / 3;
  const double from[3][2] = {
      {cx + square, cy + square}, {cx + square, cy - square}, {cx - square, cy - square}};
  double to[3][2];
  for (int i = 0; i < 3; ++i)
    for (int axis = 0; axis < 2; ++axis)
      to[i][axis] = from[i][axis] + reach * (2 * rng.next() - 1);
  Affine back = Affine::through(to, from); // where each pixel of the result comes from
  Planes out(x.width, x.height, x.channels);
  for (int c = 0; c < x.channels; ++c)
    for (int py = 0; py < x.height; ++py)
      for (int px = 0; px < x.width; ++px)
        out.row(c, py)[px] =
            sampleBilinear(x.plane(c), x.width, x.height, back.a * px + back.b * py + back.c,
                           back.d * px + back.e * py + back.f, Border::Reflect101);
  return out;
}

Planes corruptions::elasticTransform(const Planes &x, Parameters p, Rng &rng) {
  Planes moved = randomAffine(x, p[2], rng);
  Planes shift(x.width, x.height, 2); // along x and y
  fillUniform(shift.values.data(), shift.values.size(), rng, /*first=*/64);
  for (float &value : shift.values)
    value = 2 * value - 1;
  shift = gaussianFilter(shift, p[1], Border::Reflect, 3);
  Planes out(x.width, x.height, x.channels);
  for (int c = 0; c < x.channels; ++c)
    for (int py = 0; py < x.height; ++py)
      for (int px = 0; px < x.width; ++px)
        out.row(c, py)[px] =
            sampleBilinear(moved.plane(c), x.width, x.height, px + p[0] * shift.row(0, py)[px],
                           py + p[0] * shift.row(1, py)[px], Border::Reflect);
  return out;
}
