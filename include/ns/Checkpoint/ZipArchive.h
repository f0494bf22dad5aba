//===- ZipArchive.h - reads zip archives ------------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CHECKPOINT_ZIPARCHIVE_H
#define NS_CHECKPOINT_ZIPARCHIVE_H

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace ns::checkpoint {

/// Bytes that grow in place where the system can: what was not written takes no memory yet.
class Bytes {
public:
  uint8_t *data() { return memory.get(); }
  uint64_t size() const { return count; }
  std::string_view view() const { return {reinterpret_cast<const char *>(memory.get()), count}; }
  /// To `size` bytes, of which the new ones are undefined. Throws Error where there is no memory.
  void grow(uint64_t size);

private:
  struct Free {
    void operator()(uint8_t *bytes) const { std::free(bytes); }
  };
  std::unique_ptr<uint8_t, Free> memory;
  uint64_t count = 0;
};

/// The entries of a zip archive, as PyTorch and NumPy write them, with ZIP64 for archives above
/// 4 GiB. A view of the bytes it is opened on: nothing is copied, and entry names never become
/// paths.
///
/// Trusts nothing: every offset and size lies in the archive, entries do not overlap, names are
/// unique, the two headers of an entry agree. Errors name the entry, what was expected and what was
/// found, but not the file.
class ZipArchive {
public:
  struct Entry {
    std::string_view packed; ///< as they lie in the archive
    uint64_t offset = 0;     ///< of `packed` in the archive
    uint64_t size = 0;       ///< of the entry's bytes
    uint32_t crc = 0;
    bool deflated = false;
  };

  /// Throws Error.
  explicit ZipArchive(std::string_view archive);
  /// For callers without exceptions: nothing and the reason in `error`.
  static std::optional<ZipArchive> open(std::string_view archive, std::string &error) noexcept;

  /// In the order of their names.
  const std::map<std::string_view, Entry> &entries() const { return table; }
  /// Null where there is none of that name.
  const Entry *find(std::string_view name) const;
  /// The folder that holds all entries; empty when there is no single one.
  std::string_view root() const { return rootFolder; }

  /// What is wrong with an entry whose bytes are to be used where they lie: missing, compressed, or
  /// another CRC-32 than the directory's. Empty when nothing is.
  std::string checkStored(std::string_view name) const noexcept;
  /// The bytes of an entry, unpacked and checked against its CRC-32. At most 1040 bytes for each
  /// packed one, which is what deflate can do; memory follows the bytes that really come out.
  /// `check` sees the first 128 KiB of a deflated entry before the rest is unpacked, and may throw.
  /// Throws Error.
  Bytes extract(std::string_view name,
                const std::function<void(std::string_view)> &check = nullptr) const;

private:
  /// An entry's header and bytes in the archive.
  struct Range {
    uint64_t begin, end;
    std::string_view name;
  };
  Range addEntry(std::string_view archive, std::string_view &headers, uint64_t directory);

  std::map<std::string_view, Entry> table;
  std::string_view rootFolder;
};

} // namespace ns::checkpoint

#endif // NS_CHECKPOINT_ZIPARCHIVE_H
