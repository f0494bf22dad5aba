//===- DriverMemory.cpp - device memory of the emulated driver ------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Driver.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

using namespace ns::emulator;

static constexpr size_t kPage = 4096, kAlign = 512;

size_t DeviceMemory::total() const { return size_t(environment("NSEMU_MEMORY", 16384)) << 20; }

Result DeviceMemory::allocate(DevicePtr &pointer, size_t bytes) {
  if (bytes == 0)
    return kInvalidValue;
  size_t rounded = (bytes + kAlign - 1) / kAlign * kAlign;
  if (usedBytes + rounded > total())
    return kOutOfMemory;
  size_t inner = (rounded + kPage - 1) / kPage * kPage, mapped = inner + 2 * kPage;
  void *p = ::mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    return kOutOfMemory;
  char *mapping = static_cast<char *>(p);
  // Ends at the guard page behind it. Fresh memory is what a GPU's is: anything; here NaN.
  char *begin = mapping + kPage + inner - rounded;
  ::mprotect(mapping + kPage, inner, PROT_READ | PROT_WRITE);
  std::memset(begin, 0xff, rounded);
  ::mprotect(mapping + kPage, inner, PROT_NONE);
  pointer = reinterpret_cast<DevicePtr>(begin);
  blocks[pointer] = {bytes, mapping, mapped, count++};
  usedBytes += rounded;
  return kSuccess;
}

Result DeviceMemory::release(DevicePtr pointer) {
  auto it = blocks.find(pointer);
  if (it == blocks.end())
    return kInvalidValue;
  usedBytes -= (it->second.bytes + kAlign - 1) / kAlign * kAlign;
  ::munmap(it->second.mapping, it->second.mapped);
  blocks.erase(it);
  return kSuccess;
}

bool DeviceMemory::contains(uintptr_t begin, size_t bytes) const {
  auto it = blocks.upper_bound(begin);
  if (it == blocks.begin())
    return false;
  --it;
  size_t offset = begin - it->first;
  return offset <= it->second.bytes && bytes <= it->second.bytes - offset;
}

bool DeviceMemory::containsPinned(const void *begin, size_t bytes) const {
  auto it = pinned.upper_bound(static_cast<const char *>(begin));
  if (it == pinned.begin())
    return false;
  --it;
  size_t offset = static_cast<const char *>(begin) - it->first;
  return offset <= it->second && bytes <= it->second - offset;
}

Result DeviceMemory::allocatePinned(void **pointer, size_t bytes) {
  *pointer = std::aligned_alloc(kPage, (bytes + kPage - 1) / kPage * kPage);
  if (!*pointer)
    return kOutOfMemory;
  pinned[static_cast<const char *>(*pointer)] = bytes;
  return kSuccess;
}

Result DeviceMemory::releasePinned(void *pointer) {
  if (pinned.erase(static_cast<const char *>(pointer)) == 0)
    return kInvalidValue;
  std::free(pointer);
  return kSuccess;
}

void DeviceMemory::clear() {
  while (!blocks.empty())
    release(blocks.begin()->first);
  while (!pinned.empty())
    releasePinned(const_cast<char *>(pinned.begin()->first));
}

void DeviceMemory::protect(bool accessible) {
  for (auto &[address, block] : blocks)
    ::mprotect(block.mapping + kPage, block.mapped - 2 * kPage,
               accessible ? PROT_READ | PROT_WRITE : PROT_NONE);
}

std::string DeviceMemory::nameOf(uintptr_t pointer) const {
  auto it = blocks.upper_bound(pointer);
  if (it == blocks.begin())
    return "?";
  --it;
  char text[64];
  std::snprintf(text, sizeof text, "#%d+0x%zx", it->second.number, size_t(pointer - it->first));
  return pointer - it->first <= it->second.bytes ? text : "?";
}
