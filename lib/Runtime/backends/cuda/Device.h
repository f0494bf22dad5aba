//===- Device.h - one GPU, its streams and memory ---------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_CUDA_DEVICE_H
#define NS_RUNTIME_CUDA_DEVICE_H

#include "Libraries.h"

namespace ns::runtime::cuda {

/// The first device that CUDA_VISIBLE_DEVICES leaves, its primary context (which PyTorch in the
/// same process shares), one stream for entries and one for copies beside them.
class Device {
public:
  /// Throws Error where there is no driver or no device.
  Device();
  ~Device();
  Device(const Device &) = delete;
  Device &operator=(const Device &) = delete;

  /// Of every public call of the backend: another library may have made another context current.
  void makeCurrent() const { api.check(api.cuCtxSetCurrent(context), "cuCtxSetCurrent"); }

  /// Waits for all that was enqueued, whatever became of it: what fails now has failed, and was
  /// said, before.
  void quiesce();

  /// Zeroed memory. Throws Error that says how much there is.
  DevicePtr allocate(uint64_t bytes, const std::string &whatFor);
  /// Memory of the host that the device copies from and to without help; zeroed.
  char *allocatePinned(uint64_t bytes, const std::string &whatFor);

  const Driver &api;
  Stream compute = nullptr, copies = nullptr;
  std::string name;      ///< "NVIDIA H200"
  int capability = 0;    ///< 90 for 9.0
  int driverVersion = 0; ///< 13000 for CUDA 13.0

private:
  DeviceId device = 0;
  Context context = nullptr;
  std::vector<DevicePtr> blocks;
  std::vector<void *> pinned;
};

/// An event, with times or without.
class Marker {
public:
  explicit Marker(const Driver &api, unsigned flags = kEventDisableTiming) : api(api) {
    api.check(api.cuEventCreate(&event, flags), "cuEventCreate");
  }
  ~Marker() { api.cuEventDestroy_v2(event); }
  Marker(const Marker &) = delete;
  Marker &operator=(const Marker &) = delete;

  void record(Stream stream) { api.check(api.cuEventRecord(event, stream), "cuEventRecord"); }
  /// What is enqueued on `stream` from now on runs after what was recorded.
  void holdBack(Stream stream) {
    api.check(api.cuStreamWaitEvent(stream, event, 0), "cuStreamWaitEvent");
  }
  /// In a capture: each time the graph gets there.
  void recordInGraph(Stream stream) {
    api.check(api.cuEventRecordWithFlags(event, stream, kEventRecordExternal),
              "cuEventRecordWithFlags");
  }
  void wait() { api.check(tryWait(), "cuEventSynchronize"); }
  Result tryWait() { return api.cuEventSynchronize(event); }
  float millisecondsSince(const Marker &start) const {
    float milliseconds = 0;
    api.check(api.cuEventElapsedTime(&milliseconds, start.event, event), "cuEventElapsedTime");
    return milliseconds;
  }

private:
  const Driver &api;
  Event event = nullptr;
};

} // namespace ns::runtime::cuda

#endif // NS_RUNTIME_CUDA_DEVICE_H
