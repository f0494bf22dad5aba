//===- Session.h - one artefact with its memory -----------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_SESSION_H
#define NS_RUNTIME_SESSION_H

#include "ns/Checkpoint/Checkpoint.h"
#include "ns/Runtime/Artifact.h"
#include "ns/Runtime/Host.h"

#include <memory>
#include <string>

namespace ns::runtime {

struct WeightsOptions {
  bool verify = false; ///< compare the hash of the whole file with the one compiled in
  bool ema = true;     ///< prefer averaged weights where a checkpoint has both
};

/// An artefact, the four regions it works on, and the host that serves it. One thread at a time.
class Session {
public:
  explicit Session(const std::string &path);

  const Metadata &metadata() const { return artifact.metadata(); }
  const std::string &path() const { return artifact.path(); }
  Host &host() { return services; }

  bool has(const std::string &entry) const { return artifact.entry(entry) != nullptr; }
  /// Records what the session does from now on (ns/Runtime/Profile.h).
  void startProfile();
  void endProfile();
  /// Null without one.
  Profile *profile() const { return recorded.get(); }

  /// Throws Error where the artefact has no such entry.
  void run(const std::string &entry);

  /// Makes the memory that entries work in present, all threads taking part. Without it the first
  /// step waits for its pages one by one: seconds, where a virtual machine has yet to get them.
  void touchWork();

  bool hasSlot(const std::string &name) const { return metadata().findSlot(name) != nullptr; }
  TensorView slot(const std::string &name) const;
  TensorView param(const std::string &name) const;
  TensorView param(const ParamInfo &info) const;

  /// Reads all parameters. An empty path means the file the artefact was compiled against, whose
  /// size and header hash must be those of then; another one is any file or folder that
  /// ns/Checkpoint/Checkpoint.h reads and fits, all mismatches in one Error.
  void loadWeights(const std::string &path = "", const WeightsOptions &options = {});
  /// Writes all parameters in the session's precision, and what else the compiled-against file
  /// holds.
  void saveWeights(const std::string &path,
                   std::map<std::string, std::string> provenance = {}) const;

  /// What loadWeights read, and the XXH3-128 of it.
  const std::string &weightsFile() const { return loadedFile; }
  const std::string &weightsHash() const { return loadedHash; }

private:
  /// Where the compiled-against weights are now: their path of then, or beside the artefact.
  std::string defaultWeights() const;
  void loadBuffers(const std::vector<checkpoint::Wanted> &buffers);

  Artifact artifact;
  Host services;
  std::unique_ptr<Profile> recorded;
  struct Unmap {
    uint64_t bytes;
    void operator()(char *p) const;
  };
  std::array<std::unique_ptr<char, Unmap>, NSRT_NUM_REGIONS> memory;
  std::array<char *, NSRT_NUM_REGIONS> regions{};
  std::string loadedFile, loadedHash;
};

} // namespace ns::runtime

#endif // NS_RUNTIME_SESSION_H
