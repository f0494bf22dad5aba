//===- Products.h - matrix products by cuBLASLt -----------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_CUDA_PRODUCTS_H
#define NS_RUNTIME_CUDA_PRODUCTS_H

#include "Device.h"
#include "PlanCache.h"
#include "ns/Runtime/Abi.h"

#include <memory>
#include <vector>

namespace ns::runtime::cuda {

/// The device addresses that one product works on (Abi.h, nsrt_host.device_gemm).
struct ProductOperands {
  const void *a, *b, *bias, *beta;
  void *c;
};

/// Products of an artefact. The first call of each one times what cuBLASLt proposes, unless the
/// cache knows, so it must not be captured; all later calls enqueue that algorithm.
class Products {
public:
  /// Bytes of device memory that the algorithms may use: as much as NVIDIA advises for Hopper.
  static constexpr uint64_t kWorkspace = 32 << 20;

  /// `workspace`: kWorkspace bytes; `one`: a float32 that is 1. Both on the device.
  Products(Device &device, DevicePtr workspace, DevicePtr one);
  ~Products();

  /// Throws Error.
  void enqueue(const nsrt_gemm &op, const ProductOperands &operands);
  /// Remembers choices for other processes.
  void save() { cache.save(); }

private:
  struct Plan;
  Plan &planOf(const nsrt_gemm &op, const ProductOperands &operands);
  std::unique_ptr<Plan> makePlan(const nsrt_gemm &op, bool accumulates);
  bool useCached(Plan &plan);
  void choose(Plan &plan, const nsrt_gemm &op, const ProductOperands &operands);
  double timeOf(Plan &plan, const BlasHeuristic &candidate, const ProductOperands &operands);
  BlasStatus multiply(Plan &plan, const BlasAlgo &algo, const ProductOperands &operands);

  Device &device;
  const BlasLt &api;
  BlasHandle handle = nullptr;
  DevicePtr workspace, one;
  PlanCache cache;
  /// By op.index; accumulating products beside the others.
  std::vector<std::unique_ptr<Plan>> plans[2];
};

} // namespace ns::runtime::cuda

#endif // NS_RUNTIME_CUDA_PRODUCTS_H
