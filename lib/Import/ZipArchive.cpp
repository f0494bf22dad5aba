//===- ZipArchive.cpp - the zip archive of an export -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Import/ZipArchive.h"

using namespace llvm;
using namespace ns::pt2;

Expected<ZipArchive> ZipArchive::open(MemoryBufferRef buffer) {
  std::string error;
  auto archive = checkpoint::ZipArchive::open(buffer.getBuffer(), error);
  if (!archive)
    return createStringError(error);
  for (const auto &[name, entry] : archive->entries())
    if (entry.deflated)
      return createStringError("entry '" + StringRef(name) +
                               "': expected stored bytes (method 0), found compression method 8: "
                               "re-export with torch.export.save, do not repack the archive");
  return ZipArchive(std::move(*archive));
}

Expected<ZipArchive::Entry> ZipArchive::read(StringRef name) const {
  if (std::string problem = archive.checkStored(name); !problem.empty())
    return createStringError(problem);
  const checkpoint::ZipArchive::Entry *entry = archive.find(name);
  return Entry{entry->packed, entry->offset, entry->crc};
}
