//===- BlasProduct.h - a product of the emulated cuBLASLt -------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_EMULATOR_BLASPRODUCT_H
#define NS_LIB_EMULATOR_BLASPRODUCT_H

#include "Driver.h"
#include "ns/Cuda/BlasLt.h"

namespace ns::cuda {

struct BlasDescOf {
  BlasCompute compute = kCompute32F;
  int32_t pointerMode = kPointerHost, transA = kOpN, transB = kOpN, epilogue = kEpilogueDefault;
  int32_t biasType = -1; ///< as D
  const void *bias = nullptr;
};

/// Column-major.
struct BlasLayoutOf {
  BlasType type;
  uint64_t rows, cols;
  int64_t ld;
  int32_t batch;
  int64_t stride;
};

struct BlasPreferenceOf {
  uint64_t workspace = 0;
};

} // namespace ns::cuda

namespace ns::emulator {

using namespace ns::cuda;

inline size_t sizeOf(BlasType type) {
  return type == kR8E4M3 ? 1 : type == kR16BF ? 2 : type == kR32F ? 4 : 8;
}

/// D = alpha op(A) op(B) + beta C + bias by rows, all of it but the scalars of pointer mode host in
/// device memory.
struct Product {
  BlasDescOf desc;
  BlasLayoutOf layoutA, layoutB, layoutD;
  const void *a, *b, *c;
  void *d;
  const void *alphaAddress, *betaAddress;
  float alpha, beta; ///< of pointer mode host
};

/// Its line in the record.
std::string lineOf(const Product &product);
void compute(const Product &product);

} // namespace ns::emulator

#endif // NS_LIB_EMULATOR_BLASPRODUCT_H
