//===- Noise.cpp - noises -------------------------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Kinds.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>

using namespace ns::runtime;
using namespace ns::runtime::corruptions;

static std::vector<float> normals(const Planes &x, const Rng &rng) {
  std::vector<float> noise(x.values.size());
  fillNormal(noise.data(), noise.size(), rng);
  return noise;
}

Planes corruptions::gaussianNoise(const Planes &x, Parameters p, Rng &rng) {
  Planes out = x;
  std::vector<float> noise = normals(x, rng);
  for (size_t i = 0; i < noise.size(); ++i)
    out.values[i] += static_cast<float>(p[0]) * noise[i];
  return out;
}

Planes corruptions::speckleNoise(const Planes &x, Parameters p, Rng &rng) {
  Planes out = x;
  std::vector<float> noise = normals(x, rng);
  for (size_t i = 0; i < noise.size(); ++i)
    out.values[i] += x.values[i] * static_cast<float>(p[0]) * noise[i];
  return out;
}

Planes corruptions::impulseNoise(const Planes &x, Parameters p, Rng &rng) {
  Planes out = x;
  std::vector<float> draws(x.values.size());
  fillUniform(draws.data(), draws.size(), rng);
  float amount = static_cast<float>(p[0]);
  for (size_t i = 0; i < draws.size(); ++i) // salt and pepper, half each, channel by channel
    if (draws[i] < amount)
      out.values[i] = draws[i] < amount / 2 ? 1.f : 0.f;
  return out;
}

namespace {

/// Poisson distributions of the means that 8-bit pixels have at one exposure, as inverse cumulative
/// tables.
class PoissonTable {
public:
  explicit PoissonTable(double exposure) {
    for (int level = 0; level < 256; ++level) {
      double mean = level / 255. * exposure, term = std::exp(-mean), sum = 0;
      std::vector<double> &cumulative = tables[level];
      for (int k = 0; k == 0 || sum < 1 - 1e-12; term *= mean / ++k) {
        cumulative.push_back(sum += term);
        if (k > mean && term < 1e-14)
          break;
      }
    }
  }
  int draw(int level, double u) const {
    const std::vector<double> &cumulative = tables[level];
    auto it = std::upper_bound(cumulative.begin(), cumulative.end(), u);
    return static_cast<int>(std::min<ptrdiff_t>(it - cumulative.begin(), cumulative.size() - 1));
  }

private:
  std::vector<double> tables[256];
};

} // namespace

/// Made once for each exposure; kept for the life of the process.
static const PoissonTable &poissonTable(double exposure) {
  static std::mutex mutex;
  static std::map<double, PoissonTable> tables;
  std::lock_guard lock(mutex);
  return tables.try_emplace(exposure, exposure).first->second;
}

Planes corruptions::shotNoise(const Image &x, Parameters p, Rng &rng) {
  const PoissonTable &table = poissonTable(p[0]);
  Planes out(x.width, x.height, 3);
  std::vector<float> draws(out.values.size());
  fillUniform(draws.data(), draws.size(), rng);
  for (size_t i = 0; i < out.area(); ++i)
    for (int c = 0; c < 3; ++c)
      out.plane(c)[i] =
          static_cast<float>(table.draw(x.pixels[3 * i + c], draws[c * out.area() + i]) / p[0]);
  return out;
}
