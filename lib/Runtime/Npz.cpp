//===- Npz.cpp - images in one .npz archive -------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Checkpoint/Npy.h"
#include "ns/Checkpoint/ZipArchive.h"
#include "ns/Runtime/Dataset.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/FileIO.h"

#include <cstring>

using namespace ns::runtime;

namespace {

/// An array of the archive: its header, and its elements in the mapped file or, where they were
/// compressed, in `unpacked`.
struct Array {
  ns::checkpoint::NpyHeader header;
  std::string_view elements;
  ns::checkpoint::Bytes unpacked;
  uint32_t crc = 0;
  const std::vector<int64_t> &shape() const { return header.shape; }
};

uint64_t little(const char *p, int bytes) {
  uint64_t value = 0;
  for (int i = bytes - 1; i >= 0; --i)
    value = value << 8 | static_cast<uint8_t>(p[i]);
  return value;
}

class NpzDataset : public Dataset {
public:
  NpzDataset(const std::string &path, const std::string &split, int64_t classes) : file(path) {
    images = load("x_" + split);
    Array ids = load("y_" + split);
    const std::vector<int64_t> &shape = images.shape();
    bool grey = shape.size() == 3 || (shape.size() == 4 && shape[3] == 1);
    channels = grey ? 1 : 3;
    if (images.header.type != "|u1" || (!grey && (shape.size() != 4 || shape[3] != 3)) ||
        images.elements.empty() || shape[1] > 65536 || shape[2] > 65536)
      fail(path, ": x_", split, ": expected uint8 images N x H x W x 3, found '",
           images.header.type, "' of shape ", shapeText(shape));
    char kind = ids.header.type[1];
    if ((kind != 'i' && kind != 'u') || ids.header.count() != shape[0])
      fail(path, ": y_", split, ": expected ", shape[0], " integer labels, found '",
           ids.header.type, "' of shape ", shapeText(ids.shape()));
    readLabels(ids, split, classes);
    hash = str(images.crc, " ", ids.crc);
  }

  int64_t size() const override { return images.shape()[0]; }
  int32_t label(int64_t index) const override { return labels[index]; }
  std::string name(int64_t index) const override { return std::to_string(index); }
  bool sortedByClass() const override { return false; }
  std::string fingerprint() const override { return hash; }
  Image image(int64_t index) const override {
    Image image(static_cast<int>(images.shape()[2]), static_cast<int>(images.shape()[1]));
    size_t pixels = size_t(image.width) * image.height;
    const char *from = images.elements.data() + index * pixels * channels;
    if (channels == 3)
      std::memcpy(image.pixels.data(), from, pixels * 3);
    else
      for (size_t i = 0; i < pixels * 3; ++i)
        image.pixels[i] = static_cast<uint8_t>(from[i / 3]);
    return image;
  }

private:
  Array load(const std::string &name) const {
    try {
      return find(ns::checkpoint::ZipArchive(file.view()), name);
    } catch (const Error &error) {
      fail(file.path(), ": ", error.what());
    }
  }
  static Array find(const ns::checkpoint::ZipArchive &zip, const std::string &name) {
    const ns::checkpoint::ZipArchive::Entry *entry = zip.find(name + ".npy");
    std::string names;
    for (const auto &[other, unused] : zip.entries())
      names += (names.empty() ? "" : ", ") + std::string(other);
    if (!entry)
      fail("expected an array '", name, "', found ", names.empty() ? "none" : names);
    Array array;
    auto parse = [&](std::string_view bytes) {
      try {
        array.header = ns::checkpoint::parseNpy(bytes, entry->size);
      } catch (const Error &error) {
        fail(name, ": ", error.what());
      }
    };
    array.elements = entry->packed;
    array.crc = entry->crc;
    if (entry->deflated) { // its header and the archive's must agree before all is unpacked
      array.unpacked = zip.extract(name + ".npy", parse);
      array.elements = array.unpacked.view();
    }
    parse(array.elements);
    if (array.header.isFortran || array.shape().empty())
      fail(name, ": expected an array in C order, found ",
           array.header.isFortran ? "fortran_order" : "a number");
    array.elements.remove_prefix(array.header.begin);
    return array;
  }
  void readLabels(const Array &ids, const std::string &split, int64_t classes) {
    int width = ids.header.itemSize();
    labels.resize(ids.header.count());
    for (size_t i = 0; i < labels.size(); ++i) {
      uint64_t raw = little(ids.elements.data() + i * width, width);
      int shift = 64 - 8 * width;
      int64_t value = ids.header.type[1] == 'i' ? static_cast<int64_t>(raw << shift) >> shift
                                                : static_cast<int64_t>(raw);
      if (value < 0 || value >= classes)
        fail(file.path(), ": y_", split, "[", i, "]: expected a class in 0 .. ", classes - 1,
             ", found ", value);
      labels[i] = static_cast<int32_t>(value);
    }
  }

  InputFile file;
  Array images;
  std::vector<int32_t> labels;
  int channels = 3;
  std::string hash; ///< the archive's checksums of both arrays
};

} // namespace

std::unique_ptr<Dataset> ns::runtime::openNpz(const std::string &path, const std::string &split,
                                              int64_t classes) {
  return std::make_unique<NpzDataset>(path, split, classes);
}
