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

#include "GradientAttack.h"
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
    for (size_t i = 0; i < n; ++i)
      offset += static_cast<double>(g[i]) * y[i];
    projectOntoHyperplane(y, g, n, offset, l2, fromHere);
    projectOntoHyperplane(clean.data(), g, n, offset, l2, fromClean);
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
  /// The nearest image that fools the model, and the clean one.
  const std::vector<T> &bestImage() const { return found; }
  const std::vector<T> &cleanImage() const { return clean; }

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
      : context(context), spec(spec), batch(context),
        boundaries(context.loader.batch(), Boundary<T>(spec, Ball(spec).l2)) {}

  Survivors run() {
    Survivors survivors(context.images.size(), 1);
    int64_t targets = numTargetClasses(context.session, spec);
    for (int64_t rank = 2; rank < targets + 2; ++rank)
      attackStanding(context, spec, survivors,
                     [&](std::span<const int64_t> piece) { return attack(piece, rank); });
    return survivors;
  }

private:
  /// Who of the piece has no boundary within eps.
  std::vector<char> attack(std::span<const int64_t> piece, int64_t rank) {
    TensorView losses = context.session.slot("losses");
    std::vector<char> right(context.loader.batch());
    batch.load(piece);
    context.session.run("forward");
    for (size_t i = 0; i < piece.size(); ++i)
      batch.setObjective(i, {.target = 1, .targetClass = batch.rankedClass(i, rank)});
    batch.template forEachImageOf<T>(
        [&](T *y, const T *, const T *, int64_t i) { boundaries[i].begin(y, batch.pixels()); });
    int64_t steps = static_cast<int64_t>(spec.number("steps"));
    for (int64_t index = 0; index < steps; ++index) {
      batch.differentiateObjectives();
      batch.template forEachImageOf<T>(
          [&](T *y, const T *, const T *g, int64_t i) { boundaries[i].step(y, g, losses.get(i)); });
      predictsLabel(context, piece, right.data());
      batch.template forEachImageOf<T>([&](T *y, const T *, const T *, int64_t i) {
        if (!right[i])
          boundaries[i].stepBack(y);
      });
    }
    std::vector<char> stands;
    for (size_t i = 0; i < piece.size(); ++i) {
      stands.push_back(boundaries[i].best() > spec.number("eps"));
      if (!stands.back())
        context.offer(piece[i], boundaries[i].bestImage().data(), boundaries[i].cleanImage().data(),
                      batch.pixels(), true);
    }
    return stands;
  }
  AttackContext &context;
  const AttackSpec &spec;
  AttackedBatch batch;
  std::vector<Boundary<T>> boundaries;
};

} // namespace

Survivors ns::runtime::attackFab(AttackContext &context, const AttackSpec &spec) {
  Survivors survivors;
  visitFloat(context.session.slot("image"), [&](auto *pixels) {
    survivors = Fab<std::remove_pointer_t<decltype(pixels)>>(context, spec).run();
  });
  return survivors;
}
