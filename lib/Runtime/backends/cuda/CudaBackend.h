//===- CudaBackend.h - entries as CUDA graphs -------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_CUDA_CUDABACKEND_H
#define NS_RUNTIME_CUDA_CUDABACKEND_H

#include "../HostMemory.h"
#include "Attention.h"
#include "Device.h"
#include "Products.h"
#include "ns/Runtime/Backend.h"

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <vector>

namespace ns::runtime::cuda {

/// One allocation on the device holds the regions, a staging twin of region io, the workspaces of
/// products and attention, and a one. What an entry enqueues the first time runs as it is called, which chooses
/// the algorithms of products; the second time it is captured as a graph, and from then on the
/// graph is launched. So no entry runs twice for one start. A chain of entries is one graph.
///
/// Uploads into io travel on a stream of their own into the staging twin, while entries run; the
/// next start copies them to their places.
///
/// Environment: NSRT_CUDA_SYNC=1 waits after each op and makes no graphs, so that an error names
/// its op.
class CudaBackend : public Backend {
public:
  explicit CudaBackend(const Artifact &artifact);
  ~CudaBackend() override;

  char *view(int region) override { return mirrors[region]; }
  bool mirrored() const override { return true; }
  void upload(int region, uint64_t offset, uint64_t bytes) override;
  void settle() override;
  void download(int region, uint64_t offset, uint64_t bytes) override;
  void copy(uint64_t from, uint64_t to, uint64_t bytes) override;
  void fetch(int cell, int region, uint64_t offset, uint64_t bytes) override;
  const char *fetched(int cell) override;
  void start(const std::string &entry, nsrt_entry_fn run) override {
    startChain(std::array{EntryCall{entry, run}});
  }
  void startChain(std::span<const EntryCall> calls) override;
  void startTimed(const std::string &entry, nsrt_entry_fn run, Profile &profile) override;
  void wait() override;

private:
  /// Bytes of region io that lie in the staging twin.
  struct Staged {
    uint64_t offset, bytes;
  };

  /// An entry with an event before each op and one behind the last.
  struct Timeline {
    GraphExec graph = nullptr;
    std::vector<int64_t> ops;
    std::vector<std::unique_ptr<Marker>> markers;
  };

  void allocate();
  void openAttention();
  void loadKernels();
  void deliverStaged();
  /// Calls the entry, whose calls are enqueued or captured. Throws what the first of them that
  /// failed had to say.
  void enqueue(const std::string &entry, nsrt_entry_fn run);
  /// One graph of all calls.
  GraphExec capture(std::span<const EntryCall> calls);
  void launchGraph(const std::string &entry, GraphExec graph);
  /// An event of `timeline`, now in the stream.
  void addMarker();
  /// Throws, unless `result` of a wait is success.
  void expectEnd(Result result) const;
  std::string whereabouts() const;
  /// Runs fn for an op of the entry: its first error stops the entry's further calls.
  template <class Fn> void guarded(Fn fn);
  /// After an op where NSRT_CUDA_SYNC asks for it.
  void afterOp();

  // Services of nsrt_host.
  static void mark(void *context, int64_t op);
  static void launch(void *context, int64_t kernel, const int64_t gridBlock[6], void *const *args,
                     int64_t count);
  static void gemm(void *context, const nsrt_gemm *op, const void *a, const void *b,
                   const void *bias, const void *beta, void *c);
  static void attention(void *context, const nsrt_attention *op, void *const *args);

  const Artifact &artifact;
  Device device;
  Module module = nullptr;
  std::vector<Function> kernels;
  HostMemory paramsMirror, stateMirror; ///< pages that are there once touched
  std::array<char *, NSRT_NUM_REGIONS> mirrors{};
  std::array<char *, NSRT_NUM_REGIONS> regions{}; ///< device addresses
  DevicePtr twin = 0, workspace = 0, one = 0;
  std::unique_ptr<Products> products; ///< made where an artefact first multiplies
  std::unique_ptr<Attention> attentions;
  nsrt_host table{};

  std::vector<Staged> staged;
  std::optional<Marker> arrived, delivered; ///< staged bytes in the twin; in their places
  char *cells = nullptr;                    ///< of `fetch`, pinned
  std::vector<std::unique_ptr<Marker>> cellMarkers;

  /// Entries and chains of them by name: started once without a graph, or their graph.
  std::map<std::string, GraphExec> graphs;
  std::map<std::string, Timeline> timelines;
  Timeline *timeline = nullptr; ///< of the entry that is being enqueued, where it is timed
  bool synchronous = false, capturing = false;

  std::string entry, failure; ///< of the entry that is being enqueued
  int64_t op = -1;            ///< the last one marked
};

} // namespace ns::runtime::cuda

#endif // NS_RUNTIME_CUDA_CUDABACKEND_H
