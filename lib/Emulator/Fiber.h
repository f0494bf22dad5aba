//===- Fiber.h - stacks and the switch between them -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_EMULATOR_FIBER_H
#define NS_LIB_EMULATOR_FIBER_H

#include <cstddef>

/// Saves the callee's registers on the running stack and its pointer in `*from`, and goes on where
/// the owner of the stack pointer `to` stopped. About 2 ns; swapcontext's two system calls are
/// what a kernel with ten shuffles cannot pay.
extern "C" void nsemu_switch(void **from, void *to);

namespace ns::emulator {

/// Stacks of 64 KiB, each above a page that may not be touched. Memory is taken when used.
class Stacks {
public:
  explicit Stacks(unsigned count);
  ~Stacks();
  Stacks(const Stacks &) = delete;
  Stacks &operator=(const Stacks &) = delete;

  /// A stack pointer for nsemu_switch: `entry(argument)` starts on the empty stack `index`; it must
  /// not return.
  void *prepare(unsigned index, void (*entry)(void *), void *argument);

private:
  static constexpr size_t kBytes = 64 << 10;
  char *base;
  size_t size;
};

} // namespace ns::emulator

#endif // NS_LIB_EMULATOR_FIBER_H
