//===- NSAttackOps.td - losses that attacks climb -------------*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NS_IR_NSATTACKOPS_TD
#define NS_DIALECT_NS_IR_NSATTACKOPS_TD

include "ns/Dialect/NS/IR/NSBase.td"

def NS_AttackLossOp : NS_PureOp<"attack_loss"> {
  let summary = "A mixture of the losses that attacks climb, per image";
  let description = [{
    With logits z of one image, y its label, t a target class, z1 >= z2 >= z3 >= z4 its largest logits, o the largest logit but y's, and w the image's
    row of `objective`:

    `result = w0 CE + w1 DLR + w2 DLR_t + w3 min(o - z_y, w5) + w4 (z_t - z_y)`

    - CE: `logsumexp(z) - z_y`
    - DLR: `-(z_y - o) / (z1 - z3 + 1e-12)` (Croce and Hein 2020, equation 6)
    - DLR_t: `-(z_y - z_t) / (z1 - (z3 + z4) / 2 + 1e-12)` (equation 7)
    - the margin `o - z_y`, at most w5: minus the f of Carlini and Wagner 2017 with confidence w5

    A term of weight 0 is not there: its infinities do no harm. Of equal logits the first counts as the larger. DLR is meant for 3 classes or more, DLR_t for 4.
    `labels` and `targets` lie in [0, K); the runtime checks the labels.

    Example:
    ```mlir
    %l = ns.attack_loss %z, %y, %t, %w : (tensor<?x1000xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x6xf32>) -> tensor<?xf32>
    ```
  }];
  let arguments = (ins NN_Features:$logits, NN_Labels:$labels, NN_Labels:$targets, NN_Features:$objective);
  let results = (outs NN_Vector:$result);
  let assemblyFormat = "$logits `,` $labels `,` $targets `,` $objective attr-dict `:` functional-type(operands, results)";
}

def NS_AttackLossGradOp : NS_PureOp<"attack_loss_grad", [AllTypesMatch<["logits", "result"]>, AllTypesMatch<["labels", "targets"]>]> {
  let summary = "Gradient of attack_loss by the logits";
  let description = [{
    `result[b, k] = grad[b] d loss[b] / d z[b, k]`. Sorting and maxima pass the gradient to the logit they took; the margin passes it up to and with `o - z_y = w5`, as
    PyTorch's clamp does.

    Example:
    ```mlir
    %dz = ns.attack_loss_grad %dl, %z, %y, %t, %w : tensor<16xf32>, tensor<16x1000xf32>, tensor<16xi32>, tensor<16x6xf32>
    ```
  }];
  let arguments = (ins NN_Vector:$grad, NN_Features:$logits, NN_Labels:$labels, NN_Labels:$targets, NN_Features:$objective);
  let results = (outs NN_Features:$result);
  let assemblyFormat = [{
    $grad `,` $logits `,` $labels `,` $targets `,` $objective attr-dict `:` type($grad) `,` type($logits) `,` type($labels) `,` type($objective)
  }];
}

#endif // NS_DIALECT_NS_IR_NSATTACKOPS_TD
