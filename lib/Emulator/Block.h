//===- Block.h - the threads of one block -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_EMULATOR_BLOCK_H
#define NS_LIB_EMULATOR_BLOCK_H

#include "Fiber.h"
#include "SharedMemory.h"
#include "ns/Emulator/Launch.h"

#include <array>

namespace ns::emulator {

/// The order in which blocks, warps and lanes run.
struct Order {
  enum Kind { Forward, Reverse, Shuffle } kind = Forward;
  uint64_t seed = 0;

  /// Position `i` of `count` in this order, a permutation for each `salt`.
  uint64_t at(uint64_t i, uint64_t count, uint64_t salt) const;
};

/// Runs blocks, one after another, on the host thread that calls it. The threads of a kernel that
/// synchronises are fibers; those of another run one after another on one fiber.
class Block {
public:
  static constexpr unsigned kMaxThreads = 1024, kWarp = 32, kWarps = kMaxThreads / kWarp;

  Block();
  /// Runs block `index` of the grid. Empty, or what went wrong.
  std::string run(const Launch &launch, const Memory &memory, const Order &order, uint64_t index);

private:
  /// A thread of the kernel; generated code sees the first member only.
  struct Fiber {
    nsemu_thread thread;
    void *stackPointer;
    Block *block;
    uint32_t linear;
  };
  /// What a lane asks of the others.
  struct Request {
    uint32_t members, kind, value, lane, clamp;
    uint64_t result;
  };
  struct Warp {
    uint32_t exists, ready, atBarrier, atCollective, exited, epoch;
    std::array<Request, kWarp> requests;
  };
  static constexpr uint32_t kWarpBarrier = ~0u; ///< a Request's kind besides the shuffle modes

  static const nsemu_services kServices;
  static void barrier(nsemu_thread *, uint32_t site);
  static void warpBarrier(nsemu_thread *, uint32_t members);
  static uint64_t shuffle(nsemu_thread *, uint32_t mode, uint32_t members, uint32_t value,
                          uint32_t lane, uint32_t clamp);
  static void fault(nsemu_thread *, uint32_t argument, uint64_t address, uint64_t bytes,
                    uint32_t align, uint32_t flags);
  static void check(nsemu_thread *, uint64_t address, uint64_t bytes, uint32_t align,
                    uint32_t flags);
  static void sharedAccess(nsemu_thread *, uint64_t begin, uint64_t extent, uint64_t address,
                           uint64_t bytes, uint32_t align, uint32_t flags);
  static void trap(nsemu_thread *);

  static void runOne(void *fiber);
  static void runAll(void *fiber);
  static Fiber &fiberOf(nsemu_thread *thread) { return *reinterpret_cast<Fiber *>(thread); }
  Warp &warpOf(const Fiber &fiber) { return warps[fiber.linear / kWarp]; }

  void prepare(nsemu_thread &thread, uint32_t linear) const;
  void start(Fiber &fiber, uint32_t linear);
  void schedule();
  uint32_t pick(uint32_t ready);
  void leave(Fiber &fiber);
  void collect(Fiber &fiber, const Request &request);
  void complete(Fiber &fiber, Warp &warp, uint32_t members);
  void readLanes(Fiber &fiber, Warp &warp, uint32_t members);
  [[noreturn]] void stop(const nsemu_thread &thread, const std::string &message);
  void explainDeadlock();
  void explainLane(const Warp &warp, uint32_t base, uint32_t lane);
  std::string where(const nsemu_thread &thread) const;

  Stacks stacks;
  std::array<Fiber, kMaxThreads> fibers;
  std::array<Warp, kWarps> warps;
  SharedMemory shared;
  void *scheduler = nullptr;
  const Launch *launch = nullptr;
  const Memory *memory = nullptr;
  Order order;
  uint64_t random = 0;
  uint32_t count = 0, waiting = 0, exited = 0, barrierSite = 0, firstAtBarrier = 0;
  std::array<uint32_t, 3> index;
  std::string error;
};

} // namespace ns::emulator

#endif // NS_LIB_EMULATOR_BLOCK_H
