//===- Evaluate.cpp - accuracy and robustness -----------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Evaluate.h"
#include "Adversarial.h"

#include "ns/Runtime/Attacks.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/FileIO.h"
#include "ns/Runtime/Loops.h"
#include "ns/Runtime/Report.h"

#include <cmath>
#include <filesystem>

using namespace ns::runtime;
using nlohmann::json;

/// The largest logit among the classes of the mask.
static int32_t predictedClass(const TensorView &logits, int64_t row,
                              const std::vector<char> *mask) {
  int64_t classes = logits.rowCount();
  if (!mask)
    return static_cast<int32_t>(argmax(logits, row * classes, classes));
  int64_t best = -1;
  for (int64_t k = 0; k < classes; ++k)
    if ((*mask)[k] &&
        (best < 0 || logits.get(row * classes + k) > logits.get(row * classes + best)))
      best = k;
  return static_cast<int32_t>(best);
}

/// What the tape has of the predictions.
static std::vector<int32_t> replay(Tape &tape, const ForwardPass &pass, int64_t classes) {
  std::vector<int32_t> predictions;
  while (predictions.size() < pass.images.chosen.size()) {
    std::optional<json> record = tape.next();
    if (!record)
      break;
    bool fits = record->is_array() && !record->empty() &&
                predictions.size() + record->size() <= pass.images.chosen.size();
    for (const json &prediction : *record) {
      fits &= prediction.is_number_unsigned() && prediction.get<uint64_t>() < uint64_t(classes);
      predictions.push_back(fits ? prediction.get<int32_t>() : 0);
    }
    if (!fits)
      fail(pass.title, ": the journal's predictions do not fit; begin anew with --restart");
  }
  return predictions;
}

std::vector<int32_t> ns::runtime::predict(Session &session, ForwardPass pass) {
  std::vector<int32_t> predictions = replay(pass.tape, pass, session.metadata().model.classes);
  auto done = static_cast<int64_t>(predictions.size());
  std::span<const int64_t> open = pass.images.chosen.subspan(done);
  if (open.empty())
    return predictions;
  Progress progress(pass.title, static_cast<int64_t>(pass.images.chosen.size()), "images");
  progress.begin(done);
  auto load = [&](int64_t, std::span<const int64_t> piece) { pass.load(piece); };
  auto read = [&](int64_t first, std::span<const int64_t> piece) {
    TensorView logits = session.slot("logits");
    json record = json::array();
    for (size_t i = 0; i < piece.size(); ++i) {
      int32_t predicted = predictedClass(logits, i, pass.mask);
      if (std::isnan(logits.get(i * logits.rowCount() + predicted)))
        fail("NaN in the logits of image ", pass.images.data.name(piece[i]),
             ": the weights are damaged");
      predictions.push_back(predicted);
      record.push_back(predicted);
    }
    if (pass.read)
      pass.read(piece);
    pass.tape.append(record);
    progress.update(done + first + static_cast<int64_t>(piece.size()));
    if (int status = stopRequested())
      throw Stopped{status};
  };
  runPieces(session, "forward", open, session.metadata().batch, load, read);
  return predictions;
}

std::vector<char> ns::runtime::correctOf(const ImageList &images,
                                         std::span<const int32_t> predictions) {
  std::vector<char> correct;
  for (size_t i = 0; i < predictions.size(); ++i)
    correct.push_back(predictions[i] == images.data.label(images.chosen[i]));
  return correct;
}

std::vector<std::string> ns::runtime::classNames(const EvaluationContext &context) {
  if (!context.options.common.classMap.empty())
    return readClassMap(context.options.common.classMap, context.classes());
  std::vector<std::string> names;
  for (int32_t label = 0; label < context.classes(); ++label) {
    names.push_back(context.data().className(label));
    if (names.back() == std::to_string(label))
      return {}; // an .npz: its classes have no names
  }
  return names;
}

