//===- Bytes.h - little-endian numbers in a file ----------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_CHECKPOINT_BYTES_H
#define NS_LIB_CHECKPOINT_BYTES_H

#include <cstdint>
#include <string_view>

namespace ns::checkpoint {

/// The unsigned number in `count` <= 8 bytes, the lowest first. Requires that they are there.
inline uint64_t littleEndian(const char *bytes, int count) {
  uint64_t value = 0;
  for (int i = count - 1; i >= 0; --i)
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

/// Whether `[offset, offset + size)` lies in `total` bytes; the sum cannot overflow.
inline bool within(uint64_t offset, uint64_t size, uint64_t total) {
  return offset <= total && size <= total - offset;
}

} // namespace ns::checkpoint

#endif // NS_LIB_CHECKPOINT_BYTES_H
