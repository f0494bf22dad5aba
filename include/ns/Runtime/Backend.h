//===- Backend.h - where regions lie and entries run ------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_BACKEND_H
#define NS_RUNTIME_BACKEND_H

#include "ns/Runtime/Artifact.h"

#include <memory>
#include <span>

namespace ns::runtime {

class Host;
class Profile;

/// An entry and its code.
struct EntryCall {
  std::string entry;
  nsrt_entry_fn run;
};

/// The four regions of an artefact and what runs its entries on them. The session alone calls it,
/// from one thread at a time, and knows what is newer where (ns/Runtime/Session.h).
///
/// On a device each region but work has a twin in the host's memory, its mirror. Nothing is copied
/// unasked.
class Backend {
public:
  virtual ~Backend() = default;

  /// The first byte of a region in host memory: the region itself, or its mirror; 64-byte aligned.
  /// Null for the work region of a device.
  virtual char *view(int region) = 0;
  /// Whether the regions lie elsewhere. Where not, `upload`, `settle` and `download` are never
  /// called.
  virtual bool mirrored() const { return false; }

  /// Copies bytes of the mirror to the device, before the entries that are started later and after
  /// those started earlier. May return before the mirror has been read.
  virtual void upload(int /*region*/, uint64_t /*offset*/, uint64_t /*bytes*/) {}
  /// Returns once all uploads have read the mirror, whose bytes may be written then; does not wait
  /// for entries.
  virtual void settle() {}
  /// Copies bytes of the device to the mirror after the entries started so far; there after `wait`.
  virtual void download(int /*region*/, uint64_t /*offset*/, uint64_t /*bytes*/) {}

  /// Copies bytes within the device's region io, after the entries started so far.
  virtual void copy(uint64_t /*from*/, uint64_t /*to*/, uint64_t /*bytes*/) {}

  /// Numbers of the device on their way to the host, beside the mirrors: so many at a time.
  static constexpr int kCells = 64;
  /// Copies at most 8 bytes of the device into a cell after the entries started so far.
  virtual void fetch(int /*cell*/, int /*region*/, uint64_t /*offset*/, uint64_t /*bytes*/) {}
  /// The cell, once its copy is there: waits for nothing that was started after it. Throws Error.
  virtual const char *fetched(int /*cell*/) { return nullptr; }

  /// Runs an entry after those started before. May return before it has ended. Throws Error.
  virtual void start(const std::string &entry, nsrt_entry_fn run) = 0;
  /// Runs entries in turn, as one piece of work where the device has such.
  virtual void startChain(std::span<const EntryCall> calls) {
    for (const EntryCall &call : calls)
      start(call.entry, call.run);
  }
  /// Runs an entry to its end; the profile hears of the entry and of its ops. Throws Error.
  virtual void startTimed(const std::string &entry, nsrt_entry_fn run, Profile &profile) = 0;
  /// Returns when all that was started, and all copies, have ended. Throws Error.
  virtual void wait() {}

  /// Makes the memory of region work present.
  virtual void touchWork() {}
};

std::unique_ptr<Backend> makeCpuBackend(const Artifact &artifact, Host &host);
/// Throws Error where there is no driver, no device, or none that the artefact's image has code
/// for, or too little memory.
std::unique_ptr<Backend> makeCudaBackend(const Artifact &artifact);

/// The GPU that makeCudaBackend would take.
struct GpuFacts {
  std::string name;    ///< such as "NVIDIA H200"
  std::string arch;    ///< such as "sm_90"
  std::string driver;  ///< the newest CUDA it serves, such as "13.0"
  std::string problem; ///< why there is none; the others are empty then
};
GpuFacts findGpu();

} // namespace ns::runtime

#endif // NS_RUNTIME_BACKEND_H
