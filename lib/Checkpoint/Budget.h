//===- Budget.h - memory with a limit ---------------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_CHECKPOINT_BUDGET_H
#define NS_LIB_CHECKPOINT_BUDGET_H

#include "ns/Runtime/Error.h"

#include <memory_resource>

namespace ns::checkpoint {

/// The memory of containers that a file from outside fills: at most `limit` bytes at a time. What
/// would pass it throws Error, which names `what` takes them.
class Budget final : public std::pmr::memory_resource {
public:
  Budget(const char *what, size_t limit) : what(what), limit(limit), left(limit) {}
  Budget(const Budget &) = delete;

private:
  void *do_allocate(size_t bytes, size_t alignment) override {
    if (bytes > left)
      runtime::fail("expected ", what, " to take at most ", limit >> 20, " MiB, found more");
    void *result = std::pmr::new_delete_resource()->allocate(bytes, alignment);
    left -= bytes;
    return result;
  }
  void do_deallocate(void *memory, size_t bytes, size_t alignment) override {
    std::pmr::new_delete_resource()->deallocate(memory, bytes, alignment);
    left += bytes;
  }
  bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override {
    return this == &other;
  }

  const char *what;
  size_t limit, left;
};

} // namespace ns::checkpoint

#endif // NS_LIB_CHECKPOINT_BUDGET_H
