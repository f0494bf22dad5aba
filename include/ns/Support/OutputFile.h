//===- OutputFile.h - a file that appears whole or not at all ---*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_SUPPORT_OUTPUTFILE_H
#define NS_SUPPORT_OUTPUTFILE_H

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"

#include <memory>
#include <optional>
#include <string>

namespace ns {

/// What a tool writes for `-o PATH`. A regular file is written under a temporary name beside it and
/// renamed by keep(), so that no half-written file ever bears the name; unless it is kept it
/// disappears. A link stays one. What is no regular file (/dev/null, a pipe) is written in place,
/// and "-" is standard output. Errors say why, not where: the caller knows what the file is for.
class OutputFile {
public:
  static llvm::Expected<OutputFile> create(llvm::StringRef path, bool executable = false);
  OutputFile(OutputFile &&) = default;
  OutputFile &operator=(OutputFile &&) = delete;
  ~OutputFile();

  llvm::raw_ostream &os() { return *stream; }

  /// For writers that do not go through os(); flushed before.
  int descriptor();

  /// Error if anything could not be written; `durable`: it is on the disk when this returns.
  llvm::Error flush(bool durable = false);

  /// Ends the file.
  llvm::Error keep();

private:
  explicit OutputFile(llvm::StringRef path) : path(path) {}

  std::string path;
  std::optional<llvm::sys::fs::TempFile> file; // none where written in place
  std::unique_ptr<llvm::raw_fd_ostream> stream;
  int fd = -1;
};

} // namespace ns

#endif // NS_SUPPORT_OUTPUTFILE_H
