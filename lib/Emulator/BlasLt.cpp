//===- BlasLt.cpp - the emulated cuBLASLt ---------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// build/lib/emulator/libcublasLt.so.13: the functions of ns/Cuda/BlasLt.h on the CPU. Products are
// enqueued on the emulated driver's streams, so they are captured and replayed as kernels are, and
// run by the BLAS: bfloat16 and e4m3 widened and a bfloat16 result rounded to nearest even, TF32 as
// operands rounded to 10 bits. Every proposed algorithm computes the same.
//
//===----------------------------------------------------------------------===//

#include "BlasProduct.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

using namespace ns::cuda;
using namespace ns::emulator;

namespace ns::cuda {
#define NS_DECLARE(name, result, parameters) extern "C" result name parameters;
NS_CUDA_BLASLT(NS_DECLARE)
#undef NS_DECLARE
} // namespace ns::cuda

#define NS_CALL(name, result, parameters)                                                          \
  extern "C" __attribute__((visibility("default"))) result name parameters

static constexpr uint64_t kAlgoMagic = 0x4e53454d55424c41;
/// What the proposals say they need.
static constexpr uint64_t kWorkspaces[] = {0, 1 << 20, 8 << 20};

/// NSEMU_PROPOSALS, 1 to 3.
static uint64_t proposalsWanted() {
  const char *text = std::getenv("NSEMU_PROPOSALS");
  return text && *text ? std::strtoul(text, nullptr, 10) : 1;
}

/// The bytes behind the first element of a matrix or a batch of them.
static size_t extentOf(const BlasLayoutOf &x) {
  size_t matrix = x.cols == 0 ? 0 : (x.cols - 1) * size_t(x.ld) + x.rows;
  return ((x.batch - 1) * size_t(x.stride) + matrix) * sizeOf(x.type);
}

/// Empty, or why a product of e4m3 is none: cublasLtMatmul's notes on FP8 in its documentation.
static std::string whyNotQuantized(const BlasDescOf &desc, const BlasLayoutOf &a,
                                   const BlasLayoutOf &b, const BlasLayoutOf &d) {
  if (!desc.transA || desc.transB)
    return "of e4m3, A must be transposed and B not";
  if (desc.compute != kCompute32F || desc.epilogue != kEpilogueDefault || d.batch > 1)
    return "of e4m3, only plain products that sum in float32 are emulated";
  auto fits = [](int64_t elements, BlasType type) { return elements * sizeOf(type) % 16 == 0; };
  if (a.rows % 16 || d.rows % 16 || !fits(a.ld, a.type) || !fits(b.ld, b.type) ||
      !fits(d.ld, d.type))
    return "of e4m3, m, k and all leading dimensions must be multiples of 16 bytes";
  return "";
}

/// Empty, or why this product is none.
static std::string whyNot(const BlasDescOf &desc, const BlasLayoutOf &a, const BlasLayoutOf &b,
                          const BlasLayoutOf &c, const BlasLayoutOf &d) {
  uint64_t m = desc.transA ? a.cols : a.rows, k = desc.transA ? a.rows : a.cols;
  uint64_t n = desc.transB ? b.rows : b.cols, inner = desc.transB ? b.cols : b.rows;
  if (k != inner || d.rows != m || d.cols != n || c.rows != m || c.cols != n)
    return "the shapes of A, B, C and D do not fit";
  for (const BlasLayoutOf *x : {&a, &b, &c, &d})
    if (x->ld < int64_t(x->rows))
      return "a leading dimension is smaller than the rows";
  if (a.batch != b.batch || a.batch != d.batch || c.batch != d.batch)
    return "the batches differ";
  bool quantized = a.type == kR8E4M3, narrow = quantized || a.type == kR16BF;
  if (a.type != b.type || !(narrow || a.type == kR32F))
    return "A and B are neither both float32, both bfloat16 nor both e4m3";
  if (d.type != c.type || (d.type != kR32F && !(narrow && d.type == kR16BF)))
    return "C and D must be float32, or bfloat16 where A and B are no wider";
  if (quantized)
    return whyNotQuantized(desc, a, b, d);
  if (desc.compute == kComputeTf32 && narrow)
    return "TF32 is for float32 operands";
  if (desc.epilogue == kEpilogueBias && desc.biasType >= 0 && desc.biasType != d.type)
    return "the bias must have the type of D";
  return "";
}

static bool isSupported(const BlasDescOf &desc, const BlasLayoutOf &a, const BlasLayoutOf &b,
                        const BlasLayoutOf &c, const BlasLayoutOf &d) {
  std::string reason = whyNot(desc, a, b, c, d);
  if (!reason.empty())
    std::fprintf(stderr, "cuBLASLt emulator: %s\n", reason.c_str());
  return reason.empty();
}

