//===- Tensor.cpp - a tensor in a file ------------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Checkpoint/Tensor.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/FileIO.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

using namespace ns::checkpoint;
using ns::runtime::fail;

namespace {
struct TypeInfo {
  Type type;
  std::string_view name;
  int64_t size;
};
constexpr std::array<TypeInfo, 15> kTypes = {{{Type::F64, "F64", 8},
                                              {Type::F32, "F32", 4},
                                              {Type::F16, "F16", 2},
                                              {Type::BF16, "BF16", 2},
                                              {Type::I64, "I64", 8},
                                              {Type::I32, "I32", 4},
                                              {Type::I16, "I16", 2},
                                              {Type::I8, "I8", 1},
                                              {Type::U64, "U64", 8},
                                              {Type::U32, "U32", 4},
                                              {Type::U16, "U16", 2},
                                              {Type::U8, "U8", 1},
                                              {Type::Bool, "BOOL", 1},
                                              {Type::F8E4M3, "F8_E4M3", 1},
                                              {Type::F8E5M2, "F8_E5M2", 1}}};
} // namespace

std::string_view ns::checkpoint::nameOf(Type type) { return kTypes[static_cast<int>(type)].name; }

int64_t ns::checkpoint::sizeOf(Type type) { return kTypes[static_cast<int>(type)].size; }

std::optional<Type> ns::checkpoint::typeNamed(std::string_view name) {
  for (const TypeInfo &info : kTypes)
    if (info.name == name)
      return info.type;
  return std::nullopt;
}

bool ns::checkpoint::isFloat(Type type) {
  return type == Type::F64 || type == Type::F32 || type == Type::F16 || type == Type::BF16;
}

int64_t Tensor::count() const {
  int64_t product = 1;
  for (int64_t extent : shape)
    product *= extent;
  return product;
}

bool Tensor::isContiguous() const {
  int64_t expected = 1;
  for (size_t dim = shape.size(); dim-- > 0; expected *= shape[dim])
    if (shape[dim] != 1 && strides[dim] != expected)
      return false;
  return true;
}

Tensor Tensor::rows(int64_t from, int64_t size) const {
  Tensor part = *this;
  part.shape[0] = size;
  int64_t bytes = from * strides[0] * sizeOf(type);
  part.data += bytes;
  part.offset += bytes;
  return part;
}

Tensor Tensor::permuted(const std::vector<int> &order) const {
  Tensor view = *this;
  for (size_t i = 0; i < order.size(); ++i) {
    view.shape[i] = shape[order[i]];
    view.strides[i] = strides[order[i]];
  }
  return view;
}

std::vector<int64_t> ns::checkpoint::denseStrides(const std::vector<int64_t> &shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t stride = 1;
  for (size_t dim = shape.size(); dim-- > 0; stride *= shape[dim])
    strides[dim] = stride;
  return strides;
}

static float fromHalf(uint16_t bits) {
  int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  float value = exponent == 0    ? std::ldexp(static_cast<float>(mantissa), -24)
                : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                 : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  return bits & 0x8000 ? -value : value;
}

static float fromBFloat(uint16_t bits) {
  uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}

/// Calls `run(first, n, stride)` for the innermost runs of the elements, in row-major order: n
/// elements from `first` bytes after the tensor's data, `stride` bytes apart.
template <class Run> static void forEachRun(const Tensor &tensor, Run run) {
  int64_t size = sizeOf(tensor.type), count = tensor.count();
  if (count == 0)
    return;
  if (tensor.isContiguous())
    return run(int64_t(0), count, size);
  int last = static_cast<int>(tensor.shape.size()) - 1;
  std::vector<int64_t> index(tensor.shape.size(), 0);
  int64_t first = 0;
  for (;;) {
    run(first, tensor.shape[last], tensor.strides[last] * size);
    int dim = last - 1;
    for (; dim >= 0; --dim) {
      first += tensor.strides[dim] * size;
      if (++index[dim] < tensor.shape[dim])
        break;
      first -= tensor.strides[dim] * size * tensor.shape[dim];
      index[dim] = 0;
    }
    if (dim < 0)
      return;
  }
}

template <class From, class To, class Convert>
static void convertAll(const Tensor &tensor, To *out, Convert convert) {
  forEachRun(tensor, [&](int64_t first, int64_t n, int64_t stride) {
    const char *from = tensor.data + first;
    for (int64_t i = 0; i < n; ++i, from += stride) {
      From value; // the file aligns nothing
      std::memcpy(&value, from, sizeof value);
      *out++ = static_cast<To>(convert(value));
    }
  });
}

template <class To> static void convertFloats(const Tensor &tensor, To *out) {
  auto same = [](auto x) { return x; };
  switch (tensor.type) {
  case Type::F64:
    return convertAll<double>(tensor, out, same);
  case Type::F32:
    return convertAll<float>(tensor, out, same);
  case Type::F16:
    return convertAll<uint16_t>(tensor, out, fromHalf);
  default:
    return convertAll<uint16_t>(tensor, out, fromBFloat);
  }
}

void ns::checkpoint::copyElements(const Tensor &tensor, Type type, void *out) {
  if (tensor.type == type) {
    if (tensor.isContiguous()) // not through the mapping: reading costs no page faults
      return tensor.file->readAt(tensor.offset, out, tensor.count() * sizeOf(type));
    char *to = static_cast<char *>(out);
    int64_t size = sizeOf(type);
    return forEachRun(tensor, [&](int64_t first, int64_t n, int64_t stride) {
      for (int64_t i = 0; i < n; ++i, to += size)
        std::memcpy(to, tensor.data + first + i * stride, size);
    });
  }
  if (!isFloat(tensor.type) || (type != Type::F32 && type != Type::F64))
    fail(tensor.file->path(), ": tensor '", tensor.name, "': expected ", nameOf(type), ", found ",
         nameOf(tensor.type));
  if (type == Type::F32)
    convertFloats(tensor, static_cast<float *>(out));
  else
    convertFloats(tensor, static_cast<double *>(out));
}
