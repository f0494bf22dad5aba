//===- Finetune.cpp - the finetune executable -----------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Attacks/Training.h"
#include "FinetuneState.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/FileIO.h"
#include "ns/Runtime/Loops.h"
#include "ns/Runtime/Synthesis.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

using namespace ns::runtime;

namespace {

constexpr double kShrink = 0.8; // of the gaussian arm, as published
constexpr int kMaxShrinks = 400;
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

/// A run of method.md 4: rounds of a fresh noise, then steps on it.
class Finetuning {
public:
  Finetuning(Session &session, const Options &options);
  void run();

private:
  bool noised() const { return o.arm == "nullspace" || o.arm == "gaussian"; }
  std::string file(const std::string &name) const { return options.common.output + "/" + name; }
  std::string noiseFile(int64_t round) const;
  int64_t totalSteps() const { return o.rounds * o.stepsPerRound; }
  double seconds() const { return earlierSeconds + clock.seconds(); }

  void resume();
  /// Sets the noise of a round; what is known of it goes into summary.csv.
  void makeNoise(int64_t round);
  void makeGaussian(int64_t round);
  /// Starts step `index`; `losses` gets those of its pieces.
  void step(int64_t index, std::vector<Reading> &losses);
  /// Fills the slots for images `piece`, from image `first` of step `index` on.
  void load(int64_t index, int64_t first, std::span<const int64_t> piece, double weight);
  /// A signal ends the attack inside a step: what was trained before the step is saved.
  std::vector<Reading> stepOrStop(int64_t index);
  /// Ends the run where the loss of step `index` is not finite: none of its gradients changed a
  /// weight.
  void expectFinite(int64_t index, std::span<Reading> losses);
  /// The row and the progress of the step that is not told yet.
  void tell();
  std::vector<int64_t> imagesOf(int64_t step);
  double holdoutAccuracy();
  /// Keeps the best weights; the accuracy on the holdout, NaN without one.
  double endRound(int64_t round);
  /// Writes last.safetensors and the state to resume from.
  void save();