/// Operands must lie in device memory and be as aligned as 128-bit accesses need, or as their
/// elements.
static bool isAddressable(const char *name, const void *pointer, size_t bytes, size_t alignment) {
  bool aligned = reinterpret_cast<uintptr_t>(pointer) % alignment == 0;
  if (aligned && nsemu_contains(pointer, bytes))
    return true;
  std::fprintf(stderr, "cuBLASLt emulator: %s at %p, %zu bytes: %s\n", name, pointer, bytes,
               aligned ? "not in one allocation of device memory" : "misaligned");
  return false;
}

template <class T, class Object>
static BlasStatus store(Object &field, const void *value, size_t bytes) {
  if (bytes != sizeof(T))
    return kBlasInvalidValue;
  T copy;
  std::memcpy(&copy, value, sizeof copy);
  field = copy;
  return kBlasSuccess;
}

namespace ns::cuda {

NS_CALL(cublasLtGetVersion, size_t, ()) { return 130100; }

NS_CALL(cublasLtGetStatusName, const char *, (BlasStatus status)) {
  switch (status) {
  case kBlasSuccess:
    return "CUBLAS_STATUS_SUCCESS";
  case kBlasNotInitialized:
    return "CUBLAS_STATUS_NOT_INITIALIZED";
  case kBlasAllocFailed:
    return "CUBLAS_STATUS_ALLOC_FAILED";
  case kBlasInvalidValue:
    return "CUBLAS_STATUS_INVALID_VALUE";
  case kBlasExecutionFailed:
    return "CUBLAS_STATUS_EXECUTION_FAILED";
  case kBlasNotSupported:
    return "CUBLAS_STATUS_NOT_SUPPORTED";
  }
  return "CUBLAS_STATUS_UNKNOWN";
}

NS_CALL(cublasLtCreate, BlasStatus, (BlasHandle * handle)) {
  *handle = reinterpret_cast<BlasHandle>(new char);
  return kBlasSuccess;
}

NS_CALL(cublasLtDestroy, BlasStatus, (BlasHandle handle)) {
  delete reinterpret_cast<char *>(handle);
  return kBlasSuccess;
}

NS_CALL(cublasLtMatmulDescCreate, BlasStatus, (BlasDesc * desc, BlasCompute compute, BlasType)) {
  *desc = new BlasDescOf;
  (*desc)->compute = compute;
  return kBlasSuccess;
}

NS_CALL(cublasLtMatmulDescDestroy, BlasStatus, (BlasDesc desc)) {
  delete desc;
  return kBlasSuccess;
}

NS_CALL(cublasLtMatmulDescSetAttribute, BlasStatus,
        (BlasDesc desc, BlasDescAttribute attribute, const void *value, size_t bytes)) {
  switch (attribute) {
  case kDescPointerMode:
    return store<int32_t>(desc->pointerMode, value, bytes);
  case kDescTransA:
    return store<int32_t>(desc->transA, value, bytes);
  case kDescTransB:
    return store<int32_t>(desc->transB, value, bytes);
  case kDescEpilogue:
    return store<int32_t>(desc->epilogue, value, bytes);
  case kDescBiasPointer:
    return store<const void *>(desc->bias, value, bytes);
  case kDescBiasType:
    return store<int32_t>(desc->biasType, value, bytes);
  default:
    return kBlasNotSupported;
  }
}

NS_CALL(cublasLtMatrixLayoutCreate, BlasStatus,
        (BlasLayout * layout, BlasType type, uint64_t rows, uint64_t cols, int64_t ld)) {
  *layout = new BlasLayoutOf{type, rows, cols, ld, 1, 0};
  return kBlasSuccess;
}

NS_CALL(cublasLtMatrixLayoutDestroy, BlasStatus, (BlasLayout layout)) {
  delete layout;
  return kBlasSuccess;
}

NS_CALL(cublasLtMatrixLayoutSetAttribute, BlasStatus,
        (BlasLayout layout, BlasLayoutAttribute attribute, const void *value, size_t bytes)) {
  return attribute == kLayoutBatchCount ? store<int32_t>(layout->batch, value, bytes)
                                        : store<int64_t>(layout->stride, value, bytes);
}

NS_CALL(cublasLtMatmulPreferenceCreate, BlasStatus, (BlasPreference * preference)) {
  *preference = new BlasPreferenceOf;
  return kBlasSuccess;
}

NS_CALL(cublasLtMatmulPreferenceDestroy, BlasStatus, (BlasPreference preference)) {
  delete preference;
  return kBlasSuccess;
}

NS_CALL(cublasLtMatmulPreferenceSetAttribute, BlasStatus,
        (BlasPreference preference, BlasPreferenceAttribute attribute, const void *value,
         size_t bytes)) {
  if (attribute == kPreferWorkspace)
    return store<uint64_t>(preference->workspace, value, bytes);
  uint32_t alignment = 0;
  return store<uint32_t>(alignment, value, bytes);
}

NS_CALL(cublasLtMatmulAlgoGetHeuristic, BlasStatus,
        (BlasHandle, BlasDesc desc, BlasLayout a, BlasLayout b, BlasLayout c, BlasLayout d,
         BlasPreference preference, int wanted, BlasHeuristic *results, int *found)) {
  *found = 0;
  if (!isSupported(*desc, *a, *b, *c, *d))
    return kBlasNotSupported;
  // More than one is timed: tests of that ask for it.
  uint64_t proposals = std::min<uint64_t>(std::size(kWorkspaces), proposalsWanted());
  for (uint64_t i = 0; i < proposals; ++i)
    if (*found < wanted && kWorkspaces[i] <= preference->workspace) {
      BlasHeuristic &result = results[(*found)++];
      result = {};
      result.algo.data[0] = kAlgoMagic;
      result.algo.data[1] = i;
      result.workspaceSize = kWorkspaces[i];
      result.wavesCount = 1;
    }
  return kBlasSuccess;
}

NS_CALL(cublasLtMatmulAlgoCheck, BlasStatus,
        (BlasHandle, BlasDesc desc, BlasLayout a, BlasLayout b, BlasLayout c, BlasLayout d,
         const BlasAlgo *algo, BlasHeuristic *result)) {
  if (algo->data[0] != kAlgoMagic || algo->data[1] >= std::size(kWorkspaces))
    return kBlasInvalidValue;
  *result = {};
  result->algo = *algo;
  result->workspaceSize = kWorkspaces[algo->data[1]];
  return isSupported(*desc, *a, *b, *c, *d) ? kBlasSuccess : kBlasNotSupported;
}

NS_CALL(cublasLtMatmul, BlasStatus,
        (BlasHandle, BlasDesc desc, const void *alpha, const void *a, BlasLayout layoutA,
         const void *b, BlasLayout layoutB, const void *beta, const void *c, BlasLayout layoutC,
         void *d, BlasLayout layoutD, const BlasAlgo *algo, void *workspace, size_t workspaceBytes,
         Stream stream)) {
  if (!isSupported(*desc, *layoutA, *layoutB, *layoutC, *layoutD) || !algo ||
      algo->data[0] != kAlgoMagic || algo->data[1] >= std::size(kWorkspaces))
    return kBlasInvalidValue;
  uint64_t needed = kWorkspaces[algo->data[1]];
  size_t scalar = sizeof(float);
  bool onDevice = desc->pointerMode == kPointerDevice;
  auto alignmentOf = [&](BlasLayout layout) {
    return layoutA->type == kR8E4M3 ? 16 : sizeOf(layout->type);
  };
  if (needed > workspaceBytes ||
      (needed && !isAddressable("the workspace", workspace, needed, 16)) ||
      !isAddressable("A", a, extentOf(*layoutA), alignmentOf(layoutA)) ||
      !isAddressable("B", b, extentOf(*layoutB), alignmentOf(layoutB)) ||
      !isAddressable("C", c, extentOf(*layoutC), alignmentOf(layoutC)) ||
      !isAddressable("D", d, extentOf(*layoutD), alignmentOf(layoutD)) ||
      (onDevice && (!isAddressable("alpha", alpha, scalar, scalar) ||
                    !isAddressable("beta", beta, scalar, scalar))) ||
      (desc->epilogue == kEpilogueBias &&
       !isAddressable("the bias", desc->bias, layoutD->rows * sizeOf(layoutD->type), 2)))
    return kBlasInvalidValue;
  Product product{*desc, *layoutA, *layoutB, *layoutD, a, b, c, d, alpha, beta, 1, 0};
  if (!onDevice) {
    std::memcpy(&product.alpha, alpha, scalar);
    std::memcpy(&product.beta, beta, scalar);
  }
  Result result = nsemu_enqueue(stream, lineOf(product).c_str(), [product] {
    compute(product);
    return kSuccess;
  });
  return result == kSuccess ? kBlasSuccess : kBlasExecutionFailed;
}

} // namespace ns::cuda
