//===- HostMemory.cpp - memory of the host by pages ----------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "HostMemory.h"
#include "ns/Runtime/Error.h"

#include <sys/mman.h>

#include <algorithm>

using namespace ns::runtime;

void HostMemory::Unmap::operator()(char *p) const { ::munmap(p, bytes); }

HostMemory::HostMemory(uint64_t wanted, const char *what) {
  static constexpr uint64_t kPage = 4096, kHugePage = 2 << 20;
  uint64_t bytes = (std::max<uint64_t>(wanted, 1) + kPage - 1) / kPage * kPage;
  void *p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    fail("no memory for ", what, " of ", bytes, " bytes");
  pages = {static_cast<char *>(p), Unmap{bytes}};
  if (bytes >= kHugePage)
    ::madvise(p, bytes, MADV_HUGEPAGE);
}
