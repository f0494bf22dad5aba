//===- EmulationTest.cpp - device code computes what it should -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestSupport.h"

#include <bit>
#include <cmath>
#include <functional>

using namespace ns;
using namespace ns::test;

static float fromBf16(uint16_t bits) { return std::bit_cast<float>(uint32_t(bits) << 16); }

/// Rounded to nearest, ties to even.
static uint16_t toBf16(float value) {
  auto bits = std::bit_cast<uint32_t>(value);
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

/// Numbers that look random, about normally distributed.
static std::vector<float> noise(size_t count, uint64_t seed) {
  std::vector<float> result(count);
  for (size_t i = 0; i < count; ++i) {
    seed = seed * 6364136223846793005 + 1442695040888963407;
    result[i] = float(int32_t(seed >> 32)) / 1.2e9f;
  }
  return result;
}

/// LayerNorm of rows of 256 bfloat16, a warp for each row: two butterfly sums, no barrier.
static constexpr llvm::StringLiteral kLayerNorm = R"(
gpu.func @ln(%x: memref<10240xbf16, 1> {llvm.align = 16, llvm.noalias, llvm.readonly},
             %g: memref<256xf32, 1> {llvm.align = 16, llvm.noalias, llvm.readonly},
             %y: memref<10240xbf16, 1> {llvm.align = 16, llvm.noalias}) kernel
    attributes {known_block_size = array<i32: 128, 1, 1>} {
  %c4 = arith.constant 4 : index
  %c8 = arith.constant 8 : index
  %c32 = arith.constant 32 : index
  %c256 = arith.constant 256 : index
  %inv = arith.constant 0.00390625 : f32
  %eps = arith.constant 1.0e-6 : f32
  %bx = gpu.block_id x
  %tx = gpu.thread_id x
  %w = arith.divui %tx, %c32 : index
  %lane = arith.remui %tx, %c32 : index
  %r0 = arith.muli %bx, %c4 : index
  %row = arith.addi %r0, %w : index
  %start = arith.muli %row, %c256 : index
  %o = arith.muli %lane, %c8 : index
  %i = arith.addi %start, %o : index
  %v = vector.load %x[%i] {alignment = 16 : i64} : memref<10240xbf16, 1>, vector<8xbf16>
  %f = arith.extf %v : vector<8xbf16> to vector<8xf32>
  %ps = vector.reduction <add>, %f : vector<8xf32> into f32
  %sum = gpu.subgroup_reduce add %ps : (f32) -> f32
  %mu = arith.mulf %sum, %inv : f32
  %muv = vector.broadcast %mu : f32 to vector<8xf32>
  %d = arith.subf %f, %muv : vector<8xf32>
  %q = arith.mulf %d, %d : vector<8xf32>
  %pq = vector.reduction <add>, %q : vector<8xf32> into f32
  %qs = gpu.subgroup_reduce add %pq : (f32) -> f32
  %var = arith.mulf %qs, %inv : f32
  %ve = arith.addf %var, %eps : f32
  %rs = math.rsqrt %ve : f32
  %rsv = vector.broadcast %rs : f32 to vector<8xf32>
  %gv = vector.load %g[%o] {alignment = 16 : i64} : memref<256xf32, 1>, vector<8xf32>
  %n = arith.mulf %d, %rsv : vector<8xf32>
  %s = arith.mulf %n, %gv : vector<8xf32>
  %t = arith.truncf %s : vector<8xf32> to vector<8xbf16>
  vector.store %t, %y[%i] {alignment = 16 : i64} : memref<10240xbf16, 1>, vector<8xbf16>
  gpu.return
})";

TEST(Emulation, layerNormInAnyOrder) {
  if (!haveLibdevice())
    GTEST_SKIP() << "no libdevice.10.bc: no CUDA toolkit";
  constexpr int kRows = 40, kColumns = 256;
  Kernels kernels(kLayerNorm);
  std::vector<float> values = noise(kRows * kColumns, 1);
  std::vector<uint16_t> input(values.size());
  std::ranges::transform(values, input.begin(), toBf16);
  uint16_t *x = kernels.memory.allocate(input);
  float *g = kernels.memory.allocate(noise(kColumns, 2));
  std::vector<uint16_t> first;
  for (const char *order : {"forward", "reverse", "shuffle:1", "shuffle:2"})
    for (const char *threads : {"1", "2"}) {
      Environment one("NSEMU_ORDER", order), two("NSEMU_THREADS", threads);
      uint16_t *y = kernels.memory.allocate(std::vector<uint16_t>(input.size()));
      ASSERT_EQ(kernels.run("ln", kRows / 4, 128, x, g, y), "");
      std::vector<uint16_t> result(y, y + input.size());
      if (first.empty())
        first = result;
      ASSERT_EQ(result, first);
    }
  for (int row = 0; row < kRows; ++row) {
    double mean = 0, variance = 0;
    const uint16_t *in = x + row * kColumns;
    for (int i = 0; i < kColumns; ++i)
      mean += fromBf16(in[i]) / kColumns;
    for (int i = 0; i < kColumns; ++i)
      variance += std::pow(fromBf16(in[i]) - mean, 2) / kColumns;
    for (int i = 0; i < kColumns; ++i) {
      double expected = (fromBf16(in[i]) - mean) / std::sqrt(variance + 1e-6) * g[i];
      EXPECT_NEAR(fromBf16(first[row * kColumns + i]), expected,
                  0.004 * std::fabs(expected) + 1e-5);
    }
  }
}

