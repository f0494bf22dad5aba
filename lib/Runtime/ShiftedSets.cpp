//===- ShiftedSets.cpp - layouts of published test sets -------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ShiftedSets.h"

#include "ns/Checkpoint/Npy.h"
#include "ns/Runtime/Error.h"

#include <algorithm>
#include <filesystem>

using namespace ns::runtime;
namespace fs = std::filesystem;
using ns::checkpoint::NpyHeader;

static constexpr int kSeverities = 5;
static constexpr uint64_t kMaxHeader = 1 << 16;

/// The header of an array in a file of its own.
static NpyHeader readHeader(const InputFile &file) {
  std::string start(std::min<uint64_t>(file.size(), kMaxHeader), '\0');
  file.readAt(0, start.data(), start.size());
  try {
    NpyHeader header = ns::checkpoint::parseNpy(start, file.size());
    if (header.isFortran)
      fail("expected an array in C order, found fortran_order");
    return header;
  } catch (const Error &error) {
    fail(file.path(), ": ", error.what());
  }
}

/// Published kinds first, in the order of the papers' tables; then others by name.
static void sortKinds(std::vector<std::string> &names) {
  auto place = [](const std::string &name) {
    std::span<const std::string> kinds = corruptionKinds();
    return std::find(kinds.begin(), kinds.end(), name) - kinds.begin();
  };
  std::sort(names.begin(), names.end(), [&](const std::string &a, const std::string &b) {
    return std::pair(place(a), a) < std::pair(place(b), b);
  });
}

namespace {

/// A stretch of the images of a .npy.
class NpyImages : public Dataset {
public:
  NpyImages(const std::string &path, int64_t total, int part, std::vector<int32_t> labels)
      : file(path), labels(std::move(labels)) {
    NpyHeader header = readHeader(file);
    const std::vector<int64_t> &shape = header.shape;
    if (header.type != "|u1" || shape.size() != 4 || shape[0] != total || shape[3] != 3 ||
        shape[1] < 1 || shape[2] < 1 || shape[1] > 65536 || shape[2] > 65536)
      fail(path, ": expected uint8 images ", total, " x H x W x 3, found '", header.type,
           "' of shape ", shapeText(shape));
    height = static_cast<int>(shape[1]);
    width = static_cast<int>(shape[2]);
    begin = header.begin + bytes() * this->labels.size() * part;
  }

  int64_t size() const override { return static_cast<int64_t>(labels.size()); }
  int32_t label(int64_t index) const override { return labels[index]; }
  std::string name(int64_t index) const override { return std::to_string(index); }
  bool sortedByClass() const override { return false; }
  Image image(int64_t index) const override {
    Image image(width, height);
    file.readAt(begin + bytes() * index, image.pixels.data(), bytes());
    return image;
  }
  std::string fingerprint() const override {
    std::string first(std::min<uint64_t>(bytes() * labels.size(), 1 << 16), '\0');
    file.readAt(begin, first.data(), first.size());
    return xxh3Hex(first.data(), first.size());
  }

private:
  uint64_t bytes() const { return uint64_t(3) * width * height; }

  InputFile file;
  std::vector<int32_t> labels;
  int width = 0, height = 0;
  uint64_t begin = 0;
};

} // namespace

bool CorruptionArrays::isAt(const std::string &folder) {
  std::error_code code;
  return fs::exists(folder + "/labels.npy", code);
}

CorruptionArrays::CorruptionArrays(const std::string &folder, int64_t classes) : folder(folder) {
  InputFile file(folder + "/labels.npy");
  NpyHeader header = readHeader(file);
  char kind = header.type[1];
  int width = header.itemSize();
  if ((kind != 'i' && kind != 'u') || header.shape.size() != 1 || header.count() < 1)
    fail(file.path(), ": expected a list of whole numbers, found '", header.type, "' of shape ",
         shapeText(header.shape));
  std::vector<uint8_t> bytes(header.count() * width);
  file.readAt(header.begin, bytes.data(), bytes.size());
  for (int64_t i = 0; i < header.count(); ++i) {
    uint64_t value = 0; // a negative one is far above the classes
    for (int k = width - 1; k >= 0; --k)
      value = value << 8 | bytes[i * width + k];
    if (value >= static_cast<uint64_t>(classes))
      fail(file.path(), "[", i, "]: expected a class in 0 .. ", classes - 1, ", found ",
           kind == 'i' ? static_cast<int64_t>(value << (64 - 8 * width)) >> (64 - 8 * width)
                       : static_cast<int64_t>(value));
    labels.push_back(static_cast<int32_t>(value));
  }
  std::error_code code;
  for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code))
    if (it->path().extension() == ".npy" && it->path().stem() != "labels")
      names.push_back(it->path().stem().string());
  if (names.empty())
    fail(folder, ": expected arrays such as gaussian_noise.npy beside labels.npy, found none");
  sortKinds(names);
}

std::unique_ptr<Dataset> CorruptionArrays::open(const Corruption &corruption) const {
  std::string path = folder + "/" + corruption.kind + ".npy";
  NpyHeader header = readHeader(InputFile(path));
  auto count = static_cast<int64_t>(labels.size());
  int64_t images = header.shape.empty() ? 0 : header.shape[0];
  // labels.npy has the labels of all severities or, in some copies, of one.
  bool once = images == kSeverities * count;
  int64_t each = once ? count : count / kSeverities;
  if (!once && count % kSeverities)
    fail(folder, "/labels.npy: expected a multiple of ", kSeverities, " labels, found ", count);
  int part = corruption.severity - 1;
  auto first = labels.begin() + (once ? 0 : part * each);
  return std::make_unique<NpyImages>(path, kSeverities * each, part,
                                     std::vector<int32_t>(first, first + each));
}

CorruptionTree::CorruptionTree(const std::string &folder) {
  std::error_code code;
  auto add = [&](const std::string &parent) {
    for (const std::string &name : listFolders(parent))
      for (const std::string &kind : corruptionKinds())
        if (name == kind && folders.emplace(kind, parent + "/" + name).second)
          names.push_back(kind);
  };
  if (!fs::is_directory(folder, code))
    return;
  add(folder);
  for (const char *group : {"noise", "blur", "weather", "digital", "extra"})
    if (fs::is_directory(folder + "/" + group, code))
      add(folder + "/" + group);
  sortKinds(names);
}

std::string CorruptionTree::folderOf(const Corruption &corruption) const {
  std::error_code code;
  std::string path = folders.at(corruption.kind) + "/" + std::to_string(corruption.severity);
  return fs::is_directory(path, code) ? path : "";
}
