//===- SafeTensors.h - the safetensors format -------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_SAFETENSORS_H
#define NS_RUNTIME_SAFETENSORS_H

#include "ns/Runtime/FileIO.h"
#include "ns/Runtime/Tensor.h"

#include <map>
#include <string>
#include <vector>

namespace ns::runtime {

/// One entry of a file's header; offsets count from the start of the file.
struct TensorInfo {
  std::string name, dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;
};

/// A .safetensors file whose header has been checked in full: sizes, shapes, types, no overlap, no
/// hole, no duplicate. Nothing of the data is read before it is asked for.
class SafeTensorsReader {
public:
  explicit SafeTensorsReader(std::string path);

  const std::string &path() const { return file.path(); }
  uint64_t fileSize() const { return file.size(); }
  const std::vector<TensorInfo> &tensors() const { return entries; }
  const std::map<std::string, std::string> &metadata() const { return extra; }
  /// Null where there is none of that name.
  const TensorInfo *find(const std::string &name) const;

  /// Converts F64, F32, F16 and BF16 to `out`'s float type; the element counts must be equal.
  void read(const TensorInfo &tensor, const TensorView &out) const;

  /// XXH3-128 of the header (the 8-byte length and the JSON after it), and of the whole file.
  const std::string &headerHash() const { return hash; }
  std::string contentHash() const { return xxh3HexOfFile(file); }

private:
  void parseHeader(const std::string &text, uint64_t dataBegin);

  InputFile file;
  std::string hash;
  std::vector<TensorInfo> entries;
  std::map<std::string, std::string> extra;
};

/// Collects tensors (not copied: they must live until write) and writes them as one file, whole or
/// not at all.
class SafeTensorsWriter {
public:
  void add(std::string name, const TensorView &tensor) {
    entries.push_back({std::move(name), tensor});
  }
  void setMetadata(std::map<std::string, std::string> values) { extra = std::move(values); }
  void write(const std::string &path) const;

private:
  std::vector<std::pair<std::string, TensorView>> entries;
  std::map<std::string, std::string> extra;
};

} // namespace ns::runtime

#endif // NS_RUNTIME_SAFETENSORS_H