/// A shuffle of lane numbers within segments of `width` lanes; the second result is whether the
/// lane read from is in the segment. (gpu.shuffle knows segments of the first lanes only.)
static std::string shuffles(const std::string &mode, int by, int width) {
  int clamp = (32 - width) << 8 | (mode == "up" ? 0 : 31);
  return R"(
gpu.func @shuffle(%y: memref<32xi32>, %valid: memref<32xi32>) kernel {
  %all = arith.constant -1 : i32
  %by = arith.constant )" +
         std::to_string(by) + " : i32\n  %clamp = arith.constant " + std::to_string(clamp) +
         R"( : i32
  %t = gpu.thread_id x
  %i = arith.index_cast %t : index to i32
  %r = nvvm.shfl.sync )" +
         mode +
         R"( %all, %i, %by, %clamp {return_value_and_is_valid} : i32 -> !llvm.struct<(i32, i1)>
  %w = llvm.extractvalue %r[0] : !llvm.struct<(i32, i1)>
  %in = llvm.extractvalue %r[1] : !llvm.struct<(i32, i1)>
  %k = arith.extui %in : i1 to i32
  memref.store %w, %y[%t] : memref<32xi32>
  memref.store %k, %valid[%t] : memref<32xi32>
  gpu.return
})";
}

TEST(Emulation, shuffleModes) {
  struct Case {
    const char *mode;
    int by, width;
    std::function<int(int)> source; // -1: out of range
  };
  const Case cases[] = {
      {"bfly", 5, 32, [](int lane) { return lane ^ 5; }},
      {"bfly", 4, 8, [](int lane) { return lane ^ 4; }},
      {"down", 3, 32, [](int lane) { return lane + 3 < 32 ? lane + 3 : -1; }},
      {"down", 3, 16, [](int lane) { return lane % 16 + 3 < 16 ? lane + 3 : -1; }},
      {"up", 2, 32, [](int lane) { return lane >= 2 ? lane - 2 : -1; }},
      {"up", 2, 8, [](int lane) { return lane % 8 >= 2 ? lane - 2 : -1; }},
      {"idx", 7, 32, [](int) { return 7; }},
      {"idx", 3, 8, [](int lane) { return lane / 8 * 8 + 3; }},
  };
  for (const Case &c : cases)
    for (const char *order : {"forward", "reverse", "shuffle"}) {
      Environment environment("NSEMU_ORDER", order);
      Kernels kernels(shuffles(c.mode, c.by, c.width));
      int *y = kernels.memory.allocate(std::vector<int>(32));
      int *valid = kernels.memory.allocate(std::vector<int>(32));
      ASSERT_EQ(kernels.run("shuffle", 1, 32, y, valid), "");
      for (int lane = 0; lane < 32; ++lane) {
        int source = c.source(lane);
        EXPECT_EQ(valid[lane], source >= 0) << c.mode << c.by << " lane " << lane;
        EXPECT_EQ(y[lane], source < 0 ? lane : source) << c.mode << c.by << " lane " << lane;
      }
    }
}

