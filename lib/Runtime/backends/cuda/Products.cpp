//===- Products.cpp - matrix products by cuBLASLt -------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// cuBLASLt is column-major: a row-major C = op(A) op(B) is its C^T = op(B)^T op(A)^T, so its first
// operand is our B, its rows are our columns, and a bias by its rows is one by our columns.
//
//===----------------------------------------------------------------------===//

#include "Products.h"
#include "ns/Runtime/Error.h"

#include <algorithm>
#include <utility>

using namespace ns::runtime;
using namespace ns::runtime::cuda;

/// Proposals that are timed, and how often each one runs after a first time.
static constexpr int kProposals = 8, kRepetitions = 5;

struct Products::Plan {
  explicit Plan(const BlasLt &api) : api(api) {}
  ~Plan() {
    for (BlasLayout layout : {a, b, c})
      if (layout)
        api.cublasLtMatrixLayoutDestroy(layout);
    if (desc)
      api.cublasLtMatmulDescDestroy(desc);
  }
  template <class T> void set(BlasDescAttribute attribute, const T &value) {
    api.check(api.cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof value),
              "cublasLtMatmulDescSetAttribute");
  }

  const BlasLt &api;
  BlasDesc desc = nullptr;
  BlasLayout a = nullptr, b = nullptr, c = nullptr; // ours
  bool accumulates = false, biased = false;
  std::string key;
  ProductChoice choice;
};

static BlasType blasType(int32_t type) {
  switch (type) {
  case NSRT_F32:
  case NSRT_TF32:
    return kR32F;
  case NSRT_BF16:
    return kR16BF;
  case NSRT_E4M3:
    return kR8E4M3;
  default:
    fail("a product of element type ", type, ": expected float32, bfloat16 or e4m3");
  }
}

static uint64_t sizeOf(int32_t type) { return blasType(type) == kR32F ? 4 : 2; }

static const char *nameOf(int32_t type) {
  static constexpr const char *kNames[] = {"f32", "bf16", "e4m3", "tf32"};
  return type >= 0 && type < 4 ? kNames[type] : "?";
}

static std::string keyOf(const nsrt_gemm &op, bool accumulates) {
  return str(nameOf(op.type_ab), "-", nameOf(op.type_c), op.trans_a ? " t" : " n",
             op.trans_b ? "t " : "n ", op.m, "x", op.n, "x", op.k, " ld ", op.lda, ",", op.ldb, ",",
             op.ldc, " batch ", op.batch, ":", op.stride_a, ",", op.stride_b, ",", op.stride_c,
             " align ", op.alignment, op.epilogue == NSRT_EPILOGUE_BIAS ? " bias" : "",
             accumulates ? " accumulate" : "");
}

static std::string machineOf(const Device &device, const BlasLt &api) {
  return str(device.name, ", sm_", device.capability, ", driver ", device.driverVersion,
             ", cuBLASLt ", api.cublasLtGetVersion());
}

Products::Products(Device &device, DevicePtr workspace, DevicePtr one)
    : device(device), api(blasLt()), workspace(workspace), one(one), cache(machineOf(device, api)) {
  api.check(api.cublasLtCreate(&handle), "cublasLtCreate");
}

Products::~Products() {
  for (auto &list : plans)
    list.clear();
  api.cublasLtDestroy(handle);
}

/// A row-major rows x cols matrix, as the column-major cols x rows one.
static BlasLayout makeLayout(const BlasLt &api, int32_t type, int64_t rows, int64_t cols,
                             int64_t ld, int64_t batch, int64_t stride) {
  BlasLayout layout = nullptr;
  api.check(api.cublasLtMatrixLayoutCreate(&layout, blasType(type), cols, rows, ld),
            "cublasLtMatrixLayoutCreate");
  if (batch > 1) {
    int32_t count = static_cast<int32_t>(batch);
    api.check(api.cublasLtMatrixLayoutSetAttribute(layout, kLayoutBatchCount, &count, sizeof count),
              "cublasLtMatrixLayoutSetAttribute");
    api.check(
        api.cublasLtMatrixLayoutSetAttribute(layout, kLayoutBatchStride, &stride, sizeof stride),
        "cublasLtMatrixLayoutSetAttribute");
  }
  return layout;
}

std::unique_ptr<Products::Plan> Products::makePlan(const nsrt_gemm &op, bool accumulates) {
  auto plan = std::make_unique<Plan>(api);
  plan->accumulates = accumulates;
  plan->biased = op.epilogue == NSRT_EPILOGUE_BIAS;
  plan->key = keyOf(op, accumulates);
  BlasCompute compute = op.type_ab == NSRT_TF32 ? kComputeTf32 : kCompute32F;
  api.check(api.cublasLtMatmulDescCreate(&plan->desc, compute, kR32F), "cublasLtMatmulDescCreate");
  plan->set(kDescTransA, op.trans_b ? kOpT : kOpN);
  plan->set(kDescTransB, op.trans_a ? kOpT : kOpN);
  plan->set(kDescPointerMode, accumulates ? kPointerDevice : kPointerHost);
  if (plan->biased)
    plan->set(kDescEpilogue, kEpilogueBias);
  plan->a = makeLayout(api, op.type_ab, op.trans_a ? op.k : op.m, op.trans_a ? op.m : op.k, op.lda,
                       op.batch, op.stride_a);
  plan->b = makeLayout(api, op.type_ab, op.trans_b ? op.n : op.k, op.trans_b ? op.k : op.n, op.ldb,
                       op.batch, op.stride_b);
  plan->c = makeLayout(api, op.type_c, op.m, op.n, op.ldc, op.batch, op.stride_c);
  return plan;
}

