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
#include <vector>

namespace ns::runtime {

/// A part of a sum that grows with a level: rate * min(level, full).
struct Filling {
  double rate, full;
};

/// The level at which the fillings sum to `amount` >= 0; where they cannot, the largest `full`.
/// Reorders `parts`. Linear time on average: a selection, not a sort.
inline double fillTo(std::vector<Filling> &parts, double amount) {
  size_t begin = 0, end = parts.size();
  double filled = 0, rates = 0, largest = 0; // of the parts that are known: full, and still growing
  while (begin < end) {
    size_t middle = begin + (end - begin) / 2;
    std::nth_element(parts.begin() + begin, parts.begin() + middle, parts.begin() + end,
                     [](const Filling &a, const Filling &b) { return a.full < b.full; });
    double level = parts[middle].full, below = 0, above = 0;
    for (size_t i = begin; i <= middle; ++i)
      below += parts[i].rate * parts[i].full;
    for (size_t i = middle + 1; i < end; ++i)
      above += parts[i].rate;
    if (filled + below + (rates + above) * level >= amount) { // the level is not above this one
      for (size_t i = middle; i < end; ++i)
        rates += parts[i].rate;
      end = middle;
    } else {
      filled += below;
      largest = level;
      begin = middle + 1;
    }
  }
  return rates > 0 ? std::max((amount - filled) / rates, 0.0) : largest;
}

/// The smallest step `delta`, in the Linf or L2 norm, from x in [0, 1]^n to the hyperplane
/// normal . z = offset within [0, 1]^n (Croce and Hein 2020, section 3.1); where the box does not
/// reach it, the step to the box's nearest corner.
template <class T>
void projectOntoHyperplane(const T *x, const T *normal, size_t n, double offset, bool l2,
                           std::vector<T> &delta) {
  double excess = -offset;
  for (size_t i = 0; i < n; ++i)
    excess += static_cast<double>(normal[i]) * x[i];
  double sign = excess >= 0 ? 1 : -1;
  // Each coordinate moves against w = sign * normal: down to 0 where w > 0, else up to 1.
  auto room = [&](size_t i) {
    return sign * normal[i] > 0 ? static_cast<double>(x[i]) : 1 - static_cast<double>(x[i]);
  };
  std::vector<Filling> parts;
  parts.reserve(n);
  for (size_t i = 0; i < n; ++i)
    if (double w = std::abs(static_cast<double>(normal[i])); w > (l2 ? 1e-8 : 0))
      parts.push_back(l2 ? Filling{w * w, room(i) / w} : Filling{w, room(i)});
  double level = fillTo(parts, sign * excess);
  delta.resize(n);
  for (size_t i = 0; i < n; ++i) {
    double w = sign * normal[i], reach = l2 ? level * std::abs(w) : level;
    bool fixed = std::abs(w) <= (l2 ? 1e-8 : 0);
    delta[i] = fixed ? T(0) : static_cast<T>((w > 0 ? -1 : 1) * std::min(reach, room(i)));
  }
}

} // namespace ns::runtime

#endif // NS_LIB_RUNTIME_ATTACKS_PROJECTION_H
