//===- NSTrainingOps.td - gradient requests and updates -------*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NS_IR_NSTRAININGOPS_TD
#define NS_DIALECT_NS_IR_NSTRAININGOPS_TD

include "ns/Dialect/NS/IR/NSBase.td"

def NS_GradientOp : NS_PureOp<"gradient"> {
  let summary = "Request the gradient of a scalar by some values";
  let description = [{
    One result for each `wrt` operand, of its type. Made by the hardening passes; `ns-differentiate` replaces it by the backward computation, in
    which only what the wanted gradients need is saved.

    Example:
    ```mlir
    %dv = ns.gradient %loss wrt %v : (tensor<f32>, tensor<1x196x192xf32>) -> tensor<1x196x192xf32>
    ```
  }];
  let arguments = (ins NN_Scalar:$loss, Variadic<NN_Tensor>:$wrt);
  let results = (outs Variadic<NN_Tensor>:$grads);
  let assemblyFormat = "$loss `wrt` $wrt attr-dict `:` functional-type(operands, results)";
}

def NS_StoreGradOp : NS_Op<"store_grad", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "Write or accumulate the gradient of a parameter or noise";
  let description = [{
    `grad(@target) = accumulate * grad(@target) + value`; `accumulate` is 0 for the first micro-batch of a step and 1 for the following ones, and an
    accumulator times 0 counts as 0 whatever it holds.

    Example:
    ```mlir
    ns.store_grad @noise, %dv accumulate %acc : tensor<1x196x192xf32>, tensor<f32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$target, NN_Tensor:$value, NN_Scalar:$accumulate);
  let assemblyFormat = "$target `,` $value `accumulate` $accumulate attr-dict `:` type($value) `,` type($accumulate)";
}

def NS_AdamWParamsOp : NS_Op<"adamw_params"> {
  let summary = "One AdamW update of all trained parameters";
  let description = [{
    With `hyper = [lr, beta1, beta2, eps, weight_decay, 1 - beta1^t, 1 - beta2^t]` (torch.optim.AdamW):
    `p *= 1 - lr wd` (not where `no_decay`); `m += (1 - beta1)(g - m)`; `s = beta2 s + (1 - beta2) g^2`;
    `p -= lr / bc1 * m / (sqrt(s) / sqrt(bc2) + eps)`. One pass over the flat parameter arena. Elements whose
    gradient is not finite, and their moments, stay as they are.

    Example:
    ```mlir
    ns.adamw_params %hyper : tensor<7xf32>
    ```
  }];
  let arguments = (ins NN_Vector:$hyper);
  let assemblyFormat = "$hyper attr-dict `:` type($hyper)";
  let hasVerifier = 1;
}

def NS_AdamWNoiseOp : NS_Op<"adamw_noise", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "One AdamW update of a noise, with its regulariser";
  let description = [{
    `hyper` as in `ns.adamw_params`, then `lambda`, `norm`. The gradient of `-lambda log ||v||` is added to the stored gradient first (method.md 3); after the update v is
    scaled to `||v|| = norm` where norm > 0. Result: `||v||` after the update.

    Example:
    ```mlir
    %n = ns.adamw_noise @noise, %hyper : tensor<9xf32> -> tensor<f32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$noise, NN_Vector:$hyper);
  let results = (outs NN_Scalar:$norm);
  let assemblyFormat = "$noise `,` $hyper attr-dict `:` type($hyper) `->` type($norm)";
  let hasVerifier = 1;
}

#endif // NS_DIALECT_NS_IR_NSTRAININGOPS_TD
