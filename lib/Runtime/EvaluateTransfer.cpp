//===- EvaluateTransfer.cpp - adversarial images of other models ----------===//
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
#include <unordered_map>

using namespace ns::runtime;
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

std::vector<int32_t> predictionsOf(EvaluationContext &context, const std::string &title,
                                   const std::string &section, const ImageList &images) {
  BatchLoader loader(context.session, images.data);
  return predict(context.session, {title, context.journal.tape(section), images,
                                   [&](std::span<const int64_t> piece) { loader.load(piece); }});
}

/// Names stay together with their hash: another folder of the same names is another section.
std::string sectionOf(const std::string &path, const ImageList &images) {
  return "transfer " + path + " " + images.hash + " " + images.data.fingerprint();
}

/// What a folder's measurement is called.
std::string columnOf(const std::string &path) {
  return "transfer:" + fs::path(path).filename().string();
}

/// One folder of images under measurement.
class TransferRun {
public:
  TransferRun(EvaluationContext &context, std::string folder)
      : context(context), folder(std::move(folder)) {}

  void run() {
    std::error_code code;
    if (fs::exists(folder + "/" + Manifest::kFile, code)) {
      measureManifest(folder);
      return;
    }
    // What --save-adversarial wrote: a folder for each attack.
    bool any = false;
    for (const std::string &name : listFolders(folder)) {
      std::string attack = folder + "/" + name;
      if (fs::exists(attack + "/.unfinished", code))
        fail(attack, ": the attack that writes these images has not come to its end");
      if (fs::exists(attack + "/" + Manifest::kFile, code)) {
        measureManifest(attack);
        any = true;
      }
    }
    if (!any)
      measureFolders();
  }

private:
  void measureManifest(const std::string &path);
  /// A set as DamageNet: images in class folders, nothing known of their originals.
  void measureFolders();
  std::vector<int32_t> predictAll(const std::string &path, const ImageList &images) {
    return predictionsOf(context, columnOf(path), sectionOf(path, images), images);
  }
  /// Outcomes on disk, and the measurement.
  void add(const std::string &path, const ImageList &images, std::span<const int32_t> predictions,
           json parameters);
  /// Clean accuracy on the originals, where --data-dir has them: keys for the measurement.
  json measureOriginals(const Manifest &manifest, const Dataset &data,
                        const std::vector<int64_t> &chosen, std::span<const int32_t> attacked);
  std::vector<int64_t> findOriginals(const Manifest &manifest,
                                     const std::vector<int64_t> &chosen) const;

  EvaluationContext &context;
  std::string folder;
};

} // namespace

/// The originals' places in the evaluation's data set; empty where it is another one.
std::vector<int64_t> TransferRun::findOriginals(const Manifest &manifest,
                                                const std::vector<int64_t> &chosen) const {
  const Dataset &data = context.data();
  std::vector<int64_t> originals;
  if (manifest.files != data.fingerprint() || manifest.files.empty())
    return originals;
  std::unordered_map<std::string, int64_t> places;
  for (int64_t index = 0; index < data.size(); ++index)
    places.emplace(data.name(index), index);
  for (int64_t i : chosen) {
    const ManifestEntry &entry = manifest.images[i];
    auto it = places.find(entry.source);
    if (it == places.end() || data.label(it->second) != entry.label)
      fail(manifest.folder, "/", Manifest::kFile, ": '", entry.file, "': expected its source '",
           entry.source, "' of class ", entry.label, " in ", context.options.common.dataDir,
           ", found ",
           it == places.end() ? std::string("none") : str("class ", data.label(it->second)));
    originals.push_back(it->second);
  }
  return originals;
}

/// How far an attack may go, as its manifest says.
static Bound boundOf(const Manifest &manifest) {
  const json &p = manifest.parameters;
  auto eps = p.find(p.contains("eps") ? "eps" : "mild_l_inf");
  Bound bound(eps != p.end() && eps->is_number() ? eps->get<double>() : 0);
  if (bound.norm != Bound::None && p.value("norm", "") == "l2")
    bound.norm = Bound::L2;
  return bound;
}

