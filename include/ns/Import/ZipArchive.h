//===- ZipArchive.h - the zip archive of an export -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_IMPORT_ZIPARCHIVE_H
#define NS_IMPORT_ZIPARCHIVE_H

#include "ns/Checkpoint/ZipArchive.h"

#include "llvm/Support/Error.h"
#include "llvm/Support/MemoryBufferRef.h"

namespace ns::pt2 {

/// The archive of an export: checkpoint::ZipArchive with LLVM's errors, entries stored
/// uncompressed.
class ZipArchive {
public:
  struct Entry {
    llvm::StringRef bytes;
    uint64_t offset = 0; ///< of `bytes` in the archive
    uint32_t crc = 0;
  };

  static llvm::Expected<ZipArchive> open(llvm::MemoryBufferRef buffer);

  /// The folder that holds all entries, the stem of the exported file; empty when there is no
  /// single one.
  llvm::StringRef root() const { return archive.root(); }
  bool contains(llvm::StringRef name) const { return archive.find(name) != nullptr; }
  size_t size() const { return archive.entries().size(); }

  /// The entry, with its bytes checked against its CRC-32.
  llvm::Expected<Entry> read(llvm::StringRef name) const;

private:
  explicit ZipArchive(checkpoint::ZipArchive archive) : archive(std::move(archive)) {}

  checkpoint::ZipArchive archive;
};

} // namespace ns::pt2

#endif // NS_IMPORT_ZIPARCHIVE_H
