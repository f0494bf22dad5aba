//===- OnnxWire.cpp - reads protobuf's wire format -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "OnnxWire.h"

#include "llvm/ADT/bit.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/JSON.h"

using namespace llvm;
using namespace llvm::support::endian;
using namespace ns::onnx::wire;

namespace {
enum WireType : unsigned { Varint = 0, Fixed64 = 1, Bytes = 2, Fixed32 = 5 };
} // namespace

/// Takes a varint from the front of `bytes`: 7 bits a byte, low ones first, 64 bits at most. False
/// where it runs past the end or is longer.
static bool takeVarint(StringRef &bytes, uint64_t &value) {
  value = 0;
  for (unsigned i = 0; i < 10 && i < bytes.size(); ++i) {
    uint8_t byte = bytes[i];
    if (i == 9 && byte > 1)
      return false;
    value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      bytes = bytes.drop_front(i + 1);
      return true;
    }
  }
  return false;
}

Error Field::wrongType(const char *expected) const {
  return createStringError("field " + Twine(number) + ": expected " + expected +
                           ", found wire type " + Twine(type));
}

Error Field::read(int64_t &value) const {
  if (type != Varint)
    return wrongType("an integer");
  value = static_cast<int64_t>(scalar);
  return Error::success();
}

Error Field::read(float &value) const {
  if (type != Fixed32)
    return wrongType("a float");
  value = bit_cast<float>(static_cast<uint32_t>(scalar));
  return Error::success();
}

Error Field::readBytes(StringRef &result) const {
  if (type != Bytes)
    return wrongType("bytes");
  result = bytes;
  return Error::success();
}

Error Field::read(StringRef &text) const {
  if (type != Bytes)
    return wrongType("text");
  if (!json::isUTF8(bytes))
    return createStringError("field " + Twine(number) + ": text that is not UTF-8");
  text = bytes;
  return Error::success();
}

Error Field::read(Message &message) const {
  message.memory = memory;
  return readBytes(message.bytes);
}

Error Field::take(uint64_t count, uint64_t size) const {
  const uint64_t needed = 2 * count * size;
  if (needed > *memory)
    return createStringError("field " + Twine(number) +
                             ": expected all lists of the model to take at most " +
                             Twine(kMaxMemory >> 20) + " MiB, found more");
  *memory -= needed;
  return Error::success();
}

Error Field::append(SmallVectorImpl<int64_t> &values, size_t most) const {
  const size_t before = values.size();
  auto add = [&](uint64_t value) {
    values.push_back(static_cast<int64_t>(value));
    return values.size() <= most;
  };
  bool fits = true;
  if (type == Varint) {
    fits = add(scalar);
  } else if (type == Bytes) {
    StringRef rest = bytes;
    for (uint64_t value = 0; fits && !rest.empty(); fits = add(value))
      if (!takeVarint(rest, value))
        return createStringError("field " + Twine(number) + ": packed integers that are cut short");
  } else {
    return wrongType("integers");
  }
  if (!fits)
    return createStringError("field " + Twine(number) + ": expected at most " + Twine(most) +
                             " integers");
  return take(values.size() - before, sizeof(int64_t));
}

Error Field::append(std::vector<int64_t> &values) const {
  SmallVector<int64_t> more;
  if (Error error = append(more, kMaxNumbers - std::min(values.size(), kMaxNumbers)))
    return error;
  values.insert(values.end(), more.begin(), more.end());
  return Error::success();
}

Error Field::append(std::vector<float> &values) const {
  size_t added = type == Bytes ? bytes.size() / 4 : 1;
  if (type == Bytes ? bytes.size() % 4 != 0 : type != Fixed32)
    return wrongType("floats");
  if (values.size() + added > kMaxNumbers)
    return createStringError("field " + Twine(number) + ": expected at most " + Twine(kMaxNumbers) +
                             " floats");
  if (Error error = take(added, sizeof(float) + sizeof(double)))
    return error;
  for (size_t i = 0; i < added; ++i)
    values.push_back(bit_cast<float>(type == Bytes ? read32le(bytes.data() + 4 * i)
                                                   : static_cast<uint32_t>(scalar)));
  return Error::success();
}

Error ns::onnx::wire::readMessage(Message message, function_ref<Error(const Field &)> onField) {
  const StringRef bytes = message.bytes;
  StringRef rest = bytes;
  while (!rest.empty()) {
    const uint64_t at = bytes.size() - rest.size();
    auto damaged = [&](const Twine &what) {
      return createStringError("damaged at byte " + Twine(at) + " of " + Twine(bytes.size()) +
                               ": " + what);
    };
    Field field;
    field.memory = message.memory;
    uint64_t key = 0;
    if (!takeVarint(rest, key) || key >> 3 == 0 || key >> 32 != 0)
      return damaged("no field starts there");
    field.number = key >> 3;
    field.type = key & 7;
    size_t size = field.type == Fixed64 ? 8 : field.type == Fixed32 ? 4 : 0;
    if (field.type == Varint || field.type == Bytes) {
      if (!takeVarint(rest, field.scalar))
        return damaged("a number that is cut short or longer than 64 bits");
    } else if (!size) {
      return damaged("wire type " + Twine(field.type));
    }
    if (field.type == Bytes && field.scalar > rest.size())
      return damaged("expected " + Twine(field.scalar) + " bytes, found " + Twine(rest.size()));
    if (size > rest.size())
      return damaged("expected " + Twine(size) + " bytes, found " + Twine(rest.size()));
    if (field.type == Bytes)
      field.bytes = rest.take_front(size = field.scalar);
    else if (size)
      field.scalar = size == 8 ? read64le(rest.data()) : read32le(rest.data());
    rest = rest.drop_front(size);
    if (Error error = onField(field))
      return error;
  }
  return Error::success();
}
