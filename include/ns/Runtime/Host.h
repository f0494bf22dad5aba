//===- Host.h - services of the host for generated code ---------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_HOST_H
#define NS_RUNTIME_HOST_H

#include "ns/Runtime/Abi.h"
#include "ns/Runtime/Profile.h"

#include <cstdint>
#include <exception>
#include <future>
#include <mutex>

namespace ns::runtime {

/// Does this processor multiply bfloat16? `NSRT_BF16=emulate` in the environment says no for it; any
/// other value there is an Error.
bool hasBf16();

/// The CPU host: one thread pool (libgomp, shared with LibTorch), scratch memory of each thread,
/// GEMM of the BLAS that was found at configure time, which is loaded on the side. A GEMM inside
/// parallel_for runs on the calling thread alone.
class Host {
public:
  /// `loadsBlas`: at once, on the side. Without it the first product loads it, if there is one at
  /// all: entries of a device, or of generated products alone, call none.
  explicit Host(bool loadsBlas = true);
  Host(const Host &) = delete;
  Host &operator=(const Host &) = delete;
  const nsrt_host *abi() const { return &table; }
  /// 0: as many as OpenMP would take.
  void setThreads(int count);
  int threads() const { return numThreads; }
  /// Returns once the BLAS is there; throws Error where it cannot be loaded.
  void waitForBlas();
  /// Whether products of bfloat16 are the processor's: hasBf16, and a BLAS that uses it. Else they
  /// are emulated in float32, where they are exact. Waits for the BLAS.
  bool multipliesBf16();
  bool blasIsLoading() const { return blasLoad.valid(); }

  /// What hears of ops and pieces of parallel work from now on; null: nobody.
  void setProfile(Profile *listener) { profile = listener; }
  Profile *listener() const { return profile; }

  /// Runs fn(begin, end) over [0, count) in pieces of at least grain; the first exception of a
  /// piece is thrown again here after all have ended.
  template <class Fn> void parallelFor(int64_t count, int64_t grain, Fn fn) {
    struct Call {
      Fn &fn;
      std::exception_ptr failure;
      std::mutex lock;
    } call{fn, nullptr, {}};
    auto task = [](void *arg, int64_t begin, int64_t end) {
      Call &call = *static_cast<Call *>(arg);
      try {
        call.fn(begin, end);
      } catch (...) {
        std::lock_guard<std::mutex> guard(call.lock);
        if (!call.failure)
          call.failure = std::current_exception();
      }
    };
    table.parallel_for(this, task, &call, count, grain);
    if (call.failure)
      std::rethrow_exception(call.failure);
  }

private:
  nsrt_host table;
  std::future<void> blasLoad;
  int numThreads = 1;
  Profile *profile = nullptr;
};

} // namespace ns::runtime

#endif // NS_RUNTIME_HOST_H
