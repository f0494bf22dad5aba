//===- SafeTensorsWriter.cpp - copies weights into a safetensors file -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Import/SafeTensorsWriter.h"

#include "ns/Checkpoint/Checkpoint.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/xxhash.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

using namespace llvm;
using namespace ns::pt2;

/// The weights to store, in the order of the file.
static SmallVector<const Weight *> storageOrder(ArrayRef<Weight> weights) {
  SmallVector<const Weight *> order;
  for (auto [i, weight] : enumerate(weights))
    if (weight.canonical == i && !weight.isFolded)
      order.push_back(&weight);
  llvm::stable_sort(order, [](const Weight *a, const Weight *b) {
    return elementSize(a->type) > elementSize(b->type);
  });
  return order;
}

std::string ns::pt2::safeTensorsHeader(ArrayRef<Weight> weights) {
  constexpr size_t kAlignment = 64;
  std::string text(8, '\0');
  raw_string_ostream os(text);
  json::OStream json(os);
  json.object([&] {
    json.attributeObject("__metadata__", [&] {
      json.attribute("format", "pt");
      for (auto [i, weight] : enumerate(weights))
        if (weight.canonical != i && !weight.isFolded)
          json.attribute("tied:" + weight.name, weights[weight.canonical].name);
    });
    uint64_t offset = 0;
    for (const Weight *weight : storageOrder(weights))
      json.attributeObject(weight->name, [&] {
        json.attribute("dtype", nameOf(weight->type));
        json.attributeArray("shape", [&] {
          llvm::for_each(weight->sizes, [&](int64_t size) { json.value(size); });
        });
        json.attributeArray("data_offsets", [&] {
          json.value(static_cast<int64_t>(offset));
          json.value(static_cast<int64_t>(offset += weight->sizeInBytes()));
        });
      });
  });
  text.resize(alignTo(text.size(), kAlignment), ' ');
  support::endian::write64le(text.data(), text.size() - 8);
  return text;
}

static Error systemError(StringRef what) {
  int code = errno;
  return createStringError(what + ": " + std::error_code(code, std::generic_category()).message());
}

static Error writeAll(int descriptor, StringRef bytes) {
  while (!bytes.empty()) {
    ssize_t written = write(descriptor, bytes.data(), std::min<size_t>(bytes.size(), 1 << 24));
    if (written < 0 && errno == EINTR)
      continue;
    if (written <= 0)
      return systemError("cannot be written");
    bytes = bytes.substr(written);
  }
  return Error::success();
}

/// Copies `bytes`, which lie at `offset` of `archive`, to the end of `descriptor`.
static Error copyRange(int archive, int64_t offset, StringRef bytes, int descriptor) {
  if (archive < 0)
    return writeAll(descriptor, bytes);
  constexpr ssize_t kWriteOut = 1 << 20;
  off_t from = offset;
  while (!bytes.empty()) {
    ssize_t copied = copy_file_range(archive, &from, descriptor, nullptr, bytes.size(), 0);
    if (copied < 0 && errno == EINTR)
      continue;
    if (copied <= 0) // not between these file systems: write the mapped bytes
      return writeAll(descriptor, bytes);
    // Start writing out what is there: else all of it waits for the fsync at the end.
    if (copied >= kWriteOut)
      (void)sync_file_range(descriptor, lseek(descriptor, 0, SEEK_CUR) - copied, copied,
                            SYNC_FILE_RANGE_WRITE);
    bytes = bytes.substr(copied);
  }
  return Error::success();
}

/// Writes the elements in row-major order, gathered by their strides.
static Error writeStrided(const Weight &weight, int descriptor) {
  constexpr size_t kBuffer = 1 << 16;
  const unsigned width = elementSize(weight.type);
  const char *first = weight.record.bytes.data() + weight.firstElement * width;
  SmallVector<int64_t> index(weight.sizes.size(), 0);
  SmallString<0> buffer;
  buffer.reserve(kBuffer);
  for (uint64_t left = weight.sizeInBytes() / width; left-- > 0;) {
    int64_t position = 0;
    for (auto [i, stride] : llvm::zip_equal(index, weight.strides))
      position += i * stride;
    buffer.append(StringRef(first + position * width, width));
    if (buffer.size() + width > kBuffer || left == 0) {
      if (Error error = writeAll(descriptor, buffer))
        return error;
      buffer.clear();
    }
    for (size_t dim = index.size(); dim-- > 0 && ++index[dim] == weight.sizes[dim];)
      index[dim] = 0;
  }
  return Error::success();
}

