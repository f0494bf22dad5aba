//===- TensorFile.cpp - float tensors in safetensors files -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TensorFile.h"

#include "llvm/ADT/APFloat.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace ns::harden {

template <typename... Args>
static llvm::Error makeError(const char *format, const Args &...args) {
  return llvm::createStringError(std::errc::invalid_argument, format, args...);
}

/// Bytes and epsilon of a stored float type; 0 bytes where the type is no float.
static std::pair<unsigned, double> describeType(StringRef dtype) {
  if (dtype == "F64")
    return {8, 0x1p-52};
  if (dtype == "F32")
    return {4, 0x1p-23};
  if (dtype == "F16")
    return {2, 0x1p-10};
  if (dtype == "BF16")
    return {2, 0x1p-7};
  return {0, 0};
}

static double decode(const char *bytes, StringRef dtype) {
  using namespace llvm::support::endian;
  if (dtype == "F64")
    return llvm::bit_cast<double>(read64le(bytes));
  if (dtype == "F32")
    return llvm::bit_cast<float>(read32le(bytes));
  const llvm::fltSemantics &semantics = dtype == "F16" ? llvm::APFloat::IEEEhalf() : llvm::APFloat::BFloat();
  return llvm::APFloat(semantics, llvm::APInt(16, read16le(bytes))).convertToDouble();
}

/// The JSON header and the data after it.
static llvm::Expected<std::pair<llvm::json::Value, StringRef>> parseHeader(StringRef path, StringRef file) {
  std::string name = path.str();
  if (file.size() < 8)
    return makeError("%s: expected a safetensors file, but got %zu bytes", name.c_str(), file.size());
  uint64_t length = llvm::support::endian::read64le(file.data());
  if (length > file.size() - 8)
    return makeError("%s: expected a safetensors header of at most %zu bytes, but got a length of %llu", name.c_str(),
                     file.size() - 8, static_cast<unsigned long long>(length));
  llvm::Expected<llvm::json::Value> header = llvm::json::parse(file.substr(8, length));
  if (!header)
    return makeError("%s: expected a JSON header, but got: %s", name.c_str(),
                     llvm::toString(header.takeError()).c_str());
  return std::make_pair(std::move(*header), file.substr(8 + length));
}

llvm::Expected<StoredTensor> readTensor(StringRef path, StringRef name) {
  std::string where = (path + ": " + name).str();
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer)
    return makeError("%s: expected a weights file, but got: %s", path.str().c_str(), buffer.getError().message().c_str());
  auto header = parseHeader(path, (*buffer)->getBuffer());
  if (!header)
    return header.takeError();
  const llvm::json::Object *entries = header->first.getAsObject();
  const llvm::json::Object *entry = entries ? entries->getObject(name) : nullptr;
  if (!entry)
    return makeError("%s: expected an entry of this name, but got none", where.c_str());
  std::optional<StringRef> dtype = entry->getString("dtype");
  const llvm::json::Array *shape = entry->getArray("shape");
  const llvm::json::Array *offsets = entry->getArray("data_offsets");
  auto [bytes, epsilon] = describeType(dtype.value_or(""));
  if (!bytes)
    return makeError("%s: expected dtype F64, F32, F16 or BF16, but got %s", where.c_str(), dtype.value_or("none").str().c_str());
  if (!shape || !offsets || offsets->size() != 2)
    return makeError("%s: expected a shape and two data_offsets, but got none", where.c_str());
  StoredTensor tensor;
  tensor.epsilon = epsilon;
  // A shape that does not fit the data fails below; the bound keeps the product from overflowing.
  uint64_t available = header->second.size(), count = 1;
  for (const llvm::json::Value &extent : *shape) {
    int64_t size = extent.getAsInteger().value_or(-1);
    if (size < 0 || (size && count > available / size))
      return makeError("%s: expected a shape that the file holds, but got a larger one", where.c_str());
    tensor.shape.push_back(size);
    count *= size;
  }
  uint64_t begin = (*offsets)[0].getAsUINT64().value_or(available + 1), end = (*offsets)[1].getAsUINT64().value_or(0);
  if (begin > end || end > available || end - begin != count * bytes)
    return makeError("%s: expected data_offsets of %llu bytes within the file, but got others", where.c_str(),
                     static_cast<unsigned long long>(count * bytes));
  tensor.values.resize(count);
  for (uint64_t i = 0; i < count; ++i)
    tensor.values[i] = decode(header->second.data() + begin + i * bytes, *dtype);
  return tensor;
}

static std::string makeHeader(ArrayRef<NamedTensor> tensors) {
  llvm::json::Object header;
  int64_t offset = 0;
  for (const NamedTensor &tensor : tensors) {
    int64_t size = int64_t(tensor.values.size()) * 8;
    header[tensor.name] = llvm::json::Object{{"dtype", "F64"},
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
  auto temporary = llvm::sys::fs::TempFile::create(path + ".%%%%%%.tmp");
  if (!temporary)
    return makeError("%s: expected to be writable, but got: %s", path.str().c_str(),
                     llvm::toString(temporary.takeError()).c_str());
  llvm::raw_fd_ostream stream(temporary->FD, /*shouldClose=*/false);
  std::string header = makeHeader(tensors);
  char length[8];
  llvm::support::endian::write64le(length, header.size());
  stream << StringRef(length, 8) << header;
  for (const NamedTensor &tensor : tensors)
    stream << StringRef(reinterpret_cast<const char *>(tensor.values.data()), tensor.values.size() * 8);
  stream.flush();
  if (stream.has_error()) {
    std::string message = stream.error().message();
    stream.clear_error();
    llvm::consumeError(temporary->discard());
    return makeError("%s: expected to be writable, but got: %s", path.str().c_str(), message.c_str());
  }
  return temporary->keep(path);
}

} // namespace ns::harden
