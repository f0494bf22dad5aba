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

/// One piece of images under attack: slot `image` holds the iterates, `clean` where they started.
class AttackedBatch {
public:
  explicit AttackedBatch(AttackContext &context)
      : context(context), image(context.session.slot("image")),
        grad(context.session.slot("image_grad")), row(image.rowCount()), clean(image.bytes()) {}

  int64_t pixels() const { return row; }

  void load(std::span<const int64_t> piece) {
    context.loader.load(piece);
    begin(static_cast<int64_t>(piece.size()));
  }
  /// The first `images` images that the slot holds are the clean ones.
  void begin(int64_t images) {
    count = images;
    std::memcpy(clean.data(), image.data, clean.size());
  }
  /// Puts the iterates into `other`, of the slot's shape, and the clean images into the slot.
  void moveTo(const TensorView &other) {
    std::memcpy(other.data, image.data, clean.size());
    std::memcpy(image.data, clean.data(), clean.size());
  }

  /// Runs an entry that leaves gradients at the iterates; by default losses, logits and gradients
  /// of cross-entropy. Throws Stopped.
  void differentiate(const char *entry = "value_and_grad") {
    if (int status = stopRequested())
      throw Stopped{status};
    context.session.run(entry);
  }

  /// What `differentiateObjectives` climbs for image i.
  void setObjective(int64_t i, const Objective &objective) {
    const double numbers[] = {objective.crossEntropy, objective.dlr,    objective.targetedDlr,
                              objective.margin,       objective.target, objective.cap};
    TensorView slot = context.session.slot("objective");
    for (int64_t k = 0; k < 6; ++k)
      slot.set(i * 6 + k, numbers[k]);
    context.session.slot("targets").set(i, objective.targetClass);
  }

  /// As `differentiate`, of the objectives of all images. Throws Stopped.
  void differentiateObjectives() { differentiate("attack_grad"); }

  /// Who of the piece is classified right at the iterates that were just differentiated. Where
  /// products are bfloat16, `forward`, which is float32, is asked before an image counts as fooled.
  std::vector<char> stillRight(std::span<const int64_t> piece) {
    TensorView logits = context.session.slot("logits");
    int64_t classes = logits.rowCount();
    std::vector<char> right(piece.size());
    for (size_t i = 0; i < piece.size(); ++i)
      right[i] = argmax(logits, i * classes, classes) == context.loader.dataset().label(piece[i]);
    if (context.session.metadata().precision == "bf16" &&
        std::find(right.begin(), right.end(), 0) != right.end()) {
      std::vector<char> exact(piece.size());
      predictsLabel(context, piece, exact.data());
      for (size_t i = 0; i < piece.size(); ++i)
        right[i] |= exact[i];
    }
    return right;
  }

  /// The class at place `rank` (1: the largest) of image i's logits.
  int32_t rankedClass(int64_t i, int64_t rank) const {
    TensorView logits = context.session.slot("logits");
    int64_t classes = logits.rowCount();
    std::vector<int32_t> order(classes);
    std::iota(order.begin(), order.end(), 0);
    std::nth_element(
        order.begin(), order.begin() + (rank - 1), order.end(), [&](int32_t a, int32_t b) {
          double x = logits.get(i * classes + a), y = logits.get(i * classes + b);
          return x > y || (x == y && a > b); // as a stable ascending sort, from its end
        });
    return order[rank - 1];
  }

  /// As forEachImage, where the model's precision is known to be T.
  template <class T, class Fn> void forEachImageOf(Fn fn) {
    forEachImage([&](auto *y, auto *x, auto *g, int64_t i) {
      if constexpr (std::is_same_v<decltype(y), T *>) // the other precision never runs
        fn(y, x, g, i);
    });
  }

  /// fn(y, x, g, i) for each image, in parallel: iterate, clean image and gradient, of the model's
  /// precision.
  template <class Fn> void forEachImage(Fn fn) {
    visitFloat(image, [&](auto *y) {
      using T = std::remove_pointer_t<decltype(y)>;
      const T *x = reinterpret_cast<const T *>(clean.data()),
              *g = static_cast<const T *>(grad.data);
      context.session.host().parallelFor(count, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          fn(y + i * row, x + i * row, g + i * row, i);
      });
    });
  }

  /// Offers the iterates of those of the piece that `which` says.
  template <class Which>
  void offer(std::span<const int64_t> piece, const Survivors &stands, Which which) {
    if (context.sink)
      visitFloat(image, [&](auto *y) {
        auto *x = reinterpret_cast<const std::remove_pointer_t<decltype(y)> *>(clean.data());
        for (size_t i = 0; i < piece.size(); ++i)
          if (which(i))
            context.offer(piece[i], y + i * row, x + i * row, row, !stands[i]);
      });
  }

private:
  AttackContext &context;
  TensorView image, grad;
  int64_t row, count = 0;
  std::vector<char> clean;
};

/// The random numbers of one image's start.
inline Rng startOf(const AttackContext &context, int64_t image, int64_t restart) {
  return Rng(context.seed, Stream::AttackStart, image * 4096 + restart);
}

/// Attacks the images that stand: attackPiece(piece) tells who of a piece still does.
template <class Fn>
void attackStanding(AttackContext &context, const AttackSpec &spec, Survivors &survivors,
                    Fn attackPiece) {
  std::vector<int64_t> images, positions;
  for (size_t i = 0; i < survivors.size(); ++i)
    if (survivors[i]) {
      images.push_back(context.images[i]);
      positions.push_back(static_cast<int64_t>(i));
    }
  Progress progress(spec.text, images.size(), "images");
  forEachPiece(images, context.loader.batch(), [&](int64_t first, std::span<const int64_t> piece) {
    Survivors stands =
        context.rememberedSurvivors(piece.size(), [&] { return attackPiece(piece); });
    for (size_t i = 0; i < piece.size(); ++i)
      survivors[positions[first + i]] = stands[i];
    progress.update(first + piece.size());
  });
}

} // namespace ns::runtime

#endif // NS_LIB_RUNTIME_ATTACKS_GRADIENTATTACK_H
