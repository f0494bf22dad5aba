//===- HostMemory.h - memory of the host by pages ------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_RUNTIME_BACKENDS_HOSTMEMORY_H
#define NS_LIB_RUNTIME_BACKENDS_HOSTMEMORY_H

#include <cstdint>
#include <memory>

namespace ns::runtime {

/// Pages that are zero and cost nothing before they are touched.
class HostMemory {
public:
  HostMemory() = default;
  /// At least one page. Throws Error, which says `what` there is no memory for.
  HostMemory(uint64_t bytes, const char *what);

  char *data() const { return pages.get(); }
  uint64_t size() const { return pages.get_deleter().bytes; }

private:
  struct Unmap {
    uint64_t bytes;
    void operator()(char *p) const;
  };
  std::unique_ptr<char, Unmap> pages;
};

} // namespace ns::runtime

#endif // NS_LIB_RUNTIME_BACKENDS_HOSTMEMORY_H
