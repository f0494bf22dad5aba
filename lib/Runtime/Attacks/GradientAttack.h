//===- GradientAttack.h - what iterative attacks share -------- -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_RUNTIME_ATTACKS_GRADIENTATTACK_H
#define NS_LIB_RUNTIME_ATTACKS_GRADIENTATTACK_H

#include "ns/Runtime/Attacks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace ns::runtime {

/// What an image's attack climbs: weights of the losses of ns.attack_loss, the class it aims at,
/// and the margin's cap. The losses: docs/Dialects/ns.md.
struct Objective {
  double crossEntropy = 0, dlr = 0, targetedDlr = 0, margin = 0, target = 0;
  double cap = std::numeric_limits<double>::infinity();
  int32_t targetClass = 0;
};

/// The ball of one norm around an image of n pixels, within [0, 1].
struct Ball {
  bool l2;
  double eps;

  explicit Ball(const AttackSpec &spec)
      : l2(spec.words.count("norm") && spec.words.at("norm") == "l2"), eps(spec.number("eps")) {}
  Ball(bool l2, double eps) : l2(l2), eps(eps) {}

  /// y, moved to the nearest point of the ball around x in its norm, then clamped to [0, 1].
  template <class T> void project(T *y, const T *x, int64_t n) const {
    if (!l2) {
      T e = static_cast<T>(eps);
      for (int64_t i = 0; i < n; ++i)
        y[i] = std::clamp(std::clamp(y[i], x[i] - e, x[i] + e), T(0), T(1));
      return;
    }
    double distance = 0;
    for (int64_t i = 0; i < n; ++i)
      distance += (static_cast<double>(y[i]) - x[i]) * (static_cast<double>(y[i]) - x[i]);
    double shrink = std::min(1.0, eps / std::max(std::sqrt(distance), 1e-12));
    for (int64_t i = 0; i < n; ++i)
      y[i] = std::clamp(static_cast<T>(x[i] + shrink * (static_cast<double>(y[i]) - x[i])), T(0),
                        T(1));
  }

  /// y + alpha times the steepest direction of g in the norm: its sign, or g / |g|.
  template <class T, class G> void ascend(T *y, const G *g, int64_t n, double alpha) const {
    if (!l2) {
      for (int64_t i = 0; i < n; ++i)
        y[i] += static_cast<T>(alpha) * static_cast<T>((g[i] > 0) - (g[i] < 0));
      return;
    }
    double norm = 0;
    for (int64_t i = 0; i < n; ++i)
      norm += static_cast<double>(g[i]) * g[i];
    double scale = alpha / (std::sqrt(norm) + 1e-10);
    for (int64_t i = 0; i < n; ++i)
      y[i] = static_cast<T>(y[i] + scale * g[i]);
  }
};

/// A random point of the ball around x, clamped: uniform in Linf; in L2 a random direction at a
/// uniform radius.
template <class T> void randomStart(const Ball &ball, T *y, const T *x, int64_t n, Rng rng) {
  double norm = 0;
  for (int64_t i = 0; ball.l2 && i < n; ++i)
    norm += rng.normal(i) * rng.normal(i);
  double radius =
      ball.l2 ? ball.eps * rng.uniform(2 * n) / std::max(std::sqrt(norm), 1e-12) : ball.eps;
  for (int64_t i = 0; i < n; ++i) {
    double delta = ball.l2 ? radius * rng.normal(i) : ball.eps * (2 * rng.uniform(i) - 1);
    y[i] = std::clamp(static_cast<T>(x[i] + delta), T(0), T(1));
  }
}

/// What the entries attack_update and its kin do with a gradient (docs/abi.md).
struct Ascent {
  std::string update = "attack_update"; ///< the entry
  double stepSize, eps;
  int64_t steps;
  double decay = 0; ///< of the momentum, from the second step on
};

/// One piece of images under attack: slot `image` holds the iterates, `clean_image` the images as
/// they were.
class AttackedBatch {
public:
  explicit AttackedBatch(AttackContext &context)
      : context(context), clean(context.session.slot("clean_image")), row(clean.rowCount()) {}

  int64_t pixels() const { return row; }

  void load(std::span<const int64_t> piece) {
    context.loader.load(piece);
    begin(static_cast<int64_t>(piece.size()));
  }
  /// The first `images` images that the slot holds are the clean ones.
  void begin(int64_t images) {
    count = images;
    clean = context.session.overwrite("clean_image");
    std::memcpy(clean.data, context.session.slot("image").data, clean.bytes());
  }
  /// The iterates are the clean images again.
  void restart() {
    std::memcpy(context.session.overwrite("image").data, clean.data, clean.bytes());
  }

  /// Steps of projected gradient ascent up what the entry `gradient` differentiates. On a device
  /// nothing is waited for or fetched. Throws Stopped.
  void climb(const char *gradient, const Ascent &ascent) {
    auto setStep = [&](double decay) {
      TensorView hyper = context.session.slot("attack_hyper");
      hyper.set(0, ascent.stepSize);
      hyper.set(1, ascent.eps);
      hyper.set(2, decay);
    };
    setStep(/*decay=*/0);
    for (int64_t step = 0; step < ascent.steps; ++step) {
      if (int status = stopRequested())
        throw Stopped{status};
      if (step == 1 && ascent.decay != 0)
        setStep(ascent.decay);
      context.session.startChain({gradient, ascent.update});
    }
  }

  /// fn(y, x, i) for each image, in parallel: iterate, which may be written, and clean image, of
  /// the model's precision.
  template <class Fn> void forEachImage(Fn fn) {
    visitFloat(context.session.slot("image"), [&](auto *y) {
      auto *x = static_cast<const std::remove_pointer_t<decltype(y)> *>(clean.data);
      context.session.host().parallelFor(count, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          fn(y + i * row, x + i * row, i);
      });
    });
  }

  /// Offers the iterates of those of the piece that `which` says.
  template <class Which>
  void offer(std::span<const int64_t> piece, const Survivors &stands, Which which) {
    if (context.sink)
      visitFloat(context.session.slot("image"), [&](auto *y) {
        auto *x = static_cast<const std::remove_pointer_t<decltype(y)> *>(clean.data);
        for (size_t i = 0; i < piece.size(); ++i)
          if (which(i))
            context.offer(piece[i], y + i * row, x + i * row, row, !stands[i]);
      });
  }

private:
  AttackContext &context;
  TensorView clean;
  int64_t row, count = 0;
};

/// The random numbers of one image's start.
inline Rng startOf(const AttackContext &context, int64_t image, int64_t restart) {
  return Rng(context.seed, Stream::AttackStart, image * 4096 + restart);
}

} // namespace ns::runtime

#endif // NS_LIB_RUNTIME_ATTACKS_GRADIENTATTACK_H
