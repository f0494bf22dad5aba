//===- Projection.h - onto a hyperplane within the unit box -----*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_RUNTIME_ATTACKS_PROJECTION_H
#define NS_LIB_RUNTIME_ATTACKS_PROJECTION_H

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace ns::runtime {

/// Parts of a sum that grow with a level: part i is rate[i] * min(level, full[i]).
struct Fillings {
  std::vector<double> rate, full;
};

/// The level at which the fillings sum to `amount` >= 0; where they cannot, the largest `full`. The
/// sum is concave in the level, with corners at the `full`s: Newton's iteration from 0 rises to the
/// solution and ends there, after a handful of passes for the images of attacks.
inline double fillTo(const Fillings &parts, double amount) {
  const double *rate = parts.rate.data(), *full = parts.full.data();
  for (double level = 0;;) {
    double filled = 0, slope = 0;
#pragma omp simd reduction(+ : filled, slope)
    for (size_t i = 0; i < parts.rate.size(); ++i) {
      double grows = full[i] > level ? rate[i] : 0.0;
      slope += grows;
      filled += (rate[i] - grows) * full[i];
    }
    double next = (amount - filled) / slope;
    if (!(next > level) || std::isinf(next))
      return level;
    level = next;
  }
}

/// The smallest step `delta`, in the L2 norm or in Linf, from x in [0, 1]^n to the hyperplane
/// normal . z = offset within [0, 1]^n (Croce and Hein 2020, section 3.1); where the box does not
/// reach it, the step to the box's nearest corner.
template <bool L2, class T>
void projectOntoHyperplane(const T *x, const T *normal, size_t n, double offset,
                           std::vector<T> &delta) {
  static thread_local Fillings parts;
  double excess = -offset;
#pragma omp simd reduction(+ : excess)
  for (size_t i = 0; i < n; ++i)
    excess += static_cast<double>(normal[i]) * x[i];
  double sign = excess >= 0 ? 1 : -1, least = L2 ? 1e-8 : 0;
  // Each coordinate moves against w = sign * normal: down to 0 where w > 0, else up to 1.
  auto room = [&](double w, double at) {
    double up = 1 - at;
    return w > 0 ? at : up;
  };
  parts.rate.resize(n);
  parts.full.resize(n);
  double *rate = parts.rate.data(), *full = parts.full.data();
  for (size_t i = 0; i < n; ++i) {
    double w = sign * normal[i], size = std::abs(w), space = room(w, x[i]);
    rate[i] = size > least ? (L2 ? w * w : size) : 0.0;
    full[i] = size > least ? (L2 ? space / size : space) : 0.0;
  }
  double level = fillTo(parts, sign * excess);
  delta.resize(n);
  for (size_t i = 0; i < n; ++i) {
    double w = sign * normal[i], size = std::abs(w), reach = L2 ? level * size : level;
    double length = size > least ? std::min(reach, room(w, x[i])) : 0.0;
    delta[i] = static_cast<T>(w > 0 ? -length : length);
  }
}

} // namespace ns::runtime

#endif // NS_LIB_RUNTIME_ATTACKS_PROJECTION_H
