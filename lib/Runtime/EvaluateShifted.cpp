//===- EvaluateShifted.cpp - accuracy on published test sets --------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Evaluate.h"
#include "ImageNetSubsets.h"
#include "ShiftedSets.h"

#include "ns/Runtime/Error.h"

#include <algorithm>
#include <map>

using namespace ns::runtime;
using nlohmann::json;

/// Images of a published set, whole; 0 where that is not known.
static int64_t publishedImages(const std::string &name, int64_t classes) {
  static const std::map<std::string, int64_t> images = {{"imagenet-a", 7500},
                                                        {"imagenet-r", 30000},
                                                        {"imagenet-v2", 10000},
                                                        {"imagenet-sketch", 50889}};
  auto found = images.find(name);
  return found == images.end() || classes != kImageNetClasses ? 0 : found->second;
}
static constexpr size_t kListed = 20;

namespace {

class ShiftedRun {
public:
  ShiftedRun(EvaluationContext &context, const ShiftedSet &set) : context(context), set(set) {}

  void run() {
    CorruptionTree tree(set.folder);
    if (CorruptionArrays::isAt(set.folder))
      measureArrays();
    else if (!tree.kinds().empty())
      measureTree(tree);
    else
      measureFolders();
  }

private:
  struct Outcome {
    double accuracy;
    int64_t n;
  };
  std::vector<char> maskOf(const ClassFolders &folders) const;
  void measureFolders();
  void measureTree(const CorruptionTree &tree);
  void measureArrays();
  /// Accuracy on one data set, added to the results. `mask`: the classes that compete, or null.
  Outcome measure(const std::string &kind, const std::string &column, const Dataset &data,
                  const std::string &path, const std::vector<char> *mask, bool listsOutcomes,
                  json parameters);
  void measureCorrupted(const Corruption &corruption, const Dataset &data, const std::string &path,
                        json parameters);
  /// What of the common kinds, or of the severities of a kind that is there, is not.
  void noteMissing(const std::vector<std::string> &missing) const {
    if (!missing.empty())
      std::fprintf(stderr, "warning: --shifted %s: %zu missing: %s\n", set.name.c_str(),
                   missing.size(), joined(missing).c_str());
  }
  CorruptionTable table() const {
    const auto &model = context.session.metadata().model;
    return corruptionTable(static_cast<int>(model.width), static_cast<int>(model.height));
  }

