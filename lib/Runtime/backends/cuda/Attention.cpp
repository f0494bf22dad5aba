//===- Attention.cpp - fused attention by the cuDNN plugin ----------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Attention.h"
#include "ns/Runtime/Error.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>

using namespace ns::runtime;
using namespace ns::runtime::cuda;

/// The folder of the library that this code is in.
static std::string ownFolder() {
  Dl_info info{};
  ::dladdr(reinterpret_cast<void *>(&ownFolder), &info);
  return std::filesystem::path(info.dli_fname ? info.dli_fname : "").parent_path().string();
}

Attention::Attention(Device &device) : device(device) {
  std::string path;
  void *library;
  try {
    library = openLibrary("the cuDNN plugin", "NSRT_CUDNN_PLUGIN", {"libnsrt-cudnn.so"},
                          {ownFolder()}, path);
  } catch (const Error &error) {
    fail(error.what(), "; it is built where cuDNN's headers are (scripts/setup.sh --cudnn); or "
                       "compile with --attention=expanded");
  }
  auto query = reinterpret_cast<nsrt_attention_query_fn>(::dlsym(library, NSRT_ATTENTION_SYMBOL));
  plugin = query ? query(NSRT_ATTENTION_VERSION) : nullptr;
  if (!plugin)
    fail(path, ": expected a cuDNN plugin of version ", NSRT_ATTENTION_VERSION, ", found another");
  void *cudnn =
      openLibrary("cuDNN", "NSRT_CUDNN_LIBRARY", {"libcudnn.so.9"}, wheelFolders("cudnn"), path);
  if (const char *complaint = plugin->open(&state, cudnn))
    fail(path, ": ", complaint);
}

Attention::~Attention() {
  if (state)
    plugin->close(state);
}

/// Float32 gradients of the queries and a row of statistics, and as much again for what cuDNN
/// aligns.
static uint64_t workspaceOf(const nsrt_attention &op) {
  if (!op.gradient)
    return 1 << 20;
  uint64_t rows = uint64_t(op.images) * op.heads * std::max(op.queries, op.keys);
  return 2 * rows * (op.width + 64) * sizeof(float) + (1 << 20);
}

void Attention::enqueue(const nsrt_attention &op, void *const *args) {
  // Grows outside of captures: an op's first call is never captured.
  if (uint64_t bytes = workspaceOf(op); bytes > workspaceBytes) {
    workspace = device.allocate(bytes, "attention");
    workspaceBytes = bytes;
  }
  if (const char *complaint = plugin->enqueue(state, &op, args, reinterpret_cast<void *>(workspace),
                                              workspaceBytes, device.compute))
    fail("attention of ", op.images, " images, ", op.heads, " heads, ", op.queries, "x", op.keys,
         "x", op.width, op.gradient ? ", gradient: " : ": ", complaint);
}
