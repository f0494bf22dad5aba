//===- VerifyDevice.cpp - is there device code for every op -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Conversion/Passes.h"
#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Dialect/RT/IR/RT.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"

#include <set>

namespace ns {
#define GEN_PASS_DEF_RTVERIFYDEVICEPASS
#include "ns/Conversion/Passes.h.inc"
} // namespace ns

using namespace mlir;
using namespace ns;
using rt::typeOf;

/// Why a device does not run `op`; empty where it does.
static std::string whyNot(Operation *op) {
  if (isa<rt::SlotOp, rt::ViewOp, rt::LaunchOp, func::ReturnOp>(op))
    return "";
  if (rt::isLibraryAttention(op))
    return typeOf(op->getOperand(0)).getElementType().isBF16()
               ? ""
               : "is a call of a library, but not of bf16";
  auto gemm = dyn_cast<rt::GemmOp>(op);
  if (!gemm)
    return isa<rt::FusedOp>(op) ? "is no kernel yet; run rt-outline-kernels" : "has no device code";
  if (gemm.getPacked())
    return "reads a matrix packed for a CPU";
  Type element = typeOf(gemm.getA()).getElementType();
  bool isKnown = element.isF32() || element.isBF16() || isa<Float8E4M3FNType>(element);
  return isKnown ? "" : "is a product of neither f32, bf16 nor f8E4M3FN";
}

namespace {
struct RTVerifyDevicePass : public ns::impl::RTVerifyDevicePassBase<RTVerifyDevicePass> {
  void runOnOperation() override {
    std::set<std::string> said; // what every block of a network has is one problem
    for (auto entry : getOperation().getOps<func::FuncOp>())
      for (Operation &op : entry.getBody().front()) {
        std::string reason = whyNot(&op);
        if (reason.empty() || !said.insert(op.getName().getStringRef().str() + reason).second)
          continue;
        auto layer = op.getAttrOfType<StringAttr>(nn::NNDialect::kLayerAttr);
        op.emitError("a GPU cannot run '")
            << op.getName() << "' of entry '" << entry.getSymName() << "'"
            << (layer ? ", layer '" + layer.getValue().str() + "'" : "") << ": it " << reason;
      }
    if (!said.empty())
      signalPassFailure();
  }
};
} // namespace
