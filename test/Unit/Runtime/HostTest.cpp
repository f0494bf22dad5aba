//===- HostTest.cpp - the one thread pool, and GEMM -----------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Host.h"

#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace ns::runtime;

/// Waits, bounded, until `count` threads are inside at once: possible only where they truly run
/// side by side.
static bool meet(std::atomic<int> &arrived, int count) {
  ++arrived;
  for (int i = 0; i < 2000 && arrived < count; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return arrived >= count;
}

TEST(Host, TwoThreadsRunAtOnce) {
  Host host;
  host.setThreads(2);
  std::atomic<int> arrived = 0, met = 0;
  host.parallelFor(2, 1, [&](int64_t, int64_t) { met += meet(arrived, 2); });
  EXPECT_EQ(met, 2);
}

TEST(Host, OneLibgompIsMapped) {
  Host host;
  host.setThreads(2);
  host.parallelFor(2, 1, [](int64_t, int64_t) {});
  std::set<std::string> libraries;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);)
    if (size_t at = line.find('/'); at != std::string::npos)
      for (const char *name : {"libgomp", "libomp.", "libiomp"})
        if (line.find(name) != std::string::npos)
          libraries.insert(line.substr(at));
  EXPECT_EQ(libraries.size(), 1u) << (libraries.empty()
                                          ? "none"
                                          : *libraries.begin() + ", " + *libraries.rbegin());
}

TEST(Host, PiecesCoverTheRangeOnceWithAtLeastTheGrain) {
  Host host;
  host.setThreads(3);
  for (int64_t count : {0, 1, 2, 7, 100})
    for (int64_t grain : {1, 5, 1000}) {
      std::vector<std::atomic<int>> hits(count);
      host.parallelFor(count, grain, [&](int64_t begin, int64_t end) {
        EXPECT_TRUE(end - begin >= std::min(grain, count) || count < 2 * grain);
        for (int64_t i = begin; i < end; ++i)
          ++hits[i];
      });
      for (auto &hit : hits)
        EXPECT_EQ(hit, 1);
    }
}

TEST(Host, ExceptionsLeaveTheLoop) {
  Host host;
  host.setThreads(2);
  EXPECT_THROW(host.parallelFor(4, 1, [](int64_t, int64_t) { throw std::runtime_error("x"); }),
               std::runtime_error);
}

/// Row-major reference.
template <class T>
static void naive(bool ta, bool tb, int m, int n, int k, T alpha, const T *a, int lda, const T *b,
                  int ldb, T beta, T *c, int ldc) {
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      T sum = 0;
      for (int p = 0; p < k; ++p)
        sum += (ta ? a[p * lda + i] : a[i * lda + p]) * (tb ? b[j * ldb + p] : b[p * ldb + j]);
      c[i * ldc + j] = alpha * sum + (beta == 0 ? 0 : beta * c[i * ldc + j]);
    }
}

TEST(Host, GemmIsRowMajorForEveryTranspose) {
  Host host;
  const int m = 5, n = 7, k = 3, ld = 9;
  std::vector<double> a(81), b(81);
  for (int i = 0; i < 81; ++i)
    a[i] = i % 11 - 5, b[i] = i % 7 - 3;
  for (int ta : {0, 1})
    for (int tb : {0, 1})
      for (double beta : {0.0, 0.5}) {
        std::vector<double> c(81, 2), d(81, 2);
        host.abi()->gemm_f64(&host, ta, tb, m, n, k, 1.5, a.data(), ld, b.data(), ld, beta,
                             c.data(), ld);
        naive<double>(ta, tb, m, n, k, 1.5, a.data(), ld, b.data(), ld, beta, d.data(), ld);
        EXPECT_EQ(c, d) << ta << tb;
      }
}

TEST(Host, GemmInsideTasksAgreesWithOutside) {
  Host host;
  host.setThreads(2);
  const int64_t n = 128;
  std::vector<float> a(n * n, 0.5f), whole(n * n),
      nested[2] = {std::vector<float>(n * n), std::vector<float>(n * n)};
  host.abi()->gemm_f32(&host, 0, 0, n, n, n, 1, a.data(), n, a.data(), n, 0, whole.data(), n);
  host.parallelFor(2, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      host.abi()->gemm_f32(&host, 0, 0, n, n, n, 1, a.data(), n, a.data(), n, 0, nested[i].data(),
                           n);
  });
  EXPECT_EQ(nested[0], whole);
  EXPECT_EQ(nested[1], whole);
}

TEST(Host, ScratchIsAlignedAndEachThreadsOwn) {
  Host host;
  host.setThreads(2);
  std::atomic<int> arrived = 0;
  void *seen[2];
  host.parallelFor(2, 1, [&](int64_t begin, int64_t) {
    seen[begin] = host.abi()->scratch(&host, 100);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(host.abi()->scratch(&host, 1 << 20)) % 64, 0u);
    seen[begin] = host.abi()->scratch(&host, 64);
    meet(arrived, 2);
  });
  EXPECT_NE(seen[0], seen[1]);
}

TEST(Host, ATaskInsideOfATaskHasScratchOfItsOwn) {
  Host host;
  host.setThreads(2);
  std::atomic<int> broken = 0, nested = 0;
  host.parallelFor(2, 1, [&](int64_t begin, int64_t) {
    auto *outer = static_cast<int64_t *>(host.abi()->scratch(&host, 64));
    *outer = begin + 1;
    host.parallelFor(3, 1, [&](int64_t first, int64_t last) {
      nested += int(last - first);
      auto *inner = static_cast<int64_t *>(host.abi()->scratch(&host, 1 << 22)); // grows: moves
      *inner = -1;
    });
    broken += *outer != begin + 1;
    broken += host.abi()->scratch(&host, 64) != outer;
  });
  EXPECT_EQ(broken, 0);
  EXPECT_EQ(nested, 6);
}
