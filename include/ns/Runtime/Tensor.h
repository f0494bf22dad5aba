//===- Tensor.h - views of tensors in memory --------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_TENSOR_H
#define NS_RUNTIME_TENSOR_H

#include <cstdint>
#include <string>
#include <vector>

namespace ns::runtime {

enum class Dtype { F32, F64, I32 };

inline int64_t sizeOf(Dtype type) { return type == Dtype::F64 ? 8 : 4; }
inline const char *nameOf(Dtype type) {
  return type == Dtype::F32 ? "f32" : type == Dtype::F64 ? "f64" : "i32";
}

/// A dense row-major tensor somewhere in memory, not owned.
struct TensorView {
  void *data = nullptr;
  Dtype dtype = Dtype::F32;
  std::vector<int64_t> shape;

  int64_t count() const {
    int64_t product = 1;
    for (int64_t dim : shape)
      product *= dim;
    return product;
  }
  int64_t bytes() const { return count() * sizeOf(dtype); }
  /// Elements of one entry of the first dimension.
  int64_t rowCount() const { return shape.empty() || shape[0] == 0 ? 1 : count() / shape[0]; }

  double get(int64_t i) const {
    return dtype == Dtype::F32   ? static_cast<const float *>(data)[i]
           : dtype == Dtype::F64 ? static_cast<const double *>(data)[i]
                                 : static_cast<const int32_t *>(data)[i];
  }
  void set(int64_t i, double value) const {
    if (dtype == Dtype::F32)
      static_cast<float *>(data)[i] = static_cast<float>(value);
    else if (dtype == Dtype::F64)
      static_cast<double *>(data)[i] = value;
    else
      static_cast<int32_t *>(data)[i] = static_cast<int32_t>(value);
  }
};

/// Calls fn with a typed pointer to a float tensor's data.
template <class Fn> auto visitFloat(const TensorView &view, Fn &&fn) {
  if (view.dtype == Dtype::F64)
    return fn(static_cast<double *>(view.data));
  return fn(static_cast<float *>(view.data));
}

/// sqrt(sum x^2), added up in double.
double normOf(const TensorView &view);

} // namespace ns::runtime

#endif // NS_RUNTIME_TENSOR_H
