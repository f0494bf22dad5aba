//===- Progress.h - progress on a terminal, plain lines elsewhere --*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_PROGRESS_H
#define NS_RUNTIME_PROGRESS_H

#include <chrono>
#include <cstdint>
#include <string>

namespace ns::runtime {

class Stopwatch {
public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

private:
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
};

/// Shows how far a known amount of work has come, with rate and time left, on stderr: one bar
/// redrawn on a terminal, a line now and then where stderr is a pipe or a file.
class Progress {
public:
  Progress(std::string title, int64_t total, std::string unit);
  ~Progress();

  /// So much was done before: it counts for the bar, not for the rate.
  void begin(int64_t done) { before = done; }
  /// `done` of the total so far, with a few words about the state.
  void update(int64_t done, const std::string &words = "");
  /// The work is over, if earlier than planned.
  void finish(const std::string &words = "");

private:
  void draw(const std::string &words, bool last);

  std::string title, unit;
  int64_t total, done = 0, before = 0;
  bool terminal;
  Stopwatch clock;
  double lastShown = -1e9;
  bool finished = false;
};

/// While one lives, this thread's Progress shows nothing: for callers from other languages.
class QuietProgress {
public:
  QuietProgress();
  ~QuietProgress();
};

/// A request to stop (SIGTERM, SIGINT): work ends after the step it is at, saves, and leaves with
/// 128 + the signal.
void installSignalHandlers();
/// 0, or the exit status of the signal that came.
int stopRequested();

/// Thrown where a stop request ends the work; what was to be saved is saved.
struct Stopped {
  int status;
};

} // namespace ns::runtime

#endif // NS_RUNTIME_PROGRESS_H