TEST(Emulation, bf16Rounding) {
  Kernels kernels(R"(
gpu.func @round(%x: memref<8xf32>, %y: memref<8xbf16>) kernel {
  %t = gpu.thread_id x
  %v = memref.load %x[%t] : memref<8xf32>
  %w = arith.truncf %v : f32 to bf16
  memref.store %w, %y[%t] : memref<8xbf16>
  gpu.return
}
gpu.func @sum(%x: memref<8xbf16>, %y: memref<8xbf16>) kernel {
  %t = gpu.thread_id x
  %v = memref.load %x[%t] : memref<8xbf16>
  %w = arith.addf %v, %v : bf16
  %u = arith.addf %w, %v : bf16
  memref.store %u, %y[%t] : memref<8xbf16>
  gpu.return
})");
  float nan = std::bit_cast<float>(0x7f800001u), infinity = INFINITY;
  std::vector<float> values = {1.00390625f, 1.01171875f, -1.0039065f, 3.4e38f,
                               -infinity,   nan,         1e-40f,      0.f};
  float *x = kernels.memory.allocate(values);
  uint16_t *y = kernels.memory.allocate(std::vector<uint16_t>(8));
  ASSERT_EQ(kernels.run("round", 1, 8, x, y), "");
  EXPECT_EQ(fromBf16(y[0]), 1.f); // a tie, to even
  EXPECT_EQ(fromBf16(y[1]), 1.015625f);
  EXPECT_EQ(fromBf16(y[2]), -1.0078125f);
  EXPECT_EQ(fromBf16(y[3]), infinity);
  EXPECT_EQ(fromBf16(y[4]), -infinity);
  EXPECT_TRUE(std::isnan(fromBf16(y[5])));
  EXPECT_EQ(y[6], toBf16(1e-40f));
  EXPECT_EQ(y[7], 0);
  uint16_t *z = kernels.memory.allocate(std::vector<uint16_t>(8));
  ASSERT_EQ(kernels.run("sum", 1, 8, y, z), "");
  for (int i : {0, 1, 2, 6})
    EXPECT_EQ(z[i], toBf16(fromBf16(toBf16(2 * fromBf16(y[i]))) + fromBf16(y[i])));
  EXPECT_TRUE(std::isnan(fromBf16(z[5])));
}

TEST(Emulation, functions) {
  if (!haveLibdevice())
    GTEST_SKIP() << "no libdevice.10.bc: no CUDA toolkit";
  struct Case {
    const char *op;
    double (*function)(double);
    float from, to;
    double tolerance; // relative, and absolute in units of 1
  };
  const Case cases[] = {
      {"math.exp", std::exp, -80, 80, 4e-7},     {"math.exp2", std::exp2, -100, 100, 4e-7},
      {"math.log", std::log, 1e-6f, 100, 4e-7},  {"math.tanh", std::tanh, -9, 9, 1e-6},
      {"math.erf", std::erf, -4, 4, 4e-7},       {"math.sqrt", std::sqrt, 0, 100, 2e-7},
      {"math.log1p", std::log1p, -0.9f, 3, 4e-7}};
  std::string text;
  for (const Case &c : cases)
    text += "gpu.func @" + std::string(c.op).substr(5) + "(%x: memref<1024xf32>) kernel {" +
            kNumber + "  %v = memref.load %x[%n] : memref<1024xf32>\n  %w = " + c.op +
            R"( %v : f32
  memref.store %w, %x[%n] : memref<1024xf32>
  gpu.return
})";
  Kernels kernels(text);
  for (const Case &c : cases) {
    std::vector<float> values(1024);
    for (int i = 0; i < 1024; ++i)
      values[i] = c.from + (c.to - c.from) * i / 1023;
    float *x = kernels.memory.allocate(values);
    ASSERT_EQ(kernels.run(c.op + 5, 4, 256, x), "");
    for (int i = 0; i < 1024; ++i) {
      double expected = c.function(values[i]);
      EXPECT_NEAR(x[i], expected, c.tolerance * std::max(1.0, std::fabs(expected)))
          << c.op << " of " << values[i];
    }
  }
}

TEST(Emulation, scalarArgumentsAndGrid) {
  Kernels kernels(R"(
gpu.func @where(%y: memref<48xi32>, %add: i32, %scale: f32) kernel {
  %bx = gpu.block_id x
  %by = gpu.block_id y
  %gx = gpu.grid_dim x
  %tx = gpu.thread_id x
  %tz = gpu.thread_id z
  %dx = gpu.block_dim x
  %dz = gpu.block_dim z
  %b0 = arith.muli %by, %gx : index
  %b = arith.addi %b0, %bx : index
  %t0 = arith.muli %tz, %dx : index
  %t = arith.addi %t0, %tx : index
  %size = arith.muli %dx, %dz : index
  %n0 = arith.muli %b, %size : index
  %n = arith.addi %n0, %t : index
  %i = arith.index_cast %n : index to i32
  %f = arith.sitofp %i : i32 to f32
  %g = arith.mulf %f, %scale : f32
  %h = arith.fptosi %g : f32 to i32
  %k = arith.addi %h, %add : i32
  memref.store %k, %y[%n] : memref<48xi32>
  gpu.return
})");
  int *y = kernels.memory.allocate(std::vector<int>(48));
  int add = 5;
  float scale = 2;
  void *args[] = {&y, &add, &scale};
  emulator::Launch launch{kernels.find("where"), {3, 2, 1}, {4, 1, 2}, 0, args};
  ASSERT_EQ(emulator::check(launch), "");
  ASSERT_EQ(emulator::launch(launch, kernels.memory), "");
  for (int i = 0; i < 48; ++i)
    EXPECT_EQ(y[i], 2 * i + 5);
}
