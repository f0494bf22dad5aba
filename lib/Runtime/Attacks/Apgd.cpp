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

#include "AttackedRows.h"

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
    ahead.assign(y, y + n);
    ball.ascend(ahead.data(), gradient.data(), n, stepSize);
    ball.project(ahead.data(), x, n);
    T share = first ? T(1) : T(0.75);
    for (int64_t i = 0; i < n; ++i) {
      T here = y[i];
      y[i] = here + share * (ahead[i] - here) + (1 - share) * (here - previous[i]);
      previous[i] = here;
    }
    ball.project(y, x, n);
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
  std::vector<T> previous, ahead, best, gradient, bestGradient;
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
        restarts(static_cast<int64_t>(spec.number("restarts"))),
        numTargets(spec.kind == "apgd-t" ? numTargetClasses(context.session, spec) : 1),
        rows(context, spec, restarts * numTargets),
        climbs(rows.size(), {Iteration<T>(ball, rows.pixels(), steps, spec.number("rho"))}) {
    if (spec.kind != "apgd-ce")
      objectives.emplace(context.session);
  }

  Survivors run() {
    TensorView losses = context.session.slot("losses");
    std::vector<char> ends(rows.size());
    auto look = [&](std::span<const int64_t> images) {
      if (targeted())
        classes.look(context.session, images.size(), numTargets + 1);
    };
    auto begin = [&](T *y, const T *x, const T *, int64_t i) { this->begin(y, x, i); };
    while (rows.refill(look, begin)) {
      rows.run(objectives ? "attack_grad" : "value_and_grad");
      std::vector<char> right = rows.stillRight();
      rows.forEach([&](T *y, const T *x, const T *g, int64_t i) {
        ends[i] = !right[i] || !climbs[i].advance(y, x, g, losses.get(i), steps);
      });
      rows.finishAll(ends, right);
    }
    return rows.results().outcome();
  }

private:
  struct Climb {
    Iteration<T> iteration;
    int64_t taken = 0; ///< steps

    /// From y, where loss and gradient g were just found; false after the last step.
    bool advance(T *y, const T *x, const T *g, double loss, int64_t steps) {
      taken ? iteration.accept(y, g, loss) : iteration.begin(y, g, loss);
      if (taken++ == steps)
        return false;
      iteration.step(y, x);
      return true;
    }
  };

  bool targeted() const { return spec.kind == "apgd-t"; }

  void begin(T *y, const T *x, int64_t i) {
    climbs[i].taken = 0;
    int64_t run = rows.runOf(i), target = run / restarts;
    if (targeted())
      objectives->set(i,
                      {.targetedDlr = 1, .targetClass = classes.at(rows.lookedAt(i), target + 2)});
    else if (objectives)
      objectives->set(i, {.dlr = 1});
    if (spec.words.at("start") == "random")
      farStart(ball, y, x, rows.pixels(), startOf(context, rows.imageOf(i), run));
  }

  AttackContext &context;
  const AttackSpec &spec;
  Ball ball;
  int64_t steps, restarts, numTargets;
  AttackedRows<T> rows;
  std::vector<Climb> climbs;
  std::optional<Objectives> objectives; ///< where it is not cross-entropy alone
  LikelyClasses classes;
};

} // namespace

Survivors ns::runtime::attackApgd(AttackContext &context, const AttackSpec &spec) {
  Survivors survivors;
  visitFloat(context.session.slot("image"), [&](auto *pixels) {
    survivors = Apgd<std::remove_pointer_t<decltype(pixels)>>(context, spec).run();
  });
  return survivors;
}
