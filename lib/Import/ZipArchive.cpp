//===- ZipArchive.cpp - reads zip archives of stored entries -*- C++ -*-===//
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

#include "ns/Import/ZipArchive.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CRC.h"
#include "llvm/Support/Endian.h"

using namespace llvm;
using namespace llvm::support::endian;
using namespace ns::pt2;

namespace {
constexpr StringLiteral kEndMagic("PK\5\6"), kEnd64Magic("PK\6\6"), kLocatorMagic("PK\6\7");
constexpr StringLiteral kCentralMagic("PK\1\2"), kLocalMagic("PK\3\4");
constexpr uint64_t kEndSize = 22, kEnd64Size = 56, kLocatorSize = 20, kCentralSize = 46,
                   kLocalSize = 30;
constexpr uint64_t kMaxComment = 0xffff;
constexpr uint32_t kInZip64 = 0xffffffff;

/// Where the central directory lies.
struct Directory {
  uint64_t entries, offset, size;
};
} // namespace

/// Whether `[offset, offset + size)` lies in an archive of `total` bytes; the sum cannot overflow.
static bool within(uint64_t offset, uint64_t size, uint64_t total) {
  return offset <= total && size <= total - offset;
}

static Error damaged(const Twine &what) {
  return createStringError("damaged zip archive: " + what);
}

static Expected<Directory> findDirectory(StringRef archive) {
  if (archive.size() < kEndSize)
    return createStringError(
        "expected a zip archive as torch.export.save writes it, found a file of " +
        Twine(archive.size()) + " bytes");
  size_t lowest = archive.size() - std::min<size_t>(archive.size(), kEndSize + kMaxComment);
  for (size_t at = archive.size() - kEndSize + 1; at-- > lowest;) {
    StringRef end = archive.substr(at);
    if (!end.starts_with(kEndMagic) || at + kEndSize + read16le(end.data() + 20) != archive.size())
      continue;
    Directory found{read16le(end.data() + 10), read32le(end.data() + 16),
                    read32le(end.data() + 12)};
    if (at >= kLocatorSize && archive.substr(at - kLocatorSize).starts_with(kLocatorMagic)) {
      uint64_t end64 = read64le(archive.data() + at - kLocatorSize + 8);
      if (!within(end64, kEnd64Size, at - kLocatorSize) ||
          !archive.substr(end64).starts_with(kEnd64Magic))
        return damaged("its ZIP64 locator points to byte " + Twine(end64) +
                       ", where no ZIP64 end record is");
      const char *record = archive.data() + end64;
      found = {read64le(record + 32), read64le(record + 48), read64le(record + 40)};
      at = end64;
    }
    if (!within(found.offset, found.size, at))
      return damaged("its directory of " + Twine(found.size) + " bytes at byte " +
                     Twine(found.offset) + " does not lie before its end record at byte " +
                     Twine(at));
    return found;
  }
  return createStringError("expected a zip archive as torch.export.save writes it, found no zip "
                           "directory at the end of " +
                           Twine(archive.size()) +
                           " bytes: the file is cut short or of another kind");
}

/// Replaces sizes and offset of 0xffffffff by those of the ZIP64 extra field `extra`.
static bool readZip64(StringRef extra, uint64_t &size, uint64_t &stored, uint64_t &local) {
  if (size != kInZip64 && stored != kInZip64 && local != kInZip64)
    return true;
  while (extra.size() >= 4) {
    uint64_t id = read16le(extra.data()), length = read16le(extra.data() + 2);
    if (length > extra.size() - 4)
      return false;
    StringRef field = extra.substr(4, length);
    extra = extra.substr(4 + length);
    if (id != 1)
      continue;
    for (uint64_t *value : {&size, &stored, &local}) {
      if (*value != kInZip64)
        continue;
      if (field.size() < 8)
        return false;
      *value = read64le(field.data());
      field = field.substr(8);
    }
    return true;
  }
  return false;
}

