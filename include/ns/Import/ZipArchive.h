//===- ZipArchive.h - reads zip archives of stored entries -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_IMPORT_ZIPARCHIVE_H
#define NS_IMPORT_ZIPARCHIVE_H

#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/MemoryBufferRef.h"

namespace ns::pt2 {

/// The entries of a zip archive that stores them uncompressed, as PyTorch writes them, with ZIP64
/// for archives above 4 GiB. A view of the bytes it is opened on: nothing is copied, and entry
/// names never become paths.
///
/// `open` trusts nothing: every offset and size lies in the archive, entries do not overlap, names
/// are unique, the two headers of an entry agree. `read` checks the entry's CRC-32. Errors name the
/// entry, what was expected and what was found.
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
  llvm::StringRef root() const { return rootFolder; }
  bool contains(llvm::StringRef name) const { return entries.contains(name); }
  size_t size() const { return entries.size(); }

  /// The entry, with its bytes checked against its CRC-32.
  llvm::Expected<Entry> read(llvm::StringRef name) const;

private:
  /// An entry's header and bytes in the archive.
  struct Range {
    uint64_t begin, end;
    llvm::StringRef name;
  };
  llvm::Expected<Range> addEntry(llvm::StringRef archive, llvm::StringRef &headers,
                                 uint64_t directory);

  llvm::StringMap<Entry> entries;
  llvm::StringRef rootFolder;
};

} // namespace ns::pt2

#endif // NS_IMPORT_ZIPARCHIVE_H
