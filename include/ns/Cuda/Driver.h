//===- Driver.h - the part of the CUDA driver API that is used --*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Types, numbers and signatures of libcuda.so.1, declared here so that every build has the CUDA
// backend, with or without a toolkit. libcuda's binary interface does not change: a function that
// changes gets a new symbol (`_v2`). Where cuda.h is found, test/Unit/Cuda/HeadersTest.cpp compares
// each line with it.
//
//===----------------------------------------------------------------------===//

#ifndef NS_CUDA_DRIVER_H
#define NS_CUDA_DRIVER_H

#include <cstddef>
#include <cstdint>

namespace ns::cuda {

/// CUresult, as far as it is told apart.
enum Result : int {
  kSuccess = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kNotInitialized = 3,
  kNoDevice = 100,
  kInvalidDevice = 101,
  kInvalidImage = 200,
  kInvalidContext = 201,
  kNoBinaryForGpu = 209,
  kInvalidPtx = 218,
  kUnsupportedPtxVersion = 222,
  kInvalidHandle = 400,
  kNotFound = 500,
  kNotReady = 600,
  kIllegalAddress = 700,
  kLaunchOutOfResources = 701,
  kMisalignedAddress = 716,
  kLaunchFailed = 719,
  kNotSupported = 801,
  kStreamCaptureUnsupported = 900,
  kStreamCaptureInvalidated = 901,
  kStreamCaptureUnmatched = 903,
  kStreamCaptureIsolation = 905,
  kStreamCaptureImplicit = 906,
};

enum DeviceAttribute : int {
  kMaxThreadsPerBlock = 1,
  kMaxBlockDimX = 2,
  kMaxBlockDimY = 3,
  kMaxBlockDimZ = 4,
  kMaxGridDimX = 5,
  kMaxGridDimY = 6,
  kMaxGridDimZ = 7,
  kWarpSize = 10,
  kMultiprocessorCount = 16,
  kComputeCapabilityMajor = 75,
  kComputeCapabilityMinor = 76,
};

enum FunctionAttribute : int {
  kFunctionMaxThreads = 0,
  kFunctionSharedBytes = 1,
  kFunctionLocalBytes = 3,
  kFunctionRegisters = 4,
  kFunctionBinaryVersion = 6,
};

enum CaptureMode : int { kCaptureGlobal = 0, kCaptureThreadLocal = 1, kCaptureRelaxed = 2 };

inline constexpr unsigned kStreamNonBlocking = 1;
inline constexpr unsigned kEventDefault = 0, kEventDisableTiming = 2;
inline constexpr unsigned kEventRecordExternal = 1; ///< a capture makes it a node of the graph

using DeviceId = int;
using DevicePtr = uint64_t; ///< CUdeviceptr
using Context = struct ContextOf *;
using Module = struct ModuleOf *;
using Function = struct FunctionOf *;
using Stream = struct StreamOf *;
using Event = struct EventOf *;
using Graph = struct GraphOf *;
using GraphExec = struct GraphExecOf *;

/// The oldest driver that these symbols and PTX of CUDA 12 need.
inline constexpr int kLeastDriver = 12000;

} // namespace ns::cuda

/// X(symbol, (parameters)) of every function that is used.
#define NS_CUDA_DRIVER(X)                                                                          \
  X(cuInit, (unsigned flags))                                                                      \
  X(cuDriverGetVersion, (int *version))                                                            \
  X(cuGetErrorName, (Result error, const char **name))                                             \
  X(cuGetErrorString, (Result error, const char **text))                                           \
  X(cuDeviceGetCount, (int *count))                                                                \
  X(cuDeviceGet, (DeviceId * device, int ordinal))                                                 \
  X(cuDeviceGetName, (char *name, int length, DeviceId device))                                    \
  X(cuDeviceGetAttribute, (int *value, DeviceAttribute attribute, DeviceId device))                \
  X(cuDeviceTotalMem_v2, (size_t *bytes, DeviceId device))                                         \
  X(cuDevicePrimaryCtxRetain, (Context * context, DeviceId device))                                \
  X(cuDevicePrimaryCtxRelease_v2, (DeviceId device))                                               \
  X(cuCtxSetCurrent, (Context context))                                                            \
  X(cuMemGetInfo_v2, (size_t *free, size_t *total))                                                \
  X(cuMemAlloc_v2, (DevicePtr * pointer, size_t bytes))                                            \
  X(cuMemFree_v2, (DevicePtr pointer))                                                             \
  X(cuMemHostAlloc, (void **pointer, size_t bytes, unsigned flags))                                \
  X(cuMemFreeHost, (void *pointer))                                                                \
  X(cuMemcpyHtoDAsync_v2, (DevicePtr to, const void *from, size_t bytes, Stream stream))           \
  X(cuMemcpyDtoHAsync_v2, (void *to, DevicePtr from, size_t bytes, Stream stream))                 \
  X(cuMemcpyDtoDAsync_v2, (DevicePtr to, DevicePtr from, size_t bytes, Stream stream))             \
  X(cuMemsetD8Async, (DevicePtr to, unsigned char value, size_t bytes, Stream stream))             \
  X(cuStreamCreate, (Stream * stream, unsigned flags))                                             \
  X(cuStreamDestroy_v2, (Stream stream))                                                           \
  X(cuStreamSynchronize, (Stream stream))                                                          \
  X(cuStreamWaitEvent, (Stream stream, Event event, unsigned flags))                               \
  X(cuStreamBeginCapture_v2, (Stream stream, CaptureMode mode))                                    \
  X(cuStreamEndCapture, (Stream stream, Graph * graph))                                            \
  X(cuEventCreate, (Event * event, unsigned flags))                                                \
  X(cuEventDestroy_v2, (Event event))                                                              \
  X(cuEventRecord, (Event event, Stream stream))                                                   \
  X(cuEventRecordWithFlags, (Event event, Stream stream, unsigned flags))                          \
  X(cuEventSynchronize, (Event event))                                                             \
  X(cuEventElapsedTime, (float *milliseconds, Event start, Event end))                             \
  X(cuModuleLoadData, (Module * module, const void *image))                                        \
  X(cuModuleUnload, (Module module))                                                               \
  X(cuModuleGetFunction, (Function * function, Module module, const char *name))                   \
  X(cuFuncGetAttribute, (int *value, FunctionAttribute attribute, Function function))              \
  X(cuLaunchKernel, (Function function, unsigned gridX, unsigned gridY, unsigned gridZ,            \
                     unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes,      \
                     Stream stream, void **parameters, void **extra))                              \
  X(cuGraphInstantiateWithFlags, (GraphExec * exec, Graph graph, unsigned long long flags))        \
  X(cuGraphLaunch, (GraphExec exec, Stream stream))                                                \
  X(cuGraphExecDestroy, (GraphExec exec))                                                          \
  X(cuGraphDestroy, (Graph graph))

#endif // NS_CUDA_DRIVER_H