BlasStatus Products::multiply(Plan &plan, const BlasAlgo &algo, const ProductOperands &operands) {
  static constexpr float kOne = 1, kZero = 0;
  if (plan.biased)
    plan.set(kDescBiasPointer, operands.bias);
  const void *alpha = plan.accumulates ? reinterpret_cast<const void *>(one) : &kOne;
  const void *beta = plan.accumulates ? operands.beta : &kZero;
  return api.cublasLtMatmul(handle, plan.desc, alpha, operands.b, plan.b, operands.a, plan.a, beta,
                            operands.c, plan.c, operands.c, plan.c, &algo,
                            reinterpret_cast<void *>(workspace), kWorkspace, device.compute);
}

bool Products::useCached(Plan &plan) {
  auto known = cache.find(plan.key);
  if (!known)
    return false;
  BlasHeuristic checked{};
  if (api.cublasLtMatmulAlgoCheck(handle, plan.desc, plan.b, plan.a, plan.c, plan.c, &known->algo,
                                  &checked) != kBlasSuccess ||
      checked.workspaceSize > kWorkspace)
    return false;
  plan.choice = *known;
  return true;
}

double Products::timeOf(Plan &plan, const BlasHeuristic &candidate,
                        const ProductOperands &operands) {
  if (multiply(plan, candidate.algo, operands) != kBlasSuccess)
    return -1;
  Marker begin(device.api, kEventDefault), end(device.api, kEventDefault);
  begin.record(device.compute);
  for (int i = 0; i < kRepetitions; ++i)
    multiply(plan, candidate.algo, operands);
  end.record(device.compute);
  end.wait();
  return end.millisecondsSince(begin) * 1000 / kRepetitions;
}

/// What cuBLASLt proposes for a plan, the likely fastest first.
static std::vector<BlasHeuristic> propose(const BlasLt &api, BlasHandle handle, BlasDesc desc,
                                          BlasLayout b, BlasLayout a, BlasLayout c,
                                          uint32_t alignment) {
  BlasPreference preference = nullptr;
  api.check(api.cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  std::vector<BlasHeuristic> found(kProposals);
  uint64_t bytes = Products::kWorkspace;
  int count = 0;
  BlasStatus status =
      api.cublasLtMatmulPreferenceSetAttribute(preference, kPreferWorkspace, &bytes, sizeof bytes);
  for (auto which : {kPreferAlignA, kPreferAlignB, kPreferAlignC, kPreferAlignD})
    if (status == kBlasSuccess)
      status =
          api.cublasLtMatmulPreferenceSetAttribute(preference, which, &alignment, sizeof alignment);
  if (status == kBlasSuccess)
    status = api.cublasLtMatmulAlgoGetHeuristic(handle, desc, b, a, c, c, preference, kProposals,
                                                found.data(), &count);
  api.cublasLtMatmulPreferenceDestroy(preference);
  api.check(status, "cublasLtMatmulAlgoGetHeuristic");
  found.resize(count);
  std::erase_if(found, [](const BlasHeuristic &h) { return h.state != kBlasSuccess; });
  if (found.empty())
    fail("cuBLASLt has no algorithm for it");
  return found;
}

/// The last element of C behind its first one, in bytes, and itself.
static uint64_t extentOfResult(const nsrt_gemm &op) {
  return sizeOf(op.type_c) * ((op.batch - 1) * op.stride_c + (op.m - 1) * op.ldc + op.n);
}

void Products::choose(Plan &plan, const nsrt_gemm &op, const ProductOperands &operands) {
  auto proposals = propose(api, handle, plan.desc, plan.b, plan.a, plan.c, op.alignment);
  plan.choice = {proposals.front().algo, proposals.front().workspaceSize, 0};
  if (proposals.size() == 1)
    return;
  // Adding to C again and again would change it: accumulating products try on other memory, and
  // where there is none, the first proposal is good enough.
  ProductOperands trial = operands;
  DevicePtr spare = 0;
  if (plan.accumulates) {
    if (device.api.cuMemAlloc_v2(&spare, extentOfResult(op)) != kSuccess)
      return;
    trial.c = reinterpret_cast<void *>(spare);
    device.api.check(device.api.cuMemsetD8Async(spare, 0, extentOfResult(op), device.compute),
                     "cuMemsetD8Async");
  }
  double best = -1;
  for (const BlasHeuristic &candidate : proposals) {
    double microseconds = timeOf(plan, candidate, trial);
    if (microseconds < 0 || (best >= 0 && microseconds >= best))
      continue;
    best = microseconds;
    plan.choice = {candidate.algo, candidate.workspaceSize, microseconds};
  }
  if (spare)
    device.api.cuMemFree_v2(spare);
  cache.add(plan.key, plan.choice);
}

Products::Plan &Products::planOf(const nsrt_gemm &op, const ProductOperands &operands) {
  auto &list = plans[operands.beta != nullptr];
  if (list.size() <= static_cast<size_t>(op.index))
    list.resize(op.index + 1);
  auto &plan = list[op.index];
  if (!plan) {
    auto fresh = makePlan(op, operands.beta != nullptr);
    if (!useCached(*fresh))
      choose(*fresh, op, operands);
    plan = std::move(fresh);
  }
  return *plan;
}

void Products::enqueue(const nsrt_gemm &op, const ProductOperands &operands) {
  try {
    Plan &plan = planOf(op, operands);
    api.check(multiply(plan, plan.choice.algo, operands), "cublasLtMatmul");
  } catch (const Error &error) {
    fail("product ", keyOf(op, operands.beta != nullptr), ": ", error.what());
  }
}
