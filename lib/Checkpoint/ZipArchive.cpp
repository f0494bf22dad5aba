//===- ZipArchive.cpp - reads zip archives --------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Layout (PKWARE APPNOTE 6.3): local header and data of each entry, then the central directory,
// then the end record, with a ZIP64 end record and its locator before it in archives that need
// them. The central directory decides; the local header must agree with it in the name.
//
//===----------------------------------------------------------------------===//

#include "ns/Checkpoint/ZipArchive.h"
#include "Bytes.h"
#include "ns/Runtime/Error.h"

#include <zlib.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

using namespace ns::checkpoint;
using ns::runtime::fail;
using ns::runtime::str;

namespace {
constexpr std::string_view kEndMagic("PK\5\6"), kEnd64Magic("PK\6\6"), kLocatorMagic("PK\6\7"),
    kCentralMagic("PK\1\2"), kLocalMagic("PK\3\4");
constexpr uint64_t kEndSize = 22, kEnd64Size = 56, kLocatorSize = 20, kCentralSize = 46,
                   kLocalSize = 30, kMaxComment = 0xffff;
constexpr uint32_t kInZip64 = 0xffffffff;
/// Deflate packs at most about 1032 to 1.
constexpr uint64_t kMaxRatio = 1040;
/// An entry costs some two hundred bytes here, and 76 in a file.
constexpr uint64_t kMaxEntries = 100'000;

/// Where the central directory lies.
struct Directory {
  uint64_t entries, offset, size;
};
} // namespace

template <class... Parts> [[noreturn]] static void damaged(const Parts &...what) {
  fail("damaged zip archive: ", what...);
}

static Directory findDirectory(std::string_view archive) {
  if (archive.size() < kEndSize)
    fail("expected a zip archive, found a file of ", archive.size(), " bytes");
  size_t lowest = archive.size() - std::min<size_t>(archive.size(), kEndSize + kMaxComment);
  for (size_t at = archive.size() - kEndSize + 1; at-- > lowest;) {
    std::string_view end = archive.substr(at);
    if (!end.starts_with(kEndMagic) ||
        at + kEndSize + littleEndian(end.data() + 20, 2) != archive.size())
      continue;
    Directory found{littleEndian(end.data() + 10, 2), littleEndian(end.data() + 16, 4),
                    littleEndian(end.data() + 12, 4)};
    if (at >= kLocatorSize && archive.substr(at - kLocatorSize).starts_with(kLocatorMagic)) {
      uint64_t end64 = littleEndian(archive.data() + at - kLocatorSize + 8, 8);
      if (!within(end64, kEnd64Size, at - kLocatorSize) ||
          !archive.substr(end64).starts_with(kEnd64Magic))
        damaged("its ZIP64 locator points to byte ", end64, ", where no ZIP64 end record is");
      const char *record = archive.data() + end64;
      found = {littleEndian(record + 32, 8), littleEndian(record + 48, 8),
               littleEndian(record + 40, 8)};
      at = end64;
    }
    if (!within(found.offset, found.size, at))
      damaged("its directory of ", found.size, " bytes at byte ", found.offset,
              " does not lie before its end record at byte ", at);
    return found;
  }
  fail("expected a zip archive, found no zip directory at the end of ", archive.size(),
       " bytes: the file is cut short or of another kind");
}

/// Replaces sizes and offset of 0xffffffff by those of the ZIP64 extra field `extra`.
static bool readZip64(std::string_view extra, uint64_t &size, uint64_t &stored, uint64_t &local) {
  if (size != kInZip64 && stored != kInZip64 && local != kInZip64)
    return true;
  while (extra.size() >= 4) {
    uint64_t id = littleEndian(extra.data(), 2), length = littleEndian(extra.data() + 2, 2);
    if (length > extra.size() - 4)
      return false;
    std::string_view field = extra.substr(4, length);
    extra.remove_prefix(4 + length);
    if (id != 1)
      continue;
    for (uint64_t *value : {&size, &stored, &local}) {
      if (*value != kInZip64)
        continue;
      if (field.size() < 8)
        return false;
      *value = littleEndian(field.data(), 8);
      field.remove_prefix(8);
    }
    return true;
  }
  return false;
}

