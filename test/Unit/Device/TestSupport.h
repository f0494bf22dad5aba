//===- TestSupport.h - kernels compiled and run in the test's process -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_TEST_UNIT_DEVICE_TESTSUPPORT_H
#define NS_TEST_UNIT_DEVICE_TESTSUPPORT_H

#include "ns/Emulator/Launch.h"
#include "ns/Target/Device.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <deque>

namespace ns::test {

/// Device memory: allocations of their own, aligned to 256 bytes as cuMemAlloc's are.
class DeviceMemory : public emulator::Memory {
public:
  ~DeviceMemory() override {
    for (auto &[data, bytes] : blocks)
      free(data);
  }
  bool contains(uintptr_t begin, size_t bytes) const override {
    for (auto &[data, size] : blocks) {
      auto first = reinterpret_cast<uintptr_t>(data);
      if (begin >= first && begin - first <= size && bytes <= size - (begin - first))
        return true;
    }
    return false;
  }
  template <class T> T *allocate(const std::vector<T> &values) {
    size_t bytes = values.size() * sizeof(T);
    void *data = aligned_alloc(256, (bytes + 255) / 256 * 256);
    memcpy(data, values.data(), bytes);
    blocks.emplace_back(data, bytes);
    return static_cast<T *>(data);
  }

private:
  std::vector<std::pair<void *, size_t>> blocks;
};

/// `body` within a gpu.module, parsed.
mlir::OwningOpRef<mlir::ModuleOp> parseKernels(mlir::MLIRContext &context, llvm::StringRef body);
/// The gpu.module within.
mlir::gpu::GPUModuleOp kernelsOf(mlir::ModuleOp module);

/// %n: the thread's number in a grid of lines.
inline const std::string kNumber = R"(
  %b = gpu.block_id x
  %d = gpu.block_dim x
  %t = gpu.thread_id x
  %r = arith.muli %b, %d : index
  %n = arith.addi %r, %t : index
)";

/// Whether there is a libdevice, which kernels with math functions need.
bool haveLibdevice();

/// Kernels of MLIR text as an emulation image, loaded.
class Kernels {
public:
  explicit Kernels(llvm::StringRef body);
  ~Kernels();
  const nsemu_kernel *find(const char *name) const { return emulator::findKernel(image, name); }

  /// Runs a kernel on blocks of a line; the arguments are pointers or scalars.
  template <class... Args>
  std::string run(const char *name, unsigned blocks, unsigned threads, Args... args) {
    void *addresses[] = {&args..., nullptr};
    emulator::Launch launch{find(name), {blocks, 1, 1}, {threads, 1, 1}, 0, addresses};
    EXPECT_EQ(emulator::check(launch), "");
    return emulator::launch(launch, memory);
  }

  DeviceMemory memory;

private:
  int file = -1; ///< open as long as the handle: dlopen knows libraries by their path
  void *handle = nullptr;
  const nsemu_image *image = nullptr;
};

/// Sets an environment variable for as long as it lives.
class Environment {
public:
  Environment(const char *name, const char *value) : name(name) {
    if (const char *old = getenv(name))
      before = old;
    setenv(name, value, 1);
  }
  ~Environment() { before.empty() ? unsetenv(name) : setenv(name, before.c_str(), 1); }

private:
  const char *name;
  std::string before;
};

} // namespace ns::test

#endif // NS_TEST_UNIT_DEVICE_TESTSUPPORT_H
