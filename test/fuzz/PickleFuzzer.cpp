//===- PickleFuzzer.cpp - libFuzzer target of PyTorch's pickles -----------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The input is a pickle; the archive around it, with two storages, is made here.
//
//===----------------------------------------------------------------------===//

#include "FuzzCheckpoint.h"

namespace {
/// An archive of stored entries without checksums.
class ZipWriter {
public:
  void add(std::string_view name, std::string_view bytes) {
    uint64_t offset = archive.size();
    archive += "PK\3\4";
    put(archive, 0, 14);
    put(archive, bytes.size(), 4), put(archive, bytes.size(), 4), put(archive, name.size(), 2);
    put(archive, 0, 2);
    archive.append(name).append(bytes);
    directory += "PK\1\2";
    put(directory, 0, 16);
    put(directory, bytes.size(), 4), put(directory, bytes.size(), 4),
        put(directory, name.size(), 2);
    put(directory, 0, 12), put(directory, offset, 4);
    directory.append(name);
    ++count;
  }
  std::string finish() const {
    std::string whole = archive + directory + "PK\5\6";
    put(whole, 0, 4), put(whole, count, 2), put(whole, count, 2);
    put(whole, directory.size(), 4), put(whole, archive.size(), 4), put(whole, 0, 2);
    return whole;
  }

private:
  static void put(std::string &out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i)
      out.push_back(static_cast<char>(i < 8 ? value >> (8 * i) : 0));
  }

  std::string archive, directory;
  int count = 0;
};
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  ZipWriter zip;
  zip.add("c/data.pkl", {reinterpret_cast<const char *>(data), size});
  zip.add("c/data/0", std::string(64, '\1'));
  zip.add("c/data/1", std::string(3, '\2'));
  ns::fuzz::readCheckpoint(ns::fuzz::MemoryFile(zip.finish()).path());
  return 0;
}
