//===- Backend.cpp - entries on the CPU ----------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Backend.h"
#include "../HostMemory.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/Host.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>

using namespace ns::runtime;

namespace {

class CpuBackend final : public Backend {
public:
  CpuBackend(const Artifact &artifact, Host &host) : path(artifact.path()), host(host) {
    for (int i = 0; i < NSRT_NUM_REGIONS; ++i) {
      memory[i] = HostMemory(artifact.metadata().regions[i], "a region");
      regions[i] = memory[i].data();
    }
  }

  char *view(int region) override { return regions[region]; }

  void start(const std::string &entry, nsrt_entry_fn run) override {
    if (int32_t status = run(host.abi(), regions.data()))
      fail(path, ": entry '", entry, "' failed with status ", status);
  }

  void startTimed(const std::string &entry, nsrt_entry_fn run, Profile &profile) override {
    profile.beginEntry(entry, host.threads());
    start(entry, run); // the host's services say where its ops begin
    profile.endEntry(profile.now());
  }

  void touchWork() override {
    static constexpr uint64_t kPiece = 16 << 20;
    uint64_t bytes = memory[NSRT_WORK].size();
    std::atomic<uint64_t> next = 0;
    host.parallelFor(host.threads(), 1, [&](int64_t, int64_t) {
      for (uint64_t at; (at = next.fetch_add(kPiece)) < bytes;) // a hint: older kernels ignore it
        ::madvise(regions[NSRT_WORK] + at, std::min(kPiece, bytes - at), MADV_POPULATE_WRITE);
    });
  }

private:
  std::string path;
  Host &host;
  std::array<HostMemory, NSRT_NUM_REGIONS> memory;
  std::array<char *, NSRT_NUM_REGIONS> regions{};
};

} // namespace

std::unique_ptr<Backend> ns::runtime::makeCpuBackend(const Artifact &artifact, Host &host) {
  return std::make_unique<CpuBackend>(artifact, host);
}
