//===- InputMap.cpp - the linear map at the input ---------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "InputMap.h"

#include "ns/Dialect/NN/IR/NN.h"

using namespace mlir;

namespace ns::harden {

/// "nn.linear in layer head"
static std::string describe(Operation *op) {
  std::string text = op->getName().getStringRef().str();
  if (auto layer = op->getAttrOfType<StringAttr>(nn::NNDialect::kLayerAttr))
    text += (" in layer " + layer.getValue()).str();
  return text;
}

LinearInput findLinearInput(func::FuncOp forward, std::string &why) {
  Value value = forward.getArgument(0);
  ArrayRef<int64_t> shape = cast<RankedTensorType>(value.getType()).getShape();
  LinearInput input{
      nullptr, "", {}, std::vector<double>(shape[1], 1.0), {shape[1], shape[2], shape[3]}};
  for (;;) {
    if (!value.hasOneUse()) {
      why = "the pixels are read by " + std::to_string(llvm::range_size(value.getUses())) + " ops";
      return input;
    }
    Operation *op = *value.user_begin();
    if (auto normalize = dyn_cast<nn::NormalizeOp>(op))
      for (auto [scale, std] : llvm::zip(input.std, normalize.getStd()))
        scale *= std;
    else if (!isa<nn::ImageToTokensOp>(op)) {
      bool isLayer = isa<nn::PatchEmbedOp, nn::ConvOp>(op) && op->getOperand(0) == value;
      auto load = isLayer ? op->getOperand(1).getDefiningOp<nn::LoadParamOp>() : nn::LoadParamOp();
      if (load) {
        input.op = op;
        input.param = load.getParam();
        input.weight = cast<RankedTensorType>(load.getType());
      } else {
        why = isLayer ? "the weight of " + describe(op) + " is computed, not a parameter"
                      : "the first layer, " + describe(op) +
                            ", is neither a patch embedding nor a convolution";
      }
      return input;
    }
    value = op->getResult(0);
  }
}

} // namespace ns::harden