  Session &session;
  const Options &options;
  const FinetuneOptions &o;
  std::unique_ptr<Dataset> data;
  BatchLoader loader;
  TrainSplit split;
  std::optional<Synthesizer> synthesizer;
  std::optional<TrainingAttack> attack; ///< of arms madry and trades
  CsvFile summary;
  Stopwatch clock;
  double earlierSeconds = 0, noiseNorm = kUnknown, noiseProbMse = kUnknown;
  FinetunePosition position;
  std::vector<int64_t> order;
  int64_t orderEpoch = -1;
  int64_t loadedStep = -1; ///< whose first images are in the slots
  /// A step whose update was started: its loss may be on its way.
  struct Started {
    int64_t index;
    std::vector<Reading> losses;
    double accuracy = kUnknown;
  };
  std::optional<Started> untold;
  std::optional<Progress> progress;
};

Finetuning::Finetuning(Session &session, const Options &options)
    : session(session), options(options), o(options.finetune),
      data(openDataset(options.common.dataDir, "train", options.common.classMap,
                       session.metadata().model.classes)),
      loader(session, *data),
      split(splitTraining(selectImages(*data, options.common.maxSamples), options.synthesis,
                          o.holdoutSamples, options.common.seed)),
      summary(options.common.output + "/summary.csv",
              "step,round,loss,lr,seconds,noise_norm,noise_prob_mse,holdout_accuracy") {
  if (noised() && o.noise.empty())
    synthesizer.emplace(session, loader, options.synthesis, split, options.common.seed);
  if (noised())
    makeDirectory(file("noise"));
  if (o.arm == "madry" || o.arm == "trades")
    attack.emplace(session, loader, o, options.common.seed);
}

std::string Finetuning::noiseFile(int64_t round) const {
  char name[64];
  std::snprintf(name, sizeof name, "noise/round-%03lld.safetensors",
                static_cast<long long>(round + 1));
  return file(name);
}

void Finetuning::makeGaussian(int64_t round) {
  TensorView noise = session.slot(noiseOf(session).name);
  Rng rng(options.common.seed, Stream::NoiseInit, round);
  for (int64_t i = 0; i < noise.count(); ++i)
    noise.set(i, rng.normal(i));
  session.changed(noiseOf(session).name);
  auto rescale = [&](double norm) {
    scaleNoise(noise, norm);
    session.changed(noiseOf(session).name);
  };
  SynthesisResult result;
  result.startNorm = normOf(noise);
  if (o.noiseNorm > 0) {
    rescale(o.noiseNorm);
  } else {
    if (synthesizer->stopTest().empty())
      fail("--arm gaussian: expected --noise-norm or stop-test images, found neither");
    for (result.tested = true; result.steps < kMaxShrinks; ++result.steps) {
      result.stop = synthesizer->stopTest().measure();
      if ((result.converged = result.stop.estimate.mean < options.synthesis.eps))
        break;
      rescale(normOf(noise) * kShrink);
    }
  }
  noiseNorm = result.norm = normOf(noise);
  noiseProbMse = result.tested ? result.stop.estimate.mean : kUnknown;
  auto provenance = result.provenance(options.synthesis, options.common.seed);
  provenance["arm"] = "gaussian";
  provenance["round"] = std::to_string(round + 1);
  saveNoise(noiseFile(round), session, std::move(provenance));
}

void Finetuning::makeNoise(int64_t round) {
  if (!o.noise.empty()) {
    loadNoise(o.noise, session);
    noiseNorm = normOf(session.slot(noiseOf(session).name));
    return;
  }
  synthesizer->weightsChanged();
  if (o.arm == "gaussian")
    return makeGaussian(round);
  SynthesisResult result =
      synthesizer->run(round, str("round ", round + 1, " noise"), [](const Synthesizer::Step &) {});
  if (result.status) { // the round starts again on --resume
    save();
    throw Stopped{result.status};
  }
  auto provenance = result.provenance(options.synthesis, options.common.seed);
  provenance["arm"] = o.arm;
  provenance["round"] = std::to_string(round + 1);
  saveNoise(noiseFile(round), session, std::move(provenance));
  if (result.nanStep) {
    save();
    fail("round ", round + 1, ": the loss of synthesis step ", result.nanStep,
         " is not finite; the weights before it are in ", file("last.safetensors"));
  }
  if (result.tested && !result.converged)
    std::fprintf(stderr, "warning: round %lld: the noise did not meet eps %g (prob_mse %.4g)\n",
                 static_cast<long long>(round + 1), options.synthesis.eps,
                 result.stop.estimate.mean);
  noiseNorm = result.norm;
  noiseProbMse = result.tested ? result.stop.estimate.mean : kUnknown;
}

/// The next images of an endless walk over the pool, reshuffled every epoch.
std::vector<int64_t> Finetuning::imagesOf(int64_t step) {
  int64_t size = static_cast<int64_t>(split.pool.size());
  std::vector<int64_t> images;
  for (int64_t i = step * o.batchSize; i < (step + 1) * o.batchSize; ++i) {
    if (i / size != orderEpoch) {
      orderEpoch = i / size;
      order = split.pool;
      if (!options.synthesis.noShuffle) {
        std::vector<int64_t> shuffled = permutation(
            size, Rng(options.common.seed, Stream::Order, (uint64_t(1) << 48) + orderEpoch));
        for (int64_t k = 0; k < size; ++k)
          order[k] = split.pool[shuffled[k]];
      }
    }
    images.push_back(order[i % size]);
  }
  return images;
}

void Finetuning::load(int64_t index, int64_t first, std::span<const int64_t> piece, double weight) {
  if (o.aug == "basic")
    loader.loadAugmented(piece, weight, options.common.seed, index * o.batchSize + first);
  else
    loader.load(piece, weight);
  if (attack)
    attack->perturb(static_cast<int64_t>(piece.size()), index * o.batchSize + first);
  session.slot("accumulate").set(0, first == 0 ? 0 : 1);
  if (session.hasSlot("dropout_seed")) // a mask of its own for each call
    session.slot("dropout_seed")
        .set(0, static_cast<int32_t>(Rng(options.common.seed, Stream::Dropout, index).bits(first)));
}

void Finetuning::step(int64_t index, std::vector<Reading> &losses) {
  std::vector<int64_t> images = imagesOf(index);
  const char *entry = noised()            ? "finetune_step_noised"
                      : o.arm == "trades" ? "finetune_step_trades"
                                          : "finetune_step";
  double weight = 1.0 / static_cast<double>(images.size());
  // The images of the next step travel during this one, unless something else comes between.
  auto loadNext = [&] {
    if ((index + 1) % o.stepsPerRound == 0)
      return;
    std::vector<int64_t> next = imagesOf(index + 1);
    next.resize(std::min<size_t>(next.size(), loader.batch()));
    load(index + 1, 0, next, weight);
    session.stage(entry);
    loadedStep = index + 1;
  };
  auto loadPiece = [&](int64_t first, std::span<const int64_t> piece) {
    load(index, first, piece, weight);
  };
  auto addLoss = [&](int64_t, std::span<const int64_t>) {
    losses.push_back(session.later("loss"));
  };
  if (attack) // which runs entries itself: nothing is loaded before the outputs are read
    forEachPiece(images, loader.batch(), [&](int64_t first, std::span<const int64_t> piece) {
      loadPiece(first, piece);
      session.start(entry);
      addLoss(first, piece);
    });
  else
    runPieces(session, entry, images, loader.batch(), loadPiece, addLoss, loadNext,
              /*isLoaded=*/loadedStep == index);
  tell(); // of the step before, while a device works on this one
  if (!session.runsAhead())
    expectFinite(index, losses);
  storeAdamW(session.slot("hyper"), cosineRate(o.lr, o.minLr, index, totalSteps()), o.weightDecay,
             index + 1);
  session.start("finetune_update");
}

std::vector<Reading> Finetuning::stepOrStop(int64_t index) {
  std::vector<Reading> losses;
  try {
    step(index, losses);
  } catch (const Stopped &) {
    tell();
    save();
    throw;
  }
  return losses;
}

void Finetuning::expectFinite(int64_t index, std::span<Reading> losses) {
  if (std::isfinite(sumOf(losses)))
    return;
  position.step = index;
  save();
  fail("the loss of step ", index + 1, " is not finite; the weights before it are in ",
       file("last.safetensors"), "; try a smaller --lr");
}

void Finetuning::tell() {
  if (!untold)
    return;
  Started step = std::move(*untold);
  untold.reset();
  expectFinite(step.index, step.losses);
  double loss = sumOf(step.losses);
  int64_t count = step.index + 1;
  bool first = step.index % o.stepsPerRound == 0;
  summary.row({std::to_string(count), std::to_string(step.index / o.stepsPerRound + 1),
               numberText(loss), numberText(cosineRate(o.lr, o.minLr, step.index, totalSteps())),
               numberText(seconds()), numberText(noiseNorm), first ? numberText(noiseProbMse) : "",
               numberText(step.accuracy)});
  progress->update(count, "loss " + shortText(loss));
}

double Finetuning::holdoutAccuracy() {
  if (split.holdout.empty())
    return kUnknown;
  int64_t hits = 0;
  runPieces(
      session, "forward", split.holdout, loader.batch(),
      [&](int64_t, std::span<const int64_t> piece) { loader.load(piece); },
      [&](int64_t, std::span<const int64_t> piece) {
        TensorView logits = session.slot("logits");
        int64_t classes = logits.rowCount();
        for (size_t i = 0; i < piece.size(); ++i)
          hits += argmax(logits, i * classes, classes) == data->label(piece[i]);
      });
  return static_cast<double>(hits) / static_cast<double>(split.holdout.size());
}

void Finetuning::save() {
  position.seconds = seconds();
  summary.flush();
  session.saveWeights(file("last.safetensors"),
                      {{"step", std::to_string(position.step)}, {"arm", o.arm}});
  saveFinetuneState(file("optimizer.safetensors"), session, position, options.argsYaml);
}

double Finetuning::endRound(int64_t round) {
  double accuracy = holdoutAccuracy();
  // Without a holdout the last round counts as the best.
  if (std::isnan(accuracy) || accuracy > position.bestAccuracy) {
    position.bestAccuracy = std::isnan(accuracy) ? -1 : accuracy;
    position.bestRound = round + 1;
    session.saveWeights(file("best.safetensors"), {{"round", std::to_string(round + 1)},
                                                   {"arm", o.arm},
                                                   {"holdout_accuracy", numberText(accuracy)}});
  }
  std::printf("round %lld: holdout accuracy %s, noise norm %s\n", static_cast<long long>(round + 1),
              shortText(accuracy).c_str(), shortText(noiseNorm).c_str());
  std::fflush(stdout);
  return accuracy;
}

void Finetuning::resume() {
  std::string state = file("optimizer.safetensors");
  position = loadFinetuneState(state, session, options.argsYaml);
  if (position.step < 0 || position.step > totalSteps())
    fail(state, ": expected a step in 0 .. ", totalSteps(), ", found ", position.step);
  earlierSeconds = position.seconds;
  if (position.step > 0)
    summary.keepRows(readText(file("summary.csv")), position.step);
  if (int64_t within = position.step % o.stepsPerRound; noised() && within != 0) {
    loadNoise(o.noise.empty() ? noiseFile(position.step / o.stepsPerRound) : o.noise, session);
    noiseNorm = normOf(session.slot(noiseOf(session).name));
  }
  std::printf("resumed after step %lld of %lld\n", static_cast<long long>(position.step),
              static_cast<long long>(totalSteps()));
}

void Finetuning::run() {
  if (o.resume)
    resume();
  progress.emplace("finetune (" + o.arm + ")", totalSteps(), "steps");
  for (; position.step < totalSteps();) {
    int64_t index = position.step, round = index / o.stepsPerRound;
    bool first = index % o.stepsPerRound == 0, last = (index + 1) % o.stepsPerRound == 0;
    if (first && noised())
      makeNoise(round);
    untold = Started{index, stepOrStop(index)};
    position.step = index + 1;
    if (last) {
      expectFinite(index, untold->losses);
      untold->accuracy = endRound(round);
    }
    int status = stopRequested();
    if (last || status || !session.runsAhead())
      tell();
    if (last || status)
      save();
    if (status)
      throw Stopped{status};
  }
  summary.flush();
}

} // namespace

int ns::runtime::runFinetune(Session &session, const Options &options) {
  if (options.finetune.resume && options.common.output.empty())
    throw UsageError("--resume needs --output");
  Finetuning(session, options).run();
  return kOk;
}
