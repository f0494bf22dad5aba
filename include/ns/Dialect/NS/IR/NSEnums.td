//===- NSEnums.td - enums of the ns dialect -------------------*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NS_IR_NSENUMS_TD
#define NS_DIALECT_NS_IR_NSENUMS_TD

include "mlir/IR/EnumAttr.td"

def NS_NoiseInit : I32EnumAttr<"NoiseInit", "distribution of the start noise", [
    I32EnumAttrCase<"Uniform", 0, "uniform">, I32EnumAttrCase<"Normal", 1, "normal">,
    I32EnumAttrCase<"Zero", 2, "zero">]> {
  let cppNamespace = "::ns::harden";
}

def NS_InputMap : I32EnumAttr<"InputMap", "what the linear map at the input maps", [
    I32EnumAttrCase<"Patch", 0, "patch">, I32EnumAttrCase<"Image", 1, "image">]> {
  let cppNamespace = "::ns::harden";
}

def NS_Objective : I32EnumAttr<"Objective", "distance between noised and clean logits", [
    I32EnumAttrCase<"LogitL2Sq", 0, "logit_l2sq">, I32EnumAttrCase<"LogitL2", 1, "logit_l2">]> {
  let cppNamespace = "::ns::harden";
}

def NS_BallNorm : I32EnumAttr<"BallNorm", "norm in which an attack stays near the clean image", [
    I32EnumAttrCase<"Linf", 0, "linf">, I32EnumAttrCase<"L2", 1, "l2">]> {
  let cppNamespace = "::ns::harden";
}

#endif // NS_DIALECT_NS_IR_NSENUMS_TD
