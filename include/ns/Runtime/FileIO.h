//===- FileIO.h - files, read safely and written whole ----------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_FILEIO_H
#define NS_RUNTIME_FILEIO_H

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ns::runtime {

/// A regular file open for reading. Throws Error where it cannot be opened or read.
class InputFile {
public:
  explicit InputFile(std::string path);
  ~InputFile();
  InputFile(const InputFile &) = delete;
  InputFile &operator=(const InputFile &) = delete;

  const std::string &path() const { return name; }
  uint64_t size() const { return bytes; }
  /// Exactly `count` bytes from `offset`.
  void readAt(uint64_t offset, void *out, uint64_t count) const;
  /// The whole file, mapped on the first call; lives as long as this. Not for several threads
  /// before that call has returned.
  std::string_view view() const;

private:
  std::string name;
  int fd = -1;
  uint64_t bytes = 0;
  mutable void *mapping = nullptr;
};

std::vector<uint8_t> readFile(const std::string &path);
std::string readText(const std::string &path);

/// A file that appears under its name only when whole: written beside it, synced, renamed by
/// commit(). Without commit() (an exception, a full disk) nothing is left and what had that name
/// stays. A link stays one; a device or a pipe is written in place.
class AtomicFile {
public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile &) = delete;
  AtomicFile &operator=(const AtomicFile &) = delete;

  void write(const void *data, uint64_t count);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// `durable`: also against a crash of the machine, at the price of a wait for the disk.
  void commit(bool durable = true);

private:
  std::string target, temporary; // temporary: empty where written in place
  int fd = -1;
};

void writeTextFile(const std::string &path, std::string_view text);

/// Makes the folder and its parents; an Error names the part that is in the way.
void makeDirectory(const std::string &path);

/// XXH3-128 as 32 hex digits, high half first.
std::string xxh3Hex(const void *data, size_t count);
std::string xxh3HexOfFile(const InputFile &file);

} // namespace ns::runtime

#endif // NS_RUNTIME_FILEIO_H
