//===- Fiber.cpp - stacks and the switch between them -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Fiber.h"

#include <cstdint>
#include <new>
#include <sys/mman.h>

// Rounding modes and the x87 word are callee-saved as well, but nothing here changes them.
asm(R"(
  .text
  .p2align 4
  .hidden nsemu_switch
  .globl nsemu_switch
  .type nsemu_switch, @function
nsemu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size nsemu_switch, .-nsemu_switch

  .p2align 4
  .hidden nsemu_start
  .globl nsemu_start
  .type nsemu_start, @function
nsemu_start:
  movq %r12, %rdi
  callq *%r13
  ud2
  .size nsemu_start, .-nsemu_start
)");

extern "C" void nsemu_start();

ns::emulator::Stacks::Stacks(unsigned count) : size(count * kBytes) {
  void *memory = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    throw std::bad_alloc();
  base = static_cast<char *>(memory);
  for (unsigned i = 0; i < count; ++i)
    mprotect(base + i * kBytes, 4096, PROT_NONE);
}

ns::emulator::Stacks::~Stacks() { munmap(base, size); }

void *ns::emulator::Stacks::prepare(unsigned index, void (*entry)(void *), void *argument) {
  // Frames that begin at the same place of each stack would share a few lines of the first cache.
  size_t color = index * 320 % 8192 & ~size_t(63);
  auto top = reinterpret_cast<uint64_t *>(base + (index + 1) * kBytes - color);
  *--top = reinterpret_cast<uint64_t>(nsemu_start);
  *--top = 0;                                    // rbp
  *--top = 0;                                    // rbx
  *--top = reinterpret_cast<uint64_t>(argument); // r12
  *--top = reinterpret_cast<uint64_t>(entry);    // r13
  *--top = 0;                                    // r14
  *--top = 0;                                    // r15
  return top;
}
