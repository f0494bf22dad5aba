//===- Attention.h - fused attention by the cuDNN plugin --------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_CUDA_ATTENTION_H
#define NS_RUNTIME_CUDA_ATTENTION_H

#include "Device.h"
#include "ns/Cuda/AttentionPlugin.h"

namespace ns::runtime::cuda {

/// The loaded plugin: $NSRT_CUDNN_PLUGIN, or libnsrt-cudnn.so beside libnsrt; and libcudnn.so.9:
/// $NSRT_CUDNN_LIBRARY, the system's, or a wheel's.
class Attention {
public:
  /// Throws Error where one of them is missing.
  explicit Attention(Device &device);
  ~Attention();

  /// Gives the calls memory of the device to work in.
  void setWorkspace(DevicePtr memory, uint64_t bytes) {
    workspace = memory;
    workspaceBytes = bytes;
  }

  /// Throws Error. The first call of an op must not be captured: it builds the plan, and where the
  /// workspace is too small allocates one of its own, which later calls share.
  void enqueue(const nsrt_attention &op, void *const *args);

private:
  void prepare(const nsrt_attention &op);

  Device &device;
  const nsrt_attention_plugin *plugin = nullptr;
  void *state = nullptr;
  DevicePtr workspace = 0;
  uint64_t workspaceBytes = 0;
  std::vector<bool> prepared; ///< by an op's index
};

} // namespace ns::runtime::cuda

#endif // NS_RUNTIME_CUDA_ATTENTION_H
