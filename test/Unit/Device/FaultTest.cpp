//===- FaultTest.cpp - the emulator finds what a GPU would not survive -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestSupport.h"

#include <cmath>

using namespace ns;
using namespace ns::test;

/// Doubles a vector of 256 floats, 4 for each thread.
static const std::string kDouble = R"(
gpu.func @double(%x: memref<256xf32> {llvm.align = 16, llvm.noalias, llvm.readonly},
                 %y: memref<256xf32> {llvm.align = 16, llvm.noalias}) kernel {
)" + kNumber + R"(
  %c4 = arith.constant 4 : index
  %i = arith.muli %n, %c4 : index
  %v = vector.load %x[%i] {alignment = 16 : i64} : memref<256xf32>, vector<4xf32>
  %w = arith.addf %v, %v : vector<4xf32>
  vector.store %w, %y[%i] {alignment = 16 : i64} : memref<256xf32>, vector<4xf32>
  gpu.return
})";

static std::vector<float> numbers(size_t count) {
  std::vector<float> result(count);
  for (size_t i = 0; i < count; ++i)
    result[i] = float(i) - 3;
  return result;
}

#define EXPECT_FOUND(text, part)                                                                   \
  EXPECT_NE((text).find(part), std::string::npos) << "expected '" << (part) << "' in: " << (text)

TEST(Fault, none) {
  Kernels kernels(kDouble);
  float *x = kernels.memory.allocate(numbers(256)), *y = kernels.memory.allocate(numbers(256));
  ASSERT_EQ(kernels.run("double", 2, 32, x, y), "");
  for (int i = 0; i < 256; ++i)
    ASSERT_EQ(y[i], 2 * x[i]);
}

TEST(Fault, oneBlockTooMany) {
  Kernels kernels(kDouble);
  float *x = kernels.memory.allocate(numbers(512)), *y = kernels.memory.allocate(numbers(512));
  std::string error = kernels.run("double", 3, 32, x, y);
  EXPECT_FOUND(error, "kernel double, block (2, 0, 0), thread (0, 0, 0): read of 16 bytes");
  EXPECT_FOUND(error, "expected it within argument 0, 1024 bytes from");
  EXPECT_FOUND(error, "found it at byte 1024");
}

TEST(Fault, misalignedArgument) {
  Kernels kernels(kDouble);
  float *x = kernels.memory.allocate(numbers(512)), *y = kernels.memory.allocate(numbers(256));
  EXPECT_FOUND(kernels.run("double", 2, 32, x + 1, y), "misaligned: expected a multiple of 16");
}

TEST(Fault, argumentOutsideDeviceMemory) {
  Kernels kernels(kDouble);
  float *x = kernels.memory.allocate(numbers(255)), *y = kernels.memory.allocate(numbers(256));
  EXPECT_FOUND(kernels.run("double", 1, 32, x, y), "argument 0 (");
  EXPECT_FOUND(kernels.run("double", 1, 32, x, y),
               "expected 1024 bytes of one allocation of device memory");
  EXPECT_FOUND(kernels.run("double", 1, 32, static_cast<float *>(nullptr), y), "(0x0)");
}

TEST(Fault, noaliasOverlap) {
  Kernels kernels(kDouble);
  float *x = kernels.memory.allocate(numbers(512));
  EXPECT_FOUND(kernels.run("double", 2, 32, x, x + 128),
               "expected no other argument to reach its 1024 bytes, found argument 1");
  EXPECT_EQ(kernels.run("double", 2, 32, x, x + 256), "");
}

TEST(Fault, misalignedAccess) {
  Kernels kernels(R"(
gpu.func @at(%x: memref<64xf32> {llvm.align = 16}, %i: index) kernel {
  %z = arith.constant dense<0.0> : vector<4xf32>
  vector.store %z, %x[%i] {alignment = 16 : i64} : memref<64xf32>, vector<4xf32>
  gpu.return
})");
  float *x = kernels.memory.allocate(numbers(64));
  EXPECT_EQ(kernels.run("at", 1, 1, x, int64_t(4)), "");
  EXPECT_FOUND(kernels.run("at", 1, 1, x, int64_t(6)),
               "misaligned: expected a multiple of 16, found a remainder of 8");
  EXPECT_FOUND(kernels.run("at", 1, 1, x, int64_t(-4)), "found it at byte -16");
}

