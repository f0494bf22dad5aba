//===- Adversarial.cpp - adversarial images on disk -----------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Adversarial.h"

#include "ns/Runtime/Error.h"
#include "ns/Runtime/FileIO.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <unordered_set>

using namespace ns::runtime;
namespace fs = std::filesystem;
using nlohmann::json;

static constexpr double kSlack = 1e-3; ///< levels

Bound::Bound(const AttackSpec &spec) {
  auto it = spec.numbers.find(spec.kind == "patchfool" ? "mild_l_inf" : "eps");
  if (it == spec.numbers.end() || it->second == 0)
    return;
  bool l2 = spec.words.count("norm") && spec.words.at("norm") == "l2";
  norm = l2 ? L2 : Linf;
  levels = 255 * it->second;
}

bool Bound::allows(double linf, double l2) const {
  return norm == None || (norm == Linf ? linf : l2) <= levels + kSlack;
}

Image ns::runtime::roundWithin(const Bound &bound, const std::vector<double> &y,
                               const std::vector<double> &x, int width, int height) {
  size_t n = y.size();
  std::vector<int> levels(n);
  double square = 0;
  for (size_t i = 0; i < n; ++i) {
    double from = std::nearbyint(255 * x[i]), low = 0, high = 255;
    if (bound.norm == Bound::Linf) {
      low = std::max(low, std::ceil(from - bound.levels - kSlack));
      high = std::min(high, std::floor(from + bound.levels + kSlack));
    }
    double to = std::isnan(y[i]) ? from : std::clamp(std::nearbyint(255 * y[i]), low, high);
    levels[i] = static_cast<int>(to);
    square += (to - from) * (to - from);
  }
  if (bound.norm == Bound::L2 && !bound.allows(0, std::sqrt(square)))
    for (size_t i = 0; i < n; ++i) {
      double from = std::nearbyint(255 * x[i]);
      levels[i] = static_cast<int>(from + std::trunc(255 * y[i] - from));
    }
  Image image(width, height);
  size_t plane = size_t(width) * height;
  for (size_t i = 0; i < plane; ++i)
    for (size_t c = 0; c < 3; ++c)
      image.pixels[3 * i + c] = static_cast<uint8_t>(levels[n == plane ? i : c * plane + i]);
  return image;
}

std::pair<double, double> ns::runtime::distanceOf(const Image &a, const Image &b,
                                                  int64_t channels) {
  double linf = 0, square = 0;
  for (size_t i = 0; i < a.pixels.size(); i += channels == 1 ? 3 : 1) {
    double d = std::abs(double(a.pixels[i]) - double(b.pixels[i]));
    linf = std::max(linf, d);
    square += d * d;
  }
  return {linf, std::sqrt(square)};
}

std::string ns::runtime::placeOf(const Dataset &data, int64_t index) {
  fs::path name = fs::path(data.name(index)).filename();
  std::string ending = name.extension().string();
  // An .npz has numbers for names.
  return data.className(data.label(index)) + "/" + (ending.empty() ? name : name.stem()).string();
}

void ns::runtime::requireDifferentPlaces(const ImageList &images) {
  std::unordered_set<std::string> places;
  for (int64_t index : images.chosen)
    if (!places.insert(placeOf(images.data, index)).second)
      fail(images.data.name(index), ": another image of its class differs only in the ending; both "
                                    "would be written under one name");
}

// Manifest ----------------------------------------------------------------------------------------

void Manifest::write() const {
  json list = json::array();
  for (const ManifestEntry &entry : images)
    list.push_back({{"id", list.size()},
                    {"file", entry.file},
                    {"source", entry.source},
                    {"label", entry.label},
                    {"prediction_before", entry.before},
                    {"prediction_after", entry.after},
                    {"fools", entry.fools},
                    {"linf", entry.linf},
                    {"l2", entry.l2}});
  json root = {{"format", "nullspace-adversarial"},
               {"version", 1},
               {"attack", attack},
               {"parameters", parameters},
               {"model", model},
               {"weights", weights},
               {"weights_xxh3", weightsHash},
               {"classes", classes},
               {"data_images", imagesHash},
               {"data_files", files},
               {"section", section},
               {"images", std::move(list)}};
  writeTextFile(folder + "/" + kFile, root.dump(1) + "\n");
}

