//===- Emulated.h - tests on the emulated driver ----------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_TEST_UNIT_CUDA_EMULATED_H
#define NS_TEST_UNIT_CUDA_EMULATED_H

#include "gtest/gtest.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace ns::test {

/// libnsrt finds the emulator, its record and an empty cache. Before the first use of either
/// library in the process.
class Emulated : public ::testing::Test {
protected:
  static void SetUpTestSuite() {
    ::testing::GTEST_FLAG(death_test_style) = "threadsafe"; // a process of its own for each
    std::filesystem::create_directories(folder());
    ::setenv("NSRT_CUDA_LIBRARY", EMULATOR_FOLDER "/libcuda.so.1", 0);
    ::setenv("NSRT_CUBLASLT_LIBRARY", EMULATOR_FOLDER "/libcublasLt.so.13", 0);
    ::setenv("NSEMU_PROPOSALS", "3", 0);
    ::setenv("XDG_CACHE_HOME", folder().c_str(), 0);
    ::setenv("NSEMU_RECORD", (folder() + "/record").c_str(), 0);
  }

  static std::string folder() {
    static const std::string path = ::testing::TempDir() + "cuda-" + std::to_string(::getpid());
    return path;
  }

  /// How many lines of the record begin with `call`.
  static int recorded(const std::string &call) {
    std::ifstream in(std::getenv("NSEMU_RECORD"));
    int count = 0;
    for (std::string line; std::getline(in, line);)
      count += line.starts_with(call);
    return count;
  }
};

} // namespace ns::test

#endif // NS_TEST_UNIT_CUDA_EMULATED_H
