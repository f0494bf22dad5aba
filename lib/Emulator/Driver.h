//===- Driver.h - what the emulated CUDA driver is made of ------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// build/lib/emulator/libcuda.so.1: the driver API of ns/Cuda/Driver.h on the CPU, for tests. What
// is enqueued on a stream runs as late as CUDA allows: when something waits for it. So a missing
// wait is wrong data, not luck. Device memory can be touched only while work runs.
//
// Environment: NSEMU_RECORD=FILE gets a line for each call that does something; NSEMU_DEVICES,
// NSEMU_MEMORY (MiB) and NSEMU_DRIVER are what the machine is said to have (1, 16384, 13000);
// NSEMU_PROPOSALS (1) is how many algorithms cuBLASLt proposes for a product, at most 3;
// NSEMU_ORDER and NSEMU_THREADS: ns/Emulator/Launch.h.
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_EMULATOR_DRIVER_H
#define NS_LIB_EMULATOR_DRIVER_H

#include "ns/Cuda/Driver.h"
#include "ns/Emulator/Launch.h"

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace ns::cuda {

/// Something on a stream. Returns what it failed with.
struct Operation {
  std::string name;
  std::function<Result()> run;
};

struct GraphOf {
  std::vector<Operation> operations;
};

struct GraphExecOf {
  std::shared_ptr<const std::vector<Operation>> operations;
};

struct StreamOf {
  int number = 0;
  std::deque<Operation> waiting;
  uint64_t enqueued = 0, finished = 0; ///< operations since its making
  std::unique_ptr<GraphOf> capture;    ///< while it captures
  bool invalidated = false;            ///< by a call that may not be captured
};

struct EventOf {
  Stream stream = nullptr; ///< null: never recorded
  uint64_t position = 0;   ///< in the stream: its recording is done when this many have finished
  bool hasTime = true;
  bool reached = false; ///< at least once, by its stream or in a graph
  std::chrono::steady_clock::time_point when;
};

struct ModuleOf {
  void *handle = nullptr;
  int file = -1;
  const nsemu_image *image = nullptr;
  std::map<std::string, std::unique_ptr<struct FunctionOf>> functions;
};

struct FunctionOf {
  const nsemu_kernel *kernel;
};

} // namespace ns::cuda

namespace ns::emulator {

using namespace ns::cuda;

/// Device memory: mappings between guard pages, which only running work can touch; and pinned
/// memory of the host.
class DeviceMemory : public Memory {
public:
  Result allocate(DevicePtr &pointer, size_t bytes);
  Result release(DevicePtr pointer);
  bool contains(uintptr_t begin, size_t bytes) const override;
  bool containsPinned(const void *begin, size_t bytes) const;
  Result allocatePinned(void **pointer, size_t bytes);
  Result releasePinned(void *pointer);
  /// Releases what is left of a context.
  void clear();
  /// Between open and close device memory can be touched.
  void open() { protect(true); }
  void close() { protect(false); }
  size_t total() const;
  size_t used() const { return usedBytes; }
  /// "#2+0x400": the third allocation of the process. The same in every run.
  std::string nameOf(uintptr_t pointer) const;

private:
  struct Block {
    size_t bytes;
    char *mapping;
    size_t mapped;
    int number;
  };
  void protect(bool accessible);
  std::map<uintptr_t, Block> blocks;
  std::map<const char *, size_t> pinned;
  size_t usedBytes = 0;
  int count = 0;
};

/// The state of the emulated driver. Its calls are serialised.
struct Machine {
  std::recursive_mutex lock;
  DeviceMemory memory;
  std::vector<std::unique_ptr<StreamOf>> streams;
  /// Recordings that wait hold theirs, too.
  std::map<Event, std::shared_ptr<EventOf>> events;
  int streamsMade = 0;
  bool initialized = false;
  int retained = 0; ///< of the primary context
  /// After work has failed, the context is lost: every call returns this.
  Result lost = kSuccess;
  FILE *record = nullptr;

  Machine();
  bool capturing() const;
  /// A call that may not be made while a stream captures: invalidates the capture.
  Result refuseInCapture(const char *what);
  Stream find(Stream stream) const;
  /// Runs what waits on a stream until `position` operations have finished.
  Result runUntil(Stream stream, uint64_t position);
  /// Appends to the stream or its capture.
  Result enqueue(Stream stream, Operation operation);
};

Machine &machine();

/// A line to NSEMU_RECORD.
void record(const std::string &line);
/// A line to stderr that says why something is refused.
void complain(const std::string &text);
/// Whether the calling thread has made the context current.
bool &contextIsCurrent();
/// A number of the environment.
long environment(const char *name, long otherwise);

} // namespace ns::emulator

/// For the emulated libraries: enqueues work whose operands lie in device memory, and records it.
extern "C" ns::cuda::Result nsemu_enqueue(ns::cuda::Stream stream, const char *line,
                                          std::function<ns::cuda::Result()> run);
/// Does a stream capture? What builds plans or allocates must not run then.
extern "C" bool nsemu_capturing();
extern "C" bool nsemu_contains(const void *begin, size_t bytes);
extern "C" void nsemu_name(const void *pointer, char *text, size_t bytes);

#endif // NS_LIB_EMULATOR_DRIVER_H