  EvaluationContext &context;
  const ShiftedSet &set;
  CorruptionErrors errors;
  int64_t numImages = 0; ///< of one corruption
};

ShiftedRun::Outcome ShiftedRun::measure(const std::string &kind, const std::string &column,
                                        const Dataset &data, const std::string &path,
                                        const std::vector<char> *mask, bool listsOutcomes,
                                        json parameters) {
  std::vector<int64_t> chosen = selectImages(data, context.options.common.maxSamples);
  ImageList images(data, chosen);
  BatchLoader loader(context.session, data);
  std::string section =
      str("shifted ", column, " ", images.hash, " ", data.fingerprint(), mask ? " masked " : "",
          mask ? xxh3Hex(mask->data(), mask->size()) : "");
  std::vector<int32_t> predictions =
      predict(context.session,
              {column, context.journal.tape(section), images,
               [&](std::span<const int64_t> piece) { loader.load(piece); }, nullptr, mask});
  std::vector<char> correct = correctOf(images, predictions);
  context.results.describe(images, {{"data", path}, {"split", set.name}});
  parameters["set"] = set.name;
  parameters["folder"] = path;
  double accuracy = context.results.addShare(kind, column, images, correct, std::move(parameters));
  if (listsOutcomes) {
    std::string folder = context.options.common.output + "/outcomes";
    makeDirectory(folder);
    writeOutcomes(folder + "/" + fileNameOf(column) + ".csv", images, predictions, correct);
  }
  std::printf("%-28s accuracy %.4f of %zu images\n", column.c_str(), accuracy, chosen.size());
  return {accuracy, static_cast<int64_t>(chosen.size())};
}

/// The classes that compete; empty for all. Where the model has other classes than ImageNet's,
/// those that the set has images of.
std::vector<char> ShiftedRun::maskOf(const ClassFolders &folders) const {
  if (set.name != "imagenet-a" && set.name != "imagenet-r")
    return {};
  std::vector<char> mask = subsetOfImageNet(set.name, context.classes());
  if (mask.empty())
    return folders.present;
  for (int64_t label = 0; label < context.classes(); ++label)
    if (folders.present[label] && !mask[label])
      fail("--shifted ", set.name, ": ", set.folder, " has images of class ", label,
           ", which is none of the ", std::count(mask.begin(), mask.end(), 1), " of ", set.name);
  return mask;
}

void ShiftedRun::measureFolders() {
  std::vector<std::string> names = classNames(context);
  ClassFolders folders = openClassFolders(set.folder, names, context.classes());
  std::vector<char> mask = maskOf(folders);
  std::vector<std::string> missing;
  for (int64_t label = 0; label < context.classes(); ++label)
    if (!folders.present[label] && (mask.empty() || mask[label]))
      missing.push_back(names.empty() ? std::to_string(label) : names[label]);
  int64_t present = std::count(folders.present.begin(), folders.present.end(), 1);
  int64_t expected = present + static_cast<int64_t>(missing.size());
  json parameters = {
      {"classes", present}, {"masked", !mask.empty()}, {"classes_expected", expected}};
  if (!missing.empty()) {
    parameters["missing"] = {{"count", missing.size()}};
    missing.resize(std::min(missing.size(), kListed));
    parameters["missing"]["classes"] = missing;
    std::fprintf(stderr,
                 "warning: --shifted %s: images of %lld classes, expected %lld; without: %s\n",
                 set.name.c_str(), static_cast<long long>(present),
                 static_cast<long long>(expected), joined(missing).c_str());
  }
  int64_t published = publishedImages(set.name, context.classes());
  if (published != 0 && published != folders.data->size()) {
    parameters["images_expected"] = published;
    std::fprintf(stderr, "warning: --shifted %s: %lld images, published with %lld\n",
                 set.name.c_str(), static_cast<long long>(folders.data->size()),
                 static_cast<long long>(published));
  }
  measure("shifted", set.name, *folders.data, set.folder, mask.empty() ? nullptr : &mask, true,
          std::move(parameters));
}

void ShiftedRun::measureCorrupted(const Corruption &corruption, const Dataset &data,
                                  const std::string &path, json parameters) {
  parameters["corruption"] = corruption.kind;
  parameters["severity"] = corruption.severity;
  std::string column = str(set.name, "/", corruption.kind, ":", corruption.severity);
  Outcome outcome =
      measure("corruption", column, data, path, nullptr, false, std::move(parameters));
  errors.add(corruption, 1 - outcome.accuracy);
  numImages = outcome.n;
  context.results.write();
}

void ShiftedRun::measureTree(const CorruptionTree &tree) {
  std::vector<std::string> names = classNames(context), missing;
  for (const std::string &kind : corruptionKinds().first(kCommonCorruptions))
    if (std::find(tree.kinds().begin(), tree.kinds().end(), kind) == tree.kinds().end())
      missing.push_back(kind);
  for (const std::string &kind : tree.kinds())
    for (int severity = 1; severity <= 5; ++severity) {
      Corruption corruption{kind, severity};
      std::string path = tree.folderOf(corruption);
      if (path.empty()) {
        missing.push_back(kind + ":" + std::to_string(severity));
        continue;
      }
      ClassFolders folders = openClassFolders(path, names, context.classes());
      int64_t present = std::count(folders.present.begin(), folders.present.end(), 1);
      json parameters = {{"classes", present}};
      if (present < context.classes())
        parameters["missing"] = {{"count", context.classes() - present}};
      measureCorrupted(corruption, *folders.data, path, std::move(parameters));
    }
  noteMissing(missing);
  errors.summarise(context, table(), numImages, {{"set", set.name}});
}

void ShiftedRun::measureArrays() {
  CorruptionArrays arrays(set.folder, context.classes());
  std::vector<std::string> missing;
  for (const std::string &kind : corruptionKinds().first(kCommonCorruptions))
    if (std::find(arrays.kinds().begin(), arrays.kinds().end(), kind) == arrays.kinds().end())
      missing.push_back(kind + ".npy");
  for (const std::string &kind : arrays.kinds())
    for (int severity = 1; severity <= 5; ++severity) {
      Corruption corruption{kind, severity};
      measureCorrupted(corruption, *arrays.open(corruption), set.folder + "/" + kind + ".npy",
                       json::object());
    }
  noteMissing(missing);
  // AlexNet's errors are those of ImageNet-C, whatever the model's size.
  errors.summarise(context, CorruptionTable::Cifar, numImages, {{"set", set.name}});
}

} // namespace

void ns::runtime::measureShifted(EvaluationContext &context) {
  for (const ShiftedSet &set : context.options.evaluate.shifted) {
    context.results.write();
    ShiftedRun(context, set).run();
  }
}
