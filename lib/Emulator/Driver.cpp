//===- Driver.cpp - the emulated CUDA driver: device, context, memory -----===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DriverCalls.h"

#include <cstdarg>
#include <cstdlib>
#include <cstring>

using namespace ns::emulator;

static constexpr char kName[] = "Nullspace emulator";

Machine &ns::emulator::machine() {
  static Machine &m = *new Machine; // outlives what others destroy at exit
  return m;
}

Machine::Machine() {
  if (const char *path = std::getenv("NSEMU_RECORD"); path && *path) {
    record = std::fopen(path, "w");
    if (!record)
      complain(std::string("NSEMU_RECORD: cannot write ") + path);
  }
}

void ns::emulator::record(const std::string &line) {
  if (FILE *file = machine().record) {
    std::fprintf(file, "%s\n", line.c_str());
    std::fflush(file);
  }
}

void ns::emulator::complain(const std::string &text) {
  std::fprintf(stderr, "CUDA emulator: %s\n", text.c_str());
}

bool &ns::emulator::contextIsCurrent() {
  static thread_local bool current = false;
  return current;
}

long ns::emulator::environment(const char *name, long otherwise) {
  const char *text = std::getenv(name);
  return text && *text ? std::atol(text) : otherwise;
}

static std::string text(const char *format, ...) {
  char line[256];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  return line;
}

/// A copy's two ends, as far as they are device memory, must lie in one allocation each.
static bool refusesRange(const char *call, DevicePtr pointer, size_t bytes) {
  if (machine().memory.contains(pointer, bytes))
    return false;
  complain(text("%s: %zu bytes at 0x%zx are not in one allocation of device memory", call, bytes,
                size_t(pointer)));
  return true;
}

