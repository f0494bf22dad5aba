//===- EvaluateCorruptions.cpp - accuracy on corrupted images -------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Evaluate.h"

#include "ns/Runtime/Error.h"

#include <filesystem>
#include <set>

using namespace ns::runtime;
namespace numerics = ns::numerics;
using nlohmann::json;

namespace {

/// Error of each kind at each severity, by name.
using Errors = std::map<std::string, std::map<int, double>>;

class CorruptionRun {
public:
  CorruptionRun(EvaluationContext &context)
      : context(context), options(context.options.evaluate), frost(options.frostDir),
        table(corruptionTable(context.session.metadata().model.width,
                              context.session.metadata().model.height)) {}

  void run() {
    std::set<std::string> done;
    for (const Corruption &corruption : options.corruptions)
      if (done.insert(nameOf(corruption)).second)
        measure(corruption);
    summarise();
  }

private:
  static std::string nameOf(const Corruption &corruption) {
    return corruption.kind + ":" + std::to_string(corruption.severity);
  }
  json parameters(const Corruption &corruption) const {
    json result = {{"corruption", corruption.kind},
                   {"severity", corruption.severity},
                   {"table", ns::runtime::nameOf(table)},
                   {"jpeg", options.corruptionJpeg},
                   {"seed", context.options.common.seed}};
    if (corruption.kind == "frost")
      result["frost"] = frost.isProcedural() ? json("procedural") : json(options.frostDir);
    return result;
  }
  void measure(const Corruption &corruption);
  void save(const Corruption &corruption, std::span<const int64_t> piece) const;
  void summarise();

  EvaluationContext &context;
  const EvaluateOptions &options;
  FrostTextures frost;
  CorruptionTable table;
  Errors errors;
};

void CorruptionRun::save(const Corruption &corruption, std::span<const int64_t> piece) const {
  namespace fs = std::filesystem;
  const Dataset &data = context.loader.dataset();
  context.session.host().parallelFor(piece.size(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Image image =
          context.loader.corrupted(piece[i], corruption, context.options.common.seed, frost);
      fs::path name = fs::path(data.name(piece[i])).filename();
      // An .npz has numbers for names.
      name.replace_extension(options.corruptionJpeg ? ".jpeg" : ".png");
      fs::path folder = fs::path(options.saveCorrupted) / corruption.kind /
                        std::to_string(corruption.severity) / data.className(data.label(piece[i]));
      makeDirectory(folder.string());
      std::vector<uint8_t> bytes =
          options.corruptionJpeg ? encodeJpeg(image, options.corruptionJpeg) : encodePng(image);
      AtomicFile file((folder / name).string());
      file.write(bytes.data(), bytes.size());
      file.commit();
    }
  });
}

void CorruptionRun::measure(const Corruption &corruption) {
  std::vector<char> correct(context.chosen.size());
  TensorView out = context.session.slot("logits");
  int64_t classes = out.rowCount();
  Progress progress(nameOf(corruption), context.chosen.size(), "images");
  forEachPiece(context.chosen, context.loader.batch(),
               [&](int64_t first, std::span<const int64_t> piece) {
                 context.loader.loadCorrupted(piece, corruption, context.options.common.seed, frost,
                                              options.corruptionJpeg);
                 context.session.run("forward");
                 for (size_t i = 0; i < piece.size(); ++i)
                   correct[first + i] = argmax(out, i * classes, classes) ==
                                        context.loader.dataset().label(piece[i]);
                 if (!options.saveCorrupted.empty())
                   save(corruption, piece);
                 progress.update(first + piece.size());
                 if (int status = stopRequested())
                   throw Stopped{status};
               });
  double accuracy =
      context.results.addShare("corruption", nameOf(corruption), correct, parameters(corruption));
  errors[corruption.kind][corruption.severity] = 1 - accuracy;
  context.results.write();
  std::printf("%-22s accuracy %.4f\n", nameOf(corruption).c_str(), accuracy);
}

/// Hendrycks and Dietterich, section 4.1: the means over severities against AlexNet's, averaged
/// over the 15 kinds.
void CorruptionRun::summarise() {
  std::span<const std::string> kinds = corruptionKinds().first(kCommonCorruptions);
  double sum = 0, mce = 0, relative = 0, clean = 1 - context.cleanAccuracy;
  for (const std::string &kind : kinds) {
    if (errors[kind].size() != 5)
      return; // defined over all of them only
    double own = 0, reference = 0;
    for (auto [severity, error] : errors[kind]) {
      own += error;
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
    context.results.add(kind, value, context.chosen.size(), {value, value}, std::move(details));
    std::printf("%-22s %.4f\n", kind, value);
  };
  add("corruption_mean_error", sum, json::object());
  if (table != CorruptionTable::ImageNet)
    return; // AlexNet's errors are those of ImageNet-C
  add("mce", mce, {{"normalised_by", "AlexNet, per-severity errors of the ImageNet-C authors"}});
  add("relative_mce", relative,
      {{"normalised_by", "AlexNet"}, {"alexnet_clean_error", kAlexNetCleanError}});
}

} // namespace

void ns::runtime::measureCorruptions(EvaluationContext &context) { CorruptionRun(context).run(); }