json TransferRun::measureOriginals(const Manifest &manifest, const Dataset &data,
                                   const std::vector<int64_t> &chosen,
                                   std::span<const int32_t> attacked) {
  std::vector<int64_t> originals = findOriginals(manifest, chosen);
  if (originals.empty())
    return {{"originals", 0}};
  ImageList images(context.data(), originals);
  std::vector<int32_t> clean =
      predictionsOf(context, "originals", sectionOf("originals", images), images);
  BatchLoader loader(context.session, data);
  Bound bound = boundOf(manifest);
  int64_t channels = context.session.metadata().model.channels;
  std::vector<char> outside(chosen.size());
  context.session.host().parallelFor(
      static_cast<int64_t>(chosen.size()), 16, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          Image a = data.image(chosen[i]), b = context.loader.clean(originals[i]);
          if (a.width != b.width || a.height != b.height)
            continue; // made for another size: nothing to compare
          auto [linf, l2] = distanceOf(a, b, channels);
          outside[i] = !bound.allows(linf, l2);
        }
      });
  std::vector<std::string> far;
  int64_t right = 0, fooled = 0;
  for (size_t i = 0; i < chosen.size(); ++i) {
    const ManifestEntry &entry = manifest.images[chosen[i]];
    if (outside[i])
      far.push_back(entry.file);
    right += clean[i] == entry.label;
    fooled += clean[i] == entry.label && attacked[i] != entry.label;
  }
  if (!far.empty())
    fail(manifest.folder, "/", Manifest::kFile, ": ", far.size(),
         " images are farther from their originals than its eps: ", joined(far));
  double n = static_cast<double>(chosen.size());
  return {{"originals", chosen.size()},
          {"clean_accuracy", static_cast<double>(right) / n},
          {"fooling_rate", right ? static_cast<double>(fooled) / static_cast<double>(right) : 0.0}};
}

void TransferRun::add(const std::string &path, const ImageList &images,
                      std::span<const int32_t> predictions, json parameters) {
  std::string column = columnOf(path);
  std::vector<char> correct = correctOf(images, predictions);
  context.results.describe(images, {{"data", path}, {"split", "transfer"}});
  parameters["set"] = fs::path(path).filename().string();
  parameters["folder"] = path;
  double accuracy =
      context.results.addShare("transfer", column, images, correct, std::move(parameters));
  makeDirectory(context.options.common.output + "/outcomes");
  writeOutcomes(context.options.common.output + "/outcomes/" + fileNameOf(column) + ".csv", images,
                predictions, correct);
  std::printf("%s: accuracy %.4f of %zu images\n", column.c_str(), accuracy, images.chosen.size());
}

void TransferRun::measureManifest(const std::string &path) {
  Manifest manifest = Manifest::read(path);
  if (manifest.classes != context.classes())
    fail(path, "/", Manifest::kFile, ": expected images of ", context.classes(),
         " classes, as the model has, found ", manifest.classes);
  if (manifest.images.empty())
    fail(path, "/", Manifest::kFile, ": expected images, found none");
  std::unique_ptr<Dataset> data = manifest.open();
  std::vector<int64_t> chosen = selectImages(*data, context.options.common.maxSamples);
  ImageList images(*data, chosen);
  std::vector<int32_t> attacked = predictAll(path, images);
  json parameters = {{"attack", manifest.attack},
                     {"attack_parameters", manifest.parameters},
                     {"source",
                      {{"model", manifest.model},
                       {"weights", manifest.weights},
                       {"weights_xxh3", manifest.weightsHash}}}};
  parameters.update(measureOriginals(manifest, *data, chosen, attacked));
  add(path, images, attacked, std::move(parameters));
}

void TransferRun::measureFolders() {
  ClassFolders set = openClassFolders(folder, classNames(context), context.classes());
  std::vector<int64_t> chosen = selectImages(*set.data, context.options.common.maxSamples);
  ImageList images(*set.data, chosen);
  add(folder, images, predictAll(folder, images), {{"attack", nullptr}, {"originals", 0}});
}

void ns::runtime::measureTransfer(EvaluationContext &context) {
  for (const std::string &folder : context.options.evaluate.transfer) {
    context.results.write();
    TransferRun(context, folder).run();
  }
}
