//===- FileIO.cpp - files, read safely and written whole ------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/FileIO.h"
#include "ns/Runtime/Error.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace ns::runtime;

InputFile::InputFile(std::string path) : name(std::move(path)) {
  fd = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    fail("cannot open ", name, ": ", std::strerror(errno));
  struct stat info;
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    fail("cannot read ", name, ": expected a regular file");
  }
  bytes = info.st_size;
}

InputFile::~InputFile() {
  if (mapping)
    ::munmap(mapping, bytes);
  ::close(fd);
}

std::string_view InputFile::view() const {
  if (bytes == 0)
    return "";
  if (!mapping) {
    void *p = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
      fail("cannot read ", name, ": ", std::strerror(errno));
    mapping = p;
  }
  return {static_cast<const char *>(mapping), bytes};
}

void InputFile::readAt(uint64_t offset, void *out, uint64_t count) const {
  char *to = static_cast<char *>(out);
  while (count > 0) {
    ssize_t got = ::pread(fd, to, count, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR)
      continue;
    if (got < 0)
      fail("cannot read ", name, ": ", std::strerror(errno));
    if (got == 0)
      fail("cannot read ", name, ": expected ", count, " more bytes at offset ", offset,
           ", found the end of the file");
    to += got;
    offset += got;
    count -= got;
  }
}

std::vector<uint8_t> ns::runtime::readFile(const std::string &path) {
  InputFile file(path);
  std::vector<uint8_t> data(file.size());
  file.readAt(0, data.data(), data.size());
  return data;
}

std::string ns::runtime::readText(const std::string &path) {
  std::vector<uint8_t> data = readFile(path);
  return {data.begin(), data.end()};
}

/// A device, a pipe, a socket: renaming would put a regular file in its place.
static bool isWrittenInPlace(const std::string &path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

/// What a link leads to (/dev/stdout: the file behind it), for the link to stay one.
static std::string followLinks(std::string path) {
  if (!std::filesystem::is_symlink(path))
    return path;
  std::error_code code;
  std::filesystem::path real = std::filesystem::canonical(path, code);
  return code ? path : real.string();
}

AtomicFile::AtomicFile(std::string path) : target(std::move(path)) {
  if (!isWrittenInPlace(target)) {
    target = followLinks(std::move(target));
    temporary = target + ".tmp." + std::to_string(::getpid());
  }
  fd = temporary.empty()
           ? ::open(target.c_str(), O_WRONLY | O_CLOEXEC)
           : ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0)
    fail("cannot write ", target, ": ", std::strerror(errno));
}

AtomicFile::~AtomicFile() {
  if (fd < 0)
    return;
  ::close(fd);
  if (!temporary.empty())
    ::unlink(temporary.c_str());
}

void AtomicFile::write(const void *data, uint64_t count) {
  const char *from = static_cast<const char *>(data);
  while (count > 0) {
    ssize_t put = ::write(fd, from, count);
    if (put < 0 && errno == EINTR)
      continue;
    if (put < 0)
      fail("cannot write ", target, ": ", std::strerror(errno));
    from += put;
    count -= put;
  }
}

void AtomicFile::commit(bool durable) {
  if (durable && ::fsync(fd) != 0 && errno != EINVAL && errno != EROFS)
    fail("cannot write ", target, ": ", std::strerror(errno));
  bool done = ::close(fd) == 0;
  fd = -1;
  if (!temporary.empty())
    done = done && ::rename(temporary.c_str(), target.c_str()) == 0;
  if (!done) {
    int cause = errno;
    if (!temporary.empty())
      ::unlink(temporary.c_str());
    fail("cannot write ", target, ": ", std::strerror(cause));
  }
}

void ns::runtime::writeTextFile(const std::string &path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

void ns::runtime::makeDirectory(const std::string &path) {
  std::error_code code;
  std::filesystem::create_directories(path, code);
  if (code || !std::filesystem::is_directory(path))
    fail("cannot make the folder ", path, ": ", code ? code.message() : "a file has that name");
}

static std::string hex(XXH128_hash_t hash) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(hash.high64),
                static_cast<unsigned long long>(hash.low64));
  return text;
}

std::string ns::runtime::xxh3Hex(const void *data, size_t count) {
  return hex(XXH3_128bits(data, count));
}

std::string ns::runtime::xxh3HexOfFile(const InputFile &file) {
  XXH3_state_t state;
  XXH3_128bits_reset(&state);
  std::vector<char> buffer(std::min<uint64_t>(file.size(), 4 << 20));
  for (uint64_t at = 0; at < file.size(); at += buffer.size()) {
    uint64_t count = std::min<uint64_t>(buffer.size(), file.size() - at);
    file.readAt(at, buffer.data(), count);
    XXH3_128bits_update(&state, buffer.data(), count);
  }
  return hex(XXH3_128bits_digest(&state));
}
