//===- Block.cpp - the threads of one block -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Block.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

using namespace ns::emulator;

static uint64_t mix(uint64_t x) { // splitmix64
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t Order::at(uint64_t i, uint64_t count, uint64_t salt) const {
  if (kind == Forward)
    return i;
  if (kind == Reverse)
    return count - 1 - i;
  uint64_t stride = mix(seed + salt) % count, start = mix(seed + salt + 1) % count;
  while (std::gcd(stride, count) != 1) // ends: 1 is coprime to every count
    stride = (stride + 1) % count;
  return (i * stride + start) % count;
}

const nsemu_services Block::kServices = {
    Block::barrier,
    Block::warpBarrier,
    Block::shuffle,
    Block::fault,
    Block::check,
    Block::sharedAccess,
    Block::trap,
    {[](float x) { return std::exp2(x); }, [](float x) { return std::log2(x); },
     [](float x) { return std::sin(x); }, [](float x) { return std::cos(x); },
     [](float x) { return std::tanh(x); }}};

Block::Block() : stacks(kMaxThreads) {}

void Block::prepare(nsemu_thread &thread, uint32_t linear) const {
  const unsigned *block = launch->block;
  thread.tid[0] = linear % block[0];
  thread.tid[1] = linear / block[0] % block[1];
  thread.tid[2] = linear / block[0] / block[1];
  for (int i = 0; i < 3; ++i) {
    thread.ctaid[i] = index[i];
    thread.ntid[i] = block[i];
    thread.nctaid[i] = launch->grid[i];
  }
  thread.shared = shared.data();
  thread.services = &kServices;
}

void Block::start(Fiber &fiber, uint32_t linear) {
  prepare(fiber.thread, linear);
  fiber.block = this;
  fiber.linear = linear;
  bool synchronizes = launch->kernel->synchronizes;
  fiber.stackPointer = stacks.prepare(linear, synchronizes ? runOne : runAll, &fiber);
}

std::string Block::run(const Launch &what, const Memory &device, const Order &how,
                       uint64_t blockIndex) {
  launch = &what;
  memory = &device;
  order = how;
  random = mix(order.seed ^ blockIndex);
  const unsigned *grid = what.grid;
  index = {uint32_t(blockIndex % grid[0]), uint32_t(blockIndex / grid[0] % grid[1]),
           uint32_t(blockIndex / grid[0] / grid[1])};
  count = what.block[0] * what.block[1] * what.block[2];
  waiting = exited = 0;
  error.clear();
  shared.start(what.kernel->shared_bytes + what.dynamicShared);
  if (!what.kernel->synchronizes) {
    start(fibers[0], 0);
    nsemu_switch(&scheduler, fibers[0].stackPointer);
    return error;
  }
  for (uint32_t i = 0; i < count; ++i)
    start(fibers[i], i);
  for (uint32_t base = 0; base < count; base += kWarp) {
    Warp &warp = warps[base / kWarp];
    warp.exists = warp.ready = count - base >= kWarp ? ~0u : (1u << (count - base)) - 1;
    warp.atBarrier = warp.atCollective = warp.exited = warp.epoch = 0;
  }
  schedule();
  return error;
}

/// Runs one warp as far as it gets, then the next, until all threads have exited.
void Block::schedule() {
  uint32_t numWarps = (count + kWarp - 1) / kWarp;
  while (exited < count) {
    bool moved = false;
    for (uint32_t i = 0; i < numWarps; ++i) {
      uint32_t w = order.at(i, numWarps, random);
      if (!warps[w].ready)
        continue;
      moved = true;
      nsemu_switch(&scheduler, fibers[w * kWarp + pick(warps[w].ready)].stackPointer);
      if (!error.empty())
        return;
    }
    if (!moved)
      return explainDeadlock();
  }
}

/// The lane that runs next, of those that can.
uint32_t Block::pick(uint32_t ready) {
  if (order.kind == Order::Forward)
    return std::countr_zero(ready);
  if (order.kind == Order::Reverse)
    return kWarp - 1 - std::countl_zero(ready);
  random = mix(random);
  uint32_t turn = random % kWarp;
  return (std::countr_zero(std::rotr(ready, turn)) + turn) % kWarp;
}

/// Goes on with another lane of the warp, or with the scheduler. Returns when `fiber` is ready
/// again.
void Block::leave(Fiber &fiber) {
  uint32_t ready = warpOf(fiber).ready;
  if (!ready)
    return nsemu_switch(&fiber.stackPointer, scheduler);
  nsemu_switch(&fiber.stackPointer,
               fibers[fiber.linear / kWarp * kWarp + pick(ready)].stackPointer);
}

void Block::runOne(void *argument) {
  Fiber &fiber = *static_cast<Fiber *>(argument);
  Block &block = *fiber.block;
  block.launch->kernel->run(&fiber.thread, block.launch->args);
  Warp &warp = block.warpOf(fiber);
  uint32_t bit = 1u << fiber.linear % kWarp;
  warp.ready &= ~bit;
  warp.exited |= bit;
  ++block.exited;
  block.leave(fiber); // for good
}

void Block::runAll(void *argument) {
  Fiber &fiber = *static_cast<Fiber *>(argument);
  Block &block = *fiber.block;
  for (uint32_t i = 0; i < block.count; ++i) {
    fiber.linear = block.order.at(i, block.count, block.random);
    block.prepare(fiber.thread, fiber.linear);
    block.launch->kernel->run(&fiber.thread, block.launch->args);
  }
  nsemu_switch(&fiber.stackPointer, block.scheduler);
}

void Block::barrier(nsemu_thread *thread, uint32_t site) {
  Fiber &fiber = fiberOf(thread);
  Block &block = *fiber.block;
  if (block.waiting == 0) {
    block.barrierSite = site;
    block.firstAtBarrier = fiber.linear;
  } else if (block.barrierSite != site) {
    block.stop(*thread, "divergent barrier: expected all threads at the same one, found thread " +
                            std::to_string(block.firstAtBarrier) + " at another");
  }
  uint32_t bit = 1u << fiber.linear % kWarp;
  if (++block.waiting < block.count) {
    block.warpOf(fiber).ready &= ~bit;
    block.warpOf(fiber).atBarrier |= bit;
    return block.leave(fiber);
  }
  for (uint32_t w = 0; w * kWarp < block.count; ++w) {
    block.warps[w].ready = block.warps[w].exists;
    block.warps[w].atBarrier = 0;
  }
  block.waiting = 0;
  block.shared.barrier();
}

void Block::warpBarrier(nsemu_thread *thread, uint32_t members) {
  Fiber &fiber = fiberOf(thread);
  fiber.block->collect(fiber, {members, kWarpBarrier, 0, 0, 0, 0});
}

uint64_t Block::shuffle(nsemu_thread *thread, uint32_t mode, uint32_t members, uint32_t value,
                        uint32_t lane, uint32_t clamp) {
  Fiber &fiber = fiberOf(thread);
  fiber.block->collect(fiber, {members, mode, value, lane, clamp, 0});
  return fiber.block->warpOf(fiber).requests[fiber.linear % kWarp].result;
}

/// Waits until every member lane has made a request of the same kind for the same members.
void Block::collect(Fiber &fiber, const Request &request) {
  Warp &warp = warpOf(fiber);
  uint32_t lane = fiber.linear % kWarp, bit = 1u << lane;
  uint32_t members = request.members & warp.exists;
  if (!(members & bit))
    stop(fiber.thread, "shuffle: expected the calling lane among the members, found mask " +
                           std::to_string(request.members));
  warp.requests[lane] = request;
  warp.requests[lane].members = members;
  uint32_t others = members & ~bit;
  bool complete = (warp.atCollective & others) == others;
  for (uint32_t rest = others; complete && rest; rest &= rest - 1) {
    const Request &other = warp.requests[std::countr_zero(rest)];
    complete = other.members == members && other.kind == request.kind;
  }
  if (complete)
    return this->complete(fiber, warp, members);
  warp.ready &= ~bit;
  warp.atCollective |= bit;
  leave(fiber);
}

void Block::complete(Fiber &fiber, Warp &warp, uint32_t members) {
  if (warp.requests[fiber.linear % kWarp].kind == kWarpBarrier)
    ++warp.epoch;
  else
    readLanes(fiber, warp, members);
  warp.ready |= members;
  warp.atCollective &= ~members;
}

/// The PTX manual's shfl.sync, for every member.
void Block::readLanes(Fiber &fiber, Warp &warp, uint32_t members) {
  for (uint32_t rest = members; rest; rest &= rest - 1) {
    int lane = std::countr_zero(rest);
    Request &request = warp.requests[lane];
    int segment = request.clamp >> 8 & 31, limit = request.clamp & 31, by = request.lane & 31;
    int first = lane & segment, last = first | (limit & ~segment), from = lane;
    switch (request.kind) {
    case NSEMU_SHUFFLE_UP:
      from = lane - by;
      break;
    case NSEMU_SHUFFLE_DOWN:
      from = lane + by;
      break;
    case NSEMU_SHUFFLE_BFLY:
      from = lane ^ by;
      break;
    case NSEMU_SHUFFLE_IDX:
      from = first | (by & ~segment);
      break;
    }
    bool inside = request.kind == NSEMU_SHUFFLE_UP ? from >= last : from <= last;
    if (!inside)
      from = lane;
    if (!(members >> from & 1))
      stop(fiber.thread, "shuffle: expected lane " + std::to_string(lane) +
                             " to read a member lane, found lane " + std::to_string(from));
    request.result = warp.requests[from].value | uint64_t(inside) << 32;
  }
}
