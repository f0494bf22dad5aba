//===- Journal.h - what an evaluation has done so far -----------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_JOURNAL_H
#define NS_RUNTIME_JOURNAL_H

#include <nlohmann/json.hpp>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace ns::runtime {

class Journal;

/// The finished pieces of one measurement, in the order in which it works on them: an interrupted
/// evaluation replays what its journal has and goes on from there. Works without a journal, too.
class Tape {
public:
  Tape() = default;
  Tape(Journal &journal, std::string section) : journal(&journal), section(std::move(section)) {}

  /// The next piece that an earlier run finished; nothing once they are used up.
  std::optional<nlohmann::json> next();
  /// Pieces that are left to replay.
  int64_t left() const;
  /// Adds a piece, durable against the end of the process when this returns.
  void append(const nlohmann::json &record);
  /// True where the earlier run left nothing of this measurement.
  bool isFresh() const;

private:
  Journal *journal = nullptr;
  std::string section;
  int64_t position = 0;
};

/// OUTPUT/journal.jsonl. A line is the XXH3 of its JSON and the JSON: first what the evaluation
/// depends on, then ["measurement", piece]. A line that was cut short is dropped. One process at a
/// time.
class Journal {
public:
  /// Opens the journal of `folder`. Where it belongs to another evaluation (`identity` differs),
  /// that one's is replaced if it came to its end, else it is an Error, unless `restart`, which
  /// always begins anew.
  Journal(const std::string &folder, const nlohmann::json &identity, bool restart);
  ~Journal();
  Journal(const Journal &) = delete;
  Journal &operator=(const Journal &) = delete;

  Tape tape(const std::string &section) { return {*this, section}; }
  /// Finished pieces that were there at the start.
  int64_t inherited() const { return numInherited; }
  /// The evaluation came to its end.
  void finish();

private:
  friend class Tape;
  struct Line {
    uint64_t offset, bytes; ///< of the JSON
  };
  void open();
  /// True where the journal there is one of `identity`, read.
  bool readBack(const nlohmann::json &identity);
  void begin(const nlohmann::json &identity);
  void writeLine(const std::string &text);
  nlohmann::json read(const Line &line) const;

  std::string path;
  int fd = -1;
  uint64_t size = 0;
  std::map<std::string, std::vector<Line>> sections;
  int64_t numInherited = 0;
  double lastSync = 0;
  bool ended = false; ///< the last line says that the evaluation is over
};

} // namespace ns::runtime

#endif // NS_RUNTIME_JOURNAL_H
