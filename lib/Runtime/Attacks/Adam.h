//===- Adam.h - Adam over a vector of variables -----------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_RUNTIME_ATTACKS_ADAM_H
#define NS_LIB_RUNTIME_ATTACKS_ADAM_H

#include <cmath>
#include <cstdint>
#include <vector>

namespace ns::runtime {

/// Adam (Kingma and Ba 2015) with the constants of torch.optim.Adam's defaults, without weight
/// decay. T is the precision of the variables.
template <class T> class Adam {
public:
  /// Forgets the moments of what were other variables.
  void begin(size_t variables) {
    m.assign(variables, 0);
    v.assign(variables, 0);
    step = 0;
  }

  void beginStep(double lr) {
    ++step;
    rate = static_cast<T>(lr / (1 - std::pow(kBeta1, step)));
    root = static_cast<T>(std::sqrt(1 - std::pow(kBeta2, step)));
  }

  /// How far variable i moves against its derivative d; once for each variable of a step.
  T move(size_t i, T d) {
    m[i] += static_cast<T>(1 - kBeta1) * (d - m[i]);
    v[i] = static_cast<T>(kBeta2) * v[i] + static_cast<T>(1 - kBeta2) * d * d;
    return rate * m[i] / (std::sqrt(v[i]) / root + static_cast<T>(kEpsilon));
  }

private:
  static constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;

  std::vector<T> m, v;
  int64_t step = 0;
  T rate = 0, root = 1;
};

} // namespace ns::runtime

#endif // NS_LIB_RUNTIME_ATTACKS_ADAM_H
