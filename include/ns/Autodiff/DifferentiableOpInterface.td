//===- DifferentiableOpInterface.td - derivative rules of ops -*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_AUTODIFF_DIFFERENTIABLEOPINTERFACE_TD
#define NS_AUTODIFF_DIFFERENTIABLEOPINTERFACE_TD

include "mlir/IR/OpBase.td"

def DifferentiableOpInterface : OpInterface<"DifferentiableOpInterface"> {
  let cppNamespace = "::ns::autodiff";
  let description = [{
    The vector-Jacobian product of an op with one differentiable result. What is kept for the backward pass depends on which
    cotangents are wanted: a linear layer with frozen weights keeps its weight only, none of its inputs.
  }];
  let methods = [
    InterfaceMethod<[{
        Whether the loss never depends smoothly on operand `index`, or is declared not to: labels, sample weights, clean logits.
      }], "bool", "isOperandInactive", (ins "unsigned":$index), "", "return false;">,
    InterfaceMethod<[{
        Appends the values of the forward pass that `buildVjp` reads when the cotangents of the operands in `wanted` are asked for.
      }], "void", "getSavedForBackward", (ins "const ::llvm::BitVector &":$wanted, "::llvm::SmallVectorImpl<::mlir::Value> &":$saved),
      "", "">,
    InterfaceMethod<[{
        Creates the product of `cotangent`, that of the op's first result, with the op's Jacobian. `results` has one null value for each
        operand; those in `wanted` are to be set, a null left there means zero. Reads no value of the forward pass but the saved ones.
      }], "::mlir::LogicalResult", "buildVjp",
      (ins "::mlir::OpBuilder &":$builder, "::mlir::Value":$cotangent, "const ::llvm::BitVector &":$wanted,
           "::llvm::MutableArrayRef<::mlir::Value>":$results)>];
}

#endif // NS_AUTODIFF_DIFFERENTIABLEOPINTERFACE_TD
