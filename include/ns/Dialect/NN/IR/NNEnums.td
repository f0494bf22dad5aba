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

#endif // NS_DIALECT_NN_IR_NNENUMS_TD
