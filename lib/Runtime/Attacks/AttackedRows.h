//===- AttackedRows.h - images that take turns in the batch -----*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_RUNTIME_ATTACKS_ATTACKEDROWS_H
#define NS_LIB_RUNTIME_ATTACKS_ATTACKEDROWS_H

#include "GradientAttack.h"

#include <deque>

namespace ns::runtime {

/// One of an attack's tries at one image: a restart, a target class.
struct Attempt {
  int64_t position = -1; ///< of the image in the context's list; -1: none
  int64_t run = 0;       ///< which of the image's tries, from 0
};

/// The attempts of an attack, `runs` on each image of the context, and what came of them. An image
/// falls with any of its attempts, and those that are left are dropped. Attempts may end in any
/// order: the journal keeps each as it ends.
class Attempts {
public:
  /// Takes over what the journal has. Throws Error where that is another attack's.
  Attempts(AttackContext &context, int64_t runs);

  /// The next `count` that nobody took, of images that stand; the first runs of all images before
  /// the second ones.
  std::deque<Attempt> take(int64_t count);

  /// `attempt` is over: the image stands, or has fallen `distance` away. `offer()` is called before
  /// the journal has it.
  template <class Fn> void finish(const Attempt &attempt, bool stands, double distance, Fn offer) {
    context.remembered([&] {
      offer();
      return nlohmann::json::array({indexOf(attempt), stands ? 1 : 0, distance});
    });
    record(attempt, stands, distance);
  }

  bool stands(int64_t position) const { return survivors[position]; }
  const Survivors &outcome() const { return survivors; }
  /// How far away the fallen images fell, in the order of the context's list.
  std::vector<double> fallenDistances() const;
  int64_t total() const { return images() * runs; }
  /// How many are neither over nor dropped.
  int64_t left() const { return numLeft; }

private:
  int64_t images() const { return static_cast<int64_t>(survivors.size()); }
  int64_t indexOf(const Attempt &attempt) const {
    return attempt.run * images() + attempt.position;
  }
  void record(const Attempt &attempt, bool stands, double distance);
  void replay();

