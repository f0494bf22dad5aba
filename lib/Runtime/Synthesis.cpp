//===- Synthesis.cpp - synthesis of noise for fixed weights ---------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Synthesis.h"
#include "ns/Runtime/Error.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

using namespace ns::runtime;

static constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kAdamEps = 1e-8; // torch.optim.AdamW

TrainSplit ns::runtime::splitTraining(const std::vector<int64_t> &chosen,
                                      const SynthesisOptions &options, int64_t holdout,
                                      uint64_t seed) {
  int64_t total = static_cast<int64_t>(chosen.size());
  std::vector<int64_t> order(total);
  std::iota(order.begin(), order.end(), int64_t(0));
  if (!options.noShuffle)
    order = permutation(total, Rng(seed, Stream::Split));
  for (int64_t &i : order)
    i = chosen[i];
  holdout = std::min(holdout, total / 10);
  int64_t usable = total - holdout;
  int64_t subset =
      std::clamp<int64_t>(static_cast<int64_t>(total * options.trainFraction + 1e-9), 1, usable);
  int64_t stop = std::min(options.stopSamples, usable - subset);
  auto part = [&](int64_t begin, int64_t end) {
    return std::vector<int64_t>(order.begin() + begin, order.begin() + end);
  };
  return {part(0, subset), part(subset, subset + stop), part(usable, total), part(0, usable)};
}

double ns::runtime::cosineRate(double lr, double last, int64_t step, int64_t total) {
  return last + (lr - last) *
                    (1 + std::cos(M_PI * static_cast<double>(step) / static_cast<double>(total))) /
                    2;
}

void ns::runtime::storeAdamW(const TensorView &hyper, double lr, double weightDecay, int64_t t) {
  double values[] = {
      lr, kBeta1, kBeta2, kAdamEps, weightDecay, 1 - std::pow(kBeta1, t), 1 - std::pow(kBeta2, t)};
  for (int i = 0; i < 7; ++i)
    hyper.set(i, values[i]);
}

std::map<std::string, std::string> SynthesisResult::provenance(const SynthesisOptions &o,
                                                               uint64_t seed) const {
  std::map<std::string, std::string> values = {{"seed", std::to_string(seed)},
                                               {"steps", std::to_string(steps)},
                                               {"norm", numberText(norm)},
                                               {"start_norm", numberText(startNorm)},
                                               {"converged", !tested     ? "untested"
                                                             : converged ? "yes"
                                                                         : "no"},
                                               {"objective", o.objective},
                                               {"reg", o.reg},
                                               {"lim", o.lim},
                                               {"init", o.init},
                                               {"lr", numberText(o.lr)},
                                               {"weight_decay", numberText(o.weightDecay)},
                                               {"eps", numberText(o.eps)},
                                               {"batch_size", std::to_string(o.batchSize)}};
  if (tested) {
    values["stop_value"] = numberText(stop.estimate.mean);
    values["stop_low"] = numberText(stop.estimate.interval.low);
    values["stop_high"] = numberText(stop.estimate.interval.high);
    values["stop_images"] = std::to_string(stop.images);
  }
  if (losses) {
    values["stop_loss_fp8"] = numberText(losses->fp8);
    values["stop_loss_float32"] = numberText(losses->float32);
  }
  return values;
}

Synthesizer::Synthesizer(Session &session, BatchLoader &loader, const SynthesisOptions &options,
                         const TrainSplit &split, uint64_t seed)
    : session(session), loader(loader), options(options), images(split.subset), seed(seed),
      logits(session, images.size(), session.has("clean_logits") ? "clean_logits" : "forward"),
      test(session, loader, split.stop) {
  if (session.has("clean_logits") && options.recipe == "paper")
    testedLogits.emplace(session, images.size());
  if (options.stopSamples > 0 && options.recipe.empty() && split.stop.empty())
    fail("no training images are left for the stop test: ", images.size(),
         " are in the synthesis subset; lower --train-fraction, or give --stop-samples 0");
  if (session.metadata().precision == "fp8" && options.recipe.empty() && split.stop.empty())
    fail("--stop-samples: expected at least 1 with an artefact of precision fp8, found 0: noise that "
         "steps in FP8 find is accepted by a test in float32");
}

int64_t Synthesizer::plannedSteps() const {
  int64_t perRound =
      (static_cast<int64_t>(images.size()) + options.batchSize - 1) / options.batchSize;
  return options.steps > 0 ? options.steps : options.rounds * perRound;
}

