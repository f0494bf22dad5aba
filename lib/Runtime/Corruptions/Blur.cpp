//===- Blur.cpp - blurs ---------------------------------------------------===//
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

Planes corruptions::gaussianBlur(const Planes &x, Parameters p) { return gaussianFilter(x, p[0]); }

Planes corruptions::defocusBlur(const Planes &x, Parameters p) {
  return filter2d(x, diskKernel(p[0], p[1]));
}

Planes corruptions::glassBlur(const Planes &x, Parameters p, Rng &rng) {
  Image shuffled = gaussianFilter(x, p[0]).toImage();
  int reach = static_cast<int>(p[1]), width = x.width, height = x.height;
  for (int round = 0; round < static_cast<int>(p[2]); ++round)
    for (int h = height - reach; h > reach; --h)
      for (int w = width - reach; w > reach; --w) {
        int dx = static_cast<int>(rng.nextBelow(2 * reach)) - reach,
            dy = static_cast<int>(rng.nextBelow(2 * reach)) - reach;
        // The generator means to swap; its views make it a copy, and so are the published images.
        const uint8_t *from = shuffled.at(w + dx, h + dy);
        std::copy_n(from, 3, shuffled.at(w, h));
      }
  return gaussianFilter(Planes(shuffled), p[0]);
}

Planes corruptions::motionBlurred(const Planes &x, Parameters p, Rng &rng) {
  return motionBlur(x, static_cast<int>(p[0]), p[1], 90 * rng.next() - 45);
}

Planes corruptions::zoomBlur(const Planes &x, Parameters p) {
  // numpy.arange(1, end, step)
  int count = static_cast<int>(std::ceil((p[0] - 1) / p[1]));
  Planes out = x;
  for (int i = 0; i < count; ++i) {
    Planes zoomed = clippedZoom(x, 1 + i * p[1]);
    for (size_t j = 0; j < out.values.size(); ++j)
      out.values[j] += zoomed.values[j];
  }
  for (float &value : out.values)
    value /= static_cast<float>(count + 1);
  return out;
}