  AttackContext &context;
  int64_t runs, numLeft, next = 0;
  Survivors survivors;
  std::vector<char> isOver;         ///< by indexOf
  std::vector<int64_t> leftOfImage; ///< by position
  std::vector<double> distances;    ///< by position, of the fallen
};

/// Keeps the rows of the batch at work, each on an attempt of its own: a row whose attempt is over
/// goes on with the next one at once, so that the batch stays full though some images fall early.
/// So what an attempt does must not depend on its row or its neighbours. T is the model's
/// precision.
template <class T> class AttackedRows {
public:
  AttackedRows(AttackContext &context, const AttackSpec &spec, int64_t runs = 1)
      : context(context), session(context.session), image(session.slot("image")),
        numPixels(image.rowCount()), rows(image.shape[0]), clean(image.count()),
        waitingImages(image.count()), attempts(context, runs),
        progress(spec.text, attempts.total(), runs > 1 ? "attempts" : "images") {
    progress.begin(attempts.total() - attempts.left());
  }

  int64_t pixels() const { return numPixels; }
  int64_t size() const { return static_cast<int64_t>(rows.size()); }
  /// The image of row i in the data set, and which of its attempts the row works on.
  int64_t imageOf(int64_t i) const { return context.images[rows[i].attempt.position]; }
  int64_t runOf(int64_t i) const { return rows[i].attempt.run; }
  int32_t labelOf(int64_t i) const { return rows[i].label; }
  /// Where row i's attempt was among those that look() last saw.
  int64_t lookedAt(int64_t i) const { return rows[i].lookedAt; }
  const T *cleanOf(int64_t i) const { return clean.data() + i * numPixels; }

  /// Gives free rows their next attempts and calls begin(y, x, g, i) for each such row, in
  /// parallel; y and x are the clean image. Before, look(images) sees the images of up to a batch
  /// of attempts, which lie in the slots from row 0 on, and may run entries. False where all is
  /// done.
  template <class Look, class Begin> bool refill(Look look, Begin begin) {
    do
      forEachOf(takeWaiting(), begin);
    while (waiting.empty() && hasFreeRow() && load(look));
    return !busyRows().empty();
  }
  template <class Begin> bool refill(Begin begin) {
    return refill([](std::span<const int64_t>) {}, begin);
  }

  /// Runs an entry on the iterates. Throws Stopped.
  void run(const char *entry) {
    if (int status = stopRequested())
      throw Stopped{status};
    session.run(entry);
  }

  /// fn(y, x, g, i) for each row at work, in parallel: iterate, clean image and gradient.
  template <class Fn> void forEach(Fn fn) { forEachOf(busyRows(), fn); }

  /// By row: who is classified right at the iterates of the entry that was just run. Where products
  /// are bfloat16, `forward`, which is float32, is asked before an image counts as fooled, and has
  /// the last word on rows that `isLast` names.
  std::vector<char> stillRight(const std::vector<char> &isLast = {}) {
    std::vector<char> right = rightByLogits();
    bool asks = std::find(right.begin(), right.end(), 0) != right.end() ||
                std::find(isLast.begin(), isLast.end(), 1) != isLast.end();
    if (session.metadata().precision != "bf16" || !asks)
      return right;
    std::vector<char> exact = predictsRight();
    for (size_t i = 0; i < right.size(); ++i)
      right[i] = exact[i] | (right[i] & !(i < isLast.size() && isLast[i]));
    return right;
  }
  /// The same after running `forward`.
  std::vector<char> predictsRight() {
    run("forward");
    return rightByLogits();
  }

  /// Ends the attempt of row i, whose image stands or has fallen with `found` (null: there is no
  /// image to keep), at `distance`.
  void finish(int64_t i, bool stands, const T *found, double distance = 0) {
    if (!isBusy(i))
      return; // dropped: another attempt felled the image
    Attempt attempt = rows[i].attempt;
    attempts.finish(attempt, stands, distance, [&] {
      if (found)
        context.offer(imageOf(i), found, cleanOf(i), numPixels, !stands);
    });
    for (int64_t k : busyRows())
      if (k == i || (!stands && rows[k].attempt.position == attempt.position))
        rows[k].attempt = {};
    progress.update(attempts.total() - attempts.left());
  }
  /// As `finish`, of the rows that `ends` says, with the iterates.
  void finishAll(const std::vector<char> &ends, const std::vector<char> &stands) {
    for (int64_t i : busyRows())
      if (ends[i])
        finish(i, stands[i], iterate(i));
  }

  const Attempts &results() const { return attempts; }

private:
  struct Row {
    Attempt attempt;
    int64_t lookedAt = 0;
    int32_t label = 0;
  };

  std::vector<char> rightByLogits() const {
    TensorView logits = session.slot("logits");
    int64_t classes = logits.rowCount();
    std::vector<char> right(rows.size(), 1);
    for (int64_t i : busyRows())
      right[i] = argmax(logits, i * classes, classes) == rows[i].label;
    return right;
  }
  T *iterate(int64_t i) { return static_cast<T *>(image.data) + i * numPixels; }
  bool isBusy(int64_t i) const { return rows[i].attempt.position >= 0; }
  std::vector<int64_t> busyRows() const {
    std::vector<int64_t> busy;
    for (int64_t i = 0; i < size(); ++i)
      if (isBusy(i))
        busy.push_back(i);
    return busy;
  }
  bool hasFreeRow() const { return static_cast<int64_t>(busyRows().size()) < size(); }

  template <class Fn> void forEachOf(const std::vector<int64_t> &which, Fn fn) {
    const T *gradients = session.hasSlot("image_grad")
                             ? static_cast<const T *>(session.slot("image_grad").data)
                             : nullptr;
    session.host().parallelFor(static_cast<int64_t>(which.size()), 1,
                               [&](int64_t begin, int64_t end) {
                                 for (int64_t k = begin; k < end; ++k) {
                                   int64_t i = which[k];
                                   fn(iterate(i), cleanOf(i), gradients + i * numPixels, i);
                                 }
                               });
  }

  /// Moves waiting images to free rows, which it returns.
  std::vector<int64_t> takeWaiting() {
    std::vector<int64_t> fresh;
    for (int64_t i = 0; i < size() && !waiting.empty(); ++i) {
      while (!waiting.empty() && !attempts.stands(waiting.front().position))
        waiting.pop_front();
      if (isBusy(i) || waiting.empty())
        continue;
      // Of several attempts that fool the model the first is kept, and so none is made before the
      // former has ended.
      if (context.sink && isAttacked(waiting.front().position))
        break;
      Attempt attempt = waiting.front();
      int64_t place = numWaited - static_cast<int64_t>(waiting.size());
      waiting.pop_front();
      rows[i] = {attempt, place, context.loader.dataset().label(context.images[attempt.position])};
      const T *x = waitingImages.data() + place * numPixels;
      std::copy(x, x + numPixels, clean.data() + i * numPixels);
      std::copy(x, x + numPixels, iterate(i));
      fresh.push_back(i);
    }
    writeLabels();
    return fresh;
  }
  bool isAttacked(int64_t position) const {
    return std::any_of(rows.begin(), rows.end(),
                       [&](const Row &row) { return row.attempt.position == position; });
  }

  /// Loads the images of the next attempts. False where there are none.
  template <class Look> bool load(Look look) {
    waiting = attempts.take(size());
    numWaited = static_cast<int64_t>(waiting.size());
    if (waiting.empty())
      return false;
    std::vector<int64_t> images;
    for (const Attempt &attempt : waiting)
      images.push_back(context.images[attempt.position]);
    std::vector<T> iterates(iterate(0), iterate(size()));
    context.loader.load(images);
    std::copy(iterate(0), iterate(size()), waitingImages.begin());
    look(std::span<const int64_t>(images));
    std::copy(iterates.begin(), iterates.end(), iterate(0));
    return true;
  }
  void writeLabels() {
    TensorView labels = session.slot("labels"), weights = session.slot("weights");
    for (int64_t i = 0; i < size(); ++i) {
      labels.set(i, rows[i].label);
      weights.set(i, isBusy(i));
    }
  }

  AttackContext &context;
  Session &session;
  TensorView image;
  int64_t numPixels;
  std::vector<Row> rows;
  std::vector<T> clean, waitingImages;
  std::deque<Attempt> waiting; ///< attempts whose images are loaded, the last of numWaited
  int64_t numWaited = 0;
  Attempts attempts;
  Progress progress;
};

/// The slots that say what entry `attack_grad` climbs, by row.
class Objectives {
public:
  explicit Objectives(Session &session)
      : numbers(session.slot("objective")), targets(session.slot("targets")) {}

  void set(int64_t i, const Objective &objective) const {
    const double values[] = {objective.crossEntropy, objective.dlr,    objective.targetedDlr,
                             objective.margin,       objective.target, objective.cap};
    for (int64_t k = 0; k < 6; ++k)
      numbers.set(i * 6 + k, values[k]);
    targets.set(i, objective.targetClass);
  }

private:
  TensorView numbers, targets;
};

/// The likeliest wrong classes of images that look() of AttackedRows sees.
class LikelyClasses {
public:
  /// Runs the forward entry on `count` images; keeps those at places 2 to `last` of the logits.
  void look(Session &session, int64_t count, int64_t last);
  /// At place `rank` (1: the largest) of the logits of the image that was looked at as number k.
  int32_t at(int64_t k, int64_t rank) const { return ranked[k][rank - 1]; }

private:
  std::vector<std::vector<int32_t>> ranked;
};

} // namespace ns::runtime

#endif // NS_LIB_RUNTIME_ATTACKS_ATTACKEDROWS_H
