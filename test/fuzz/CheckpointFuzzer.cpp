//===- CheckpointFuzzer.cpp - libFuzzer target of the checkpoints' readers ===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Whole files: safetensors, PyTorch's zip format, .npz, and the index of a sharded folder. Which
// reader gets one follows from its content, so each format has seeds of its own.
//
//===----------------------------------------------------------------------===//

#include "../../lib/Checkpoint/Formats.h"
#include "FuzzCheckpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char *>(data), size);
  ns::fuzz::MemoryFile file(bytes);
  ns::fuzz::readCheckpoint(file.path());
  if (bytes.starts_with('{'))
    try {
      for (const std::string &shard : ns::checkpoint::shardsOf(file.path()))
        if (shard.find('/') != std::string::npos || shard == "..")
          std::abort(); // it left its folder
    } catch (const ns::runtime::Error &) {
    }
  return 0;
}
