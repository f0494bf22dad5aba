//===- HeadersTest.cpp - our declarations are CUDA's ----------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Compiles where cuda.h is found, and with it what cublasLt.h says where that is found, too.
//
//===----------------------------------------------------------------------===//

#include "ns/Cuda/BlasLt.h"
#include "ns/Cuda/Driver.h"

#include <cuda.h>
#if __has_include(<cublasLt.h>)
#include <cublasLt.h>
#define NS_HAS_CUBLASLT
#endif

#include <tuple>
#include <type_traits>

// cuda.h names the newest form of this one as cuEventElapsedTime; the old symbol stays.
#undef cuEventElapsedTime
extern "C" CUresult cuEventElapsedTime(float *, CUevent, CUevent);

namespace {

template <class Ours, class Theirs> struct SameShape : std::false_type {};
/// As many parameters, each as large and of the same kind.
template <class R1, class... A1, class R2, class... A2> struct SameShape<R1(A1...), R2(A2...)> {
  template <class T>
  static constexpr int kindOf = std::is_pointer_v<T>          ? 0
                                : std::is_floating_point_v<T> ? 1
                                                              : 2;
  template <class T1, class T2>
  static constexpr bool same = sizeof(T1) == sizeof(T2) && kindOf<T1> == kindOf<T2>;
  static constexpr bool count = sizeof...(A1) == sizeof...(A2);
  template <class L1, class L2> struct Each;
  template <class... T1, class... T2> struct Each<std::tuple<T1...>, std::tuple<T2...>> {
    static constexpr bool value = (same<T1, T2> && ...);
  };
  static constexpr bool value = [] {
    if constexpr (count)
      return sizeof(R1) == sizeof(R2) && Each<std::tuple<A1...>, std::tuple<A2...>>::value;
    else
      return false;
  }();
};

} // namespace

namespace ns::cuda {
#define NS_CHECK(name, parameters)                                                                 \
  using Our_##name = Result parameters;                                                            \
  static_assert(SameShape<Our_##name, decltype(::name)>::value, #name);
NS_CUDA_DRIVER(NS_CHECK)
#undef NS_CHECK

#define NS_SAME(ours, theirs) static_assert(int(ours) == int(theirs), #theirs)
NS_SAME(kOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY);
NS_SAME(kNoDevice, CUDA_ERROR_NO_DEVICE);
NS_SAME(kInvalidImage, CUDA_ERROR_INVALID_IMAGE);
NS_SAME(kInvalidContext, CUDA_ERROR_INVALID_CONTEXT);
NS_SAME(kNoBinaryForGpu, CUDA_ERROR_NO_BINARY_FOR_GPU);
NS_SAME(kInvalidPtx, CUDA_ERROR_INVALID_PTX);
NS_SAME(kUnsupportedPtxVersion, CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
NS_SAME(kInvalidHandle, CUDA_ERROR_INVALID_HANDLE);
NS_SAME(kNotFound, CUDA_ERROR_NOT_FOUND);
NS_SAME(kNotReady, CUDA_ERROR_NOT_READY);
NS_SAME(kIllegalAddress, CUDA_ERROR_ILLEGAL_ADDRESS);
NS_SAME(kLaunchFailed, CUDA_ERROR_LAUNCH_FAILED);
NS_SAME(kNotSupported, CUDA_ERROR_NOT_SUPPORTED);
NS_SAME(kStreamCaptureUnsupported, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
NS_SAME(kStreamCaptureInvalidated, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
NS_SAME(kStreamCaptureUnmatched, CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
NS_SAME(kStreamCaptureIsolation, CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
NS_SAME(kMaxThreadsPerBlock, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
NS_SAME(kMultiprocessorCount, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
NS_SAME(kComputeCapabilityMajor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
NS_SAME(kComputeCapabilityMinor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
NS_SAME(kFunctionSharedBytes, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES);
NS_SAME(kFunctionBinaryVersion, CU_FUNC_ATTRIBUTE_BINARY_VERSION);
NS_SAME(kCaptureThreadLocal, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
NS_SAME(kStreamNonBlocking, CU_STREAM_NON_BLOCKING);
NS_SAME(kEventDisableTiming, CU_EVENT_DISABLE_TIMING);
NS_SAME(kEventRecordExternal, CU_EVENT_RECORD_EXTERNAL);

#ifdef NS_HAS_CUBLASLT
#define NS_CHECK(name, result, parameters)                                                         \
  using Our_##name = result parameters;                                                            \
  static_assert(SameShape<Our_##name, decltype(::name)>::value, #name);
NS_CUDA_BLASLT(NS_CHECK)
#undef NS_CHECK
static_assert(sizeof(BlasAlgo) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(BlasHeuristic) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(BlasHeuristic, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));
NS_SAME(kBlasNotSupported, CUBLAS_STATUS_NOT_SUPPORTED);
NS_SAME(kBlasInvalidValue, CUBLAS_STATUS_INVALID_VALUE);
NS_SAME(kR32F, CUDA_R_32F);
NS_SAME(kR16BF, CUDA_R_16BF);
NS_SAME(kR8E4M3, CUDA_R_8F_E4M3);
NS_SAME(kCompute32F, CUBLAS_COMPUTE_32F);
NS_SAME(kComputeTf32, CUBLAS_COMPUTE_32F_FAST_TF32);
NS_SAME(kPointerDevice, CUBLASLT_POINTER_MODE_DEVICE);
NS_SAME(kEpilogueBias, CUBLASLT_EPILOGUE_BIAS);
NS_SAME(kEpilogueDefault, CUBLASLT_EPILOGUE_DEFAULT);
NS_SAME(kDescPointerMode, CUBLASLT_MATMUL_DESC_POINTER_MODE);
NS_SAME(kDescTransA, CUBLASLT_MATMUL_DESC_TRANSA);
NS_SAME(kDescTransB, CUBLASLT_MATMUL_DESC_TRANSB);
NS_SAME(kDescEpilogue, CUBLASLT_MATMUL_DESC_EPILOGUE);
NS_SAME(kDescBiasPointer, CUBLASLT_MATMUL_DESC_BIAS_POINTER);
NS_SAME(kDescAScalePointer, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER);
NS_SAME(kDescBScalePointer, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER);
NS_SAME(kDescFastAccum, CUBLASLT_MATMUL_DESC_FAST_ACCUM);
NS_SAME(kDescBiasType, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE);
NS_SAME(kLayoutBatchCount, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT);
NS_SAME(kLayoutBatchStride, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET);
NS_SAME(kPreferWorkspace, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
NS_SAME(kPreferAlignA, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
NS_SAME(kPreferAlignD, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
#endif
} // namespace ns::cuda
