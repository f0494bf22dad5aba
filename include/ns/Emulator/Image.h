//===- Image.h - what an emulation image exports and calls -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An emulation image is an x86-64 shared object made of optimised device code. It exports one
// symbol, `nsemu_image`, a table of its kernels, and takes everything else from the services that
// each thread brings along. lib/Target/DeviceEmulation.cpp writes both sides as LLVM IR: a change
// of a field here is a change there.
//
//===----------------------------------------------------------------------===//

#ifndef NS_EMULATOR_IMAGE_H
#define NS_EMULATOR_IMAGE_H

#include <cstdint>

#define NSEMU_IMAGE_SYMBOL "nsemu_image"
#define NSEMU_IMAGE_VERSION 1

extern "C" {

/// How the lane to read from is found: NVVM's shuffle modes.
enum nsemu_shuffle_mode : uint32_t {
  NSEMU_SHUFFLE_UP,
  NSEMU_SHUFFLE_DOWN,
  NSEMU_SHUFFLE_BFLY,
  NSEMU_SHUFFLE_IDX
};

/// Functions of one float that processors compute by a table; 1 or 2 ulp apart from the hardware's.
enum nsemu_function : uint32_t {
  NSEMU_EXP2,
  NSEMU_LOG2,
  NSEMU_SIN,
  NSEMU_COS,
  NSEMU_TANH,
  NSEMU_NUM_FUNCTIONS
};

/// Bits of `flags`, of an access and of a parameter.
enum nsemu_flags : uint32_t {
  NSEMU_READ = 1,
  NSEMU_WRITE = 2,
  NSEMU_ATOMIC = 4,
  NSEMU_NOALIAS = 8 ///< of a parameter: no other one reaches the bytes that are written
};

struct nsemu_services;

/// What a thread knows of itself; the first argument of every emulated function.
struct nsemu_thread {
  uint32_t tid[3];
  uint32_t ctaid[3];
  uint32_t ntid[3];
  uint32_t nctaid[3];
  char *shared; ///< the block's shared memory, 1024-byte aligned
  const nsemu_services *services;
};

struct nsemu_services {
  /// `site` tells the barriers of a kernel apart: all threads must meet at the same one.
  void (*barrier)(nsemu_thread *, uint32_t site);
  void (*warp_barrier)(nsemu_thread *, uint32_t members);
  /// The value read in the low half; bit 32: the lane read from was in range.
  uint64_t (*shuffle)(nsemu_thread *, uint32_t mode, uint32_t members, uint32_t value,
                      uint32_t lane, uint32_t clamp);
  /// An access through argument number `argument` that is out of its bounds or misaligned. Does not
  /// return.
  void (*fault)(nsemu_thread *, uint32_t argument, uint64_t address, uint64_t bytes, uint32_t align,
                uint32_t flags);
  /// An access through a pointer that is no single argument: checked against device memory.
  void (*check)(nsemu_thread *, uint64_t address, uint64_t bytes, uint32_t align, uint32_t flags);
  /// An access to the object of shared memory at `begin`: bounds, alignment, and races between
  /// barriers.
  void (*shared_access)(nsemu_thread *, uint64_t begin, uint64_t extent, uint64_t address,
                        uint64_t bytes, uint32_t align, uint32_t flags);
  /// Execution reached what no thread may reach (a trap). Does not return.
  void (*trap)(nsemu_thread *);
  float (*function[NSEMU_NUM_FUNCTIONS])(float);
};

/// A parameter of a kernel.
struct nsemu_param {
  uint32_t bytes;  ///< of the value itself: 8 for a pointer
  uint32_t align;  ///< of what a pointer points to; 0: no pointer
  uint64_t extent; ///< bytes behind a pointer; 0: not known
  uint32_t flags;  ///< nsemu_flags: what the kernel may do to them
};

/// A kernel of an image.
struct nsemu_kernel {
  const char *name;
  /// Runs one thread. `args` holds the addresses of the arguments, as cuLaunchKernel takes them.
  void (*run)(nsemu_thread *, void *const *args);
  const nsemu_param *params;
  uint32_t num_params;
  uint32_t shared_bytes; ///< static shared memory
  uint32_t block[3];     ///< the only block size it was compiled for; 0: any
  uint32_t synchronizes; ///< has barriers or shuffles: its threads must run as fibers
};

struct nsemu_image {
  uint32_t version; ///< NSEMU_IMAGE_VERSION
  uint32_t num_kernels;
  const nsemu_kernel *kernels;
};

} // extern "C"

#endif // NS_EMULATOR_IMAGE_H