/// A path below the folder: nothing that leads out of it.
static bool isInside(const std::string &file) {
  fs::path path(file);
  return !file.empty() && path.is_relative() &&
         std::find(path.begin(), path.end(), fs::path("..")) == path.end();
}

static ManifestEntry readEntry(const std::string &where, const json &entry, int64_t classes) {
  ManifestEntry read;
  read.file = entry.at("file").get<std::string>();
  read.source = entry.at("source").get<std::string>();
  auto classOf = [&](const char *key) {
    int64_t value = entry.at(key).get<int64_t>();
    if (value < 0 || value >= classes)
      fail(where, ": ", key, ": expected a class in 0 .. ", classes - 1, ", found ", value);
    return static_cast<int32_t>(value);
  };
  read.label = classOf("label");
  read.before = classOf("prediction_before");
  read.after = classOf("prediction_after");
  read.fools = entry.at("fools").get<bool>();
  read.linf = entry.at("linf").get<double>();
  read.l2 = entry.at("l2").get<double>();
  if (!isInside(read.file))
    fail(where, ": expected a file below the manifest's folder, found '", read.file, "'");
  return read;
}

Manifest Manifest::read(const std::string &folder) {
  std::string path = folder + "/" + kFile;
  json root = json::parse(readText(path), nullptr, false);
  Manifest manifest;
  manifest.folder = folder;
  size_t at = 0;
  try {
    if (!root.is_object() || root.value("format", "") != "nullspace-adversarial" ||
        root.value("version", 0) != 1)
      fail(path,
           ": expected a manifest of adversarial images (format nullspace-adversarial, "
           "version 1), found ",
           root.is_discarded() ? "no JSON" : "another file");
    manifest.attack = root.at("attack").get<std::string>();
    manifest.parameters = root.at("parameters");
    manifest.model = root.at("model").get<std::string>();
    manifest.weights = root.at("weights").get<std::string>();
    manifest.weightsHash = root.at("weights_xxh3").get<std::string>();
    manifest.classes = root.at("classes").get<int64_t>();
    manifest.imagesHash = root.at("data_images").get<std::string>();
    manifest.files = root.at("data_files").get<std::string>();
    manifest.section = root.at("section").get<std::string>();
    for (const json &entry : root.at("images")) {
      manifest.images.push_back(readEntry(str(path, ": image ", at), entry, manifest.classes));
      ++at;
    }
  } catch (const json::exception &e) {
    fail(path, ": image ", at, " or the header: ", e.what());
  }
  return manifest;
}

std::unique_ptr<Dataset> Manifest::open() const {
  ImageFiles files;
  files.root = folder;
  std::vector<std::string> missing;
  for (const ManifestEntry &entry : images) {
    std::error_code code;
    if (!fs::is_regular_file(folder + "/" + entry.file, code))
      missing.push_back(entry.file);
    files.files.push_back(entry.file);
    files.labels.push_back(entry.label);
  }
  if (!missing.empty())
    fail(folder, "/", kFile, ": ", missing.size(), " of its ", images.size(),
         " images are not there: ", joined(missing));
  return openFiles(std::move(files));
}

// The folder while the attack runs ----------------------------------------------------------------

AdversarialFolder::AdversarialFolder(EvaluationContext &context, std::string path,
                                     const AttackSpec &spec, std::string section, bool fresh)
    : context(context), folder(std::move(path)), spec(spec), section(std::move(section)),
      bound(spec) {
  requireDifferentPlaces(context.images);
  std::error_code code;
  std::string manifest = folder + "/" + Manifest::kFile;
  bool unfinished = fs::exists(marker(), code), finished = fs::exists(manifest, code);
  if (!fresh) {
    std::string begun = unfinished ? readText(marker())
                        : finished ? Manifest::read(folder).section
                                   : std::string();
    if (begun != this->section)
      fail(folder, ": expected the images of the attack that the journal has, found ",
           begun.empty() ? "none" : "those of another", "; begin anew with --restart");
    return;
  }
  if (unfinished || finished)
    fs::remove_all(folder, code);
  else if (fs::exists(folder, code) && !fs::is_empty(folder, code))
    fail("--save-adversarial ", folder,
         ": expected no such folder, or one of an earlier run, found other files");
  makeDirectory(folder);
  writeTextFile(marker(), this->section);
}