void Synthesizer::weightsChanged() {
  logits.clear();
  if (testedLogits)
    testedLogits->clear();
  test.clear();
}

std::vector<int64_t> Synthesizer::positionsOf(int64_t step, uint64_t round) {
  int64_t count = static_cast<int64_t>(images.size()),
          perRound = (count + options.batchSize - 1) / options.batchSize;
  int64_t pass = step / perRound, first = step % perRound * options.batchSize;
  if (int64_t key = static_cast<int64_t>(round << 24) + pass; key != orderRound) {
    orderRound = key;
    order.resize(count);
    std::iota(order.begin(), order.end(), int64_t(0));
    if (!options.noShuffle)
      order = permutation(count, Rng(seed, Stream::Order, key));
  }
  return {order.begin() + first, order.begin() + std::min(first + options.batchSize, count)};
}

void Synthesizer::load(std::span<const int64_t> positions, int64_t first, size_t count,
                       LogitCache &cache) {
  std::vector<int64_t> list;
  for (int64_t position : positions)
    list.push_back(images[position]);
  loader.load(list, 1.0 / static_cast<double>(count));
  cache.provide(positions);
  session.slot("accumulate").set(0, first == 0 ? 0 : 1);
}

std::vector<Reading> Synthesizer::gradientStep(const std::vector<int64_t> &positions,
                                               const std::vector<int64_t> &next) {
  const char *entry = options.objective == "logit_l2" ? "synth_step_l2" : "synth_step";
  std::vector<Reading> losses;
  bool wasLoaded = std::exchange(isLoaded, !next.empty());
  auto loadNext = [&] {
    if (next.empty())
      return;
    load(std::span(next).first(std::min<size_t>(next.size(), loader.batch())), 0, next.size(),
         logits);
    session.stage(entry);
  };
  runPieces(
      session, entry, positions, loader.batch(),
      [&](int64_t first, std::span<const int64_t> piece) {
        load(piece, first, positions.size(), logits);
      },
      [&](int64_t, std::span<const int64_t>) { losses.push_back(session.later("loss")); }, loadNext,
      wasLoaded);
  return losses;
}

double Synthesizer::probMseOn(const std::vector<int64_t> &positions) {
  double sum = 0;
  LogitCache &cache = testedLogits ? *testedLogits : logits;
  runPieces(
      session, "stop_test", positions, loader.batch(),
      [&](int64_t first, std::span<const int64_t> piece) {
        load(piece, first, positions.size(), cache);
      },
      [&](int64_t, std::span<const int64_t> piece) {
        TensorView squares = session.slot("prob_sq");
        for (size_t i = 0; i < piece.size(); ++i)
          sum += squares.get(i);
      });
  return sum / static_cast<double>(positions.size());
}

Reading Synthesizer::update(int64_t step, double lr) {
  TensorView hyper = session.slot("noise_hyper");
  storeAdamW(hyper, lr, options.weightDecay, step + 1);
  hyper.set(7, options.reg == "log_norm" ? options.lambda : 0);
  hyper.set(8, heldNorm);
  session.start("synth_update");
  return session.later("noise_norm");
}

bool Synthesizer::passes(SynthesisResult &result) {
  result.stop = test.measure();
  result.tested = true;
  return result.converged = result.stop.estimate.mean < options.eps;
}

void Synthesizer::compareLosses(SynthesisResult &result) {
  std::vector<int64_t> positions(test.list().size());
  std::iota(positions.begin(), positions.end(), int64_t(0));
  LogitCache clean(session, positions.size(), "clean_logits");
  double loss = 0;
  runPieces( // the gradient beside it is overwritten by the next step's
      session, options.objective == "logit_l2" ? "synth_step_l2" : "synth_step", positions,
      loader.batch(),
      [&](int64_t, std::span<const int64_t> piece) {
        std::vector<int64_t> list;
        for (int64_t position : piece)
          list.push_back(test.list()[position]);
        loader.load(list, 1.0 / static_cast<double>(positions.size()));
        clean.provide(piece);
        session.slot("accumulate").set(0, 0);
      },
      [&](int64_t, std::span<const int64_t>) { loss += session.slot("loss").get(0); });
  result.losses = {loss, options.objective == "logit_l2" ? result.stop.logitNorm
                                                         : result.stop.logitSquare};
}

