//===- Transforms.cpp - evaluation and training transforms ----------------===//
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
#include <cstring>

using namespace ns::runtime;

Image ns::runtime::cropImage(const Image &image, int left, int top, int width, int height) {
  Image result(width, height); // black outside the image, as torchvision pads
  for (int y = std::max(0, -top); y < std::min(height, image.height - top); ++y) {
    int x0 = std::max(0, -left), x1 = std::min(width, image.width - left);
    if (x1 > x0)
      std::memcpy(result.at(x0, y), image.at(left + x0, top + y), size_t(3) * (x1 - x0));
  }
  return result;
}

/// Python's round(): halves to even.
static int roundEven(double x) { return static_cast<int>(std::nearbyint(x)); }

Image ns::runtime::evalTransform(const Image &image, const Preprocessing &to) {
  if (image.width == to.width && image.height == to.height)
    return image;
  int targetWidth = static_cast<int>(std::floor(to.width / to.cropPct));
  int targetHeight = static_cast<int>(std::floor(to.height / to.cropPct));
  double width, height;
  if (to.width == to.height) { // torchvision.transforms.Resize(size)
    bool upright = image.width <= image.height;
    int64_t longer = int64_t(targetWidth) * (upright ? image.height : image.width) /
                     (upright ? image.width : image.height);
    width = upright ? targetWidth : longer;
    height = upright ? longer : targetWidth;
  } else { // timm's ResizeKeepRatio
    double ratio = std::min(double(image.width) / targetWidth, double(image.height) / targetHeight);
    width = roundEven(image.width / ratio);
    height = roundEven(image.height / ratio);
  }
  // A strip so thin that its longer side explodes is no photograph.
  if (width < 1 || height < 1 || width * height > 178'956'970.0)
    fail("an image of ", image.width, " x ", image.height, " pixels cannot be resized to ",
         to.width, " x ", to.height);
  Image resized = resizeImage(image, static_cast<int>(width), static_cast<int>(height), to.filter);
  return cropImage(resized, roundEven((resized.width - to.width) / 2.0),
                   roundEven((resized.height - to.height) / 2.0), to.width, to.height);
}

namespace {
struct Rect {
  int left, top, width, height;
};
} // namespace

/// torchvision's RandomResizedCrop.get_params: ten tries, then the centre within the aspect limits.
static Rect randomCrop(const Image &image, Rng &rng) {
  constexpr double kMinScale = 0.08, kMinRatio = 3. / 4, kMaxRatio = 4. / 3;
  double area = double(image.width) * image.height;
  for (int attempt = 0; attempt < 10; ++attempt) {
    double target = area * (kMinScale + (1 - kMinScale) * rng.next());
    double ratio =
        std::exp(std::log(kMinRatio) + (std::log(kMaxRatio) - std::log(kMinRatio)) * rng.next());
    int width = roundEven(std::sqrt(target * ratio)), height = roundEven(std::sqrt(target / ratio));
    if (width > 0 && width <= image.width && height > 0 && height <= image.height) {
      int top = static_cast<int>(rng.nextBelow(image.height - height + 1));
      return {static_cast<int>(rng.nextBelow(image.width - width + 1)), top, width, height};
    }
  }
  int width = image.width, height = image.height;
  double ratio = double(width) / height;
  if (ratio < kMinRatio)
    height = std::max(1, roundEven(width / kMinRatio));
  else if (ratio > kMaxRatio)
    width = std::max(1, roundEven(height * kMaxRatio));
  return {(image.width - width) / 2, (image.height - height) / 2, width, height};
}

Image ns::runtime::trainTransform(const Image &image, const Preprocessing &to, Rng &rng) {
  Rect rect = randomCrop(image, rng);
  Image result = resizeImage(cropImage(image, rect.left, rect.top, rect.width, rect.height),
                             to.width, to.height, to.filter);
  if (rng.next() < 0.5)
    for (int y = 0; y < result.height; ++y)
      for (int x = 0; x < result.width / 2; ++x)
        std::swap_ranges(result.at(x, y), result.at(x, y) + 3, result.at(result.width - 1 - x, y));
  return result;
}
