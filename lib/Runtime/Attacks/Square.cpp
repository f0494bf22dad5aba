//===- Square.cpp - Square attack -----------------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AttackedRows.h"

using namespace ns::runtime;

/// The share of the image a square covers, by the iteration on the schedule of 10,000 queries.
static double shareAt(double p, int64_t iteration, int64_t queries) {
  int64_t it = iteration * 10000 / queries;
  static constexpr std::pair<int64_t, int> kHalvings[] = {
      {10, 0}, {50, 1}, {200, 2}, {500, 3}, {1000, 4}, {2000, 5}, {4000, 6}, {6000, 7}, {8000, 8}};
  for (auto [until, halvings] : kHalvings)
    if (it <= until)
      return p / (1 << halvings);
  return p / 512;
}

namespace {

/// The squares of the search in an image of some size.
struct SquareSpec {
  int64_t channels, height, width;
  double eps, share;
  int64_t queries;
};

/// The attack on one image, proposal by proposal. T is the model's precision.
template <class T> class Search {
public:
  explicit Search(const SquareSpec &spec) : spec(spec), rng(0, Stream::Square) {}

  /// Starts with clean pixels x and y equal to them; proposes vertical stripes in y.
  void begin(T *y, const T *x, Rng numbers) {
    rng = numbers;
    iteration = -1;
    loss = std::numeric_limits<double>::infinity();
    best.assign(x, x + spec.channels * spec.height * spec.width);
    window = {0, 0, spec.height, spec.width};
    for (int64_t c = 0; c < spec.channels; ++c)
      for (int64_t col = 0; col < spec.width; ++col) {
        T delta = sign();
        for (int64_t r = 0; r < spec.height; ++r)
          set(y, x, (c * spec.height + r) * spec.width + col, delta);
      }
  }

  /// Takes the margin of the proposal y and makes the next one of it; false when the image is done:
  /// fooled, or out of queries. Then y is the best image.
  bool accept(T *y, const T *x, double margin) {
    if (margin < loss || margin <= 0) {
      loss = margin;
      forEachInWindow([&](int64_t i) { best[i] = y[i]; });
    } else {
      forEachInWindow([&](int64_t i) { y[i] = best[i]; });
    }
    if (loss <= 0 || ++iteration >= spec.queries)
      return false;
    propose(y, x);
    return true;
  }

  bool fooled() const { return loss <= 0; }

private:
  /// What the proposal changed of the best image.
  struct Window {
    int64_t top, left, tall, wide;
  };

  T sign() { return static_cast<T>(rng.next() < 0.5 ? -spec.eps : spec.eps); }
  /// Element i becomes the best image's, changed by delta, within the ball.
  void set(T *y, const T *x, int64_t i, T delta) {
    T eps = static_cast<T>(spec.eps);
    y[i] = std::clamp(std::clamp(best[i] + delta, x[i] - eps, x[i] + eps), T(0), T(1));
  }
  template <class Fn> void forEachInWindow(Fn fn) {
    for (int64_t c = 0; c < spec.channels; ++c)
      forEachInWindow(c, fn);
  }
  template <class Fn> void forEachInWindow(int64_t c, Fn fn) {
    for (int64_t r = window.top; r < window.top + window.tall; ++r)
      for (int64_t col = window.left; col < window.left + window.wide; ++col)
        fn((c * spec.height + r) * spec.width + col);
  }
  void propose(T *y, const T *x) {
    double share = shareAt(spec.share, iteration, spec.queries);
    int64_t side = std::max<int64_t>(std::llround(std::sqrt(share * spec.height * spec.width)), 1);
    int64_t tall = std::min(side, spec.height), wide = std::min(side, spec.width);
    int64_t top = rng.nextBelow(std::max<int64_t>(spec.height - tall, 1)),
            left = rng.nextBelow(std::max<int64_t>(spec.width - wide, 1));
    window = {top, left, tall, wide};
    for (int64_t c = 0; c < spec.channels; ++c) {
      T delta = 2 * sign();
      forEachInWindow(c, [&](int64_t i) { set(y, x, i, delta); });
    }
  }

  const SquareSpec &spec;
  Rng rng;
  int64_t iteration = -1;
  double loss = 0;
  Window window{};
  std::vector<T> best;
};

/// The logit of the class minus the largest other one.
double marginOf(const TensorView &logits, int64_t row, int32_t label) {
  int64_t classes = logits.rowCount();
  double other = -std::numeric_limits<double>::infinity();
  for (int64_t k = 0; k < classes; ++k)
    if (k != label)
      other = std::max(other, logits.get(row * classes + k));
  return logits.get(row * classes + label) - other;
}

template <class T> Survivors runSearches(AttackContext &context, const AttackSpec &attack) {
  TensorView batch = context.session.slot("image");
  SquareSpec spec{batch.shape[1],     batch.shape[2],
                  batch.shape[3],     attack.number("eps"),
                  attack.number("p"), static_cast<int64_t>(attack.number("queries"))};
  AttackedRows<T> rows(context, attack);
  std::vector<Search<T>> searches(rows.size(), Search<T>(spec));
  std::vector<char> ends(rows.size()), stands(rows.size());
  auto begin = [&](T *y, const T *x, const T *, int64_t i) {
    searches[i].begin(y, x, Rng(context.seed, Stream::Square, rows.imageOf(i)));
  };
  while (rows.refill(begin)) {
    rows.run("forward");
    TensorView logits = context.session.slot("logits");
    rows.forEach([&](T *y, const T *x, const T *, int64_t i) {
      ends[i] = !searches[i].accept(y, x, marginOf(logits, i, rows.labelOf(i)));
      stands[i] = !searches[i].fooled();
    });
    rows.finishAll(ends, stands);
  }
  return rows.results().outcome();
}

} // namespace

Survivors ns::runtime::attackSquare(AttackContext &context, const AttackSpec &spec) {
  Survivors survivors;
  visitFloat(context.session.slot("image"), [&](auto *pixels) {
    survivors = runSearches<std::remove_pointer_t<decltype(pixels)>>(context, spec);
  });
  return survivors;
}
