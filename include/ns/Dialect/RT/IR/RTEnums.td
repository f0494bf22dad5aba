//===- RTEnums.td - enums of the rt dialect -------------------*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_RT_IR_RTENUMS_TD
#define NS_DIALECT_RT_IR_RTENUMS_TD

include "mlir/IR/EnumAttr.td"

// The numbers are those of NSRT_PARAMS, NSRT_STATE, NSRT_IO, NSRT_WORK in ns/Runtime/Abi.h.
def RT_Region : I32EnumAttr<"Region", "memory region of an artefact", [
    I32EnumAttrCase<"Params", 0, "params">, I32EnumAttrCase<"State", 1, "state">,
    I32EnumAttrCase<"IO", 2, "io">, I32EnumAttrCase<"Work", 3, "work">]> {
  let cppNamespace = "::ns::rt";
}
def RT_Reduction : I32EnumAttr<"Reduction", "reduction over a row", [
    I32EnumAttrCase<"Add", 0, "add">, I32EnumAttrCase<"Max", 1, "max">, I32EnumAttrCase<"Min", 2, "min">]> {
  let cppNamespace = "::ns::rt";
}

#endif // NS_DIALECT_RT_IR_RTENUMS_TD
