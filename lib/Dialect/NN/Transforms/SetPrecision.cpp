//===- SetPrecision.cpp - change the element type of every float tensor -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/NN/Transforms/Passes.h"

#include "mlir/IR/AttrTypeSubElements.h"

using namespace mlir;

namespace ns::nn {
#define GEN_PASS_DEF_SETPRECISIONPASS
#include "ns/Dialect/NN/Transforms/Passes.h.inc"

namespace {

struct SetPrecisionPass : impl::SetPrecisionPassBase<SetPrecisionPass> {
  using SetPrecisionPassBase::SetPrecisionPassBase;

  void runOnOperation() override {
    if (precision == "f32" || precision == "bf16")
      return;
    if (precision != "f64") {
      emitError(getOperation().getLoc()) << "expected option precision to be f32, f64 or bf16, but got " << precision.getValue();
      return signalPassFailure();
    }
    AttrTypeReplacer replacer;
    replacer.addReplacement([](RankedTensorType type) -> std::optional<Type> {
      if (!type.getElementType().isF32())
        return std::nullopt;
      return type.clone(Float64Type::get(type.getContext()));
    });
    // Constants keep their type: their bytes would no longer fit it.
    replacer.addReplacement([](ElementsAttr attr) -> std::optional<std::pair<Attribute, WalkResult>> {
      return std::make_pair(Attribute(attr), WalkResult::skip());
    });
    replacer.recursivelyReplaceElementsIn(getOperation(), /*replaceAttrs=*/true, /*replaceLocs=*/false,
                                          /*replaceTypes=*/true);
  }
};

} // namespace
} // namespace ns::nn
