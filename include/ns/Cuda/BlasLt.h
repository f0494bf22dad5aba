//===- BlasLt.h - the part of cuBLASLt that is used -------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Types, numbers and signatures of libcublasLt.so.12 and .13, declared here for the reasons given
// in Driver.h; the header comes in a wheel of 400 MB. Where cublasLt.h is found,
// test/Unit/Cuda/HeadersTest.cpp compares.
//
//===----------------------------------------------------------------------===//

#ifndef NS_CUDA_BLASLT_H
#define NS_CUDA_BLASLT_H

#include "ns/Cuda/Driver.h"

namespace ns::cuda {

/// cublasStatus_t.
enum BlasStatus : int {
  kBlasSuccess = 0,
  kBlasNotInitialized = 1,
  kBlasAllocFailed = 3,
  kBlasInvalidValue = 7,
  kBlasExecutionFailed = 13,
  kBlasNotSupported = 15,
};

/// cudaDataType_t.
enum BlasType : int { kR32F = 0, kR64F = 1, kR16BF = 14, kR8E4M3 = 28 };

/// cublasComputeType_t: sums in float32; kComputeTf32 rounds float32 operands to TF32.
enum BlasCompute : int { kCompute32F = 68, kComputeTf32 = 77 };

enum BlasTranspose : int { kOpN = 0, kOpT = 1 };

enum BlasPointerMode : int { kPointerHost = 0, kPointerDevice = 1 };

enum BlasEpilogue : int { kEpilogueDefault = 1, kEpilogueBias = 4 };

enum BlasDescAttribute : int {
  kDescPointerMode = 2,
  kDescTransA = 3,
  kDescTransB = 4,
  kDescEpilogue = 7,
  kDescBiasPointer = 8,
  kDescAScalePointer = 17,
  kDescBScalePointer = 18,
  kDescFastAccum = 25,
  kDescBiasType = 26,
};

enum BlasLayoutAttribute : int { kLayoutBatchCount = 5, kLayoutBatchStride = 6 };

enum BlasPreferenceAttribute : int {
  kPreferWorkspace = 1,
  kPreferAlignA = 5,
  kPreferAlignB = 6,
  kPreferAlignC = 7,
  kPreferAlignD = 8,
};

using BlasHandle = struct BlasHandleOf *;
using BlasDesc = struct BlasDescOf *;
using BlasLayout = struct BlasLayoutOf *;
using BlasPreference = struct BlasPreferenceOf *;

struct BlasAlgo {
  uint64_t data[8];
};

struct BlasHeuristic {
  BlasAlgo algo;
  size_t workspaceSize;
  BlasStatus state;
  float wavesCount;
  int reserved[4];
};

} // namespace ns::cuda

/// X(symbol, result, (parameters)) of every function that is used.
#define NS_CUDA_BLASLT(X)                                                                          \
  X(cublasLtGetVersion, size_t, ())                                                                \
  X(cublasLtGetStatusName, const char *, (BlasStatus status))                                      \
  X(cublasLtCreate, BlasStatus, (BlasHandle * handle))                                             \
  X(cublasLtDestroy, BlasStatus, (BlasHandle handle))                                              \
  X(cublasLtMatmulDescCreate, BlasStatus,                                                          \
    (BlasDesc * desc, BlasCompute compute, BlasType scaleType))                                    \
  X(cublasLtMatmulDescDestroy, BlasStatus, (BlasDesc desc))                                        \
  X(cublasLtMatmulDescSetAttribute, BlasStatus,                                                    \
    (BlasDesc desc, BlasDescAttribute attribute, const void *value, size_t bytes))                 \
  X(cublasLtMatrixLayoutCreate, BlasStatus,                                                        \
    (BlasLayout * layout, BlasType type, uint64_t rows, uint64_t cols, int64_t ld))                \
  X(cublasLtMatrixLayoutDestroy, BlasStatus, (BlasLayout layout))                                  \
  X(cublasLtMatrixLayoutSetAttribute, BlasStatus,                                                  \
    (BlasLayout layout, BlasLayoutAttribute attribute, const void *value, size_t bytes))           \
  X(cublasLtMatmulPreferenceCreate, BlasStatus, (BlasPreference * preference))                     \
  X(cublasLtMatmulPreferenceDestroy, BlasStatus, (BlasPreference preference))                      \
  X(cublasLtMatmulPreferenceSetAttribute, BlasStatus,                                              \
    (BlasPreference preference, BlasPreferenceAttribute attribute, const void *value,              \
     size_t bytes))                                                                                \
  X(cublasLtMatmulAlgoGetHeuristic, BlasStatus,                                                    \
    (BlasHandle handle, BlasDesc desc, BlasLayout a, BlasLayout b, BlasLayout c, BlasLayout d,     \
     BlasPreference preference, int wanted, BlasHeuristic *results, int *found))                   \
  X(cublasLtMatmulAlgoCheck, BlasStatus,                                                           \
    (BlasHandle handle, BlasDesc desc, BlasLayout a, BlasLayout b, BlasLayout c, BlasLayout d,     \
     const BlasAlgo *algo, BlasHeuristic *result))                                                 \
  X(cublasLtMatmul, BlasStatus,                                                                    \
    (BlasHandle handle, BlasDesc desc, const void *alpha, const void *a, BlasLayout layoutA,       \
     const void *b, BlasLayout layoutB, const void *beta, const void *c, BlasLayout layoutC,       \
     void *d, BlasLayout layoutD, const BlasAlgo *algo, void *workspace, size_t workspaceBytes,    \
     Stream stream))

#endif // NS_CUDA_BLASLT_H