/// `writeStrided` for a matrix stored by columns, some rows at a time: each cache line is read
/// once.
template <typename T> static Error writeTransposed(const Weight &weight, int descriptor) {
  constexpr int64_t kRows = 16;
  const int64_t rows = weight.sizes[0], columns = weight.sizes[1], stride = weight.strides[1];
  const char *first = weight.record.bytes.data() + weight.firstElement * sizeof(T);
  std::vector<T> buffer(kRows * columns);
  for (int64_t from = 0; from < rows; from += kRows) {
    const int64_t count = std::min(kRows, rows - from);
    for (int64_t j = 0; j < columns; ++j)
      for (int64_t i = 0; i < count; ++i) // elements may lie at any byte
        std::memcpy(&buffer[i * columns + j], first + (from + i + j * stride) * sizeof(T),
                    sizeof(T));
    StringRef bytes(reinterpret_cast<const char *>(buffer.data()), count * columns * sizeof(T));
    if (Error error = writeAll(descriptor, bytes))
      return error;
  }
  return Error::success();
}

/// Writes the elements that a checkpoint gives the weight.
static Error writeReplacement(const Weight &weight, int descriptor) {
  std::string problem;
  std::vector<char> elements = ns::checkpoint::elementsOf(
      weight.replacement, *ns::checkpoint::typeNamed(nameOf(weight.type)), problem);
  if (!problem.empty())
    return createStringError(problem);
  return writeAll(descriptor, StringRef(elements.data(), elements.size()));
}

/// Writes the elements of a weight of `archive` to the end of `descriptor`.
static Error writeWeight(const Weight &weight, int archive, int descriptor) {
  if (!weight.replacement.empty())
    return writeReplacement(weight, descriptor);
  constexpr int64_t kMaxColumns = 1 << 16;
  if (!weight.isContiguous() && weight.sizes.size() == 2 && weight.strides[0] == 1 &&
      weight.sizes[1] <= kMaxColumns && weight.type == ScalarType::F32)
    return writeTransposed<float>(weight, descriptor);
  if (!weight.isContiguous())
    return writeStrided(weight, descriptor);
  uint64_t start = weight.firstElement * elementSize(weight.type);
  return copyRange(weight.inMemory ? -1 : archive, weight.record.offset + start,
                   weight.record.bytes.substr(start, weight.sizeInBytes()), descriptor);
}

static std::string hash(StringRef bytes) {
  XXH128_hash_t value = xxh3_128bits(arrayRefFromStringRef(bytes));
  return utohexstr(value.high64, /*LowerCase=*/true, 16) +
         utohexstr(value.low64, /*LowerCase=*/true, 16);
}

Expected<WeightsFile> ns::pt2::writeSafeTensors(ArrayRef<Weight> weights, int archive,
                                                int descriptor) {
  std::string header = safeTensorsHeader(weights);
  if (Error error = writeAll(descriptor, header))
    return error;
  uint64_t size = header.size();
  for (const Weight *weight : storageOrder(weights)) {
    if (Error error = writeWeight(*weight, archive, descriptor))
      return error;
    size += weight->sizeInBytes();
  }
  if (fsync(descriptor) != 0)
    return systemError("cannot be written");
  std::error_code code;
  sys::fs::mapped_file_region region(sys::fs::convertFDToNativeFile(descriptor),
                                     sys::fs::mapped_file_region::readonly, size, 0, code);
  if (code)
    return createStringError("cannot be read back: " + code.message());
  return WeightsFile{static_cast<int64_t>(size), hash(header),
                     hash(StringRef(region.const_data(), size))};
}
