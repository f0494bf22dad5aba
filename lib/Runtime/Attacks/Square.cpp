//===- Square.cpp - Square attack -----------------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Attacks.h"
#include "ns/Runtime/Error.h"

#include <algorithm>
#include <cmath>
#include <limits>

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

/// The attack on one image, proposal by proposal. T is the model's precision.
template <class T> class Search {
public:
  Search(const AttackSpec &spec, const TensorView &batch, uint64_t seed)
      : channels(batch.shape[1]), height(batch.shape[2]), width(batch.shape[3]),
        eps(static_cast<T>(spec.number("eps"))), share(spec.number("p")),
        queries(static_cast<int64_t>(spec.number("queries"))), seed(seed),
        rng(seed, Stream::Square) {}

  /// Starts on image `id` with pixels x; proposes vertical stripes.
  void begin(int64_t position, int64_t id, const T *x) {
    this->position = position;
    rng = Rng(seed, Stream::Square, id);
    iteration = -1;
    loss = std::numeric_limits<double>::infinity();
    clean.assign(x, x + channels * height * width);
    best = proposal = clean;
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t col = 0; col < width; ++col) {
        T delta = sign();
        for (int64_t r = 0; r < height; ++r)
          set((c * height + r) * width + col, clean[(c * height + r) * width + col] + delta);
      }
  }

  /// Takes the margin of the proposal; false when the image is done: fooled, or out of queries.
  bool accept(double margin) {
    if (margin < loss || margin <= 0) {
      loss = margin;
      best.swap(proposal);
    }
    if (loss <= 0 || ++iteration >= queries)
      return false;
    propose();
    return true;
  }

  const std::vector<T> &candidate() const { return proposal; }
  const std::vector<T> &bestImage() const { return best; }
  const std::vector<T> &cleanImage() const { return clean; }
  bool fooled() const { return loss <= 0; }
  int64_t position = -1; ///< in the list of images

private:
  T sign() { return rng.next() < 0.5 ? -eps : eps; }
  void set(int64_t i, T value) {
    proposal[i] = std::clamp(std::clamp(value, clean[i] - eps, clean[i] + eps), T(0), T(1));
  }
  void propose() {
    proposal = best;
    int64_t side = std::max<int64_t>(
        std::llround(std::sqrt(shareAt(share, iteration, queries) * height * width)), 1);
    int64_t tall = std::min(side, height), wide = std::min(side, width);
    int64_t top = rng.nextBelow(std::max<int64_t>(height - tall, 1)),
            left = rng.nextBelow(std::max<int64_t>(width - wide, 1));
    for (int64_t c = 0; c < channels; ++c) {
      T delta = 2 * sign();
      for (int64_t r = top; r < top + tall; ++r)
        for (int64_t col = left; col < left + wide; ++col) {
          int64_t i = (c * height + r) * width + col;
          set(i, best[i] + delta);
        }
    }
  }

  int64_t channels, height, width;
  T eps;
  double share;
  int64_t queries;
  uint64_t seed;
  Rng rng;
  int64_t iteration = -1;
  double loss = 0;
  std::vector<T> clean, best, proposal;
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

/// Images that an earlier run finished go into the survivors; returns the places of the others.
std::vector<int64_t> replay(AttackContext &context, Survivors &survivors) {
  std::vector<char> isDone(survivors.size());
  for (size_t i = 0; context.tape && i < survivors.size(); ++i) {
    std::optional<nlohmann::json> record = context.tape->next();
    if (!record)
      break;
    size_t position = record->is_array() && record->size() == 2 && (*record)[0].is_number_unsigned()
                          ? (*record)[0].get<size_t>()
                          : survivors.size();
    if (position >= survivors.size())
      fail("the journal's piece of an attack: expected an image and its outcome, found ",
           record->dump(), "; begin anew with --restart");
    isDone[position] = 1;
    survivors[position] = (*record)[1] == 1;
  }
  std::vector<int64_t> open;
  for (size_t i = 0; i < survivors.size(); ++i)
    if (!isDone[i])
      open.push_back(static_cast<int64_t>(i));
  return open;
}

/// Keeps every row of the batch busy with some image until all are done.
template <class T>
void runSearches(AttackContext &context, const AttackSpec &spec, T *images, Survivors &survivors) {
  TensorView batch = context.session.slot("image"), logits = context.session.slot("logits");
  std::vector<int64_t> positions = replay(context, survivors), ids;
  for (int64_t position : positions)
    ids.push_back(context.images[position]);
  int64_t rows = context.loader.batch(), pixels = batch.rowCount(), total = ids.size(), next = 0,
          done = 0;
  Progress progress(spec.text, total, "images");
  std::vector<Search<T>> searches(rows, Search<T>(spec, batch, context.seed));
  std::vector<T> loaded;
  // Images come a batch at a time; `loaded` holds those that wait for a free row.
  auto take = [&](Search<T> &search) {
    search.position = -1;
    if (next >= total)
      return;
    int64_t within = next % rows;
    if (within == 0) {
      context.loader.load(
          std::span<const int64_t>(ids).subspan(next, std::min(rows, total - next)));
      loaded.assign(images, images + rows * pixels);
    }
    search.begin(positions[next], ids[next], &loaded[within * pixels]);
    ++next;
  };
  for (Search<T> &search : searches)
    take(search);
  while (done < total) {
    if (int status = stopRequested())
      throw Stopped{status};
    for (int64_t i = 0; i < rows; ++i)
      if (searches[i].position >= 0)
        std::copy(searches[i].candidate().begin(), searches[i].candidate().end(),
                  images + i * pixels);
    context.session.run("forward");
    for (int64_t i = 0; i < rows; ++i) {
      Search<T> &search = searches[i];
      if (search.position < 0)
        continue;
      if (search.accept(
              marginOf(logits, i, context.loader.dataset().label(context.images[search.position]))))
        continue;
      survivors[search.position] = !search.fooled();
      context.remembered([&] {
        context.offer(context.images[search.position], search.bestImage().data(),
                      search.cleanImage().data(), pixels, search.fooled());
        return nlohmann::json::array({search.position, search.fooled() ? 0 : 1});
      });
      progress.update(++done);
      take(search);
    }
  }
}

} // namespace

Survivors ns::runtime::attackSquare(AttackContext &context, const AttackSpec &spec) {
  Survivors survivors(context.images.size(), 1);
  visitFloat(context.session.slot("image"),
             [&](auto *images) { runSearches(context, spec, images, survivors); });
  return survivors;
}
