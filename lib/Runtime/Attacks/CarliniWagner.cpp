//===- CarliniWagner.cpp - the L2 attack of Carlini and Wagner ------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Carlini and Wagner 2017, section V. Pixels are (tanh(w) / smoother + 1) / 2, so that those at 0
// and 1 can move, too. With `search` rounds each image's c is multiplied by 10 until it falls, then
// bisected; without, c is fixed. An image's round ends early when its cost no longer falls between
// tenths of the steps.
//
//===----------------------------------------------------------------------===//

#include "Adam.h"
#include "GradientAttack.h"

using namespace ns::runtime;

namespace {

constexpr double kSmoother = 0.999999;

/// The attack on one image. T is the model's precision.
template <class T> class Descent {
public:
  explicit Descent(const AttackSpec &spec)
      : firstC(spec.number("c")), lr(spec.number("lr")),
        steps(static_cast<int64_t>(spec.number("steps"))) {}

  void begin(const T *x, int64_t n) {
    clean.assign(x, x + n);
    lowest = 0;
    highest = nearest = std::numeric_limits<double>::infinity();
    c = firstC;
  }

  /// Starts a round at the clean image; writes it to y.
  void beginRound(T *y) {
    w.resize(clean.size());
    for (size_t i = 0; i < w.size(); ++i)
      w[i] = std::atanh((2 * clean[i] - 1) * static_cast<T>(kSmoother));
    adam.begin(w.size());
    step = 0;
    lastCost = std::numeric_limits<double>::infinity();
    running = true;
    fell = false;
    write(y);
  }

  /// Takes loss - c min(margin, kappa) and its gradient at y, and whether y fools the model; moves
  /// y.
  void advance(T *y, const T *g, double loss, bool fools) {
    if (!running)
      return;
    double distance = 0;
    for (size_t i = 0; i < w.size(); ++i)
      distance += (static_cast<double>(y[i]) - clean[i]) * (static_cast<double>(y[i]) - clean[i]);
    if (fools) {
      fell = true;
      if (distance < nearest) {
        nearest = distance;
        found.assign(y, y + w.size());
      }
    }
    if (step % std::max<int64_t>(steps / 10, 1) == 0) {
      running = !(distance + loss > lastCost);
      lastCost = distance + loss;
    }
    if (++step >= steps)
      running = false;
    if (running)
      move(y, g);
  }

  /// Chooses c for the next round.
  void endRound() {
    (fell ? highest : lowest) = c;
    c = std::isinf(highest) ? 10 * c : (lowest + highest) / 2;
  }

  bool isRunning() const { return running; }
  double weight() const { return c; }
  /// The squared distance of the nearest image that fools the model; infinite where there is none.
  double best() const { return nearest; }
  const std::vector<T> &bestImage() const { return found; }
  const std::vector<T> &cleanImage() const { return clean; }

private:
  void move(T *y, const T *g) {
    adam.beginStep(lr);
    for (size_t i = 0; i < w.size(); ++i) {
      T t = std::tanh(w[i]), slope = (1 - t * t) / static_cast<T>(2 * kSmoother);
      w[i] -= adam.move(i, (2 * (y[i] - clean[i]) + g[i]) * slope);
    }
    write(y);
  }
  void write(T *y) {
    for (size_t i = 0; i < w.size(); ++i)
      y[i] = std::clamp((std::tanh(w[i]) / static_cast<T>(kSmoother) + 1) / 2, T(0), T(1));
  }

  double firstC, lr;
  int64_t steps, step = 0;
  double c = 0, lowest = 0, highest = 0, nearest = 0, lastCost = 0;
  bool running = false, fell = false;
  std::vector<T> clean, found, w;
  Adam<T> adam;
};

/// Attacks one piece; returns the squared distances.
template <class T>
std::vector<double> attackPiece(AttackContext &context, const AttackSpec &spec,
                                AttackedBatch &batch, std::vector<Descent<T>> &descents,
                                std::span<const int64_t> piece) {
  TensorView losses = context.session.slot("losses");
  T *images = static_cast<T *>(context.session.slot("image").data);
  int64_t n = batch.pixels(), count = piece.size();
  batch.load(piece);
  for (int64_t i = 0; i < count; ++i)
    descents[i].begin(images + i * n, n);
  auto forEach = [&](auto fn) {
    context.session.host().parallelFor(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        fn(i);
    });
  };
  const T *gradients = static_cast<const T *>(context.session.slot("image_grad").data);
  int64_t rounds = std::max<int64_t>(static_cast<int64_t>(spec.number("search")), 1);
  for (int64_t round = 0; round < rounds; ++round) {
    for (int64_t i = 0; i < count; ++i)
      batch.setObjective(i, {.margin = -descents[i].weight(), .cap = spec.number("kappa")});
    forEach([&](int64_t i) { descents[i].beginRound(images + i * n); });
    while (std::any_of(descents.begin(), descents.begin() + count,
                       [](const Descent<T> &d) { return d.isRunning(); })) {
      batch.differentiateObjectives();
      std::vector<char> right = batch.stillRight(piece);
      forEach([&](int64_t i) {
        descents[i].advance(images + i * n, gradients + i * n, losses.get(i), !right[i]);
      });
    }
    for (int64_t i = 0; i < count; ++i)
      descents[i].endRound();
  }
  std::vector<double> distances;
  for (int64_t i = 0; i < count; ++i) {
    distances.push_back(descents[i].best());
    if (!std::isinf(distances.back()))
      context.offer(piece[i], descents[i].bestImage().data(), descents[i].cleanImage().data(), n,
                    true);
  }
  return distances;
}

} // namespace

Survivors ns::runtime::attackCw(AttackContext &context, const AttackSpec &spec) {
  Survivors survivors;
  std::vector<double> found;
  Progress progress(spec.text, context.images.size(), "images");
  visitFloat(context.session.slot("image"), [&](auto *pixels) {
    using T = std::remove_pointer_t<decltype(pixels)>;
    AttackedBatch batch(context);
    std::vector<Descent<T>> descents(context.loader.batch(), Descent<T>(spec));
    forEachPiece(context.images, context.loader.batch(),
                 [&](int64_t first, std::span<const int64_t> piece) {
                   // JSON has no infinity: null stands for it.
                   nlohmann::json squares = context.remembered([&] {
                     return nlohmann::json(attackPiece(context, spec, batch, descents, piece));
                   });
                   for (const nlohmann::json &square : squares) {
                     survivors.push_back(!square.is_number() || std::isinf(square.get<double>()));
                     if (!survivors.back())
                       found.push_back(std::sqrt(square.get<double>()));
                   }
                   progress.update(first + piece.size());
                 });
  });
  if (!found.empty()) {
    std::sort(found.begin(), found.end());
    context.details["mean_l2"] =
        std::accumulate(found.begin(), found.end(), 0.0) / static_cast<double>(found.size());
    context.details["median_l2"] = found[found.size() / 2];
  }
  return survivors;
}
