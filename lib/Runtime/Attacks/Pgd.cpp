//===- Pgd.cpp - projected gradient descent -------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Attacks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace ns::runtime;

namespace {

/// The ball of one norm around an image of n pixels.
struct Ball {
  bool l2;
  double eps;

  /// A random point of the ball around x, clamped: uniform in Linf; in L2 a random direction at a
  /// uniform radius.
  template <class T> void start(T *y, const T *x, int64_t n, Rng rng) const {
    double norm = 0;
    for (int64_t i = 0; l2 && i < n; ++i)
      norm += rng.normal(i) * rng.normal(i);
    double radius = l2 ? eps * rng.uniform(2 * n) / std::max(std::sqrt(norm), 1e-12) : eps;
    for (int64_t i = 0; i < n; ++i) {
      double delta = l2 ? radius * rng.normal(i) : eps * (2 * rng.uniform(i) - 1);
      y[i] = std::clamp(static_cast<T>(x[i] + delta), T(0), T(1));
    }
  }

  /// One step of size alpha up the gradient, back into the ball around x and into [0, 1].
  template <class T> void step(T *y, const T *x, const T *g, int64_t n, double alpha) const {
    if (!l2) {
      T a = static_cast<T>(alpha), e = static_cast<T>(eps);
      for (int64_t i = 0; i < n; ++i) {
        T moved = y[i] + a * static_cast<T>((g[i] > 0) - (g[i] < 0));
        y[i] = std::clamp(std::clamp(moved, x[i] - e, x[i] + e), T(0), T(1));
      }
      return;
    }
    double norm = 0, distance = 0;
    for (int64_t i = 0; i < n; ++i)
      norm += static_cast<double>(g[i]) * g[i];
    double scale = alpha / (std::sqrt(norm) + 1e-10);
    for (int64_t i = 0; i < n; ++i) {
      double delta = y[i] + scale * g[i] - x[i];
      distance += delta * delta;
    }
    double shrink = std::min(1.0, eps / std::max(std::sqrt(distance), 1e-12));
    for (int64_t i = 0; i < n; ++i)
      y[i] = std::clamp(static_cast<T>(x[i] + shrink * (y[i] + scale * g[i] - x[i])), T(0), T(1));
  }
};

} // namespace

Survivors ns::runtime::attackPgd(AttackContext &context, const AttackSpec &spec) {
  Survivors survivors(context.images.size(), 1);
  Ball ball{spec.words.at("norm") == "l2", spec.number("eps")};
  int64_t steps = static_cast<int64_t>(spec.number("steps")),
          restarts = static_cast<int64_t>(spec.number("restarts"));
  Progress progress(spec.text, context.images.size() * restarts, "images");
  TensorView image = context.session.slot("image"), grad = context.session.slot("image_grad");
  int64_t row = image.rowCount();
  std::vector<char> clean(image.bytes()), survives(context.loader.batch());
  // fn(y, x, g, i) for each image of the piece, in parallel
  auto forEachImage = [&](size_t count, auto fn) {
    visitFloat(image, [&](auto *y) {
      using T = std::remove_pointer_t<decltype(y)>;
      const T *x = reinterpret_cast<const T *>(clean.data()),
              *g = static_cast<const T *>(grad.data);
      context.session.host().parallelFor(count, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          fn(y + i * row, x + i * row, g + i * row, i);
      });
    });
  };
  forEachPiece(context.images, context.loader.batch(),
               [&](int64_t first, std::span<const int64_t> piece) {
                 for (int64_t restart = 0; restart < restarts; ++restart) {
                   context.loader.load(piece);
                   std::memcpy(clean.data(), image.data, clean.size());
                   forEachImage(piece.size(), [&](auto *y, auto *x, auto *, int64_t i) {
                     ball.start(y, x, row,
                                Rng(context.seed, Stream::AttackStart, piece[i] * 4096 + restart));
                   });
                   for (int64_t step = 0; step < steps; ++step) {
                     if (int status = stopRequested())
                       throw Stopped{status};
                     context.session.run("value_and_grad");
                     forEachImage(piece.size(), [&](auto *y, auto *x, auto *g, int64_t) {
                       ball.step(y, x, g, row, spec.number("alpha"));
                     });
                   }
                   predictsLabel(context, piece, survives.data());
                   for (size_t i = 0; i < piece.size(); ++i)
                     survivors[first + i] &= survives[i];
                   progress.update(first * restarts + piece.size() * (restart + 1));
                 }
               });
  return survivors;
}
