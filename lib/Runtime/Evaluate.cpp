//===- Evaluate.cpp - accuracy, invariance and robustness -----------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Evaluate.h"
#include "ns/Runtime/Attacks.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/Loops.h"
#include "ns/Runtime/Noise.h"

#include <cmath>
#include <cstring>

using namespace ns::runtime;
namespace numerics = ns::numerics;
using nlohmann::json;

namespace {

/// One evaluation: the chosen images, their clean logits, and what was measured so far.
class Evaluation {
public:
  Evaluation(Session &session, const Options &options)
      : session(session), options(options),
        data(openDataset(options.common.dataDir, options.evaluate.split, options.common.classMap,
                         session.metadata().model.classes)),
        loader(session, *data), chosen(selectImages(*data, options.common.maxSamples)),
        results(options.common.output, header()) {}

  void run();

private:
  json header() const {
    return {{"model", session.metadata().model.name},    {"weights", session.weightsFile()},
            {"weights_xxh3", session.weightsHash()},     {"data", options.common.dataDir},
            {"split", options.evaluate.split},           {"seed", options.common.seed},
            {"precision", session.metadata().precision}, {"outcomes", "outcomes.csv"}};
  }
  void measureClean();
  void saveLogits();
  void measureNoise();
  /// Runs the stop test over all images with what the noise slot holds; returns argmax kept, for
  /// each image.
  std::vector<char> measureInvariance(const std::string &which);
  void measureAttack(const AttackSpec &spec);
  void measureCorrupted() {
    EvaluationContext context{session, loader, chosen, options, results, cleanAccuracy};
    measureCorruptions(context);
  }

