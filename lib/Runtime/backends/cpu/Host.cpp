//===- Host.cpp - thread pool, scratch and GEMM on the CPU ----------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Host.h"
#include "ns/Runtime/Error.h"

#include <dlfcn.h>
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <string_view>

using namespace ns::runtime;

namespace {

/// The Fortran interface of BLAS, 32-bit integers: MKL inside libtorch_cpu.so, or any BLAS.
template <class T>
using Gemm = void(const char *transA, const char *transB, const int *m, const int *n, const int *k,
                  const T *alpha, const T *a, const int *lda, const T *b, const int *ldb,
                  const T *beta, T *c, const int *ldc);

/// MKL's product of bfloat16 operands.
using GemmBf16 = void(const char *transA, const char *transB, const int *m, const int *n,
                      const int *k, const float *alpha, const uint16_t *a, const int *lda,
                      const uint16_t *b, const int *ldb, const float *beta, float *c,
                      const int *ldc);

struct Blas {
  Gemm<float> *sgemm;
  Gemm<double> *dgemm;
  GemmBf16 *bf16;              ///< null: emulated
  int (*setLocalThreads)(int); ///< MKL only; returns what held before (0: the global count)
};

Blas loadBlas() {
  void *library = ::dlopen(NSRT_BLAS_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  if (!library)
    fail("cannot load the BLAS: ", ::dlerror(),
         "; set NSRT_TORCH_LIB to LibTorch's lib folder where it has moved");
  auto symbol = [&](const char *name) {
    void *found = ::dlsym(library, name);
    if (!found)
      fail(NSRT_BLAS_LIBRARY, ": expected a BLAS with ", name, ", found none");
    return found;
  };
  return {reinterpret_cast<Gemm<float> *>(symbol("sgemm_")),
          reinterpret_cast<Gemm<double> *>(symbol("dgemm_")),
          hasBf16() ? reinterpret_cast<GemmBf16 *>(::dlsym(library, "gemm_bf16bf16f32")) : nullptr,
          reinterpret_cast<int (*)(int)>(::dlsym(library, "MKL_Set_Num_Threads_Local"))};
}

std::atomic<const Blas *> loadedBlas = nullptr;

/// Loads it at the first call.
const Blas &blas() {
  static const Blas table = loadBlas();
  loadedBlas = &table;
  return table;
}

/// While it lives, BLAS calls of this thread run on this thread alone. Before the BLAS is there,
/// there are none.
class SequentialBlas {
public:
  SequentialBlas() : blas(loadedBlas) {
    if (blas && blas->setLocalThreads)
      before = blas->setLocalThreads(1);
  }
  ~SequentialBlas() {
    if (blas && blas->setLocalThreads)
      blas->setLocalThreads(before);
  }

private:
  const Blas *blas;
  int before = 0;
};

/// One growing block for each thread, 64-byte aligned.
class Scratch {
public:
  ~Scratch() { std::free(block); }
  void *get(int64_t bytes) {
    if (bytes > size) {
      std::free(block);
      size = (std::max<int64_t>(bytes, 4096) + 63) / 64 * 64;
      block = std::aligned_alloc(64, size);
      if (!block)
        throw std::bad_alloc();
    }
    return block;
  }

private:
  void *block = nullptr;
  int64_t size = 0;
};

/// A task, the task it may start in place, and that one's.
constexpr int kDeepestTask = 3;
thread_local Scratch scratchAtDepth[kDeepestTask + 1];
thread_local int taskDepth = 0;

void runPiece(Profile *profile, nsrt_task task, void *arg, int64_t begin, int64_t end) {
  SequentialBlas sequential;
  if (++taskDepth > kDeepestTask)
    fail("expected tasks at most ", kDeepestTask, " deep");
  int64_t start = profile ? profile->now() : 0;
  task(arg, begin, end);
  if (profile)
    profile->piece(omp_get_thread_num(), start, profile->now());
  --taskDepth;
}

void runParallel(void *context, nsrt_task task, void *arg, int64_t count, int64_t grain) {
  if (count <= 0)
    return;
  int64_t pieces = (count + std::max<int64_t>(grain, 1) - 1) / std::max<int64_t>(grain, 1);
  pieces = std::min<int64_t>(pieces, static_cast<Host *>(context)->threads());
  Profile *profile = taskDepth > 0 ? nullptr : static_cast<Host *>(context)->listener();
  int64_t begin = profile ? profile->now() : 0;
  if (pieces <= 1 || taskDepth > 0) {
    runPiece(profile, task, arg, 0, count);
  } else {
#pragma omp parallel for schedule(static, 1) num_threads(static_cast<int>(pieces))
    for (int64_t i = 0; i < pieces; ++i)
      runPiece(profile, task, arg, count * i / pieces, count * (i + 1) / pieces);
  }
  if (profile)
    profile->endParallel(begin, profile->now());
}

void mark(void *context, int64_t op) {
  Profile *profile = static_cast<Host *>(context)->listener();
  if (profile && taskDepth > 0)
    profile->markMember(omp_get_thread_num(), op);
  else if (profile)
    profile->mark(op);
}

// Row-major C = op(A) op(B) is column-major C^T = op(B)^T op(A)^T.
void gemmF32(void *, int32_t transA, int32_t transB, int64_t m, int64_t n, int64_t k, float alpha,
             const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
             int64_t ldc) {
  int M = static_cast<int>(m), N = static_cast<int>(n), K = static_cast<int>(k),
      A = static_cast<int>(lda), B = static_cast<int>(ldb), C = static_cast<int>(ldc);
  blas().sgemm(transB ? "T" : "N", transA ? "T" : "N", &N, &M, &K, &alpha, b, &B, a, &A, &beta, c,
               &C);
}

void gemmF64(void *, int32_t transA, int32_t transB, int64_t m, int64_t n, int64_t k, double alpha,
             const double *a, int64_t lda, const double *b, int64_t ldb, double beta, double *c,
             int64_t ldc) {
  int M = static_cast<int>(m), N = static_cast<int>(n), K = static_cast<int>(k),
      A = static_cast<int>(lda), B = static_cast<int>(ldb), C = static_cast<int>(ldc);
  blas().dgemm(transB ? "T" : "N", transA ? "T" : "N", &N, &M, &K, &alpha, b, &B, a, &A, &beta, c,
               &C);
}

/// A rows x cols matrix of bfloat16 as floats, row after row. A bfloat16 is the upper half of a
/// float.
const float *widen(Scratch &memory, const uint16_t *from, int64_t rows, int64_t cols, int64_t ld) {
  auto *to = static_cast<uint32_t *>(memory.get(rows * cols * int64_t(sizeof(float))));
#pragma omp parallel for if (taskDepth == 0)
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      to[r * cols + c] = uint32_t(from[r * ld + c]) << 16;
  return reinterpret_cast<const float *>(to);
}

void gemmBf16(void *context, int32_t transA, int32_t transB, int64_t m, int64_t n, int64_t k,
              float alpha, const uint16_t *a, int64_t lda, const uint16_t *b, int64_t ldb,
              float beta, float *c, int64_t ldc) {
  if (GemmBf16 *native = blas().bf16) {
    int M = static_cast<int>(m), N = static_cast<int>(n), K = static_cast<int>(k),
        A = static_cast<int>(lda), B = static_cast<int>(ldb), C = static_cast<int>(ldc);
    native(transB ? "T" : "N", transA ? "T" : "N", &N, &M, &K, &alpha, b, &B, a, &A, &beta, c, &C);
    return;
  }
  static thread_local Scratch wideA, wideB; // beside the task's own
  int64_t colsA = transA ? m : k, colsB = transB ? k : n;
  gemmF32(context, transA, transB, m, n, k, alpha, widen(wideA, a, transA ? k : m, colsA, lda),
          colsA, widen(wideB, b, transB ? n : k, colsB, ldb), colsB, beta, c, ldc);
}

void *scratch(void *, int64_t bytes) { return scratchAtDepth[taskDepth].get(bytes); }

} // namespace

bool ns::runtime::hasBf16() {
  const char *wish = std::getenv("NSRT_BF16");
  if (wish && std::string_view(wish) != "emulate")
    fail("environment variable NSRT_BF16: expected 'emulate' or none, found '", wish, "'");
  return !wish && __builtin_cpu_supports("avx512bf16");
}

Host::Host(bool loadsBlas) {
  table = {sizeof(nsrt_host), NSRT_ABI_VERSION, this,    runParallel, gemmF32, gemmF64, scratch,
           mark,              gemmBf16,         nullptr, nullptr,     nullptr};
  setThreads(0);
  // A quarter of a second, while this thread reads the weights.
  if (loadsBlas)
    blasLoad = std::async(std::launch::async, [] { blas(); });
}

bool Host::multipliesBf16() {
  waitForBlas();
  return blas().bf16 != nullptr;
}

void Host::waitForBlas() {
  if (blasLoad.valid())
    blasLoad.get();
}

void Host::setThreads(int count) {
  if (count > 0)
    omp_set_num_threads(count); // the BLAS's own threads follow it
  numThreads = std::max(1, omp_get_max_threads());
}
