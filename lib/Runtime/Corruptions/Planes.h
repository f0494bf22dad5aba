//===- Planes.h - float images and filters on them ------------ -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_RUNTIME_CORRUPTIONS_PLANES_H
#define NS_LIB_RUNTIME_CORRUPTIONS_PLANES_H

#include "ns/Runtime/Image.h"

namespace ns::runtime::corruptions {

/// Channels one after the other, each in rows from the top. Pixels are in [0, 1].
struct Planes {
  int width = 0, height = 0, channels = 0;
  std::vector<float> values;

  Planes() = default;
  Planes(int width, int height, int channels)
      : width(width), height(height), channels(channels),
        values(size_t(width) * height * channels) {}
  /// pixels / 255.
  explicit Planes(const Image &image);

  size_t area() const { return size_t(width) * height; }
  float *plane(int c) { return &values[area() * c]; }
  const float *plane(int c) const { return &values[area() * c]; }
  const float *row(int c, int y) const { return plane(c) + size_t(width) * y; }
  float *row(int c, int y) { return plane(c) + size_t(width) * y; }

  /// Clamped to [0, 1], times 255, rounded down, as the generator's np.uint8 does.
  Image toImage() const;
};

/// What lies beyond the border: the nearest pixel; the image mirrored with its border pixel twice
/// (scipy's reflect); mirrored with it once (OpenCV's reflect101).
enum class Border { Nearest, Reflect, Reflect101 };
/// Index in [0, size) for any i.
int borderIndex(int i, int size, Border border);

/// scipy.ndimage.gaussian_filter: separable, radius int(truncate * sigma + 0.5); sigma in pixels; 0
/// leaves the image.
Planes gaussianFilter(const Planes &in, double sigma, Border border = Border::Nearest,
                      double truncate = 4);

/// A square kernel of odd side, in rows.
struct Kernel {
  int side;
  std::vector<float> weights;
};
/// Correlation, each channel by itself, border Reflect101 (cv2.filter2D).
Planes filter2d(const Planes &in, const Kernel &kernel);
/// A disk of radius pixels, antialiased by a Gaussian (the generator's `disk`).
Kernel diskKernel(double radius, double aliasSigma);

/// Enlarged by `factor` >= 1 about the centre, bilinear, and cropped to the same size (the
/// generator's `clipped_zoom`: scipy.ndimage.zoom of order 1).
Planes clippedZoom(const Planes &in, double factor);

/// Blur along a line as ImageMagick's motion blur: a one-sided Gaussian of `sigma` pixels over 2 *
/// radius + 1 pixels, angle in degrees; rounded to 8 bits.
Planes motionBlur(const Planes &in, int radius, double sigma, double degrees);

/// The value between pixels, bilinear; x, y may lie outside.
float sampleBilinear(const float *plane, int width, int height, double x, double y, Border border);

/// Fills with N(0, 1) or with numbers in [0, 1), four to a block of the counter, from element
/// `first` (a multiple of 4) of the stream on.
void fillNormal(float *out, size_t count, const Rng &rng, uint64_t first = 0);
void fillUniform(float *out, size_t count, const Rng &rng, uint64_t first = 0);

/// A height map in [0, 1] by the diamond-square algorithm; side a power of two.
std::vector<float> plasmaFractal(int side, double decay, Rng &rng);
/// The smallest power of two that is at least n.
int nextPowerOfTwo(int n);

} // namespace ns::runtime::corruptions

#endif // NS_LIB_RUNTIME_CORRUPTIONS_PLANES_H