void ns::runtime::addSeeds(EvaluationContext &context, const std::string &of,
                           std::span<const double> values) {
  if (values.size() < 2)
    return;
  numerics::MeanEstimate estimate = numerics::meanEstimate(values, /*z=*/1);
  double count = static_cast<double>(values.size());
  auto [low, high] = std::minmax_element(values.begin(), values.end());
  context.results.add("seeds", estimate.mean, static_cast<int64_t>(context.images.chosen.size()),
                      {*low, *high},
                      {{"of", of},
                       {"seeds", context.options.evaluate.seeds},
                       {"values", std::vector<double>(values.begin(), values.end())},
                       {"std", (estimate.interval.high - estimate.mean) * std::sqrt(count)}});
  std::printf("%s: mean of %zu seeds %.4f, %.4f to %.4f\n", of.c_str(), values.size(),
              estimate.mean, *low, *high);
}

namespace {

/// One evaluation: the chosen images, and what was measured so far.
class Evaluation {
public:
  Evaluation(Session &session, const Options &options)
      : session(session), options(options),
        data(openDataset(options.common.dataDir, options.evaluate.split, options.common.classMap,
                         session.metadata().model.classes)),
        loader(session, *data), chosen(selectImages(*data, options.common.maxSamples)),
        images(*data, chosen),
        results(options.common.output, header(),
                {options.evaluate.interval == "bootstrap", options.common.seed}),
        journal(options.common.output, identity(), options.evaluate.restart),
        context{session, options, results, journal, loader, images, {}} {
    results.describe(images, {{"data", options.common.dataDir}, {"split", options.evaluate.split}});
    if (journal.inherited())
      std::fprintf(stderr, "going on: %lld finished pieces taken over from %s/journal.jsonl\n",
                   static_cast<long long>(journal.inherited()), options.common.output.c_str());
  }

  void run();

private:
  json header() const {
    return {{"model", session.metadata().model.name},    {"weights", session.weightsFile()},
            {"weights_xxh3", session.weightsHash()},     {"data", options.common.dataDir},
            {"split", options.evaluate.split},           {"seed", options.common.seed},
            {"precision", session.metadata().precision}, {"outcomes", "outcomes.csv"}};
  }
  /// What every piece of the journal depends on.
  json identity() const {
    return {{"journal", 2},
            {"executable", xxh3HexOfFile(InputFile(session.path()))},
            {"model", session.metadata().model.name},
            {"weights", session.weightsHash()},
            {"images", images.hash},
            {"files", data->fingerprint()},
            {"split", options.evaluate.split},
            {"batch", session.metadata().batch}};
  }
  void measureClean();
  /// With every seed, where the attack draws random numbers.
  void measureAttack(const AttackSpec &spec);
  double measureAttack(const AttackSpec &spec, uint64_t seed, bool several);
  void measureAll();

