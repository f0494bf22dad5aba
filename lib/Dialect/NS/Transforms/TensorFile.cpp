//===- TensorFile.cpp - float tensors in safetensors files -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TensorFile.h"

#include "ns/Checkpoint/Checkpoint.h"
#include "ns/Support/OutputFile.h"

#include "llvm/ADT/SmallString.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace ns::harden {

template <typename... Args> static llvm::Error makeError(const char *format, const Args &...args) {
  return llvm::createStringError(std::errc::invalid_argument, format, args...);
}

/// Machine epsilon of a stored float type.
static double epsilonOf(checkpoint::Type type) {
  switch (type) {
  case checkpoint::Type::F64:
    return 0x1p-52;
  case checkpoint::Type::F16:
    return 0x1p-10;
  case checkpoint::Type::BF16:
    return 0x1p-7;
  default:
    return 0x1p-23;
  }
}

llvm::Expected<StoredTensor> readTensor(StringRef path, StringRef name) {
  checkpoint::StoredValues stored = checkpoint::readValues(path.str(), name.str());
  if (!stored.error.empty())
    return makeError("%s", stored.error.c_str());
  return StoredTensor{std::move(stored.shape), std::move(stored.values), epsilonOf(stored.type)};
}

static std::string makeHeader(ArrayRef<NamedTensor> tensors) {
  llvm::json::Object header;
  int64_t offset = 0;
  for (const NamedTensor &tensor : tensors) {
    int64_t size = int64_t(tensor.values.size()) * 8;
    header[tensor.name] =
        llvm::json::Object{{"dtype", "F64"},
                           {"shape", llvm::json::Array(tensor.shape)},
                           {"data_offsets", llvm::json::Array{offset, offset + size}}};
    offset += size;
  }
  std::string text;
  llvm::raw_string_ostream(text) << llvm::json::Value(std::move(header));
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

llvm::Error writeTensors(StringRef path, ArrayRef<NamedTensor> tensors) {
  auto refuse = [&](llvm::Error error) {
    return makeError("%s: expected to be writable, but got: %s", path.str().c_str(),
                     llvm::toString(std::move(error)).c_str());
  };
  llvm::Expected<OutputFile> file = OutputFile::create(path);
  if (!file)
    return refuse(file.takeError());
  std::string header = makeHeader(tensors);
  char length[8];
  llvm::support::endian::write64le(length, header.size());
  file->os() << StringRef(length, 8) << header;
  for (const NamedTensor &tensor : tensors)
    file->os() << StringRef(reinterpret_cast<const char *>(tensor.values.data()),
                            tensor.values.size() * 8);
  if (llvm::Error error = file->keep())
    return refuse(std::move(error));
  return llvm::Error::success();
}

} // namespace ns::harden
