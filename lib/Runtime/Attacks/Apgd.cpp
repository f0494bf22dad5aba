//===- Apgd.cpp - Auto-PGD ------------------------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Croce and Hein, ICML 2020, Algorithm 1, with the constants of their code, on cross-entropy, the
// difference of logits ratio, or its targeted form for each of the likeliest wrong classes. Each
// image has its own step size, halved at checkpoints where the loss oscillates or no longer grows;
// it then goes on from its best point.
//
//===----------------------------------------------------------------------===//

#include "GradientAttack.h"

using namespace ns::runtime;

namespace {

/// The iteration of one image. T is the model's precision.
template <class T> class Iteration {
public:
  Iteration(const Ball &ball, int64_t pixels, int64_t steps, double rho)
      : ball(ball), n(pixels), rho(rho), interval(std::max<int64_t>(22 * steps / 100, 1)),
        decrease(std::max<int64_t>(3 * steps / 100, 1)),
        least(std::max<int64_t>(6 * steps / 100, 1)) {}

  /// Takes loss and gradient at the start y.
  void begin(const T *y, const T *g, double loss) {
    previous.assign(y, y + n);
    best = previous;
    bestGradient.assign(g, g + n);
    gradient = bestGradient;
    bestLoss = bestAtCheck = loss;
    losses.clear();
    stepSize = 2 * ball.eps;
    sinceCheck = 0;
    reducedLast = true;
    first = true;
    nextCheck = interval;
  }

  /// Moves y, an image x away from whose ball it must not go.
  void step(T *y, const T *x) {
    std::vector<T> here(y, y + n), ahead = here;
    ball.ascend(ahead.data(), gradient.data(), n, stepSize);
    ball.project(ahead.data(), x, n);
    T share = first ? T(1) : T(0.75);
    for (int64_t i = 0; i < n; ++i)
      y[i] = here[i] + share * (ahead[i] - here[i]) + (1 - share) * (here[i] - previous[i]);
    ball.project(y, x, n);
    previous = std::move(here);
    first = false;
  }

  /// Takes loss and gradient at the new y; may put y back to the best point.
  void accept(T *y, const T *g, double loss) {
    gradient.assign(g, g + n);
    losses.push_back(loss);
    if (loss > bestLoss) {
      bestLoss = loss;
      best.assign(y, y + n);
      bestGradient = gradient;
    }
    if (++sinceCheck < nextCheck)
      return;
    int64_t rises = 0, last = static_cast<int64_t>(losses.size()) - 1;
    for (int64_t i = last; i > last - nextCheck;
         --i) // before the first loss stands 0, as in the code
      rises += losses[i] > (i > 0 ? losses[i - 1] : 0);
    bool oscillates = rises <= nextCheck * rho, stalls = !reducedLast && bestAtCheck >= bestLoss;
    reducedLast = oscillates || stalls;
    bestAtCheck = bestLoss;
    if (reducedLast) {
      stepSize /= 2;
      std::copy(best.begin(), best.end(), y);
      gradient = bestGradient;
    }
    sinceCheck = 0;
    nextCheck = std::max(nextCheck - decrease, least);
  }

private:
  const Ball &ball;
  int64_t n;
  double rho;
  int64_t interval, decrease, least, nextCheck = 0, sinceCheck = 0;
  double stepSize = 0, bestLoss = 0, bestAtCheck = 0;
  bool reducedLast = true, first = true;
  std::vector<T> previous, best, gradient, bestGradient;
  std::vector<double> losses;
};

/// The start of the authors' code: a random direction, as far as the ball reaches.
template <class T> void farStart(const Ball &ball, T *y, const T *x, int64_t n, Rng rng) {
  double size = 0;
  for (int64_t i = 0; i < n; ++i) {
    double t = ball.l2 ? rng.normal(i) : 2 * rng.uniform(i) - 1;
    size = ball.l2 ? size + t * t : std::max(size, std::abs(t));
  }
  double scale = ball.eps / std::max(ball.l2 ? std::sqrt(size) : size, 1e-12);
  for (int64_t i = 0; i < n; ++i)
    y[i] = std::clamp(
        static_cast<T>(x[i] + scale * (ball.l2 ? rng.normal(i) : 2 * rng.uniform(i) - 1)), T(0),
        T(1));
}

template <class T> class Apgd {
public:
  Apgd(AttackContext &context, const AttackSpec &spec)
      : context(context), spec(spec), ball(spec), steps(static_cast<int64_t>(spec.number("steps"))),
        batch(context), iterations(context.loader.batch(),
                                   Iteration<T>(ball, batch.pixels(), steps, spec.number("rho"))) {}

  Survivors run() {
    Survivors survivors(context.images.size(), 1);
    int64_t restarts = static_cast<int64_t>(spec.number("restarts")),
            runs = restarts * numTargets();
    for (int64_t index = 0; index < runs; ++index)
      attackStanding(context, spec, survivors, [&](std::span<const int64_t> piece) {
        return attack(piece, index, 2 + index / restarts);
      });
    return survivors;
  }

private:
  bool targeted() const { return spec.kind == "apgd-t"; }
  int64_t numTargets() const { return targeted() ? numTargetClasses(context.session, spec) : 1; }

  /// Sets what to climb; `rank`: the place of the target among the clean image's logits.
  void aim(int64_t count, int64_t rank) {
    if (spec.kind == "apgd-ce")
      return;
    if (targeted())
      context.session.run("forward");
    for (int64_t i = 0; i < count; ++i)
      batch.setObjective(
          i, targeted() ? Objective{.targetedDlr = 1, .targetClass = batch.rankedClass(i, rank)}
                        : Objective{.dlr = 1});
  }
  /// Losses and gradients at the iterates; those that fool the model no longer stand.
  void differentiate(std::span<const int64_t> piece, std::vector<char> &stands) {
    if (spec.kind == "apgd-ce")
      batch.differentiate();
    else
      batch.differentiateObjectives();
    std::vector<char> right = batch.stillRight(piece);
    batch.offer(piece, right, [&](size_t i) { return stands[i] && !right[i]; });
    for (size_t i = 0; i < piece.size(); ++i)
      stands[i] &= right[i];
  }

  /// Which images every iterate leaves right.
  std::vector<char> attack(std::span<const int64_t> piece, int64_t run, int64_t rank) {
    TensorView losses = context.session.slot("losses");
    std::vector<char> stands(piece.size(), 1);
    batch.load(piece);
    aim(piece.size(), rank);
    if (spec.words.at("start") == "random")
      batch.forEachImage([&](auto *y, auto *x, auto *, int64_t i) {
        farStart(ball, y, x, batch.pixels(), startOf(context, piece[i], run));
      });
    differentiate(piece, stands);
    batch.template forEachImageOf<T>(
        [&](T *y, const T *, const T *g, int64_t i) { iterations[i].begin(y, g, losses.get(i)); });
    for (int64_t index = 0; index < steps; ++index) {
      if (std::none_of(stands.begin(), stands.end(), [](char s) { return s; }))
        break; // all are fooled: nothing can change
      batch.template forEachImageOf<T>(
          [&](T *y, const T *x, const T *, int64_t i) { iterations[i].step(y, x); });
      differentiate(piece, stands);
      batch.template forEachImageOf<T>([&](T *y, const T *, const T *g, int64_t i) {
        iterations[i].accept(y, g, losses.get(i));
      });
    }
    batch.offer(piece, stands, [&](size_t i) { return stands[i]; });
    return stands;
  }
  AttackContext &context;
  const AttackSpec &spec;
  Ball ball;
  int64_t steps;
  AttackedBatch batch;
  std::vector<Iteration<T>> iterations;
};

} // namespace

Survivors ns::runtime::attackApgd(AttackContext &context, const AttackSpec &spec) {
  Survivors survivors;
  visitFloat(context.session.slot("image"), [&](auto *pixels) {
    survivors = Apgd<std::remove_pointer_t<decltype(pixels)>>(context, spec).run();
  });
  return survivors;
}
