//===- BlasProduct.cpp - a product of the emulated cuBLASLt ---------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "BlasProduct.h"

#include <dlfcn.h>

#include <cmath>
#include <cstdlib>
#include <cstring>

using namespace ns::emulator;

using Sgemm = void(const char *, const char *, const int *, const int *, const int *, const float *,
                   const float *, const int *, const float *, const int *, const float *, float *,
                   const int *);

/// The BLAS that libnsrt has, too.
static Sgemm *sgemm() {
  static Sgemm *function = [] {
    void *library = ::dlopen(NSEMU_BLAS_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    void *found = library ? ::dlsym(library, "sgemm_") : nullptr;
    if (!found) {
      std::fprintf(stderr, "cuBLASLt emulator: no BLAS: %s\n", NSEMU_BLAS_LIBRARY);
      std::abort();
    }
    return reinterpret_cast<Sgemm *>(found);
  }();
  return function;
}

static uint32_t bitsOf(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

static float floatOf(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

/// Drops the lowest `count` bits, to nearest even; NaN stays NaN.
static uint32_t roundedBits(float x, int count) {
  uint32_t bits = bitsOf(x);
  if (std::isnan(x))
    return bits | 1u << 22;
  bits += (1u << (count - 1)) - 1 + (bits >> count & 1);
  return bits >> count << count;
}

/// Of sign, 4 bits of exponent (bias 7) and 3 of mantissa; all bits but the sign set: NaN.
static float widenE4M3(uint8_t code) {
  int exponent = code >> 3 & 15, mantissa = code & 7;
  float x = (code & 127) == 127 ? NAN
            : exponent == 0     ? std::ldexp(float(mantissa), -9)
                                : std::ldexp(float(8 + mantissa), exponent - 10);
  return code & 128 ? -x : x;
}

static float load(BlasType type, const char *from, size_t at) {
  if (type == kR8E4M3)
    return widenE4M3(static_cast<uint8_t>(from[at]));
  if (type == kR32F) {
    float x;
    std::memcpy(&x, from + at * 4, 4);
    return x;
  }
  uint16_t half;
  std::memcpy(&half, from + at * 2, 2);
  return floatOf(uint32_t(half) << 16);
}

/// A matrix as floats, column after column, with the rounding of TF32 where asked for.
static std::vector<float> widen(const BlasLayoutOf &layout, const char *from, bool tf32) {
  std::vector<float> to(layout.rows * layout.cols);
  for (uint64_t j = 0; j < layout.cols; ++j)
    for (uint64_t i = 0; i < layout.rows; ++i) {
      float x = load(layout.type, from, j * layout.ld + i);
      to[j * layout.rows + i] = tf32 ? floatOf(roundedBits(x, 13)) : x;
    }
  return to;
}

static void store(BlasType type, char *to, size_t at, float x) {
  if (type == kR32F) {
    std::memcpy(to + at * 4, &x, 4);
    return;
  }
  uint16_t half = roundedBits(x, 16) >> 16;
  std::memcpy(to + at * 2, &half, 2);
}

/// One matrix of the batch.
static void computeOne(const Product &p, int32_t index, float alpha, float beta) {
  const BlasLayoutOf &A = p.layoutA, &B = p.layoutB, &D = p.layoutD;
  bool tf32 = p.desc.compute == kComputeTf32;
  auto at = [&](const void *base, const BlasLayoutOf &x) {
    return static_cast<const char *>(base) + index * x.stride * int64_t(sizeOf(x.type));
  };
  auto a = widen(A, at(p.a, A), tf32), b = widen(B, at(p.b, B), tf32);
  std::vector<float> sums(D.rows * D.cols);
  int m = int(D.rows), n = int(D.cols), k = int(p.desc.transA ? A.rows : A.cols), lda = int(A.rows),
      ldb = int(B.rows);
  static constexpr float kOne = 1, kZero = 0;
  sgemm()(p.desc.transA ? "T" : "N", p.desc.transB ? "T" : "N", &m, &n, &k, &kOne, a.data(), &lda,
          b.data(), &ldb, &kZero, sums.data(), &m);
  const char *c = at(p.c, D);
  char *d = const_cast<char *>(at(p.d, D));
  for (int j = 0; j < n; ++j)
    for (int i = 0; i < m; ++i) {
      size_t element = size_t(j) * D.ld + i;
      float x = alpha * sums[size_t(j) * m + i];
      if (beta != 0) // else C is not read: it may hold anything
        x += beta * load(D.type, c, element);
      if (p.desc.epilogue == kEpilogueBias)
        x += load(D.type, static_cast<const char *>(p.desc.bias), i);
      store(D.type, d, element, x);
    }
}

void ns::emulator::compute(const Product &product) {
  float alpha = product.alpha, beta = product.beta;
  if (product.desc.pointerMode == kPointerDevice) {
    std::memcpy(&alpha, product.alphaAddress, sizeof alpha);
    std::memcpy(&beta, product.betaAddress, sizeof beta);
  }
  for (int32_t i = 0; i < product.layoutD.batch; ++i)
    computeOne(product, i, alpha, beta);
}

static const char *nameOf(BlasType type) {
  return type == kR8E4M3 ? "e4m3" : type == kR16BF ? "bf16" : "f32";
}

std::string ns::emulator::lineOf(const Product &p) {
  char names[3][32], text[256];
  const void *pointers[] = {p.a, p.b, p.d};
  for (int i = 0; i < 3; ++i)
    nsemu_name(pointers[i], names[i], sizeof names[i]);
  std::snprintf(
      text, sizeof text, "cublasLtMatmul %c%c %zux%zux%zu batch %d %s to %s%s%s%s A %s B %s D %s",
      p.desc.transA ? 't' : 'n', p.desc.transB ? 't' : 'n', size_t(p.layoutD.rows),
      size_t(p.layoutD.cols), size_t(p.desc.transA ? p.layoutA.rows : p.layoutA.cols),
      p.layoutD.batch, nameOf(p.layoutA.type), nameOf(p.layoutD.type),
      p.desc.compute == kComputeTf32 ? " tf32" : "",
      p.desc.epilogue == kEpilogueBias ? " bias" : "",
      p.desc.pointerMode == kPointerDevice ? " accumulates" : "", names[0], names[1], names[2]);
  return text;
}