  Session &session;
  const Options &options;
  std::unique_ptr<Dataset> data;
  BatchLoader loader;
  std::vector<int64_t> chosen;
  ImageList images;
  Results results;
  Journal journal;
  EvaluationContext context;
};

/// Writes logits to a .npy, batch by batch.
class LogitsFile {
public:
  LogitsFile(const std::string &path, const TensorView &logits, int64_t count) : file(path) {
    file.write(npyHeader(logits.dtype, {count, logits.rowCount()}));
  }
  void add(const TensorView &logits, size_t rows) {
    file.write(logits.data, rows * logits.rowCount() * sizeOf(logits.dtype));
  }
  void commit() { file.commit(); }

private:
  AtomicFile file;
};

void Evaluation::measureClean() {
  auto load = [&](std::span<const int64_t> piece) { loader.load(piece); };
  std::optional<LogitsFile> file;
  if (!options.evaluate.saveLogits.empty())
    file.emplace(options.evaluate.saveLogits, session.slot("logits"), chosen.size());
  auto read = [&](std::span<const int64_t> piece) {
    if (file)
      file->add(session.slot("logits"), piece.size());
  };
  // The journal has no logits: where they are wanted, the pass is made again.
  Tape tape = file ? Tape() : journal.tape("clean");
  context.predictions = predict(session, {"clean", tape, images, load, read});
  if (file)
    file->commit();
  results.setPredictions(images, context.predictions);
  context.cleanAccuracy = results.addOwnShare(
      "clean", "clean", images, correctOf(images, context.predictions), json::object());
  std::printf("clean accuracy %.4f of %zu images\n", context.cleanAccuracy, chosen.size());
}

/// Whether an attack's result depends on the seed.
static bool isRandom(const AttackSpec &spec) {
  auto word = [&](const char *key) {
    auto it = spec.words.find(key);
    return it == spec.words.end() ? "" : it->second;
  };
  return word("start") == "random" || spec.kind == "square" || spec.kind == "autoattack" ||
         spec.kind == "patchfool";
}

static json parametersOf(const AttackSpec &spec, uint64_t seed) {
  json parameters = json::object();
  for (auto &[key, number] : spec.numbers)
    parameters[key] =
        number == std::floor(number) ? json(static_cast<int64_t>(number)) : json(number);
  for (auto &[key, word] : spec.words)
    parameters[key] = word;
  parameters["seed"] = seed;
  return parameters;
}

double Evaluation::measureAttack(const AttackSpec &spec, uint64_t seed, bool several) {
  std::vector<int64_t> targets, positions;
  for (size_t i = 0; i < chosen.size(); ++i)
    if (context.predictions[i] == data->label(chosen[i])) {
      targets.push_back(chosen[i]);
      positions.push_back(static_cast<int64_t>(i));
    }
  json parameters = parametersOf(spec, seed);
  std::string column = several ? str(spec.text, " seed=", seed) : spec.text;
  std::string section = str("attack ", spec.kind, " ", parameters.dump(), " into '",
                            options.evaluate.saveAdversarial, "'");
  Tape tape = journal.tape(section);
  AttackContext attacked{session, loader, targets, seed};
  attacked.tape = &tape;
  std::optional<AdversarialFolder> folder;
  if (!options.evaluate.saveAdversarial.empty()) {
    folder.emplace(context, options.evaluate.saveAdversarial + "/" + fileNameOf(column), spec,
                   section, tape.isFresh());
    attacked.sink = &*folder;
  }
  Survivors survivors = attack(attacked, spec);
  std::vector<char> robust(chosen.size(), 0);
  for (size_t i = 0; i < positions.size(); ++i)
    robust[positions[i]] = survivors[i];
  parameters.update(attacked.details);
  for (const json &flag : attacked.details.value("flags", json::array()))
    std::fprintf(stderr, "warning: %s: %s\n", spec.text.c_str(), flag.get<std::string>().c_str());
  if (folder)
    parameters["saved"] = folder->finish(targets, parametersOf(spec, seed));
  double accuracy = results.addOwnShare(spec.kind, column, images, robust, parameters);
  std::printf("%s: robust accuracy %.4f\n", column.c_str(), accuracy);
  return accuracy;
}

void Evaluation::measureAttack(const AttackSpec &spec) {
  const std::vector<uint64_t> &seeds = options.evaluate.seeds;
  bool several = seeds.size() > 1 && isRandom(spec);
  std::vector<double> values;
  for (uint64_t seed : seeds) {
    results.write(); // what is known so far outlives a crash of the machine
    values.push_back(measureAttack(spec, seed, several));
    if (!several)
      break;
  }
  addSeeds(context, spec.text, values);
}

void Evaluation::measureAll() {
  measureClean();
  if (!options.evaluate.noise.empty())
    measureNoise(context);
  for (const AttackSpec &spec : options.evaluate.attacks)
    measureAttack(spec);
  if (!options.evaluate.corruptions.empty())
    measureCorruptions(context);
  measureShifted(context);
  measureTransfer(context);
  if (options.evaluate.compare.empty())
    return;
  results.write();
  results.compareWith(options.evaluate.compare);
}

/// What can be found wrong before hours of work.
static void checkPlaces(const EvaluateOptions &options) {
  auto require = [](const std::string &flag, const std::string &folder) {
    std::error_code code;
    if (!std::filesystem::is_directory(folder, code))
      fail(flag, folder, ": expected a folder, found ",
           std::filesystem::exists(folder, code) ? "a file" : "nothing");
  };
  for (const ShiftedSet &set : options.shifted)
    require("--shifted " + set.name + ":", set.folder);
  for (const std::string &folder : options.transfer)
    require("--transfer ", folder);
  if (!options.compare.empty())
    requireComparison(options.compare);
}

void Evaluation::run() {
  checkPlaces(options.evaluate);
  try {
    measureAll();
  } catch (const Stopped &) {
    results.write();
    throw;
  }
  results.write();
  journal.finish();
}

} // namespace

int ns::runtime::runEvaluate(Session &session, const Options &options) {
  Evaluation(session, options).run();
  return kOk;
}
