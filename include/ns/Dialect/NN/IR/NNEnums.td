//===- NNEnums.td - enums of the nn dialect -------------------*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NN_IR_NNENUMS_TD
#define NS_DIALECT_NN_IR_NNENUMS_TD

include "mlir/IR/EnumAttr.td"

def NN_GeluApproximation : I32EnumAttr<"GeluApproximation", "form of GELU", [
    I32EnumAttrCase<"None", 0, "none">, I32EnumAttrCase<"Tanh", 1, "tanh">]> {
  let cppNamespace = "::ns::nn";
}

def NN_ActivationKind : I32EnumAttr<"ActivationKind", "form of an activation", [
    I32EnumAttrCase<"Relu", 0, "relu">, I32EnumAttrCase<"Silu", 1, "silu">, I32EnumAttrCase<"Sigmoid", 2, "sigmoid">,
    I32EnumAttrCase<"Tanh", 3, "tanh">, I32EnumAttrCase<"QuickGelu", 4, "quick_gelu">]> {
  let cppNamespace = "::ns::nn";
}

def NN_DropoutUnit : I32EnumAttr<"DropoutUnit", "what a dropout drops at once", [
    I32EnumAttrCase<"Element", 0, "element">, I32EnumAttrCase<"Image", 1, "image">]> {
  let cppNamespace = "::ns::nn";
}

#endif // NS_DIALECT_NN_IR_NNENUMS_TD