  Session &session;
  const Options &options;
  std::unique_ptr<Dataset> data;
  BatchLoader loader;
  std::vector<int64_t> chosen;
  Results results;
  std::vector<char> logits; ///< clean logits of the chosen images, in the model's precision
  std::vector<char> correct;
  double cleanAccuracy = 0;
};

void Evaluation::measureClean() {
  TensorView out = session.slot("logits");
  int64_t classes = out.rowCount(), rowBytes = classes * sizeOf(out.dtype);
  logits.resize(chosen.size() * rowBytes);
  correct.resize(chosen.size());
  std::vector<std::string> names, labels, predictions;
  Progress progress("clean", chosen.size(), "images");
  forEachPiece(chosen, loader.batch(), [&](int64_t first, std::span<const int64_t> piece) {
    loader.load(piece);
    session.run("forward");
    std::memcpy(&logits[first * rowBytes], out.data, piece.size() * rowBytes);
    for (size_t i = 0; i < piece.size(); ++i) {
      int64_t predicted = argmax(out, i * classes, classes);
      if (std::isnan(out.get(i * classes + predicted)))
        fail("NaN in the logits of image ", data->name(piece[i]), ": the weights are damaged");
      correct[first + i] = predicted == data->label(piece[i]);
      names.push_back(data->name(piece[i]));
      labels.push_back(std::to_string(data->label(piece[i])));
      predictions.push_back(std::to_string(predicted));
    }
    progress.update(first + piece.size());
    if (int status = stopRequested())
      throw Stopped{status};
  });
  results.addColumn("image", std::move(names));
  results.addColumn("label", std::move(labels));
  results.addColumn("prediction", std::move(predictions));
  cleanAccuracy = results.addShare("clean", "clean", correct, json::object());
  std::printf("clean accuracy %.4f of %zu images\n", cleanAccuracy, chosen.size());
}

void Evaluation::saveLogits() {
  TensorView out = session.slot("logits");
  writeNpy(options.evaluate.saveLogits,
           {logits.data(), out.dtype, {static_cast<int64_t>(chosen.size()), out.rowCount()}});
}

std::vector<char> Evaluation::measureInvariance(const std::string &which) {
  static constexpr const char *kOutputs[] = {"logit_sq", "prob_sq", "conf_diff", "same_argmax"};
  std::vector<double> values[4];
  TensorView clean = session.slot("clean_logits");
  int64_t rowBytes = clean.rowCount() * sizeOf(clean.dtype);
  Progress progress("noise (" + which + ")", chosen.size(), "images");
  forEachPiece(chosen, loader.batch(), [&](int64_t first, std::span<const int64_t> piece) {
    loader.load(piece);
    std::memset(clean.data, 0, clean.bytes());
    std::memcpy(clean.data, &logits[first * rowBytes], piece.size() * rowBytes);
    session.run("stop_test");
    for (int k = 0; k < 4; ++k)
      for (size_t i = 0; i < piece.size(); ++i)
        values[k].push_back(session.slot(kOutputs[k]).get(i));
    progress.update(first + piece.size());
    if (int status = stopRequested())
      throw Stopped{status};
  });
  json parameters = {{"noise", which},
                     {"file", options.evaluate.noise},
                     {"norm", normOf(session.slot(noiseOf(session).name))}};
  for (int k = 0; k < 3; ++k) {
    auto estimate = numerics::meanEstimate(values[k]);
    results.add(std::string("noise_") + kOutputs[k], estimate.mean, chosen.size(),
                estimate.interval, parameters);
  }
  std::vector<char> same(values[3].begin(), values[3].end());
  double share = results.addShare("noise_same_argmax", "same_argmax_" + which, same, parameters);
  std::printf("noise %-9s same argmax %.4f, prob_mse %.5g\n", which.c_str(), share,
              numerics::meanEstimate(values[1]).mean);
  return same;
}

void Evaluation::measureNoise() {
  TensorView noise = session.slot(noiseOf(session).name);
  loadNoise(options.evaluate.noise, session);
  std::vector<double> learned(noise.count());
  for (int64_t i = 0; i < noise.count(); ++i)
    learned[i] = noise.get(i);
  std::vector<char> keptLearned = measureInvariance("learned");
  std::vector<int64_t> order =
      permutation(noise.count(), Rng(options.common.seed, Stream::Permute));
  for (int64_t i = 0; i < noise.count(); ++i)
    noise.set(i, learned[order[i]]);
  double norm = normOf(noise);
  std::vector<char> keptPermuted = measureInvariance("permuted");
  Rng gaussian(options.common.seed, Stream::Gaussian);
  for (int64_t i = 0; i < noise.count(); ++i)
    noise.set(i, gaussian.normal(i));
  scaleNoise(noise, norm);
  measureInvariance("gaussian");
  int64_t onlyLearned = 0, onlyPermuted = 0;
  for (size_t i = 0; i < keptLearned.size(); ++i) {
    onlyLearned += keptLearned[i] && !keptPermuted[i];
    onlyPermuted += !keptLearned[i] && keptPermuted[i];
  }
  double p = numerics::mcNemarExact(onlyLearned, onlyPermuted);
  results.add("noise_mcnemar_p", p, chosen.size(), {p, p},
              {{"test", "McNemar, exact, same argmax: learned against permuted"},
               {"only_learned", onlyLearned},
               {"only_permuted", onlyPermuted}});
}

void Evaluation::measureAttack(const AttackSpec &spec) {
  std::vector<int64_t> targets, positions;
  for (size_t i = 0; i < chosen.size(); ++i)
    if (correct[i]) {
      targets.push_back(chosen[i]);
      positions.push_back(i);
    }
  AttackContext context{session, loader, targets, options.common.seed};
  Survivors survivors = attack(context, spec);
  std::vector<char> robust(chosen.size(), 0);
  for (size_t i = 0; i < positions.size(); ++i)
    robust[positions[i]] = survivors[i];
  json parameters = json::object();
  for (auto &[key, number] : spec.numbers)
    parameters[key] =
        number == std::floor(number) ? json(static_cast<int64_t>(number)) : json(number);
  for (auto &[key, word] : spec.words)
    parameters[key] = word;
  parameters["seed"] = options.common.seed;
  parameters.update(context.details);
  for (const json &flag : context.details.value("flags", json::array()))
    std::fprintf(stderr, "warning: %s: %s\n", spec.text.c_str(), flag.get<std::string>().c_str());
  double accuracy = results.addShare(spec.kind, spec.text, robust, parameters);
  std::printf("%s: robust accuracy %.4f\n", spec.text.c_str(), accuracy);
}

void Evaluation::run() {
  try {
    measureClean();
    if (!options.evaluate.saveLogits.empty())
      saveLogits();
    if (!options.evaluate.noise.empty())
      measureNoise();
    for (const AttackSpec &spec : options.evaluate.attacks) {
      results.write(); // what is known so far outlives a crash of the machine
      measureAttack(spec);
    }
    if (!options.evaluate.corruptions.empty())
      measureCorrupted();
  } catch (const Stopped &) {
    results.write();
    throw;
  }
  results.write();
}

} // namespace

int ns::runtime::runEvaluate(Session &session, const Options &options) {
  Evaluation(session, options).run();
  return kOk;
}