namespace ns::cuda {

NS_CALL(cuInit, (unsigned)) {
  std::lock_guard<std::recursive_mutex> guard(machine().lock);
  if (environment("NSEMU_DEVICES", 1) == 0)
    return kNoDevice;
  machine().initialized = true;
  return kSuccess;
}

NS_CALL(cuDriverGetVersion, (int *version)) {
  *version = int(environment("NSEMU_DRIVER", 13000));
  return kSuccess;
}

static const struct {
  Result result;
  const char *name, *meaning;
} kResults[] = {
    {kSuccess, "CUDA_SUCCESS", "no error"},
    {kInvalidValue, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {kNotInitialized, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {kNoDevice, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {kInvalidDevice, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {kInvalidImage, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
    {kInvalidContext, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {kNoBinaryForGpu, "CUDA_ERROR_NO_BINARY_FOR_GPU",
     "no kernel image is available for execution on the device"},
    {kInvalidPtx, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"},
    {kUnsupportedPtxVersion, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
     "the provided PTX was compiled with an unsupported toolchain."},
    {kInvalidHandle, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {kNotFound, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {kNotReady, "CUDA_ERROR_NOT_READY", "device not ready"},
    {kIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {kLaunchOutOfResources, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
     "too many resources requested for launch"},
    {kMisalignedAddress, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
    {kLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {kNotSupported, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {kStreamCaptureUnsupported, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "operation not permitted when stream is capturing"},
    {kStreamCaptureInvalidated, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
     "operation failed due to a previous error during capture"},
    {kStreamCaptureUnmatched, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED",
     "capture was not ended in the same stream as it began"},
    {kStreamCaptureIsolation, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION",
     "dependency created on uncaptured work in another stream"},
    {kStreamCaptureImplicit, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
     "operation would make the legacy stream depend on a capturing blocking stream"},
};

NS_CALL(cuGetErrorName, (Result error, const char **name)) {
  *name = nullptr;
  for (const auto &entry : kResults)
    if (entry.result == error)
      *name = entry.name;
  return *name ? kSuccess : kInvalidValue;
}

NS_CALL(cuGetErrorString, (Result error, const char **meaning)) {
  *meaning = nullptr;
  for (const auto &entry : kResults)
    if (entry.result == error)
      *meaning = entry.meaning;
  return *meaning ? kSuccess : kInvalidValue;
}

NS_CALL(cuDeviceGetCount, (int *count)) {
  *count = int(environment("NSEMU_DEVICES", 1));
  return machine().initialized ? kSuccess : kNotInitialized;
}

NS_CALL(cuDeviceGet, (DeviceId * device, int ordinal)) {
  if (!machine().initialized)
    return kNotInitialized;
  *device = ordinal;
  return ordinal >= 0 && ordinal < environment("NSEMU_DEVICES", 1) ? kSuccess : kInvalidDevice;
}

NS_CALL(cuDeviceGetName, (char *name, int length, DeviceId)) {
  std::snprintf(name, length, "%s", kName);
  return kSuccess;
}

/// NSEMU_CAPABILITY: 80 for compute capability 8.0.
static int capability() {
  const char *text = std::getenv("NSEMU_CAPABILITY");
  return text && *text ? std::atoi(text) : 90;
}

NS_CALL(cuDeviceGetAttribute, (int *value, DeviceAttribute attribute, DeviceId)) {
  const std::map<int, int> known = {
      {kMaxThreadsPerBlock, 1024}, {kMaxBlockDimX, 1024},
      {kMaxBlockDimY, 1024},       {kMaxBlockDimZ, 64},
      {kMaxGridDimX, 0x7fffffff},  {kMaxGridDimY, 65535},
      {kMaxGridDimZ, 65535},       {kWarpSize, 32},
      {kMultiprocessorCount, 132}, {kComputeCapabilityMajor, capability() / 10},
      {kComputeCapabilityMinor, capability() % 10}};
  auto it = known.find(attribute);
  *value = it == known.end() ? 0 : it->second;
  return it == known.end() ? kNotSupported : kSuccess;
}

NS_CALL(cuDeviceTotalMem_v2, (size_t *bytes, DeviceId)) {
  *bytes = machine().memory.total();
  return kSuccess;
}

NS_CALL(cuDevicePrimaryCtxRetain, (Context * context, DeviceId)) {
  if (!machine().initialized)
    return kNotInitialized;
  ++machine().retained;
  *context = reinterpret_cast<Context>(&machine());
  return kSuccess;
}

NS_CALL(cuDevicePrimaryCtxRelease_v2, (DeviceId)) {
  std::lock_guard<std::recursive_mutex> guard(machine().lock);
  if (machine().retained == 0)
    return kInvalidContext;
  if (--machine().retained == 0) { // the next one to retain it gets a fresh context
    machine().lost = kSuccess;
    machine().streams.clear();
    machine().events.clear();
    machine().memory.clear();
  }
  return kSuccess;
}

NS_CALL(cuCtxSetCurrent, (Context context)) {
  if (context && (reinterpret_cast<Machine *>(context) != &machine() || !machine().retained))
    return kInvalidContext;
  contextIsCurrent() = context != nullptr;
  return kSuccess;
}

NS_CALL(cuMemGetInfo_v2, (size_t *free, size_t *total)) {
  NS_ENTER();
  *total = m.memory.total();
  *free = *total - m.memory.used();
  return kSuccess;
}

NS_CALL(cuMemAlloc_v2, (DevicePtr * pointer, size_t bytes)) {
  NS_ENTER();
  if (Result refused = m.refuseInCapture("cuMemAlloc"))
    return refused;
  Result result = m.memory.allocate(*pointer, bytes);
  record(text("cuMemAlloc %zu", bytes));
  return result;
}

NS_CALL(cuMemFree_v2, (DevicePtr pointer)) {
  NS_ENTER();
  if (Result refused = m.refuseInCapture("cuMemFree"))
    return refused;
  record("cuMemFree " + m.memory.nameOf(pointer));
  // Waits for the device, as the real one.
  m.memory.open();
  Result result = kSuccess;
  for (auto &stream : m.streams)
    if (result == kSuccess)
      result = m.runUntil(stream.get(), stream->enqueued);
  m.memory.close();
  return result == kSuccess ? m.memory.release(pointer) : result;
}

NS_CALL(cuMemHostAlloc, (void **pointer, size_t bytes, unsigned)) {
  NS_ENTER();
  if (Result refused = m.refuseInCapture("cuMemHostAlloc"))
    return refused;
  record(text("cuMemHostAlloc %zu", bytes));
  return m.memory.allocatePinned(pointer, bytes);
}

NS_CALL(cuMemFreeHost, (void *pointer)) {
  std::lock_guard<std::recursive_mutex> guard(machine().lock);
  return machine().memory.releasePinned(pointer);
}

NS_CALL(cuMemcpyHtoDAsync_v2, (DevicePtr to, const void *from, size_t bytes, Stream stream)) {
  NS_ENTER();
  if (!m.find(stream) || refusesRange("cuMemcpyHtoDAsync", to, bytes))
    return kInvalidValue;
  record(text("cuMemcpyHtoD %s %zu bytes stream %d", m.memory.nameOf(to).c_str(), bytes,
              stream->number));
  void *target = reinterpret_cast<void *>(to);
  if (m.memory.containsPinned(from, bytes))
    return m.enqueue(stream, {"cuMemcpyHtoD", [=] {
                                std::memcpy(target, from, bytes);
                                return kSuccess;
                              }});
  if (stream->capture) {
    stream->invalidated = true;
    complain("cuMemcpyHtoDAsync from pageable memory in a capture");
    return kStreamCaptureUnsupported;
  }
  // Pageable memory has been read when the call returns.
  auto bytesThen = std::make_shared<std::vector<char>>(static_cast<const char *>(from),
                                                       static_cast<const char *>(from) + bytes);
  return m.enqueue(stream, {"cuMemcpyHtoD", [=] {
                              std::memcpy(target, bytesThen->data(), bytes);
                              return kSuccess;
                            }});
}

NS_CALL(cuMemcpyDtoHAsync_v2, (void *to, DevicePtr from, size_t bytes, Stream stream)) {
  NS_ENTER();
  if (!m.find(stream) || refusesRange("cuMemcpyDtoHAsync", from, bytes))
    return kInvalidValue;
  record(text("cuMemcpyDtoH %s %zu bytes stream %d", m.memory.nameOf(from).c_str(), bytes,
              stream->number));
  bool pinned = m.memory.containsPinned(to, bytes);
  if (!pinned && stream->capture) {
    stream->invalidated = true;
    complain("cuMemcpyDtoHAsync to pageable memory in a capture");
    return kStreamCaptureUnsupported;
  }
  const void *source = reinterpret_cast<const void *>(from);
  Result result = m.enqueue(stream, {"cuMemcpyDtoH", [=] {
                                       std::memcpy(to, source, bytes);
                                       return kSuccess;
                                     }});
  // To pageable memory it is done when the call returns.
  return pinned || result != kSuccess ? result : cuStreamSynchronize(stream);
}

NS_CALL(cuMemcpyDtoDAsync_v2, (DevicePtr to, DevicePtr from, size_t bytes, Stream stream)) {
  NS_ENTER();
  if (!m.find(stream) || refusesRange("cuMemcpyDtoDAsync", to, bytes) ||
      refusesRange("cuMemcpyDtoDAsync", from, bytes))
    return kInvalidValue;
  record(text("cuMemcpyDtoD %s from %s %zu bytes stream %d", m.memory.nameOf(to).c_str(),
              m.memory.nameOf(from).c_str(), bytes, stream->number));
  return m.enqueue(stream, {"cuMemcpyDtoD", [=] {
                              std::memmove(reinterpret_cast<void *>(to),
                                           reinterpret_cast<const void *>(from), bytes);
                              return kSuccess;
                            }});
}

NS_CALL(cuMemsetD8Async, (DevicePtr to, unsigned char value, size_t bytes, Stream stream)) {
  NS_ENTER();
  if (!m.find(stream) || refusesRange("cuMemsetD8Async", to, bytes))
    return kInvalidValue;
  record(text("cuMemsetD8 %s %u %zu bytes stream %d", m.memory.nameOf(to).c_str(), value, bytes,
              stream->number));
  return m.enqueue(stream, {"cuMemsetD8", [=] {
                              std::memset(reinterpret_cast<void *>(to), value, bytes);
                              return kSuccess;
                            }});
}

} // namespace ns::cuda

extern "C" __attribute__((visibility("default"))) Result
nsemu_enqueue(Stream stream, const char *line, std::function<Result()> run) {
  NS_ENTER();
  record(line);
  return m.enqueue(stream,
                   {std::string(line).substr(0, std::string(line).find(' ')), std::move(run)});
}

extern "C" __attribute__((visibility("default"))) bool nsemu_capturing() {
  std::lock_guard<std::recursive_mutex> guard(machine().lock);
  return machine().capturing();
}

extern "C" __attribute__((visibility("default"))) bool nsemu_contains(const void *begin,
                                                                      size_t bytes) {
  std::lock_guard<std::recursive_mutex> guard(machine().lock);
  return machine().memory.contains(reinterpret_cast<uintptr_t>(begin), bytes);
}

extern "C" __attribute__((visibility("default"))) void nsemu_name(const void *pointer, char *text,
                                                                  size_t bytes) {
  std::lock_guard<std::recursive_mutex> guard(machine().lock);
  std::snprintf(text, bytes, "%s",
                machine().memory.nameOf(reinterpret_cast<uintptr_t>(pointer)).c_str());
}
