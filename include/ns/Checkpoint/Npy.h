//===- Npy.h - NumPy's array format -----------------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CHECKPOINT_NPY_H
#define NS_CHECKPOINT_NPY_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ns::checkpoint {

/// The header of a little-endian numeric .npy array, whose elements fill the bytes after it.
struct NpyHeader {
  std::string type; ///< such as "<f4": byte order, kind, bytes of an element
  std::vector<int64_t> shape;
  bool isFortran = false; ///< the first index changes fastest
  size_t begin = 0;       ///< of the elements

  int64_t count() const;
  int itemSize() const { return type.size() > 2 ? type[2] - '0' : 0; }
};

/// Throws Error, without a name, where `bytes` are no such array: elements of other than 1, 2, 4 or
/// 8 bytes, of Python objects, big-endian, of an impossible shape, too few or too many. With `size`
/// they are the first of so many bytes.
NpyHeader parseNpy(std::string_view bytes, std::optional<uint64_t> size = std::nullopt);

} // namespace ns::checkpoint

#endif // NS_CHECKPOINT_NPY_H
