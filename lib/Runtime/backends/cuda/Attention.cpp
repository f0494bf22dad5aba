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
  static constexpr char kRemedy[] =
      "; or compile with --attention=expanded, which needs neither cuDNN nor its plugin";
  std::string path;
  void *library, *cudnn;
  try {
    library = openLibrary("the cuDNN plugin", "NSRT_CUDNN_PLUGIN", {"libnsrt-cudnn.so"},
                          {ownFolder()}, path);
  } catch (const Error &error) {
    fail(error.what(), "; it is built where cuDNN's headers are (scripts/setup.sh --cudnn)",
         kRemedy);
  }
  auto query = reinterpret_cast<nsrt_attention_query_fn>(::dlsym(library, NSRT_ATTENTION_SYMBOL));
  plugin = query ? query(NSRT_ATTENTION_VERSION) : nullptr;
  if (!plugin)
    fail(path, ": expected a cuDNN plugin of version ", NSRT_ATTENTION_VERSION, ", found another");
  try {
    cudnn =
        openLibrary("cuDNN", "NSRT_CUDNN_LIBRARY", {"libcudnn.so.9"}, wheelFolders("cudnn"), path);
  } catch (const Error &error) {
    fail(error.what(), kRemedy);
  }
  if (const char *complaint = plugin->open(&state, cudnn))
    fail(path, ": ", complaint, kRemedy);
}

Attention::~Attention() {
  if (state)
    plugin->close(state);
}

void Attention::prepare(const nsrt_attention &op) {
  uint64_t bytes = 0;
  if (const char *complaint = plugin->prepare(state, &op, &bytes))
    fail(complaint, "; compile with --attention=expanded");
  if (bytes > workspaceBytes) // graphs that were captured keep the one they have
    setWorkspace(device.allocate(bytes, "attention"), bytes);
  prepared.resize(std::max(prepared.size(), static_cast<size_t>(op.index) + 1));
  prepared[op.index] = true;
}

void Attention::enqueue(const nsrt_attention &op, void *const *args) {
  try {
    if (static_cast<size_t>(op.index) >= prepared.size() || !prepared[op.index])
      prepare(op);
    if (const char *complaint =
            plugin->enqueue(state, &op, args, reinterpret_cast<void *>(workspace), device.compute))
      fail(complaint);
  } catch (const Error &error) {
    fail("attention of ", op.images, " images, ", op.heads, " heads, ", op.queries, "x", op.keys,
         "x", op.width, op.gradient ? ", gradient: " : ": ", error.what());
  }
}