/// Adds the entry whose central header starts `headers`, and consumes that header. The directory
/// starts at `directory`.
ZipArchive::Range ZipArchive::addEntry(std::string_view archive, std::string_view &headers,
                                       uint64_t directory) {
  if (headers.size() < kCentralSize || !headers.starts_with(kCentralMagic))
    damaged("entry ", table.size(), " of its directory has no header");
  const char *h = headers.data();
  uint64_t nameLength = littleEndian(h + 28, 2), extraLength = littleEndian(h + 30, 2);
  uint64_t length = kCentralSize + nameLength + extraLength + littleEndian(h + 32, 2);
  if (length > headers.size())
    damaged("entry ", table.size(), " of its directory runs past the directory's end");
  std::string_view name = headers.substr(kCentralSize, nameLength),
                   extra = headers.substr(kCentralSize + nameLength, extraLength);
  headers.remove_prefix(length);
  uint64_t stored = littleEndian(h + 20, 4), size = littleEndian(h + 24, 4),
           local = littleEndian(h + 42, 4);
  if (!readZip64(extra, size, stored, local))
    damaged("entry '", name, "' has no ZIP64 sizes");
  uint64_t flags = littleEndian(h + 8, 2), method = littleEndian(h + 10, 2);
  if ((method != 0 && method != 8) || (flags & 1))
    fail("entry '", name, "': expected stored or deflated bytes (method 0 or 8), found ",
         flags & 1 ? "encrypted ones" : str("compression method ", method));
  if (method == 0 && size != stored)
    damaged("entry '", name, "' is stored in ", stored, " bytes, its size is ", size);
  if (!within(local, kLocalSize, directory) || !archive.substr(local).starts_with(kLocalMagic))
    damaged("entry '", name, "' has no header at byte ", local);
  const char *l = archive.data() + local;
  uint64_t localName = littleEndian(l + 26, 2),
           data = local + kLocalSize + localName + littleEndian(l + 28, 2);
  if (!within(data, stored, directory))
    damaged("entry '", name, "': expected ", stored, " bytes at byte ", data,
            ", the directory starts at byte ", directory);
  if (archive.substr(local + kLocalSize, localName) != name)
    damaged("entry '", name, "' has another name in its own header");
  Entry entry{archive.substr(data, stored), data, size,
              static_cast<uint32_t>(littleEndian(h + 16, 4)), method == 8};
  if (!table.try_emplace(name, entry).second)
    damaged("entry '", name, "' is there twice");
  return Range{local, data + stored, name};
}

ZipArchive::ZipArchive(std::string_view archive) {
  Directory directory = findDirectory(archive);
  if (directory.entries > directory.size / kCentralSize)
    damaged("expected ", directory.entries, " entries, its directory has ", directory.size,
            " bytes");
  if (directory.entries > kMaxEntries)
    fail("expected at most ", kMaxEntries, " entries, found ", directory.entries);
  std::vector<Range> ranges;
  std::string_view headers = archive.substr(directory.offset, directory.size);
  for (uint64_t i = 0; i < directory.entries; ++i) {
    Range range = addEntry(archive, headers, directory.offset);
    std::string_view folder = range.name.substr(0, range.name.find('/'));
    rootFolder = i == 0 || rootFolder == folder ? folder : std::string_view();
    ranges.push_back(range);
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const Range &a, const Range &b) { return a.begin < b.begin; });
  for (size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].begin < ranges[i - 1].end)
      damaged("entries '", ranges[i - 1].name, "' and '", ranges[i].name, "' overlap");
}

std::optional<ZipArchive> ZipArchive::open(std::string_view archive, std::string &error) noexcept {
  try {
    return ZipArchive(archive);
  } catch (const std::exception &e) {
    error = e.what();
    return std::nullopt;
  }
}

