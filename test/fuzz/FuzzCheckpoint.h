//===- FuzzCheckpoint.h - reads bytes as a checkpoint -----------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_TEST_FUZZ_FUZZCHECKPOINT_H
#define NS_TEST_FUZZ_FUZZCHECKPOINT_H

#include "ns/Checkpoint/Checkpoint.h"
#include "ns/Runtime/Error.h"

#include <string>
#include <string_view>
#include <sys/mman.h>
#include <unistd.h>

namespace ns::fuzz {

/// A file in memory, with a path.
class MemoryFile {
public:
  explicit MemoryFile(std::string_view bytes) : descriptor(::memfd_create("fuzz", 0)) {
    while (!bytes.empty()) {
      ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
      if (written <= 0)
        std::abort();
      bytes.remove_prefix(written);
    }
  }
  ~MemoryFile() { ::close(descriptor); }
  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor); }

private:
  int descriptor;
};

/// The tensors of a vision transformer of one block, as the seeds have them.
inline std::vector<checkpoint::Wanted> wantedTensors() {
  return {{"patch_embed.proj.weight", {4, 1, 2, 2}},
          {"blocks.0.attn.qkv.weight", {12, 4}},
          {"blocks.0.attn.qkv.bias", {12}},
          {"blocks.0.attn.proj.weight", {4, 4}},
          {"blocks.0.mlp.fc1.weight", {4, 4}},
          {"norm.weight", {4}},
          {"head.bias", {2}},
          {"mask", {2}, /*isOptional=*/true}};
}

/// Opens, fits and reads everything, as loading weights does. Any bytes give tensors or an Error.
inline void readCheckpoint(const std::string &path) {
  for (bool ema : {true, false})
    try {
      checkpoint::Checkpoint file = checkpoint::Checkpoint::open(path, {ema});
      for (const checkpoint::Tensor &tensor : file.tensors()) {
        std::vector<char> elements(tensor.count() * sizeOf(tensor.type));
        copyElements(tensor, tensor.type, elements.data());
      }
      std::string error;
      for (const checkpoint::Pieces &pieces : fit(file, wantedTensors(), "model"))
        elementsOf(pieces, checkpoint::Type::F32, error);
    } catch (const runtime::Error &) {
    }
}

} // namespace ns::fuzz

#endif // NS_TEST_FUZZ_FUZZCHECKPOINT_H
