//===- Launch.h - runs a kernel of an emulation image -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_EMULATOR_LAUNCH_H
#define NS_EMULATOR_LAUNCH_H

#include "ns/Emulator/Image.h"

#include <cstddef>
#include <string>

namespace ns::emulator {

/// Device memory, as the one who allocates it knows it. Called from several threads at once.
class Memory {
public:
  virtual ~Memory() = default;
  /// Whether the bytes from `begin` lie in one allocation.
  virtual bool contains(uintptr_t begin, size_t bytes) const = 0;
};

/// The image of a shared object that dlopen has loaded; null where it exports none of this version.
const nsemu_image *findImage(void *handle);
/// A kernel by name, null where the image has none.
const nsemu_kernel *findKernel(const nsemu_image *image, const char *name);

/// A launch: sizes in blocks and threads, `args` as cuLaunchKernel takes them.
struct Launch {
  const nsemu_kernel *kernel;
  unsigned grid[3];
  unsigned block[3];
  size_t dynamicShared; ///< bytes
  void *const *args;
};

/// What cuLaunchKernel refuses before anything runs (sizes only): empty, or what is wrong.
std::string check(const Launch &launch);

/// Runs all threads and returns empty, or what went wrong: the kernel, block, thread and address,
/// what was expected and what was found. `launch` has passed check(). Some blocks may have run.
///
/// Environment: NSEMU_ORDER=forward (default), reverse, shuffle or shuffle:SEED is the order of
/// blocks, warps and lanes; NSEMU_THREADS is the number of host threads (default: processors).
std::string launch(const Launch &launch, const Memory &memory);

} // namespace ns::emulator

#endif // NS_EMULATOR_LAUNCH_H