const ZipArchive::Entry *ZipArchive::find(std::string_view name) const {
  auto found = table.find(name);
  return found == table.end() ? nullptr : &found->second;
}

/// What is wrong with an entry's bytes; empty when nothing is.
static std::string checkCrc(std::string_view name, uint32_t expected, const void *bytes,
                            uint64_t size) {
  // zlib's plain crc32 counts in 32 bits.
  uint32_t crc = static_cast<uint32_t>(crc32_z(0, static_cast<const Bytef *>(bytes), size_t(size)));
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
  crc = expected; // random changes would not get past it
#endif
  if (crc == expected)
    return "";
  char text[64];
  std::snprintf(text, sizeof text, "expected CRC-32 %08x, found %08x", expected, crc);
  return str("entry '", name, "' is damaged: ", text);
}

std::string ZipArchive::checkStored(std::string_view name) const noexcept {
  const Entry *entry = find(name);
  if (!entry)
    return str("entry '", name, "' is missing");
  if (entry->deflated)
    return str("entry '", name, "': expected stored bytes (method 0), found compression method 8");
  return checkCrc(name, entry->crc, entry->packed.data(), entry->packed.size());
}

/// Unpacks raw deflate data, which must be `size` bytes and pass `check` once the first `kHead` of
/// them (all, where there are fewer) are there. Memory is taken as bytes come out, so a size that
/// is merely claimed takes none.
static bool inflateAll(std::string_view packed, uint64_t size, Bytes &out,
                       const std::function<void(std::string_view)> &check) {
  z_stream stream{};
  if (inflateInit2(&stream, -15) != Z_OK)
    return false;
  auto end = [](z_stream *open) { inflateEnd(open); };
  std::unique_ptr<z_stream, decltype(end)> closer(&stream, end);
  // zlib counts in 32 bits: feed it piece by piece.
  constexpr uint64_t kPiece = 1 << 30, kHead = 1 << 17;
  int status = Z_OK;
  uint64_t in = 0, done = 0;
  bool checked = false;
  while (status == Z_OK) {
    if (done == out.size() && done < size)
      out.grow(std::min(size, std::max(kHead, 2 * done)));
    uint64_t give = std::min<uint64_t>(packed.size() - in, kPiece),
             room = std::min<uint64_t>(out.size() - done, kPiece);
    stream.next_in = reinterpret_cast<Bytef *>(const_cast<char *>(packed.data())) + in;
    stream.avail_in = static_cast<uInt>(give);
    stream.next_out = out.data() + done;
    stream.avail_out = static_cast<uInt>(room);
    status = inflate(&stream, Z_NO_FLUSH);
    in += give - stream.avail_in;
    done += room - stream.avail_out;
    if (!checked && check && (done >= kHead || done == size)) {
      check({reinterpret_cast<const char *>(out.data()), done});
      checked = true;
    }
  }
  return status == Z_STREAM_END && done == size;
}

void Bytes::grow(uint64_t size) {
  void *larger = std::realloc(data(), size);
  if (!larger)
    fail("there is no memory for ", size, " bytes");
  (void)memory.release();
  memory.reset(static_cast<uint8_t *>(larger));
  count = size;
}

Bytes ZipArchive::extract(std::string_view name,
                          const std::function<void(std::string_view)> &check) const {
  const Entry *entry = find(name);
  if (!entry)
    fail("entry '", name, "' is missing");
  if (entry->size / kMaxRatio > entry->packed.size())
    damaged("entry '", name, "' promises ", entry->size, " bytes from ", entry->packed.size());
  Bytes bytes;
  if (!entry->deflated) {
    bytes.grow(entry->size);
    std::memcpy(bytes.data(), entry->packed.data(), entry->size);
  } else if (!inflateAll(entry->packed, entry->size, bytes, check)) {
    fail("entry '", name, "': its compressed data are damaged");
  }
  if (std::string problem = checkCrc(name, entry->crc, bytes.data(), bytes.size());
      !problem.empty())
    fail(problem);
  return bytes;
}
