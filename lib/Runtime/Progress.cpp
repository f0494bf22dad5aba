//===- Progress.cpp - progress on a terminal, plain lines elsewhere -------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Progress.h"

#include <csignal>
#include <cstdio>
#include <unistd.h>

using namespace ns::runtime;

static constexpr double kRedraw = 0.2, kLine = 10; // seconds

static volatile std::sig_atomic_t stopSignal = 0;

void ns::runtime::installSignalHandlers() {
  struct sigaction action = {};
  action.sa_handler = [](int signal) { stopSignal = signal; };
  action.sa_flags = SA_RESETHAND; // the second one ends the process at once
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN); // a file size limit is an error of write, not the end
}

int ns::runtime::stopRequested() { return stopSignal ? 128 + stopSignal : 0; }

static thread_local int quiet = 0;

QuietProgress::QuietProgress() { ++quiet; }
QuietProgress::~QuietProgress() { --quiet; }

Progress::Progress(std::string title, int64_t total, std::string unit)
    : title(std::move(title)), unit(std::move(unit)), total(total),
      terminal(::isatty(STDERR_FILENO)) {}

Progress::~Progress() {
  if (terminal && !quiet && done > 0 && !finished)
    std::fputc('\n', stderr);
}

void Progress::update(int64_t count, const std::string &words) {
  done = count;
  bool last = done >= total;
  double now = clock.seconds();
  if (quiet || finished || (!last && now - lastShown < (terminal ? kRedraw : kLine)))
    return;
  lastShown = now;
  draw(words, last);
  finished = last;
}

void Progress::finish(const std::string &words) {
  if (!quiet && !finished)
    draw(words, true);
  finished = true;
}

static std::string timeText(double seconds) {
  char text[32];
  int64_t s = static_cast<int64_t>(seconds + 0.5);
  if (s >= 3600)
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", (long long)(s / 3600),
                  (long long)(s / 60 % 60), (long long)(s % 60));
  else
    std::snprintf(text, sizeof text, "%lld:%02lld", (long long)(s / 60), (long long)(s % 60));
  return text;
}

void Progress::draw(const std::string &words, bool last) {
  double seconds = clock.seconds(), rate = (done - before) / (seconds > 1e-9 ? seconds : 1e-9);
  std::string left = last ? "in " + timeText(seconds)
                          : "ETA " + timeText((total - done) / (rate > 1e-9 ? rate : 1e-9));
  if (!terminal) {
    std::fprintf(stderr, "%s: %lld/%lld, %.3g %s/s, %s%s%s\n", title.c_str(), (long long)done,
                 (long long)total, rate, unit.c_str(), left.c_str(), words.empty() ? "" : ", ",
                 words.c_str());
    return;
  }
  constexpr int kWidth = 24;
  int full = total > 0 ? static_cast<int>(kWidth * done / total) : kWidth;
  std::string bar = std::string(full, '#') + std::string(kWidth - full, '.');
  std::fprintf(stderr, "\r\033[K%s [%s] %lld/%lld %.3g %s/s %s %s%s", title.c_str(), bar.c_str(),
               (long long)done, (long long)total, rate, unit.c_str(), left.c_str(), words.c_str(),
               last ? "\n" : "");
  std::fflush(stderr);
}
