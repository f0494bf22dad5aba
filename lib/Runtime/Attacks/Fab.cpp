//===- Fab.cpp - fast adaptive boundary attack, targeted ------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Croce and Hein, ICML 2020 (arXiv 1907.02044), Algorithm 1 for one wrong class at a time, with the
// constants of AutoAttack. Each step linearises z_t - z_y at the iterate, projects iterate and
// clean image onto the hyperplane within [0, 1], goes beyond both by eta, and mixes the two; from
// an image that fools the model it steps back towards the clean one.
//
//===----------------------------------------------------------------------===//

#include "AttackedRows.h"
#include "Projection.h"

using namespace ns::runtime;

namespace {

/// One image against one target. T is the model's precision.
template <class T> class Boundary {
public:
  Boundary(const AttackSpec &spec, bool l2)
      : l2(l2), eta(spec.number("eta")), beta(spec.number("beta")),
        alphaMax(spec.number("alpha-max")) {}

  void begin(const T *x, int64_t n) {
    clean.assign(x, x + n);
    nearest = std::numeric_limits<double>::infinity();
  }

  /// From y, where z_t - z_y = difference with gradient g, to the next iterate.
  void step(T *y, const T *g, double difference) {
    size_t n = clean.size();
    double offset = -difference; // the hyperplane is g . z = offset
#pragma omp simd reduction(+ : offset)
    for (size_t i = 0; i < n; ++i)
      offset += static_cast<double>(g[i]) * y[i];
    auto project = l2 ? projectOntoHyperplane<true, T> : projectOntoHyperplane<false, T>;
    project(y, g, n, offset, fromHere);
    project(clean.data(), g, n, offset, fromClean);
    double here = std::max(size(fromHere), 1e-8), away = std::max(size(fromClean), 1e-8);
    T alpha = static_cast<T>(std::min(here / (here + away), alphaMax)), e = static_cast<T>(eta);
    for (size_t i = 0; i < n; ++i)
      y[i] =
          std::clamp((y[i] + e * fromHere[i]) * (1 - alpha) + (clean[i] + e * fromClean[i]) * alpha,
                     T(0), T(1));
  }

  /// y fools the model: remembers how far it is and steps back.
  void stepBack(T *y) {
    std::vector<T> &delta = fromHere;
    for (size_t i = 0; i < clean.size(); ++i)
      delta[i] = y[i] - clean[i];
    if (double distance = size(delta); distance < nearest) {
      nearest = distance;
      found.assign(y, y + clean.size());
    }
    for (size_t i = 0; i < clean.size(); ++i)
      y[i] = clean[i] + delta[i] * static_cast<T>(beta);
  }

  double best() const { return nearest; }
  /// The nearest image that fools the model.
  const std::vector<T> &bestImage() const { return found; }

private:
  double size(const std::vector<T> &delta) const {
    double sum = 0;
    for (T d : delta)
      sum = l2 ? sum + static_cast<double>(d) * d : std::max<double>(sum, std::abs(d));
    return l2 ? std::sqrt(sum) : sum;
  }

  bool l2;
  double eta, beta, alphaMax, nearest = 0;
  std::vector<T> clean, found, fromHere, fromClean;
};

template <class T> class Fab {
public:
  Fab(AttackContext &context, const AttackSpec &spec)
      : context(context), eps(spec.number("eps")),
        steps(static_cast<int64_t>(spec.number("steps"))),
        numTargets(numTargetClasses(context.session, spec)), rows(context, spec, numTargets),
        boundaries(rows.size(), Boundary<T>(spec, Ball(spec).l2)), taken(rows.size()),
        objectives(context.session) {}

  Survivors run() {
    TensorView losses = context.session.slot("losses");
    auto look = [&](std::span<const int64_t> images) {
      classes.look(context.session, images.size(), numTargets + 1);
    };
    auto begin = [&](T *, const T *x, const T *, int64_t i) {
      int32_t target = classes.at(rows.lookedAt(i), rows.runOf(i) + 2);
      objectives.set(i, {.target = 1, .targetClass = target});
      boundaries[i].begin(x, rows.pixels());
      taken[i] = 0;
    };
    while (rows.refill(look, begin)) {
      rows.run("attack_grad");
      rows.forEach([&](T *y, const T *, const T *g, int64_t i) {
        boundaries[i].step(y, g, losses.get(i));
        ++taken[i];
      });
      std::vector<char> right = rows.predictsRight();
      rows.forEach([&](T *y, const T *, const T *, int64_t i) {
        if (!right[i])
          boundaries[i].stepBack(y);
      });
      finishAttempts();
    }
    return rows.results().outcome();
  }

private:
  /// An image stands where no boundary was found within eps.
  void finishAttempts() {
    for (int64_t i = 0; i < rows.size(); ++i) {
      bool stands = boundaries[i].best() > eps;
      // Further steps would look for a nearer image still: for those who keep it.
      if (taken[i] >= steps || (!stands && !context.sink))
        rows.finish(i, stands, stands ? nullptr : boundaries[i].bestImage().data());
    }
  }

  AttackContext &context;
  double eps;
  int64_t steps, numTargets;
  AttackedRows<T> rows;
  std::vector<Boundary<T>> boundaries;
  std::vector<int64_t> taken; ///< steps
  Objectives objectives;
  LikelyClasses classes;
};

} // namespace

Survivors ns::runtime::attackFab(AttackContext &context, const AttackSpec &spec) {
  Survivors survivors;
  visitFloat(context.session.slot("image"), [&](auto *pixels) {
    survivors = Fab<std::remove_pointer_t<decltype(pixels)>>(context, spec).run();
  });
  return survivors;
}
