//===- SharedMemory.cpp - a block's shared memory and who touched it -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "SharedMemory.h"

#include "ns/Emulator/Image.h"

#include <cstring>

using namespace ns::emulator;

static constexpr size_t kAlign = 1024;

SharedMemory::SharedMemory() : storage(new char[kMaxBytes + kAlign]) {
  auto address = reinterpret_cast<uintptr_t>(storage.get());
  memory = reinterpret_cast<char *>((address + kAlign - 1) / kAlign * kAlign);
}

void SharedMemory::start(size_t count) {
  bytes = count;
  ++epoch;
  memset(memory, 0xff, bytes);
  if (shadow.size() < bytes)
    shadow.resize(bytes);
}

/// Whether what `touch` tells of is unordered with an access of `thread` now.
bool SharedMemory::conflicts(const Touch &touch, uint32_t thread, uint32_t warpEpoch,
                             bool atomic) const {
  if (touch.epoch != epoch || (touch.atomic && atomic))
    return false;
  if (touch.warps || touch.thread / 32 != thread / 32)
    return true;
  return touch.warpEpoch == warpEpoch && (touch.thread != thread || touch.lanes);
}

static std::string describe(const char *what, uint64_t offset, uint32_t thread) {
  return std::string(what) + " of shared byte " + std::to_string(offset) +
         ": expected a barrier since thread " + std::to_string(thread) + " ";
}

std::string SharedMemory::access(uint64_t offset, uint64_t count, uint32_t flags, uint32_t thread,
                                 uint32_t warpEpoch) {
  bool atomic = flags & NSEMU_ATOMIC;
  for (uint64_t byte = offset; byte < offset + count; ++byte) {
    auto &[read, written] = shadow[byte];
    const char *what = flags & NSEMU_WRITE ? "write" : "read";
    if (conflicts(written, thread, warpEpoch, atomic))
      return describe(what, byte, written.thread) + "wrote it, found none";
    if (flags & NSEMU_WRITE) {
      if (conflicts(read, thread, warpEpoch, atomic))
        return describe(what, byte, read.thread) + "read it, found none";
      written = {epoch, warpEpoch, uint16_t(thread), atomic};
    }
    if (flags & NSEMU_READ) {
      bool known = read.epoch == epoch,
           warps = known && (read.warps || read.thread / 32 != thread / 32);
      bool lanes = known && read.warpEpoch == warpEpoch && (read.lanes || read.thread != thread);
      read = {epoch, warpEpoch, uint16_t(thread), atomic, lanes, warps};
    }
  }
  return {};
}