/// Each thread reads what its neighbour wrote, with or without a barrier between; at the end the
/// threads that `last` selects meet again.
static std::string neighbours(bool barrier) {
  return std::string(R"(
gpu.func @neighbours(%y: memref<64xf32>) workgroup(%s: memref<64xf32, #gpu.address_space<workgroup>>)
    kernel attributes {known_block_size = array<i32: 64, 1, 1>} {
  %c1 = arith.constant 1 : index
  %c63 = arith.constant 63 : index
  %t = gpu.thread_id x
  %i = arith.index_cast %t : index to i32
  %f = arith.sitofp %i : i32 to f32
  memref.store %f, %s[%t] : memref<64xf32, #gpu.address_space<workgroup>>
)") + (barrier ? "  gpu.barrier\n" : "") +
         R"(
  %n = arith.addi %t, %c1 : index
  %m = arith.andi %n, %c63 : index
  %v = memref.load %s[%m] : memref<64xf32, #gpu.address_space<workgroup>>
  memref.store %v, %y[%t] : memref<64xf32>
  gpu.return
})";
}

TEST(Fault, missingBarrier) {
  for (const char *order : {"forward", "reverse", "shuffle", "shuffle:7"}) {
    Environment environment("NSEMU_ORDER", order);
    Kernels with(neighbours(true));
    float *y = with.memory.allocate(numbers(64));
    EXPECT_EQ(with.run("neighbours", 1, 64, y), "");
    for (int i = 0; i < 64; ++i)
      EXPECT_EQ(y[i], (i + 1) % 64);
    Kernels without(neighbours(false));
    y = without.memory.allocate(numbers(64));
    std::string error = without.run("neighbours", 1, 64, y);
    EXPECT_FOUND(error, "expected a barrier since thread");
  }
}

TEST(Fault, uninitializedShared) {
  Kernels kernels(R"(
gpu.func @read(%y: memref<2xf32>) workgroup(%s: memref<2xf32, #gpu.address_space<workgroup>>) kernel {
  %c0 = arith.constant 0 : index
  %one = arith.constant 1.0 : f32
  %t = gpu.thread_id x
  %first = arith.cmpi eq, %t, %c0 : index
  scf.if %first {
    memref.store %one, %s[%t] : memref<2xf32, #gpu.address_space<workgroup>>
  }
  %v = memref.load %s[%t] : memref<2xf32, #gpu.address_space<workgroup>>
  memref.store %v, %y[%t] : memref<2xf32>
  gpu.return
})");
  float *y = kernels.memory.allocate(numbers(2));
  EXPECT_EQ(kernels.run("read", 1, 2, y), "");
  EXPECT_EQ(y[0], 1);
  EXPECT_TRUE(std::isnan(y[1]));
}

TEST(Fault, sharedOutOfBounds) {
  Kernels kernels(R"(
gpu.func @over(%i: index, %y: memref<2xf32>) workgroup(%a: memref<8xf32, #gpu.address_space<workgroup>>,
                                    %b: memref<8xf32, #gpu.address_space<workgroup>>) kernel {
  %one = arith.constant 1.0 : f32
  memref.store %one, %a[%i] : memref<8xf32, #gpu.address_space<workgroup>>
  memref.store %one, %b[%i] : memref<8xf32, #gpu.address_space<workgroup>>
  gpu.barrier
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %u = memref.load %a[%c1] : memref<8xf32, #gpu.address_space<workgroup>>
  %v = memref.load %b[%c0] : memref<8xf32, #gpu.address_space<workgroup>>
  memref.store %u, %y[%c0] : memref<2xf32>
  memref.store %v, %y[%c1] : memref<2xf32>
  gpu.return
})");
  float *y = kernels.memory.allocate(numbers(2));
  EXPECT_EQ(kernels.run("over", 1, 1, int64_t(7), y), "");
  EXPECT_FOUND(kernels.run("over", 1, 1, int64_t(8), y),
               "within the shared object of 32 bytes, found it at byte 32");
}

/// A barrier that only threads below `count` reach.
static constexpr llvm::StringLiteral kDivergent = R"(
gpu.func @some(%count: index) kernel {
  %t = gpu.thread_id x
  %in = arith.cmpi ult, %t, %count : index
  scf.if %in {
    gpu.barrier
  }
  gpu.return
}
gpu.func @apart(%count: index, %y: memref<64xf32>) kernel {
  %one = arith.constant 1.0 : f32
  %two = arith.constant 2.0 : f32
  %t = gpu.thread_id x
  %in = arith.cmpi ult, %t, %count : index
  scf.if %in {
    memref.store %one, %y[%t] : memref<64xf32>
    gpu.barrier
    memref.store %two, %y[%t] : memref<64xf32>
  } else {
    gpu.barrier
    memref.store %one, %y[%t] : memref<64xf32>
  }
  gpu.return
})";

