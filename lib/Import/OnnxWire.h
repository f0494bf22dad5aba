//===- OnnxWire.h - reads protobuf's wire format -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A message is a sequence of fields: a varint `number * 8 + type`, then a varint (type 0), 8 bytes
// (1), a varint length and as many bytes (2), or 4 bytes (5). Fields may come in any order, unknown
// ones are skipped, and repeated numbers come one by one or packed into bytes.
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_IMPORT_ONNXWIRE_H
#define NS_LIB_IMPORT_ONNXWIRE_H

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

#include <vector>

namespace ns::onnx::wire {

/// Repeated numbers outside raw data beyond this many are refused: a model keeps weights raw.
constexpr size_t kMaxNumbers = 1 << 16;

/// What the elements of all lists of a model may take together, in bytes: an empty element takes
/// two in the file, and a hundred times that in memory. Graphs of 10^4 nodes take a tenth.
constexpr uint64_t kMaxMemory = 64 << 20;

/// The bytes of a message, and what is left of `kMaxMemory` for all messages of its model.
struct Message {
  llvm::StringRef bytes;
  uint64_t *memory;
};

/// One field. Each `read` checks the wire type.
class Field {
public:
  unsigned number = 0;

  llvm::Error read(int64_t &value) const;
  llvm::Error read(float &value) const;
  /// Text, which must be UTF-8.
  llvm::Error read(llvm::StringRef &text) const;
  llvm::Error readBytes(llvm::StringRef &bytes) const;
  llvm::Error read(Message &message) const;
  /// Accounts for `count` elements of `size` bytes, in a list that doubles as it grows.
  llvm::Error take(uint64_t count, uint64_t size) const;
  /// Appends, at most up to `most` elements.
  llvm::Error append(llvm::SmallVectorImpl<int64_t> &values, size_t most = kMaxNumbers) const;
  llvm::Error append(std::vector<int64_t> &values) const;
  llvm::Error append(std::vector<float> &values) const;

private:
  friend llvm::Error readMessage(Message, llvm::function_ref<llvm::Error(const Field &)>);
  llvm::Error wrongType(const char *expected) const;

  unsigned type = 0;
  uint64_t scalar = 0;
  llvm::StringRef bytes;
  uint64_t *memory = nullptr;
};

/// Calls `onField` for each field of the message. Errors say at which byte of it.
llvm::Error readMessage(Message message, llvm::function_ref<llvm::Error(const Field &)> onField);

} // namespace ns::onnx::wire

#endif // NS_LIB_IMPORT_ONNXWIRE_H
