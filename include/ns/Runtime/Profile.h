//===- Profile.h - where the time of a run went -----------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_PROFILE_H
#define NS_RUNTIME_PROFILE_H

#include "ns/Runtime/Artifact.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace ns::runtime {

/// Records calls of entries, their ops, the pieces of the host's parallel work on each thread, and
/// named stretches of the host's own work, from its construction on. Times are nanoseconds since
/// then.
///
/// One thread runs entries and stretches, which nest; `piece` alone is called by many, each with a
/// number of its own. Sums are kept of everything, single events of the first million only.
class Profile {
public:
  /// A timed op of an entry, as the metadata lists it (docs/abi.md).
  struct Op {
    std::string layer, kind, shape, kernel;
    int64_t flops = 0, bytes = 0;
  };
  /// An entry, an op of one, a member of a group of ops, or a stretch.
  struct Item {
    std::string name; ///< of the entry or stretch; of an op the layer, or its kind
    int entry = -1;   ///< the item of an op's entry
    int group = -1;   ///< the item of the op that a member is part of
    int firstMember = -1, position = 0; ///< of a group; in the list of ops, or of members
    Op op;
    int64_t calls = 0, total = 0;
    int64_t inner = 0;   ///< of total: time of items inside
    int64_t offered = 0; ///< threads times the time of parallel work
    bool isEntry = false;
  };

  explicit Profile(const Metadata &metadata);

  int64_t now() const;
  void beginEntry(const std::string &name, int threads);
  /// Op number `op` of the entry begins; the one before ends.
  void mark(int64_t op);
  /// Inside of a piece: member number `member` of the current op begins; the one before ends.
  void markMember(int thread, int64_t member);
  /// Op number `op` of the entry ran then: for devices, whose times are known afterwards.
  void addOp(int64_t op, int64_t begin, int64_t end);
  void endEntry(int64_t at);
  void beginStretch(const std::string &name, int threads);
  void endStretch();

  /// A piece of the current item's work on one thread.
  void piece(int thread, int64_t begin, int64_t end);
  /// Work that was offered to all threads has ended.
  void endParallel(int64_t begin, int64_t end);

  /// Chrome's trace event format, with the sums under the key `nullspace`.
  void writeTrace(const std::string &path) const;
  /// Sums by kind, and by layer with the numbers of blocks taken together.
  std::string table() const;

private:
  struct Event {
    int item;
    int64_t begin, end;
  };
  struct Open {
    int item;
    int64_t begin;
  };
  /// What one thread writes, on cache lines of its own.
  struct alignas(64) Lane {
    std::vector<Event> events;
    std::vector<int64_t> busy; ///< by item
    int member = -1;           ///< the item that the thread is at, in a group
    int64_t memberBegin = 0;

    void endMember(int64_t at);
  };
  friend class ProfileWriter;

  void open(int item, int threads);
  void close(int64_t end);
  static void keep(std::vector<Event> &events, Event event);
  int64_t busy(size_t item) const;

  int64_t start;
  std::string title;
  std::vector<Item> items;
  std::map<std::string, int> entryItems, stretchItems;
  std::vector<Open> stack;
  std::vector<Event> events;
  std::vector<std::unique_ptr<Lane>> lanes;
};

/// A stretch of the host's work while it lives; no profile, no cost.
class Stretch {
public:
  Stretch(Profile *profile, const char *name, int threads) : profile(profile) {
    if (profile)
      profile->beginStretch(name, threads);
  }
  Stretch(const Stretch &) = delete;
  Stretch &operator=(const Stretch &) = delete;
  ~Stretch() {
    if (profile)
      profile->endStretch();
  }

private:
  Profile *profile;
};

} // namespace ns::runtime

#endif // NS_RUNTIME_PROFILE_H
