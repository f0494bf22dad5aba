//===- Tensor.h - a tensor in a file ----------------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CHECKPOINT_TENSOR_H
#define NS_CHECKPOINT_TENSOR_H

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ns::runtime {
class InputFile;
}

namespace ns::checkpoint {

/// Element types that files hold.
enum class Type { F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8, Bool, F8E4M3, F8E5M2 };

/// The name in safetensors files, such as "F32".
std::string_view nameOf(Type type);
std::optional<Type> typeNamed(std::string_view name);
/// Bytes of an element.
int64_t sizeOf(Type type);
/// Types that convert into each other: F64, F32, F16 and BF16.
bool isFloat(Type type);

/// Some elements of a file, seen with a shape and strides: what permuting, slicing and reshaping
/// need, with nothing copied. Readers make only tensors whose elements all lie in their file.
struct Tensor {
  std::string name;
  Type type = Type::F32;
  std::vector<int64_t> shape, strides; ///< strides in elements, >= 0
  const char *data = nullptr;          ///< the first element in the mapped file, at any alignment
  const runtime::InputFile *file = nullptr;
  uint64_t offset = 0; ///< of `data` in `file`

  int64_t count() const;
  /// Whether the elements lie in row-major order, without gaps.
  bool isContiguous() const;
  /// Entries `from` to `from + size` of dimension 0.
  Tensor rows(int64_t from, int64_t size) const;
  /// Dimension i of the result is dimension order[i].
  Tensor permuted(const std::vector<int> &order) const;
};

/// Row-major strides of a shape.
std::vector<int64_t> denseStrides(const std::vector<int64_t> &shape);

/// Writes the elements in row-major order to `out`, as `type`: a float type becomes F32 or F64, any
/// other type stays. Throws Error where there is no such conversion.
void copyElements(const Tensor &tensor, Type type, void *out);

} // namespace ns::checkpoint

#endif // NS_CHECKPOINT_TENSOR_H
