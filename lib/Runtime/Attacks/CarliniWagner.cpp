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
#include "AttackedRows.h"

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

private:
  void move(T *y, const T *g) {
    adam.beginStep(lr);
    for (size_t i = 0; i < w.size(); ++i) {
      T slope = (1 - t[i] * t[i]) / static_cast<T>(2 * kSmoother);
      w[i] -= adam.move(i, (2 * (y[i] - clean[i]) + g[i]) * slope);
    }
    write(y);
  }
  void write(T *y) {
    t.resize(w.size());
    for (size_t i = 0; i < w.size(); ++i)
      t[i] = std::tanh(w[i]);
    for (size_t i = 0; i < w.size(); ++i)
      y[i] = std::clamp((t[i] / static_cast<T>(kSmoother) + 1) / 2, T(0), T(1));
  }

  double firstC, lr;
  int64_t steps, step = 0;
  double c = 0, lowest = 0, highest = 0, nearest = 0, lastCost = 0;
  bool running = false, fell = false;
  std::vector<T> clean, found, w, t; ///< t: tanh(w)
  Adam<T> adam;
};

template <class T> class Cw {
public:
  Cw(AttackContext &context, const AttackSpec &spec)
      : context(context), kappa(spec.number("kappa")),
        rounds(std::max<int64_t>(static_cast<int64_t>(spec.number("search")), 1)),
        rows(context, spec), descents(rows.size(), Descent<T>(spec)), round(rows.size()),
        objectives(context.session) {}

  /// What is left of the images, and the distances of those that fell.
  const Attempts &run() {
    TensorView losses = context.session.slot("losses");
    std::vector<char> ends(rows.size());
    auto begin = [&](T *y, const T *x, const T *, int64_t i) {
      descents[i].begin(x, rows.pixels());
      round[i] = 0;
      beginRound(y, i);
    };
    while (rows.refill(begin)) {
      rows.run("attack_grad");
      std::vector<char> right = rows.stillRight();
      rows.forEach([&](T *y, const T *, const T *g, int64_t i) {
        descents[i].advance(y, g, losses.get(i), !right[i]);
        ends[i] = !descents[i].isRunning() && !goOn(y, i);
      });
      for (int64_t i = 0; i < rows.size(); ++i)
        if (ends[i])
          finish(i);
    }
    return rows.results();
  }

private:
  void beginRound(T *y, int64_t i) {
    objectives.set(i, {.margin = -descents[i].weight(), .cap = kappa});
    descents[i].beginRound(y);
  }
  /// The next round of row i; false after the last.
  bool goOn(T *y, int64_t i) {
    if (++round[i] == rounds)
      return false;
    descents[i].endRound();
    beginRound(y, i);
    return true;
  }
  void finish(int64_t i) {
    double square = descents[i].best();
    bool stands = std::isinf(square);
    rows.finish(i, stands, stands ? nullptr : descents[i].bestImage().data(),
                stands ? 0 : std::sqrt(square));
  }

  AttackContext &context;
  double kappa;
  int64_t rounds;
  AttackedRows<T> rows;
  std::vector<Descent<T>> descents;
  std::vector<int64_t> round;
  Objectives objectives;
};

} // namespace

Survivors ns::runtime::attackCw(AttackContext &context, const AttackSpec &spec) {
  Survivors survivors;
  std::vector<double> found;
  visitFloat(context.session.slot("image"), [&](auto *pixels) {
    Cw<std::remove_pointer_t<decltype(pixels)>> cw(context, spec);
    const Attempts &results = cw.run();
    survivors = results.outcome();
    found = results.fallenDistances();
  });
  if (!found.empty()) {
    std::sort(found.begin(), found.end());
    context.details["mean_l2"] =
        std::accumulate(found.begin(), found.end(), 0.0) / static_cast<double>(found.size());
    context.details["median_l2"] = found[found.size() / 2];
  }
  return survivors;
}
