//===- PackOperands.cpp - which products are generated code -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Prepare.h"

#include "ns/Dialect/RT/Transforms/Passes.h"

namespace ns::rt {
#define GEN_PASS_DEF_RTPACKOPERANDSPASS
#include "ns/Dialect/RT/Transforms/Passes.h.inc"
} // namespace ns::rt

using namespace mlir;
using namespace ns::rt;

/// Whether the generated product was measured to beat the library, packing included
/// (docs/decisions/gemm.md): B must serve enough rows, and the sums be long enough to hide the
/// stores.
static bool isFasterGenerated(GemmOp op) {
  int64_t m = op.getMnk()[0], n = op.getMnk()[1], k = op.getMnk()[2];
  return !op.getTransA() && m >= 64 && n >= 48 && k >= 48;
}

namespace {
struct RTPackOperandsPass : public ns::rt::impl::RTPackOperandsPassBase<RTPackOperandsPass> {
  using RTPackOperandsPassBase::RTPackOperandsPassBase;

  void runOnOperation() override {
    if (products == "library")
      return;
    // Frozen weights are packed once (rt-pack-weights), and without any product of the library it
    // need not be loaded.
    bool all = products == "generated" || !trainsParams(getOperation());
    SmallVector<GemmOp> gemms;
    getOperation().walk([&](GemmOp op) {
      bool wide = !typeOf(op.getA()).getElementType().isBF16(), single = !op.getBatch() && !op.getBias();
      if (wide && single && !op.getPacked() && (all || isFasterGenerated(op)))
        gemms.push_back(op);
    });
    for (GemmOp op : gemms)
      pack(op);
    numPacked = gemms.size();
  }

  static void pack(GemmOp op) {
    OpBuilder b(op);
    int64_t n = op.getMnk()[1], k = op.getMnk()[2];
    auto type =
        RankedTensorType::get({k, PackOp::alignedColumns(n)}, typeOf(op.getB()).getElementType());
    auto packed = PackOp::create(b, op.getLoc(), type, op.getB(), b.getDenseI64ArrayAttr({n, k}),
                                 op.getTransB());
    packed->setDiscardableAttrs(op->getDiscardableAttrDictionary());
    op.getBMutable().assign(packed);
    op.setTransB(false);
    op.setPacked(true);
  }
};
} // namespace
