//===- Synthesis.h - synthesis of noise for fixed weights -------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_SYNTHESIS_H
#define NS_RUNTIME_SYNTHESIS_H

#include "ns/Runtime/Noise.h"
#include "ns/Runtime/Report.h"

#include <functional>
#include <optional>

namespace ns::runtime {

/// Parts of the training images, disjoint but for `pool`.
struct TrainSplit {
  std::vector<int64_t> subset;  ///< for synthesis
  std::vector<int64_t> stop;    ///< for the stop test
  std::vector<int64_t> holdout; ///< to choose the best weights; empty for synth
  std::vector<int64_t> pool;    ///< for finetuning: all but holdout
};

/// Deals `chosen` out, shuffled by the seed unless noShuffle: the subset from the front, the stop
/// images after it, the holdout from the end (at most a tenth of all).
TrainSplit splitTraining(const std::vector<int64_t> &chosen, const SynthesisOptions &options,
                         int64_t holdout, uint64_t seed);

/// The learning rate of step `step` (from 0) of `total`: cosine from `lr` to `last`, as torch's
/// CosineAnnealingLR.
double cosineRate(double lr, double last, int64_t step, int64_t total);

/// Writes [lr, beta1, beta2, eps, weight decay, 1 - beta1^t, 1 - beta2^t] of torch.optim.AdamW's
/// defaults; t from 1.
void storeAdamW(const TensorView &hyper, double lr, double weightDecay, int64_t t);

/// How one synthesis ended.
struct SynthesisResult {
  int64_t steps = 0;
  bool tested = false, converged = false;
  StopValue stop; ///< of the last test
  double norm = 0, startNorm = 0, seconds = 0;
  int64_t nanStep = 0; ///< 1-based step whose loss was not finite; 0: none
  int status = 0;      ///< exit status of the signal that ended it; 0: none
  /// Of an artefact whose steps are in FP8: the loss on the stop images in their arithmetic and in
  /// float32.
  struct Losses {
    double fp8, float32;
  };
  std::optional<Losses> losses;

  std::map<std::string, std::string> provenance(const SynthesisOptions &options,
                                                uint64_t seed) const;
};

/// Finds a noise that keeps the logits of the current weights: method.md 3.
class Synthesizer {
public:
  Synthesizer(Session &session, BatchLoader &loader, const SynthesisOptions &options,
              const TrainSplit &split, uint64_t seed);

  /// Every step: its 1-based number, loss, probability MSE (NaN where it was not measured), norm,
  /// learning rate.
  struct Step {
    int64_t step;
    double loss, probMse, norm, lr, seconds;
  };
  /// A run from a fresh start; `round` keys the start and the order. The noise slot holds the
  /// result.
  SynthesisResult run(uint64_t round, const std::string &title,
                      const std::function<void(const Step &)> &report);
  /// Steps at most.
  int64_t plannedSteps() const;
  StopTest &stopTest() { return test; }
  std::span<const int64_t> subset() const { return images; }
  /// After the weights changed: cached logits are void.
  void weightsChanged();

private:
  /// Positions in the subset of step `step`.
  std::vector<int64_t> positionsOf(int64_t step, uint64_t round);
  /// `next`: the positions of the gradient step that comes right after, empty where something else
  /// does; its first images travel during this step.
  /// Returns the losses of its pieces.
  std::vector<Reading> gradientStep(const std::vector<int64_t> &positions,
                                    const std::vector<int64_t> &next);
  /// The published code's test: on the images of the step itself.
  double probMseOn(const std::vector<int64_t> &positions);
  /// Loads the images at these positions of the subset, from number `first` of a step of `count`
  /// on, and their clean logits from `cache`.
  void load(std::span<const int64_t> positions, int64_t first, size_t count, LogitCache &cache);
  /// Returns the norm.
  Reading update(int64_t step, double lr);
  bool passes(SynthesisResult &result);
  /// Sets the losses of a result that was tested.
  void compareLosses(SynthesisResult &result);

  Session &session;
  BatchLoader &loader;
  const SynthesisOptions &options;
  std::vector<int64_t> images;
  uint64_t seed;
  LogitCache logits; ///< of the loss
  /// Of the published code's test where those of the loss are not float32.
  std::optional<LogitCache> testedLogits;
  StopTest test;
  std::vector<int64_t> order; ///< of the current round over the subset
  int64_t orderRound = -1;
  double heldNorm = 0;
  bool isLoaded = false; ///< the slots hold the first images of the next gradient step
};

} // namespace ns::runtime

#endif // NS_RUNTIME_SYNTHESIS_H