namespace {

/// The steps of a run as they become known. Where entries run ahead of their results, the numbers
/// of a step are read while the device works on the next one.
class StepLog {
public:
  /// A step whose update was started.
  struct Started {
    int64_t step; ///< from 1
    double lr, probMse;
    std::vector<Reading> losses;
    Reading norm;
  };

  StepLog(SynthesisResult &result, const std::function<void(const Synthesizer::Step &)> &report,
          const std::string &title, int64_t total)
      : result(result), report(report), progress(title, total, "steps") {}

  void add(Started step) { unread = std::move(step); }
  void setProbMse(double value) { unread->probMse = value; }
  double seconds() const { return clock.seconds(); }

  /// Whether the loss of the step that was added is finite. If not, its update changed nothing, and
  /// the result is that of the step before.
  bool isFinite() {
    if (!unread || std::isfinite(sumOf(unread->losses)))
      return true;
    result.nanStep = unread->step;
    result.steps = unread->step - 1;
    unread.reset();
    return false;
  }

  /// Reports the step that was added, unless that was done. The same result as isFinite.
  bool settle() {
    if (!isFinite())
      return false;
    if (!unread)
      return true;
    Started step = std::move(*unread);
    unread.reset();
    double loss = sumOf(step.losses);
    result.norm = step.norm.get();
    report({step.step, loss, step.probMse, result.norm, step.lr, seconds()});
    std::string words =
        str("loss ", shortText(loss), ", norm ", shortText(result.norm),
            result.tested ? ", prob_mse " + shortText(result.stop.estimate.mean) : "");
    progress.update(step.step, words);
    if (result.converged)
      progress.finish(words);
    return true;
  }

private:
  SynthesisResult &result;
  const std::function<void(const Synthesizer::Step &)> &report;
  Progress progress;
  Stopwatch clock;
  std::optional<Started> unread;
};

} // namespace

SynthesisResult Synthesizer::run(uint64_t round, const std::string &title,
                                 const std::function<void(const Step &)> &report) {
  isLoaded = false;
  startNoise(session, loader, options, seed, round, images);
  SynthesisResult result;
  result.norm = result.startNorm = normOf(session.slot(noiseOf(session).name));
  heldNorm = options.reg == "fixed_norm" ? (options.norm > 0 ? options.norm : result.startNorm) : 0;
  int64_t total = plannedSteps();
  bool paper = options.recipe == "paper";
  // The published code plans its cosine over batches it never visits (peers.md 1.7).
  int64_t horizon =
      paper ? std::max<int64_t>(total, std::llround(total / options.trainFraction)) : total;
  constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  StepLog log(result, report, title, total);
  int64_t testedAt = -1;
  for (int64_t step = 0; step < total && !result.converged; ++step) {
    std::vector<int64_t> positions = positionsOf(step, round);
    double probMse = kUnknown;
    if (paper) {
      probMse = probMseOn(positions);
      result.tested = true;
      result.stop = {{probMse, {probMse, probMse}}, static_cast<int64_t>(positions.size())};
      if ((result.converged = probMse < options.eps))
        break;
    }
    // What comes after this step, where it is another one.
    bool tests = !paper && !test.empty() && (step + 1) % options.evalEvery == 0;
    std::vector<int64_t> next;
    if (!paper && !tests && step + 1 < total)
      next = positionsOf(step + 1, round);
    std::vector<Reading> losses = gradientStep(positions, next);
    if (!log.settle())
      break;
    double lr = cosineRate(options.lr, 0, step, horizon);
    if (!session.runsAhead() && !std::isfinite(sumOf(losses))) {
      result.nanStep = step + 1;
      break;
    }
    log.add({step + 1, lr, probMse, std::move(losses), update(step, lr)});
    result.steps = step + 1;
    if ((tests || (!paper && !test.empty() && result.steps == total)) && log.isFinite()) {
      passes(result);
      log.setProbMse(result.stop.estimate.mean);
      testedAt = result.steps;
    }
    bool isKnown = !session.runsAhead() || testedAt == result.steps;
    if ((isKnown && !log.settle()) || result.nanStep)
      break;
    if ((result.status = stopRequested()))
      break;
  }
  log.settle();
  // A run cut short still says what its noise is worth.
  if (!paper && !test.empty() && testedAt != result.steps && !result.nanStep)
    passes(result);
  if (session.metadata().precision == "fp8" && !paper && result.tested && !result.nanStep)
    compareLosses(result);
  result.seconds = log.seconds();
  return result;
}
