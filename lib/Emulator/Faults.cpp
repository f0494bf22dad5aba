//===- Faults.cpp - what a block's threads may not do -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Block.h"

#include <bit>
#include <cstdio>
#include <cstring>

using namespace ns::emulator;

static std::string triple(const uint32_t *v) {
  return "(" + std::to_string(v[0]) + ", " + std::to_string(v[1]) + ", " + std::to_string(v[2]) +
         ")";
}

static std::string hex(uint64_t value) {
  char text[24];
  snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

static std::string describe(uint64_t bytes, uint64_t address, uint32_t flags) {
  const char *what = flags & NSEMU_ATOMIC  ? "atomic access"
                     : flags & NSEMU_WRITE ? "write"
                                           : "read";
  return std::string(what) + " of " + std::to_string(bytes) + " bytes at " + hex(address) + ": ";
}

static std::string misaligned(uint32_t align, uint64_t address) {
  return "misaligned: expected a multiple of " + std::to_string(align) + ", found a remainder of " +
         std::to_string(address % align);
}

std::string Block::where(const nsemu_thread &thread) const {
  return "kernel " + std::string(launch->kernel->name) + ", block " + triple(thread.ctaid) +
         ", thread " + triple(thread.tid);
}

/// Ends the block: its fibers are never gone back to.
void Block::stop(const nsemu_thread &thread, const std::string &message) {
  error = where(thread) + ": " + message;
  void *abandoned;
  nsemu_switch(&abandoned, scheduler);
  __builtin_unreachable();
}

void Block::fault(nsemu_thread *thread, uint32_t argument, uint64_t address, uint64_t bytes,
                  uint32_t align, uint32_t flags) {
  Block &block = *fiberOf(thread).block;
  std::string message = describe(bytes, address, flags);
  if (address % align)
    block.stop(*thread, message + misaligned(align, address));
  const nsemu_param &param = block.launch->kernel->params[argument];
  uint64_t begin;
  memcpy(&begin, block.launch->args[argument], sizeof begin);
  block.stop(*thread, message + "expected it within argument " + std::to_string(argument) + ", " +
                          std::to_string(param.extent) + " bytes from " + hex(begin) +
                          ", found it at byte " + std::to_string(int64_t(address - begin)));
}

void Block::check(nsemu_thread *thread, uint64_t address, uint64_t bytes, uint32_t align,
                  uint32_t flags) {
  Block &block = *fiberOf(thread).block;
  if (address % align)
    block.stop(*thread, describe(bytes, address, flags) + misaligned(align, address));
  auto begin = reinterpret_cast<uint64_t>(block.shared.data());
  if (address - begin < block.shared.size() && bytes <= block.shared.size() - (address - begin))
    return sharedAccess(thread, begin, block.shared.size(), address, bytes, align, flags);
  if (!block.memory->contains(address, bytes))
    block.stop(*thread, describe(bytes, address, flags) +
                            "expected it within one allocation of device memory, found it outside");
}

void Block::sharedAccess(nsemu_thread *thread, uint64_t begin, uint64_t extent, uint64_t address,
                         uint64_t bytes, uint32_t align, uint32_t flags) {
  Fiber &fiber = fiberOf(thread);
  Block &block = *fiber.block;
  if (address % align)
    block.stop(*thread, describe(bytes, address, flags) + misaligned(align, address));
  auto base = reinterpret_cast<uint64_t>(block.shared.data());
  if (address - begin > extent || bytes > extent - (address - begin))
    block.stop(*thread, describe(bytes, address, flags) +
                            "expected it within the shared object of " + std::to_string(extent) +
                            " bytes, found it at byte " + std::to_string(int64_t(address - begin)));
  uint32_t warpEpoch = block.launch->kernel->synchronizes ? block.warpOf(fiber).epoch : 0;
  std::string conflict = block.shared.access(address - base, bytes, flags, fiber.linear, warpEpoch);
  if (!conflict.empty())
    block.stop(*thread, conflict);
}

void Block::trap(nsemu_thread *thread) {
  fiberOf(thread).block->stop(*thread, "trap: execution reached what should be unreachable");
}

/// What lane `lane` of a warp does while another one waits for it.
void Block::explainLane(const Warp &warp, uint32_t base, uint32_t lane) {
  error += std::to_string(base + lane);
  if (warp.exited >> lane & 1)
    error += " has exited";
  else if (warp.atBarrier >> lane & 1)
    error += " waits at a block barrier";
  else
    error +=
        " waits at another shuffle or warp barrier, for lanes " + hex(warp.requests[lane].members);
}

/// No thread can go on: names one that waits and one that will never come.
void Block::explainDeadlock() {
  for (uint32_t base = 0; base < count; base += kWarp) {
    const Warp &warp = warps[base / kWarp];
    if (!warp.atCollective)
      continue;
    uint32_t lane = std::countr_zero(warp.atCollective);
    const Request &request = warp.requests[lane];
    for (uint32_t rest = request.members; rest; rest &= rest - 1) {
      uint32_t other = std::countr_zero(rest);
      const Request &theirs = warp.requests[other];
      if (warp.atCollective >> other & 1 && theirs.members == request.members &&
          theirs.kind == request.kind)
        continue;
      error = where(fibers[base + lane].thread) +
              (request.kind == kWarpBarrier ? ": warp barrier" : ": shuffle") +
              " with missing lanes: expected lanes " + hex(request.members) +
              " to take part, found that thread ";
      return explainLane(warp, base, other);
    }
  }
  error = where(fibers[firstAtBarrier].thread) +
          ": divergent barrier: expected all threads of the block, found that thread ";
  for (uint32_t base = 0; base < count; base += kWarp) {
    const Warp &warp = warps[base / kWarp];
    if (uint32_t missing = warp.exists & ~warp.atBarrier)
      return explainLane(warp, base, std::countr_zero(missing));
  }
}
