//===- DriverCalls.h - calls of the emulated driver -------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_EMULATOR_DRIVERCALLS_H
#define NS_LIB_EMULATOR_DRIVERCALLS_H

#include "Driver.h"

namespace ns::cuda {
// A definition with other parameters than ns/Cuda/Driver.h lists does not compile.
#define NS_DECLARE(name, parameters) extern "C" Result name parameters;
NS_CUDA_DRIVER(NS_DECLARE)
#undef NS_DECLARE
} // namespace ns::cuda

/// The definition of a call, visible outside of the library.
#define NS_CALL(name, parameters)                                                                  \
  extern "C" __attribute__((visibility("default"))) Result name parameters

/// At the beginning of calls that need a context: `m` is the machine, locked.
#define NS_ENTER()                                                                                 \
  ::ns::emulator::Machine &m = ::ns::emulator::machine();                                          \
  std::lock_guard<std::recursive_mutex> guard(m.lock);                                             \
  if (!m.initialized)                                                                              \
    return kNotInitialized;                                                                        \
  if (!::ns::emulator::contextIsCurrent())                                                         \
    return kInvalidContext;                                                                        \
  if (m.lost != kSuccess)                                                                          \
  return m.lost

#endif // NS_LIB_EMULATOR_DRIVERCALLS_H
