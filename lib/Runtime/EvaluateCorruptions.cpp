//===- EvaluateCorruptions.cpp - accuracy on corrupted images -------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Adversarial.h"

#include "ns/Runtime/Error.h"
#include "ns/Runtime/FileIO.h"

#include <filesystem>
#include <numeric>
#include <set>

using namespace ns::runtime;
using nlohmann::json;

static double meanOf(const std::vector<double> &values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

void CorruptionErrors::summarise(EvaluationContext &context, CorruptionTable table, int64_t n,
                                 const json &set) const {
  std::span<const std::string> kinds = corruptionKinds().first(kCommonCorruptions);
  double sum = 0, mce = 0, relative = 0, clean = 1 - context.cleanAccuracy;
  for (const std::string &kind : kinds) {
    auto it = errors.find(kind);
    if (it == errors.end() || it->second.size() != 5)
      return; // defined over all of them only
    double own = 0, reference = 0;
    for (const auto &[severity, values] : it->second) {
      own += meanOf(values);
      reference += alexNetError(kind, severity);
    }
    sum += own / 5;
    mce += own / reference;
    relative += (own - 5 * clean) / (reference - 5 * kAlexNetCleanError);
  }
  auto add = [&](const char *kind, double value, json details) {
    value /= kCommonCorruptions;
    details["table"] = ns::runtime::nameOf(table);
    details["kinds"] = kCommonCorruptions;
    details.update(set);
    context.results.add(kind, value, n, {value, value}, std::move(details));
    std::printf("%-22s %.4f\n", kind, value);
  };
  add("corruption_mean_error", sum, json::object());
  if (table != CorruptionTable::ImageNet)
    return; // AlexNet's errors are those of ImageNet-C
  add("mce", mce, {{"normalised_by", "AlexNet, per-severity errors of the ImageNet-C authors"}});
  add("relative_mce", relative,
      {{"normalised_by", "AlexNet"}, {"alexnet_clean_error", kAlexNetCleanError}});
}

namespace {

class CorruptionRun {
public:
  CorruptionRun(EvaluationContext &context)
      : context(context), options(context.options.evaluate), frost(options.frostDir),
        table(corruptionTable(context.session.metadata().model.width,
                              context.session.metadata().model.height)) {
    if (options.saveCorrupted.empty())
      return;
    requireDifferentPlaces(context.images);
    if (options.seeds.size() > 1)
      throw UsageError("--save-corrupted: expected one seed, found several in --seeds");
  }

  void run() {
    std::set<std::string> done;
    for (const Corruption &corruption : options.corruptions)
      if (done.insert(nameOf(corruption)).second)
        measure(corruption);
    errors.summarise(context, table, static_cast<int64_t>(context.images.chosen.size()),
                     json::object());
  }

private:
  static std::string nameOf(const Corruption &corruption) {
    return corruption.kind + ":" + std::to_string(corruption.severity);
  }
  /// Kinds that draw random numbers.
  static bool isRandom(const std::string &kind) {
    static const std::set<std::string> fixed = {"defocus_blur",  "zoom_blur",       "brightness",
                                                "contrast",      "pixelate",        "saturate",
                                                "gaussian_blur", "jpeg_compression"};
    return !fixed.count(kind);
  }
  json parameters(const Corruption &corruption, uint64_t seed) const {
    json result = {{"corruption", corruption.kind},
                   {"severity", corruption.severity},
                   {"table", ns::runtime::nameOf(table)},
                   {"jpeg", options.corruptionJpeg},
                   {"seed", seed}};
    if (corruption.kind == "frost")
      result["frost"] = frost.isProcedural() ? json("procedural") : json(options.frostDir);
    return result;
  }
  void measure(const Corruption &corruption);
  double measure(const Corruption &corruption, uint64_t seed, bool several);
  void save(const Corruption &corruption, int64_t image, const std::vector<uint8_t> &bytes) const;

  EvaluationContext &context;
  const EvaluateOptions &options;
  FrostTextures frost;
  CorruptionTable table;
  CorruptionErrors errors;
};

void CorruptionRun::save(const Corruption &corruption, int64_t image,
                         const std::vector<uint8_t> &bytes) const {
  std::string path = options.saveCorrupted + "/" + corruption.kind + "/" +
                     std::to_string(corruption.severity) + "/" + placeOf(context.data(), image) +
                     (options.corruptionJpeg ? ".jpeg" : ".png");
  makeDirectory(std::filesystem::path(path).parent_path().string());
  AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit(/*durable=*/false);
}

double CorruptionRun::measure(const Corruption &corruption, uint64_t seed, bool several) {
  json all = parameters(corruption, seed);
  std::string column = nameOf(corruption) + (several ? str(" seed=", seed) : "");
  auto load = [&](std::span<const int64_t> piece) {
    if (options.saveCorrupted.empty())
      context.loader.loadCorrupted(piece, corruption, seed, frost, options.corruptionJpeg);
    else
      context.loader.loadCorrupted(piece, corruption, seed, frost, options.corruptionJpeg,
                                   [&](int64_t image, const std::vector<uint8_t> &bytes) {
                                     save(corruption, image, bytes);
                                   });
  };
  Tape tape =
      context.journal.tape("corruption " + all.dump() + " into '" + options.saveCorrupted + "'");
  std::vector<int32_t> predictions = predict(context.session, {column, tape, context.images, load});
  double accuracy = context.results.addOwnShare(
      "corruption", column, context.images, correctOf(context.images, predictions), std::move(all));
  errors.add(corruption, 1 - accuracy);
  context.results.write();
  std::printf("%-22s accuracy %.4f\n", column.c_str(), accuracy);
  return accuracy;
}

void CorruptionRun::measure(const Corruption &corruption) {
  bool several = options.seeds.size() > 1 && isRandom(corruption.kind);
  std::vector<double> values;
  for (uint64_t seed : options.seeds) {
    values.push_back(measure(corruption, seed, several));
    if (!several)
      break;
  }
  addSeeds(context, nameOf(corruption), values);
}

} // namespace

void ns::runtime::measureCorruptions(EvaluationContext &context) { CorruptionRun(context).run(); }
