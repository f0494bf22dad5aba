//===- Image.h - 8-bit images: decoding, resizing, augmentation --*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_IMAGE_H
#define NS_RUNTIME_IMAGE_H

#include "ns/Runtime/Rng.h"

#include <cstdint>
#include <string>
#include <vector>

namespace ns::runtime {

/// RGB, 8 bits, rows from the top, channels last.
struct Image {
  int width = 0, height = 0;
  std::vector<uint8_t> pixels;

  Image() = default;
  Image(int width, int height) : width(width), height(height), pixels(size_t(3) * width * height) {}
  const uint8_t *at(int x, int y) const { return &pixels[3 * (size_t(y) * width + x)]; }
  uint8_t *at(int x, int y) { return &pixels[3 * (size_t(y) * width + x)]; }
};

/// JPEG or PNG, told apart by content, as Pillow's convert("RGB") gives it: alpha dropped, grey
/// tripled, CMYK converted. `name` stands in errors.
Image decodeImage(const std::string &name, const std::vector<uint8_t> &bytes);

/// Baseline JPEG, 4:2:0, quality 1 to 100, as Pillow writes by default.
std::vector<uint8_t> encodeJpeg(const Image &image, int quality);
/// 8-bit RGB, lossless.
std::vector<uint8_t> encodePng(const Image &image);

enum class Filter { Box, Bilinear, Hamming, Bicubic, Lanczos };
/// "bicubic" and so on; throws Error for others.
Filter parseFilter(const std::string &name);

/// A rectangle of an image, in pixels, possibly fractional.
struct Box {
  double left, top, right, bottom;
};

/// Pillow's Image.resize((width, height), filter, box), bit for bit: antialiased, separable, 22-bit
/// fixed point.
Image resizeImage(const Image &image, int width, int height, Filter filter, Box box);
Image resizeImage(const Image &image, int width, int height, Filter filter);
Image cropImage(const Image &image, int left, int top, int width, int height);

/// How images become the model's input.
struct Preprocessing {
  int width = 0, height = 0;
  double cropPct = 1;
  Filter filter = Filter::Bicubic;
};

/// timm's evaluation transform: the shorter side to floor(size / crop_pct), then the centre. An
/// image already of the model's size stays as it is.
Image evalTransform(const Image &image, const Preprocessing &to);

/// timm's basic training transform: a random crop of 8 to 100 % of the area and aspect 3/4 to 4/3,
/// resized, then a horizontal flip with probability 1/2.
Image trainTransform(const Image &image, const Preprocessing &to, Rng &rng);

} // namespace ns::runtime

#endif // NS_RUNTIME_IMAGE_H
