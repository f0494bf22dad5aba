//===- Device.cpp - one GPU, its streams and memory -----------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Device.h"
#include "ns/Runtime/Backend.h"
#include "ns/Runtime/Error.h"

#include <cstring>

using namespace ns::runtime;

cuda::Device::Device() : api(driver()) {
  api.check(api.cuInit(0), "no GPU can be used: cuInit");
  int count = 0;
  api.check(api.cuDeviceGetCount(&count), "cuDeviceGetCount");
  if (count == 0)
    fail("expected an NVIDIA GPU, found none; is CUDA_VISIBLE_DEVICES empty?");
  api.check(api.cuDeviceGet(&device, 0), "cuDeviceGet");
  char text[256] = "";
  api.check(api.cuDeviceGetName(text, sizeof text, device), "cuDeviceGetName");
  name = text;
  int major = 0, minor = 0;
  api.check(api.cuDeviceGetAttribute(&major, kComputeCapabilityMajor, device),
            "cuDeviceGetAttribute");
  api.check(api.cuDeviceGetAttribute(&minor, kComputeCapabilityMinor, device),
            "cuDeviceGetAttribute");
  capability = major * 10 + minor;
  api.check(api.cuDriverGetVersion(&driverVersion), "cuDriverGetVersion");
  api.check(api.cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
  try {
    makeCurrent();
    api.check(api.cuStreamCreate(&compute, kStreamNonBlocking), "cuStreamCreate");
    api.check(api.cuStreamCreate(&copies, kStreamNonBlocking), "cuStreamCreate");
  } catch (...) {
    api.cuDevicePrimaryCtxRelease_v2(device);
    throw;
  }
}

void cuda::Device::quiesce() {
  api.cuCtxSetCurrent(context);
  api.cuStreamSynchronize(copies);
  api.cuStreamSynchronize(compute);
}

cuda::Device::~Device() {
  quiesce();
  for (DevicePtr block : blocks)
    api.cuMemFree_v2(block);
  for (void *block : pinned)
    api.cuMemFreeHost(block);
  api.cuStreamDestroy_v2(copies);
  api.cuStreamDestroy_v2(compute);
  api.cuDevicePrimaryCtxRelease_v2(device);
}

static std::string megabytes(uint64_t bytes) { return str((bytes + (1 << 20) - 1) >> 20, " MiB"); }

cuda::DevicePtr cuda::Device::allocate(uint64_t bytes, const std::string &whatFor) {
  DevicePtr block = 0;
  Result result = api.cuMemAlloc_v2(&block, bytes);
  if (result == kOutOfMemory) {
    size_t free = 0, total = 0;
    api.cuMemGetInfo_v2(&free, &total);
    fail(whatFor, ": expected ", megabytes(bytes), " of memory on ", name, ", found ",
         megabytes(free), " free of ", megabytes(total),
         "; compile with a smaller --batch, or end what else uses the GPU");
  }
  api.check(result, "cuMemAlloc");
  blocks.push_back(block);
  api.check(api.cuMemsetD8Async(block, 0, bytes, compute), "cuMemsetD8Async");
  return block;
}

char *cuda::Device::allocatePinned(uint64_t bytes, const std::string &whatFor) {
  void *block = nullptr;
  Result result = api.cuMemHostAlloc(&block, bytes, 0);
  if (result != kSuccess)
    fail(whatFor, ": no ", megabytes(bytes), " of pinned memory: ", api.text(result));
  pinned.push_back(block);
  std::memset(block, 0, bytes);
  return static_cast<char *>(block);
}

GpuFacts ns::runtime::findGpu() {
  try {
    cuda::Device device;
    return {device.name, str("sm_", device.capability),
            str(device.driverVersion / 1000, ".", device.driverVersion % 1000 / 10), ""};
  } catch (const Error &error) {
    return {"", "", "", error.what()};
  }
}
