//===- SafeTensors.h - the safetensors format -------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CHECKPOINT_SAFETENSORS_H
#define NS_CHECKPOINT_SAFETENSORS_H

#include "ns/Checkpoint/Tensor.h"
#include "ns/Runtime/FileIO.h"
#include "ns/Runtime/Tensor.h"

#include <map>
#include <string>
#include <vector>

namespace ns::checkpoint {

/// A .safetensors file whose header has been checked in full: sizes, shapes, types, no overlap, no
/// hole, no duplicate. Nothing of the data is read before it is asked for. Memory follows the
/// entries that are there, never what the header claims.
class SafeTensorsReader {
public:
  explicit SafeTensorsReader(std::string path);
  SafeTensorsReader(const SafeTensorsReader &) = delete;

  const std::string &path() const { return file.path(); }
  uint64_t fileSize() const { return file.size(); }
  /// In the order of their data.
  const std::vector<Tensor> &tensors() const { return entries; }
  const std::map<std::string, std::string> &metadata() const { return extra; }
  /// Null where there is none of that name.
  const Tensor *find(const std::string &name) const;

  /// Converts F64, F32, F16 and BF16 to `out`'s float type; the element counts must be equal.
  void read(const Tensor &tensor, const runtime::TensorView &out) const;

  /// XXH3-128 of the header (the 8-byte length and the JSON after it), and of the whole file.
  const std::string &headerHash() const { return hash; }
  std::string contentHash() const { return runtime::xxh3HexOfFile(file); }

private:
  void parseHeader(const std::string &text, uint64_t dataBegin);

  runtime::InputFile file;
  std::string hash;
  std::vector<Tensor> entries;
  std::map<std::string, std::string> extra;
};

/// Collects tensors (not copied: they must live until write) and writes them as one file, whole or
/// not at all.
class SafeTensorsWriter {
public:
  void add(std::string name, const runtime::TensorView &tensor) {
    entries.push_back({std::move(name), tensor});
  }
  void setMetadata(std::map<std::string, std::string> values) { extra = std::move(values); }
  void write(const std::string &path) const;

private:
  std::vector<std::pair<std::string, runtime::TensorView>> entries;
  std::map<std::string, std::string> extra;
};

} // namespace ns::checkpoint

#endif // NS_CHECKPOINT_SAFETENSORS_H
