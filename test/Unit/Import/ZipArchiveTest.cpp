//===- ZipArchiveTest.cpp - archives whole, damaged and hostile -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Import/ZipArchive.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/CRC.h"
#include "llvm/Support/Endian.h"
#include "gtest/gtest.h"

using namespace llvm;
using namespace ns::pt2;

namespace {
struct Part {
  std::string name, bytes;
};

void put(std::string &out, uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; ++i)
    out.push_back(static_cast<char>(value >> (8 * i)));
}

/// An archive of stored entries; with `zip64`, sizes and offsets are in ZIP64 records throughout.
std::string makeZip(ArrayRef<Part> parts, bool zip64 = false) {
  std::string out, directory;
  for (const Part &part : parts) {
    uint64_t at = out.size(), size = part.bytes.size(), field = zip64 ? 0xffffffff : size;
    uint32_t crc = crc32(arrayRefFromStringRef(part.bytes));
    out += "PK\3\4";
    put(out, 45, 2), put(out, 0, 8), put(out, crc, 4), put(out, field, 4), put(out, field, 4),
        put(out, part.name.size(), 2), put(out, 0, 2);
    out += part.name + part.bytes;
    directory += "PK\1\2";
    put(directory, 45, 4), put(directory, 0, 8), put(directory, crc, 4), put(directory, field, 4),
        put(directory, field, 4);
    put(directory, part.name.size(), 2), put(directory, zip64 ? 28 : 0, 2), put(directory, 0, 10);
    put(directory, zip64 ? 0xffffffff : at, 4);
    directory += part.name;
    if (zip64)
      put(directory, 1, 2), put(directory, 24, 2), put(directory, size, 8), put(directory, size, 8),
          put(directory, at, 8);
  }
  uint64_t start = out.size(), end = start + directory.size();
  out += directory;
  if (zip64) {
    out += "PK\6\6";
    put(out, 44, 8), put(out, 45, 4), put(out, 0, 8), put(out, parts.size(), 8),
        put(out, parts.size(), 8), put(out, directory.size(), 8), put(out, start, 8);
    out += "PK\6\7";
    put(out, 0, 4), put(out, end, 8), put(out, 1, 4);
  }
  out += "PK\5\6";
  put(out, 0, 4), put(out, zip64 ? 0xffff : parts.size(), 2),
      put(out, zip64 ? 0xffff : parts.size(), 2);
  put(out, zip64 ? 0xffffffff : directory.size(), 4), put(out, zip64 ? 0xffffffff : start, 4),
      put(out, 0, 2);
  return out;
}

const Part kParts[] = {
    {"m/archive_format", "pt2"}, {"m/empty", ""}, {"m/data/weight_0", "0123456789abcdef"}};

/// The error of opening `bytes` and reading every entry of kParts, or "".
std::string complaint(StringRef bytes) {
  Expected<ZipArchive> zip = ZipArchive::open(MemoryBufferRef(bytes, "test"));
  if (!zip)
    return toString(zip.takeError());
  for (const Part &part : kParts) {
    Expected<ZipArchive::Entry> entry = zip->read(part.name);
    if (!entry)
      return toString(entry.takeError());
    EXPECT_EQ(entry->bytes, part.bytes);
    EXPECT_EQ(entry->bytes.data(), bytes.data() + entry->offset);
  }
  return "";
}

/// Overwrites bytes of the first central header, `at` bytes into it.
std::string patched(std::string zip, size_t at, uint64_t value, unsigned bytes) {
  for (size_t i = zip.find("PK\1\2") + at; bytes-- > 0; value >>= 8)
    zip[i++] = static_cast<char>(value);
  return zip;
}
} // namespace

TEST(ZipArchive, ReadsStoredEntries) {
  for (bool zip64 : {false, true}) {
    std::string bytes = makeZip(kParts, zip64);
    EXPECT_EQ(complaint(bytes), "");
    Expected<ZipArchive> zip = ZipArchive::open(MemoryBufferRef(bytes, "test"));
    ASSERT_TRUE(!!zip);
    EXPECT_EQ(zip->size(), 3u);
    EXPECT_EQ(zip->root(), "m");
    EXPECT_FALSE(zip->contains("m/other"));
  }
}

TEST(ZipArchive, EveryTruncationIsAnError) {
  for (bool zip64 : {false, true}) {
    std::string bytes = makeZip(kParts, zip64);
    for (size_t size = 0; size < bytes.size(); ++size)
      EXPECT_NE(complaint(StringRef(bytes).take_front(size)), "") << size;
  }
}

// A flipped bit gives an error or, in a byte that carries nothing (dates, versions), the same
// entries; `complaint` checks their contents.
TEST(ZipArchive, EveryFlippedBitIsHarmless) {
  for (bool zip64 : {false, true}) {
    std::string bytes = makeZip(kParts, zip64);
    unsigned errors = 0;
    for (size_t i = 0; i < bytes.size() * 8; ++i) {
      bytes[i / 8] ^= 1 << (i % 8);
      errors += !complaint(bytes).empty();
      bytes[i / 8] ^= 1 << (i % 8);
    }
    EXPECT_GT(errors, bytes.size() * 3);
  }
}

TEST(ZipArchive, NamesTheEntryAndWhatIsWrong) {
  std::string bytes = makeZip(kParts);
  EXPECT_EQ(
      complaint(patched(bytes, 10, 8, 2)),
      "entry 'm/archive_format': expected stored bytes (method 0), found compression method 8: "
      "re-export with torch.export.save, do not repack the archive");
  EXPECT_EQ(complaint(patched(bytes, 8, 1, 2)).substr(0, 85),
            "entry 'm/archive_format': expected stored or deflated bytes (method 0 or 8), found en");
  EXPECT_EQ(complaint(patched(bytes, 20, 5, 4)),
            "damaged zip archive: entry 'm/archive_format' is stored in 5 bytes, its size is 3");
  EXPECT_EQ(complaint(patched(patched(bytes, 20, 1 << 30, 4), 24, 1 << 30, 4)),
            "damaged zip archive: entry 'm/archive_format': expected 1073741824 bytes at byte 46, "
            "the directory starts at byte 147");
  EXPECT_EQ(complaint(patched(bytes, 42, 7, 4)),
            "damaged zip archive: entry 'm/archive_format' has no header at byte 7");
  EXPECT_EQ(complaint(patched(bytes, 16, 0, 4)),
            "entry 'm/archive_format' is damaged: expected CRC-32 00000000, found " +
                utohexstr(crc32(arrayRefFromStringRef("pt2")), true, 8));
}

TEST(ZipArchive, RefusesOverlapsAndDuplicates) {
  std::string grown = makeZip(kParts);
  grown = patched(patched(grown, 20, 20, 4), 24, 20, 4);
  EXPECT_NE(complaint(grown).find("' overlap"), std::string::npos) << complaint(grown);
  Part twice[] = {kParts[0], kParts[1], kParts[2], kParts[0]};
  EXPECT_EQ(complaint(makeZip(twice)),
            "damaged zip archive: entry 'm/archive_format' is there twice");
}

TEST(ZipArchive, RefusesCountsThatTheDirectoryCannotHold) {
  std::string bytes = makeZip(kParts);
  size_t end = bytes.rfind("PK\5\6");
  bytes[end + 10] = bytes[end + 11] = '\xff';
  EXPECT_NE(complaint(bytes).find("expected 65535 entries"), std::string::npos);
}