/// Adds the entry whose central header starts `headers`, and consumes that header. The directory
/// starts at `directory`.
Expected<ZipArchive::Range> ZipArchive::addEntry(StringRef archive, StringRef &headers,
                                                 uint64_t directory) {
  if (headers.size() < kCentralSize || !headers.starts_with(kCentralMagic))
    return damaged("entry " + Twine(entries.size()) + " of its directory has no header");
  const char *h = headers.data();
  uint64_t nameLength = read16le(h + 28), extraLength = read16le(h + 30),
           commentLength = read16le(h + 32);
  uint64_t length = kCentralSize + nameLength + extraLength + commentLength;
  if (length > headers.size())
    return damaged("entry " + Twine(entries.size()) +
                   " of its directory runs past the directory's end");
  StringRef name = headers.substr(kCentralSize, nameLength),
            extra = headers.substr(kCentralSize + nameLength, extraLength);
  headers = headers.substr(length);
  uint64_t stored = read32le(h + 20), size = read32le(h + 24), local = read32le(h + 42);
  if (!readZip64(extra, size, stored, local))
    return damaged("entry '" + name + "' has no ZIP64 sizes");
  unsigned flags = read16le(h + 8), method = read16le(h + 10);
  if (method != 0 || (flags & 1))
    return createStringError(
        "entry '" + name + "': expected stored bytes (method 0), found " +
        (flags & 1 ? Twine("encrypted ones") : "compression method " + Twine(method)) +
        ": re-export with torch.export.save, do not repack the archive");
  if (size != stored)
    return damaged("entry '" + name + "' is stored in " + Twine(stored) + " bytes, its size is " +
                   Twine(size));
  if (!within(local, kLocalSize, directory) || !archive.substr(local).starts_with(kLocalMagic))
    return damaged("entry '" + name + "' has no header at byte " + Twine(local));
  const char *l = archive.data() + local;
  uint64_t localName = read16le(l + 26), data = local + kLocalSize + localName + read16le(l + 28);
  if (!within(data, size, directory))
    return damaged("entry '" + name + "': expected " + Twine(size) + " bytes at byte " +
                   Twine(data) + ", the directory starts at byte " + Twine(directory));
  if (archive.substr(local + kLocalSize, localName) != name)
    return damaged("entry '" + name + "' has another name in its own header");
  if (!entries.try_emplace(name, Entry{archive.substr(data, size), data, read32le(h + 16)}).second)
    return damaged("entry '" + name + "' is there twice");
  return Range{local, data + size, name};
}

Expected<ZipArchive> ZipArchive::open(MemoryBufferRef buffer) {
  StringRef archive = buffer.getBuffer();
  Expected<Directory> directory = findDirectory(archive);
  if (!directory)
    return directory.takeError();
  if (directory->entries > directory->size / kCentralSize)
    return damaged("expected " + Twine(directory->entries) + " entries, its directory has " +
                   Twine(directory->size) + " bytes");
  ZipArchive result;
  SmallVector<Range> ranges;
  StringRef headers = archive.substr(directory->offset, directory->size);
  for (uint64_t i = 0; i < directory->entries; ++i) {
    Expected<Range> range = result.addEntry(archive, headers, directory->offset);
    if (!range)
      return range.takeError();
    StringRef folder = range->name.split('/').first;
    result.rootFolder = i == 0 || result.rootFolder == folder ? folder : StringRef();
    ranges.push_back(*range);
  }
  llvm::sort(ranges, [](const Range &a, const Range &b) { return a.begin < b.begin; });
  for (size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].begin < ranges[i - 1].end)
      return damaged("entries '" + ranges[i - 1].name + "' and '" + ranges[i].name + "' overlap");
  return result;
}

Expected<ZipArchive::Entry> ZipArchive::read(StringRef name) const {
  auto found = entries.find(name);
  if (found == entries.end())
    return createStringError("entry '" + name + "' is missing");
  const Entry &entry = found->second;
  uint32_t crc = crc32(arrayRefFromStringRef(entry.bytes));
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
  crc = entry.crc; // random changes would not get past it
#endif
  if (crc != entry.crc)
    return createStringError("entry '" + name + "' is damaged: expected CRC-32 " +
                             utohexstr(entry.crc, true, 8) + ", found " + utohexstr(crc, true, 8));
  return entry;
}
