//===- ProductsTest.cpp - products against loops --------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Runtime/backends/cuda/Products.h"
#include "Emulated.h"
#include "ns/Runtime/Error.h"

#include <cmath>
#include <cstring>
#include <random>

using namespace ns::runtime;
using namespace ns::runtime::cuda;

namespace {

float floatOf(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

/// To nearest even, `bits` of the lowest dropped.
float rounded(float x, int bits) {
  uint32_t word;
  std::memcpy(&word, &x, 4);
  word += (1u << (bits - 1)) - 1 + (word >> bits & 1);
  return floatOf(word >> bits << bits);
}

class ProductsTest : public ns::test::Emulated {
protected:
  ProductsTest() {
    device = std::make_unique<Device>();
    workspace = device->allocate(Products::kWorkspace, "workspace");
    one = device->allocate(4, "one");
    put(one, std::vector<float>{1});
    products = std::make_unique<Products>(*device, workspace, one);
  }

  template <class T> void put(DevicePtr to, const std::vector<T> &values) {
    device->api.check(device->api.cuMemcpyHtoDAsync_v2(to, values.data(), values.size() * sizeof(T),
                                                       device->compute),
                      "put");
  }

  /// As elements of `type` on the device.
  DevicePtr make(const std::vector<float> &values, int32_t type) {
    DevicePtr at = device->allocate(values.size() * 4, "operand");
    if (type == NSRT_BF16) {
      std::vector<uint16_t> halves;
      for (float x : values) {
        uint32_t word;
        std::memcpy(&word, &x, 4);
        halves.push_back(word >> 16);
      }
      put(at, halves);
    } else {
      put(at, values);
    }
    return at;
  }

  std::vector<float> get(DevicePtr from, size_t count, int32_t type) {
    std::vector<uint32_t> words(count);
    std::vector<uint16_t> halves(count);
    bool narrow = type == NSRT_BF16;
    void *to = narrow ? static_cast<void *>(halves.data()) : words.data();
    device->api.check(
        device->api.cuMemcpyDtoHAsync_v2(to, from, count * (narrow ? 2 : 4), device->compute),
        "get");
    std::vector<float> values;
    for (size_t i = 0; i < count; ++i)
      values.push_back(floatOf(narrow ? uint32_t(halves[i]) << 16 : words[i]));
    return values;
  }

  std::vector<float> random(size_t count, int32_t type) {
    std::vector<float> values(count);
    for (float &x : values) {
      x = std::uniform_real_distribution<float>(-1, 1)(engine);
      x = type == NSRT_BF16 ? rounded(x, 16) : type == NSRT_TF32 ? rounded(x, 13) : x;
    }
    return values;
  }

  /// Runs the product twice, the second time as it was chosen, and compares with loops.
  void compare(const nsrt_gemm &op, bool accumulates);

  std::mt19937 engine{1};
  std::unique_ptr<Device> device;
  DevicePtr workspace, one;
  std::unique_ptr<Products> products;
};

void ProductsTest::compare(const nsrt_gemm &op, bool accumulates) {
  int64_t sizeA = op.batch > 1 ? op.stride_a : op.lda * (op.trans_a ? op.k : op.m);
  int64_t sizeB = op.batch > 1 ? op.stride_b : op.ldb * (op.trans_b ? op.n : op.k);
  int64_t sizeC = op.batch > 1 ? op.stride_c : op.ldc * op.m;
  auto a = random(sizeA * op.batch, op.type_ab), b = random(sizeB * op.batch, op.type_ab);
  auto c = random(sizeC * op.batch, op.type_c), bias = random(op.n, op.type_c);
  std::vector<float> expected = c;
  const float beta = accumulates ? 0.5f : 0.f;
  for (int64_t s = 0; s < op.batch; ++s)
    for (int64_t i = 0; i < op.m; ++i)
      for (int64_t j = 0; j < op.n; ++j) {
        double sum = op.epilogue == NSRT_EPILOGUE_BIAS ? bias[j] : 0;
        for (int64_t l = 0; l < op.k; ++l)
          sum += double(a[s * sizeA + (op.trans_a ? l * op.lda + i : i * op.lda + l)]) *
                 b[s * sizeB + (op.trans_b ? j * op.ldb + l : l * op.ldb + j)];
        float &x = expected[s * sizeC + i * op.ldc + j];
        x = float(sum + beta * x);
      }
  DevicePtr deviceA = make(a, op.type_ab), deviceB = make(b, op.type_ab),
            deviceBias = make(bias, op.type_c), deviceBeta = make({beta}, NSRT_F32);
  for (int turn = 0; turn < 2; ++turn) {
    DevicePtr deviceC = make(c, op.type_c);
    auto pointer = [](DevicePtr p) { return reinterpret_cast<void *>(p); };
    products->enqueue(op, {pointer(deviceA), pointer(deviceB),
                           op.epilogue == NSRT_EPILOGUE_BIAS ? pointer(deviceBias) : nullptr,
                           accumulates ? pointer(deviceBeta) : nullptr, pointer(deviceC)});
    auto found = get(deviceC, c.size(), op.type_c);
    double tolerance = op.type_c == NSRT_BF16 ? 1.0 / 128 : 1e-5;
    for (size_t i = 0; i < found.size(); ++i)
      ASSERT_NEAR(found[i], expected[i], tolerance * std::max(1.f, std::abs(expected[i])))
          << "element " << i << ", turn " << turn;
  }
}

TEST_F(ProductsTest, Transposed) {
  int64_t index = 0;
  for (int32_t transA : {0, 1})
    for (int32_t transB : {0, 1})
      for (bool accumulates : {false, true})
        compare({index++, transA, transB, 5, 7, 9, transA ? 5 : 9, transB ? 9 : 7, 7, 1, 0, 0, 0,
                 NSRT_F32, NSRT_F32, NSRT_EPILOGUE_NONE, 64},
                accumulates);
}

TEST_F(ProductsTest, Types) {
  int64_t index = 0;
  for (auto [ab, c] : {std::pair{NSRT_F32, NSRT_F32}, std::pair{NSRT_TF32, NSRT_F32},
                       std::pair{NSRT_BF16, NSRT_F32}, std::pair{NSRT_BF16, NSRT_BF16}})
    for (int32_t epilogue : {NSRT_EPILOGUE_NONE, NSRT_EPILOGUE_BIAS})
      compare({index++, 0, 1, 6, 8, 16, 16, 16, 8, 1, 0, 0, 0, ab, c, epilogue, 64}, false);
}

TEST_F(ProductsTest, BatchesAndLeadingDimensions) {
  // Scores of attention: rows of 5 of 8 columns, one matrix behind the other, padded.
  compare({0, 0, 1, 5, 8, 4, 6, 6, 8, 3, 40, 50, 64, NSRT_F32, NSRT_F32, NSRT_EPILOGUE_NONE, 16},
          false);
  compare({1, 1, 0, 4, 8, 5, 4, 8, 8, 3, 20, 40, 32, NSRT_BF16, NSRT_BF16, NSRT_EPILOGUE_NONE, 8},
          true);
}

TEST_F(ProductsTest, Tf32RoundsItsOperands) {
  // 1 + 2^-12 rounds to 1 in TF32, and is itself in float32.
  float x = 1 + std::ldexp(1.f, -12);
  for (auto [type, expected] : {std::pair{NSRT_TF32, 1.f}, std::pair{NSRT_F32, x}}) {
    DevicePtr a = make({x}, NSRT_F32), b = make({1}, NSRT_F32), c = make({0}, NSRT_F32);
    nsrt_gemm op = {type, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, type, NSRT_F32, NSRT_EPILOGUE_NONE,
                    4};
    products->enqueue(op, {reinterpret_cast<void *>(a), reinterpret_cast<void *>(b), nullptr,
                           nullptr, reinterpret_cast<void *>(c)});
    EXPECT_EQ(get(c, 1, NSRT_F32)[0], expected);
  }
}

/// Row i of A is code i of e4m3 and zeros, B is ones: C is what each code stands for.
TEST_F(ProductsTest, EveryCodeOfE4M3) {
  constexpr int64_t kRows = 256, kCols = 16, kInner = 32;
  std::vector<uint8_t> codes(kRows * kInner), ones(kCols * kInner, 0x38);
  for (int64_t i = 0; i < kRows; ++i)
    codes[i * kInner + i % kInner] = uint8_t(i);
  for (int32_t type : {NSRT_F32, NSRT_BF16}) {
    DevicePtr a = device->allocate(codes.size(), "A"), b = device->allocate(ones.size(), "B"),
              c = device->allocate(kRows * kCols * 4, "C");
    put(a, codes);
    put(b, ones);
    nsrt_gemm op = {type, 0, 1, kRows, kCols, kInner, kInner,     kInner, kCols,
                    1,    0, 0, 0,     NSRT_E4M3, type, NSRT_EPILOGUE_NONE, 64};
    auto pointer = [](DevicePtr p) { return reinterpret_cast<void *>(p); };
    for (int turn = 0; turn < 2; ++turn)
      products->enqueue(op, {pointer(a), pointer(b), nullptr, nullptr, pointer(c)});
    auto found = get(c, kRows * kCols, type);
    float before = -1;
    for (int64_t i = 0; i < 127; ++i) { // each larger than the one before, in steps of its binade
      float x = found[i * kCols], step = std::ldexp(1.f, i < 16 ? -9 : int(i / 8) - 10);
      EXPECT_EQ(x - before, i == 0 ? 1 : i % 8 == 0 && i > 8 ? step / 2 : step) << "code " << i;
      EXPECT_EQ(found[(i + 128) * kCols + 15], -x);
      before = x;
    }
    EXPECT_EQ(before, 448);
    EXPECT_TRUE(std::isnan(found[127 * kCols]) && std::isnan(found[255 * kCols]));
  }
}

TEST_F(ProductsTest, E4M3IsRowsAlongK) {
  nsrt_gemm good = {0, 0, 1, 5, 16, 32, 32, 32, 16, 1, 0, 0, 0, NSRT_E4M3, NSRT_BF16,
                    NSRT_EPILOGUE_NONE, 64};
  DevicePtr memory = device->allocate(4096, "operands");
  auto pointer = [&](uint64_t at) { return reinterpret_cast<void *>(memory + at); };
  auto run = [&](nsrt_gemm op, uint64_t offset = 0) {
    static int64_t index = 0;
    op.index = index++;
    products->enqueue(op, {pointer(offset), pointer(1024), nullptr, nullptr, pointer(2048)});
  };
  EXPECT_NO_THROW(run(good));
  EXPECT_THROW(run(good, 8), Error); // an address that is no multiple of 16
  nsrt_gemm op = good;
  op.trans_b = 0, op.ldb = 16;
  EXPECT_THROW(run(op), Error);
  op = good, op.k = 24;
  EXPECT_THROW(run(op), Error);
  op = good, op.n = 10;
  EXPECT_THROW(run(op), Error);
  op = good, op.lda = 40;
  EXPECT_THROW(run(op), Error);
}

TEST_F(ProductsTest, ResultsMayHoldAnythingBefore) {
  DevicePtr a = make({2}, NSRT_F32), b = make({3}, NSRT_F32), c = make({NAN}, NSRT_F32),
            beta = make({0}, NSRT_F32);
  nsrt_gemm op = {0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, NSRT_F32, NSRT_F32, NSRT_EPILOGUE_NONE, 4};
  products->enqueue(op, {reinterpret_cast<void *>(a), reinterpret_cast<void *>(b), nullptr,
                         reinterpret_cast<void *>(beta), reinterpret_cast<void *>(c)});
  EXPECT_EQ(get(c, 1, NSRT_F32)[0], 6);
}

TEST_F(ProductsTest, ErrorsNameTheProduct) {
  nsrt_gemm op = {0, 0, 0, 4, 4, 4, 2, 4, 4, 1, 0, 0, 0, NSRT_F32, NSRT_F32, NSRT_EPILOGUE_NONE, 4};
  try {
    products->enqueue(op, {nullptr, nullptr, nullptr, nullptr, nullptr});
    FAIL() << "rows of 4 in a leading dimension of 2 were taken";
  } catch (const Error &error) {
    EXPECT_NE(std::string(error.what()).find("product f32-f32 nn 4x4x4 ld 2,4,4"),
              std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find("CUBLAS_STATUS_NOT_SUPPORTED"), std::string::npos);
  }
}

} // namespace
