//===- Journal.cpp - what an evaluation has done so far -------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Journal.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/FileIO.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

using namespace ns::runtime;
using nlohmann::json;

static constexpr size_t kDigits = 16; ///< of the hash at the start of a line
static constexpr double kSyncSeconds = 1;

static std::string hashOf(std::string_view text) {
  return xxh3Hex(text.data(), text.size()).substr(0, kDigits);
}

std::optional<json> Tape::next() {
  if (left() == 0)
    return std::nullopt;
  return journal->read(journal->sections[section][position++]);
}

int64_t Tape::left() const {
  auto it = journal ? journal->sections.find(section) : decltype(journal->sections.end()){};
  if (!journal || it == journal->sections.end())
    return 0;
  return static_cast<int64_t>(it->second.size()) - position;
}

bool Tape::isFresh() const { return !journal || !journal->sections.count(section); }

void Tape::append(const json &record) {
  if (!journal)
    return;
  std::string text = json::array({section, record}).dump();
  std::vector<Journal::Line> &lines = journal->sections[section];
  lines.push_back({journal->size + kDigits + 1, text.size()});
  position = static_cast<int64_t>(lines.size());
  journal->writeLine(text);
}

void Journal::open() {
  fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0)
    fail("cannot write ", path, ": ", std::strerror(errno));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(fd);
    fd = -1;
    fail(path, ": another evaluation is writing into this folder");
  }
}

Journal::Journal(const std::string &folder, const json &identity, bool restart)
    : path(folder + "/journal.jsonl") {
  open();
  try {
    if (restart || !readBack(identity))
      begin(identity);
  } catch (...) {
    ::close(fd);
    throw;
  }
}

Journal::~Journal() {
  ::fdatasync(fd);
  ::close(fd);
}

static std::string differences(const json &then, const json &now) {
  std::string text;
  for (auto &[key, value] : now.items())
    if (!then.contains(key) || then[key] != value)
      text += str("\n  ", key, ": expected ", then.contains(key) ? then[key].dump() : "none",
                  ", found ", value.dump());
  return text;
}

bool Journal::readBack(const json &identity) {
  InputFile file(path);
  std::string_view text = file.view();
  json first;
  bool finished = false, damaged = false;
  uint64_t at = 0;
  while (at < text.size()) {
    size_t end = text.find('\n', at);
    if (end == std::string_view::npos)
      break; // the process ended within this line
    std::string_view line = text.substr(at, end - at);
    std::string_view content = line.substr(std::min(line.size(), kDigits + 1));
    json record = json::parse(content, nullptr, false);
    damaged = record.is_discarded() || line.substr(0, kDigits) != hashOf(content);
    if (!damaged && first.is_null())
      first = std::move(record);
    else if (!damaged && record.is_array() && record.size() == 2 && record[0].is_string())
      sections[record[0].get<std::string>()].push_back({at + kDigits + 1, content.size()});
    finished = !damaged && record == "finished";
    if (damaged)
      break;
    at = end + 1;
  }
  if (damaged)
    std::fprintf(stderr, "warning: %s: damaged at byte %llu: what follows is measured again\n",
                 path.c_str(), static_cast<unsigned long long>(at));
  if (first.is_null())
    return false;
  std::string other = first.is_object() ? differences(first, identity) : "\n  no header";
  if (!other.empty()) {
    if (finished || sections.empty()) { // nothing is lost
      sections.clear();
      return false;
    }
    fail(path, ": an evaluation that was interrupted has other settings:", other,
         "\ngo on with those, choose another --output, or begin anew with --restart");
  }
  if (at < text.size() && ::ftruncate(fd, static_cast<off_t>(at)) != 0)
    fail("cannot write ", path, ": ", std::strerror(errno));
  size = at;
  ended = finished;
  for (auto &[name, lines] : sections)
    numInherited += static_cast<int64_t>(lines.size());
  return true;
}

void Journal::begin(const json &identity) {
  if (::ftruncate(fd, 0) != 0)
    fail("cannot write ", path, ": ", std::strerror(errno));
  size = 0;
  writeLine(identity.dump());
}

void Journal::finish() {
  if (!ended)
    writeLine(json("finished").dump());
  ended = true;
  ::fdatasync(fd);
}

void Journal::writeLine(const std::string &text) {
  std::string line = hashOf(text) + " " + text + "\n";
  for (size_t done = 0; done < line.size();) {
    ssize_t put = ::write(fd, line.data() + done, line.size() - done);
    if (put < 0 && errno == EINTR)
      continue;
    if (put < 0)
      fail("cannot write ", path, ": ", std::strerror(errno));
    done += put;
  }
  size += line.size();
  ended = false;
  // A crash of the process loses nothing; one of the machine a second's work.
  double now =
      std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  if (now - lastSync > kSyncSeconds) {
    ::fdatasync(fd);
    lastSync = now;
  }
}

json Journal::read(const Line &line) const {
  std::string text(line.bytes, '\0');
  InputFile(path).readAt(line.offset, text.data(), text.size());
  json record = json::parse(text, nullptr, false);
  if (!record.is_array() || record.size() != 2)
    fail(path, ": changed while it was read");
  return record[1];
}
