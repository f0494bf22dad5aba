//===- SharedMemory.h - a block's shared memory and who touched it -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_EMULATOR_SHAREDMEMORY_H
#define NS_LIB_EMULATOR_SHAREDMEMORY_H

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace ns::emulator {

/// Shared memory of one block at a time. Each byte remembers who last read and wrote it since which
/// barrier, so that a missing barrier is found in any order of the threads.
class SharedMemory {
public:
  /// The most that a block can have on any supported GPU.
  static constexpr size_t kMaxBytes = 232448;

  SharedMemory();
  /// A new block: `bytes` bytes of 0xff, which are NaN in every float format.
  void start(size_t bytes);
  /// What was done before is visible to every thread from here.
  void barrier() { ++epoch; }
  char *data() const { return memory; }
  size_t size() const { return bytes; }

  /// An access of thread `thread`, whose warp has met at `warpEpoch` warp barriers. Returns the
  /// conflict with another thread, or empty.
  std::string access(uint64_t offset, uint64_t count, uint32_t flags, uint32_t thread,
                     uint32_t warpEpoch);

private:
  struct Touch {
    uint64_t epoch = 0;
    uint32_t warpEpoch = 0;
    uint16_t thread = 0;
    bool atomic = false;
    bool lanes = false; ///< several lanes of the warp of `thread`, which is the last
    bool warps = false; ///< several warps
  };
  struct Shadow {
    Touch read, written;
  };
  bool conflicts(const Touch &touch, uint32_t thread, uint32_t warpEpoch, bool atomic) const;

  std::unique_ptr<char[]> storage;
  char *memory;
  size_t bytes = 0;
  uint64_t epoch = 0;
  std::vector<Shadow> shadow;
};

} // namespace ns::emulator

#endif // NS_LIB_EMULATOR_SHAREDMEMORY_H