std::string AdversarialFolder::fileOf(int64_t image) const {
  return placeOf(context.data(), image) + ".png";
}

void AdversarialFolder::offer(int64_t image, std::vector<double> y, std::vector<double> x,
                              bool fools) {
  auto it = pending.find(image);
  if (it != pending.end() && it->second.fools)
    return;
  const auto &model = context.session.metadata().model;
  pending[image] = {
      roundWithin(bound, y, x, static_cast<int>(model.width), static_cast<int>(model.height)),
      fools};
}

void AdversarialFolder::write(int64_t image, const Image &picture) const {
  std::string path = folder + "/" + fileOf(image);
  makeDirectory(fs::path(path).parent_path().string());
  std::vector<uint8_t> bytes = encodePng(picture);
  AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit(/*durable=*/false);
}

void AdversarialFolder::flush() {
  std::vector<std::pair<int64_t, const Image *>> images;
  for (auto &[image, offered] : pending)
    images.emplace_back(image, &offered.image);
  context.session.host().parallelFor(static_cast<int64_t>(images.size()), 1,
                                     [&](int64_t begin, int64_t end) {
                                       for (int64_t i = begin; i < end; ++i)
                                         write(images[i].first, *images[i].second);
                                     });
  pending.clear();
}

/// What the images on disk are: predicted by the model, and how far from their originals.
void AdversarialFolder::measure(Manifest &manifest, const std::vector<int64_t> &targets) const {
  std::unique_ptr<Dataset> data = manifest.open();
  BatchLoader loader(context.session, *data);
  std::vector<int64_t> all = selectImages(*data, 0);
  ImageList images(*data, all);
  auto load = [&](std::span<const int64_t> piece) { loader.load(piece); };
  std::vector<int32_t> after =
      predict(context.session,
              {spec.text + ", saved", context.journal.tape(section + " saved"), images, load});
  int64_t channels = context.session.metadata().model.channels;
  context.session.host().parallelFor(
      static_cast<int64_t>(all.size()), 16, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          ManifestEntry &entry = manifest.images[i];
          auto [linf, l2] = distanceOf(loader.clean(i), context.loader.clean(targets[i]), channels);
          entry.linf = linf / 255;
          entry.l2 = l2 / 255;
          entry.after = after[i];
          entry.fools = after[i] != entry.label;
        }
      });
}

json AdversarialFolder::finish(const std::vector<int64_t> &targets, json parameters) {
  flush();
  Manifest manifest{folder,
                    spec.text,
                    context.session.metadata().model.name,
                    context.session.weightsFile(),
                    context.session.weightsHash(),
                    context.images.hash,
                    context.data().fingerprint(),
                    section,
                    std::move(parameters),
                    context.classes(),
                    {}};
  for (int64_t image : targets) {
    std::error_code code;
    if (!fs::exists(folder + "/" + fileOf(image), code)) // nothing was found: it stays as it is
      write(image, context.loader.clean(image));
    int32_t label = context.data().label(image);
    manifest.images.push_back({fileOf(image), context.data().name(image), label, label});
  }
  if (!targets.empty())
    measure(manifest, targets);
  int64_t right = 0, outside = 0;
  double linf = 0;
  for (const ManifestEntry &entry : manifest.images) {
    right += !entry.fools;
    outside += !bound.allows(255 * entry.linf, 255 * entry.l2);
    linf = std::max(linf, entry.linf);
  }
  if (outside)
    fail(folder, ": ", outside, " images are farther from their originals than eps");
  manifest.write();
  std::error_code code;
  fs::remove(marker(), code);
  double n = static_cast<double>(context.images.chosen.size());
  return {{"folder", folder},
          {"n", targets.size()},
          {"accuracy", n ? static_cast<double>(right) / n : 0.0},
          {"max_linf", linf},
          {"within_eps", bound.norm == Bound::None ? json() : json(true)}};
}
