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
#include "ns/Runtime/Backend.h"
#include "ns/Runtime/Host.h"

#include <array>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace ns::runtime {

struct WeightsOptions {
  bool verify = false; ///< compare the hash of the whole file with the one compiled in
  bool ema = true;     ///< prefer averaged weights where a checkpoint has both
};

/// A number that an entry wrote, on its way to the host. It ends before its session.
class Reading {
public:
  /// Waits for this number alone: what was started after its entry goes on.
  double get();

private:
  friend class Session;
  /// Known, or in a cell of the backend.
  struct Value {
    double number = 0;
    Backend *backend = nullptr; ///< null: known
    int cell = 0;
    Dtype dtype = Dtype::F32;
  };
  std::shared_ptr<Value> value;
};

/// An artefact, the four regions it works on, and the host that serves it. One thread at a time.
///
/// On a device a view is of the region's mirror in host memory:
/// - `run` takes the entry's inputs from their views and leaves its outputs in theirs.
/// - After `start`, and for state and parameters after `run` too, what an entry wrote is newer on
/// the device:
///   the next `slot` or `param` that asks for it waits and fetches it. Views from before are stale.
/// - Who writes state or parameters through a view says so with `changed`.
/// On the CPU views are the regions, `start` is `run`, `stage` and `changed` do nothing.
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
  /// Runs an entry without waiting for its end. Its inputs may be written again at once, through
  /// views asked for after the call: an input that nobody asked for is not sent again.
  void start(const std::string &entry);
  /// Starts entries in turn, each on what those before it left: on a device one graph.
  void startChain(const std::vector<std::string> &entries);
  /// Copies slot `from`, an output of the entries started so far, to `to`, of the same type: both
  /// of region io. Waits for nothing.
  void copy(const std::string &from, const std::string &to);
  /// Sends an entry's inputs ahead of its next `start`, while the device works. Who changes one of
  /// them before asks `slot` for a new view.
  void stage(const std::string &entry);
  /// Whether `start` returns before the entry's end.
  bool runsAhead() const { return isMirrored(); }
  /// The slot's one number as the entries started so far leave it. Neither waits nor makes views
  /// stale.
  Reading later(const std::string &slot);
  /// After writing a slot of region state, or a parameter, through its view.
  void changed(const std::string &name);
  /// After writing all parameters.
  void changedParams();

  /// Makes the memory that entries work in present, all threads taking part. Without it the first
  /// step waits for its pages one by one: seconds, where a virtual machine has yet to get them.
  void touchWork();

  bool hasSlot(const std::string &name) const { return metadata().findSlot(name) != nullptr; }
  TensorView slot(const std::string &name) const;
  /// As `slot`, of region io, for who writes all of it: what is newer on the device is not fetched.
  TensorView overwrite(const std::string &name);
  /// Throws Error for one that lies packed once it is loaded.
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
  /// Where entries run: made at the first use, so that `--info` needs no device.
  Backend &device() const;
  nsrt_entry_fn entryFunction(const std::string &entry) const;
  const SlotInfo &slotInfo(const std::string &name) const;
  bool isMirrored() const { return metadata().onDevice(); }
  /// `made`: outputs of entries that will have run by then, which are not sent.
  void sendInputs(const EntryInfo &entry, const std::set<std::string> &made = {});
  /// After its start.
  void countCall(const EntryInfo &entry);
  bool isStale(int region, uint64_t offset) const;
  /// Enqueues the copy that makes a mirror's bytes as new as the device's.
  void download(int region, uint64_t offset, uint64_t bytes) const;
  /// The mirror's memory of a parameter, whatever it holds.
  TensorView memoryOf(const ParamInfo &info) const;

  /// Where the compiled-against weights are now: their path of then, or beside the artefact.
  std::string defaultWeights() const;
  void loadBuffers(const std::vector<checkpoint::Wanted> &buffers);

  Artifact artifact;
  Host services;
  std::unique_ptr<Profile> recorded;
  mutable std::unique_ptr<Backend> backend;
  /// What is newer where. Calls of entries so far; at which an output was last written, by its
  /// offset in region io; as of which a mirror is, by region and offset.
  int64_t started = 0;
  std::map<uint64_t, int64_t> written;
  mutable std::map<std::pair<int, uint64_t>, int64_t> known;
  /// Offsets of inputs that the device has as they are: sent, and no view of them asked for since.
  mutable std::set<uint64_t> staged;
  /// Whose numbers are in the backend's cells, used in turn.
  std::array<std::weak_ptr<Reading::Value>, Backend::kCells> readings;
  int nextCell = 0;
  std::string loadedFile, loadedHash;
};

} // namespace ns::runtime

#endif // NS_RUNTIME_SESSION_H
