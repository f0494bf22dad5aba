//===- EvaluateNoise.cpp - invariance under a noise -----------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Evaluate.h"

#include "ns/Runtime/Error.h"
#include "ns/Runtime/FileIO.h"
#include "ns/Runtime/Noise.h"

#include <cstring>

using namespace ns::runtime;
namespace numerics = ns::numerics;
using nlohmann::json;

namespace {

constexpr const char *kOutputs[] = {"logit_sq", "prob_sq", "conf_diff", "same_argmax"};
constexpr int kNumOutputs = 4;

/// The learned noise and its two controls over the same images, a piece at a time: the clean logits
/// of a piece serve all three and need not be kept.
class NoiseRun {
public:
  explicit NoiseRun(EvaluationContext &context)
      : context(context), session(context.session), name(noiseOf(session).name) {
    loadNoise(context.options.evaluate.noise, session);
    TensorView slot = session.slot(name);
    learned = copyOf(slot);
    makePermuted(slot);
    makeGaussian(slot);
  }

  void run() {
    TensorView slot = session.slot(name);
    std::string section = str("noise ", xxh3Hex(noises[0].bytes.data(), noises[0].bytes.size()),
                              " seed ", context.options.common.seed);
    Tape tape = context.journal.tape(section);
    Progress progress("noise", static_cast<int64_t>(context.images.chosen.size()), "images");
    forEachPiece(context.images.chosen, session.metadata().batch,
                 [&](int64_t first, std::span<const int64_t> piece) {
                   std::optional<json> record = tape.next();
                   if (!record)
                     tape.append(*(record = measurePiece(piece)));
                   take(*record, piece.size());
                   progress.update(first + static_cast<int64_t>(piece.size()));
                   if (int status = stopRequested())
                     throw Stopped{status};
                 });
    addAll();
  }

private:
  struct Kind {
    const char *which;
    std::vector<char> bytes;
    double norm;
    std::vector<double> values[kNumOutputs];
  };

  static std::vector<double> copyOf(const TensorView &view) {
    std::vector<double> values(view.count());
    for (int64_t i = 0; i < view.count(); ++i)
      values[i] = view.get(i);
    return values;
  }
  void keep(const char *which, const TensorView &slot) {
    auto *bytes = static_cast<const char *>(slot.data);
    noises.push_back({which, {bytes, bytes + slot.bytes()}, normOf(slot), {}});
  }
  void makePermuted(TensorView slot) {
    keep("learned", slot);
    std::vector<int64_t> order =
        permutation(slot.count(), Rng(context.options.common.seed, Stream::Permute));
    for (int64_t i = 0; i < slot.count(); ++i)
      slot.set(i, learned[order[i]]);
    keep("permuted", slot);
  }
  void makeGaussian(TensorView slot) {
    double norm = normOf(slot);
    Rng gaussian(context.options.common.seed, Stream::Gaussian);
    for (int64_t i = 0; i < slot.count(); ++i)
      slot.set(i, gaussian.normal(i));
    scaleNoise(slot, norm);
    keep("gaussian", slot);
  }

  /// For each noise and each output the values of the piece's images.
  json measurePiece(std::span<const int64_t> piece) {
    context.loader.load(piece);
    session.run("forward");
    TensorView logits = session.slot("logits"), clean = session.slot("clean_logits");
    std::memset(clean.data, 0, clean.bytes());
    std::memcpy(clean.data, logits.data, piece.size() * logits.rowCount() * sizeOf(logits.dtype));
    json record = json::array();
    for (const Kind &kind : noises) {
      std::memcpy(session.slot(name).data, kind.bytes.data(), kind.bytes.size());
      session.changed(name);
      session.run("stop_test");
      for (const char *output : kOutputs) {
        json values = json::array();
        for (size_t i = 0; i < piece.size(); ++i)
          values.push_back(session.slot(output).get(static_cast<int64_t>(i)));
        record.push_back(std::move(values));
      }
    }
    return record;
  }

  void take(const json &record, size_t count) {
    bool fits = record.is_array() && record.size() == noises.size() * kNumOutputs;
    for (size_t k = 0; fits && k < record.size(); ++k) {
      fits = record[k].is_array() && record[k].size() == count;
      for (size_t i = 0; fits && i < count; ++i) // JSON has null for NaN
        noises[k / kNumOutputs].values[k % kNumOutputs].push_back(
            record[k][i].is_number() ? record[k][i].get<double>()
                                     : std::numeric_limits<double>::quiet_NaN());
    }
    if (!fits)
      fail("the journal's piece of --noise does not fit; begin anew with --restart");
  }

  void addAll() {
    for (const Kind &kind : noises) {
      json parameters = {
          {"noise", kind.which}, {"file", context.options.evaluate.noise}, {"norm", kind.norm}};
      for (int k = 0; k < 3; ++k)
        context.results.addMean(std::string("noise_") + kOutputs[k], kind.values[k], parameters);
      double share =
          context.results.addOwnShare("noise_same_argmax", std::string("same_argmax_") + kind.which,
                                      context.images, same(kind), parameters);
      std::printf("noise %-9s same argmax %.4f, prob_mse %.5g\n", kind.which, share,
                  numerics::meanEstimate(kind.values[1]).mean);
    }
    int64_t onlyLearned = 0, onlyPermuted = 0;
    std::vector<char> first = same(noises[0]), second = same(noises[1]);
    for (size_t i = 0; i < first.size(); ++i) {
      onlyLearned += first[i] && !second[i];
      onlyPermuted += !first[i] && second[i];
    }
    double p = numerics::mcNemarExact(onlyLearned, onlyPermuted);
    context.results.add("noise_mcnemar_p", p, static_cast<int64_t>(first.size()), {p, p},
                        {{"test", "McNemar, exact, same argmax: learned against permuted"},
                         {"only_learned", onlyLearned},
                         {"only_permuted", onlyPermuted}});
  }
  static std::vector<char> same(const Kind &kind) {
    return {kind.values[3].begin(), kind.values[3].end()};
  }

  EvaluationContext &context;
  Session &session;
  std::string name;
  std::vector<double> learned;
  std::vector<Kind> noises;
};

} // namespace

void ns::runtime::measureNoise(EvaluationContext &context) { NoiseRun(context).run(); }