TEST(Fault, divergentBarrier) {
  Kernels kernels(kDivergent);
  EXPECT_EQ(kernels.run("some", 1, 64, int64_t(64)), "");
  EXPECT_EQ(kernels.run("some", 1, 64, int64_t(0)), "");
  std::string error = kernels.run("some", 1, 64, int64_t(40));
  EXPECT_FOUND(error, "kernel some, block (0, 0, 0), thread (0, 0, 0): divergent barrier");
  EXPECT_FOUND(error, "found that thread 40 has exited");
  float *y = kernels.memory.allocate(numbers(64));
  EXPECT_EQ(kernels.run("apart", 1, 64, int64_t(64), y), "");
  EXPECT_FOUND(kernels.run("apart", 1, 64, int64_t(32), y), "found thread 0 at another");
}

/// A shuffle that only lanes below `count` reach, for all 32.
static constexpr llvm::StringLiteral kShuffle = R"(
gpu.func @some(%count: index, %y: memref<32xf32>) kernel {
  %one = arith.constant 1 : i32
  %all = arith.constant 32 : i32
  %t = gpu.thread_id x
  %in = arith.cmpi ult, %t, %count : index
  scf.if %in {
    %v = memref.load %y[%t] : memref<32xf32>
    %w, %valid = gpu.shuffle xor %v, %one, %all : f32
    memref.store %w, %y[%t] : memref<32xf32>
  }
  gpu.return
}
gpu.func @waiting(%count: index, %y: memref<32xf32>) kernel {
  %one = arith.constant 1 : i32
  %all = arith.constant 32 : i32
  %t = gpu.thread_id x
  %in = arith.cmpi ult, %t, %count : index
  scf.if %in {
    %v = memref.load %y[%t] : memref<32xf32>
    %w, %valid = gpu.shuffle xor %v, %one, %all : f32
    memref.store %w, %y[%t] : memref<32xf32>
  } else {
    gpu.barrier
  }
  gpu.return
})";

TEST(Fault, shuffleWithMissingLanes) {
  Kernels kernels(kShuffle);
  float *y = kernels.memory.allocate(numbers(32));
  EXPECT_EQ(kernels.run("some", 1, 32, int64_t(32), y), "");
  EXPECT_EQ(y[6], 4);
  std::string error = kernels.run("some", 1, 32, int64_t(20), y);
  EXPECT_FOUND(error, "kernel some, block (0, 0, 0), thread (0, 0, 0): shuffle with missing lanes: "
                      "expected lanes 0xffffffff to take part, found that thread 20 has exited");
  EXPECT_FOUND(kernels.run("waiting", 1, 32, int64_t(20), y),
               "found that thread 20 waits at a block barrier");
}

TEST(Fault, launchSizes) {
  Kernels kernels(kDouble + neighbours(true));
  auto check = [&](const char *name, std::array<unsigned, 3> grid, std::array<unsigned, 3> block,
                   size_t shared = 0) {
    emulator::Launch launch{kernels.find(name),
                            {grid[0], grid[1], grid[2]},
                            {block[0], block[1], block[2]},
                            shared,
                            nullptr};
    return emulator::check(launch);
  };
  EXPECT_EQ(check("double", {1, 1, 1}, {32, 1, 1}), "");
  EXPECT_EQ(check("double", {1, 1, 1}, {1024, 1, 1}), "");
  EXPECT_FOUND(check("double", {0, 1, 1}, {32, 1, 1}), "found 0 x 1 x 1");
  EXPECT_FOUND(check("double", {1, 65536, 1}, {32, 1, 1}), "found 1 x 65536 x 1");
  EXPECT_FOUND(check("double", {1, 1, 1}, {1025, 1, 1}), "found 1025 x 1 x 1");
  EXPECT_FOUND(check("double", {1, 1, 1}, {1, 1, 128}), "at most 64 of them in z");
  EXPECT_FOUND(check("neighbours", {1, 1, 1}, {32, 1, 1}), "compiled for blocks of 64 x 1 x 1");
  EXPECT_FOUND(check("neighbours", {1, 1, 1}, {64, 1, 1}, 232448), "found 232704");
  EXPECT_EQ(kernels.find("triple"), nullptr);
}

TEST(Fault, unknownOrder) {
  Kernels kernels(kDouble);
  float *x = kernels.memory.allocate(numbers(256)), *y = kernels.memory.allocate(numbers(256));
  for (const char *order : {"sideways", "shuffle:", "shuffle:x"}) {
    Environment environment("NSEMU_ORDER", order);
    EXPECT_FOUND(kernels.run("double", 1, 32, x, y), "NSEMU_ORDER: expected forward, reverse");
  }
}
