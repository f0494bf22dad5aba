//===- NSAttackOps.td - what attacks climb, and their steps ---*- tablegen -*-===//
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

def NS_ExpandChannelsOp : NS_PureOp<"expand_channels"> {
  let summary = "Repeat a number of each token for every channel";
  let description = [{
    `result[b, n, d] = input[b, n]`. As the values of an attention it turns weights of the tokens into the attention that they receive: every channel of the
    result's head h holds `sum_j P[h, q, j] input[b, j]`.

    Example:
    ```mlir
    %v = ns.expand_channels %w : tensor<?x197xf32> -> tensor<?x197x192xf32>
    ```
  }];
  let arguments = (ins NN_Features:$input);
  let results = (outs NN_Tokens:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}

def NS_MeanChannelsOp : NS_PureOp<"mean_channels"> {
  let summary = "Mean over the channels of each token";
  let description = [{
    `result[b, n] = mean_d input[b, n, d]`; over the channels of an attention with values of `ns.expand_channels` that is the mean over its heads.

    Example:
    ```mlir
    %a = ns.mean_channels %o : tensor<?x197x192xf32> -> tensor<?x197xf32>
    ```
  }];
  let arguments = (ins NN_Tokens:$input);
  let results = (outs NN_Features:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}

def NS_AttentionLossOp : NS_PureOp<"attention_loss"> {
  let summary = "Mean logarithm of the attention that a patch receives, per image";
  let description = [{
    `result[b] = mean_q log(max(input[b, q], m))`, m the smallest normal number of the type: what Patch-Fool (Fu et al. 2022) climbs in each layer, with input[b, q]
    the attention, mean over heads, that query q pays to the attacked patch. The floor is not in the published code, whose loss of an attention of 0 is -inf with
    a gradient that is no number.

    Example:
    ```mlir
    %l = ns.attention_loss %a : tensor<?x197xf32> -> tensor<?xf32>
    ```
  }];
  let arguments = (ins NN_Features:$input);
  let results = (outs NN_Vector:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}

def NS_AttentionLossGradOp : NS_PureOp<"attention_loss_grad", [AllTypesMatch<["input", "result"]>]> {
  let summary = "Gradient of attention_loss by the attention";
  let description = [{
    `result[b, q] = grad[b] / (M input[b, q])`, M the number of queries; 0 where the attention is below the floor.

    Example:
    ```mlir
    %da = ns.attention_loss_grad %dl, %a : tensor<16xf32>, tensor<16x197xf32>
    ```
  }];
  let arguments = (ins NN_Vector:$grad, NN_Features:$input);
  let results = (outs NN_Features:$result);
  let assemblyFormat = "$grad `,` $input attr-dict `:` type($grad) `,` type($input)";
}

//===----------------------------------------------------------------------===//
// Steps
//===----------------------------------------------------------------------===//

def NS_MomentumOp : NS_PureOp<"momentum", [AllTypesMatch<["momentum", "grad", "result"]>]> {
  let summary = "Decaying sum of gradients, each divided by its mean absolute value";
  let description = [{
    The direction of MI-FGSM (Dong et al. 2018, equation 6), image by image: with `hyper = [step size, eps, decay]`

    `result = decay momentum + grad / max(mean |grad|, 1e-30)`

    A momentum times 0 counts as 0 whatever it holds.

    Example:
    ```mlir
    %d = ns.momentum %m, %g, %hyper : tensor<?x3x32x32xf32>, tensor<3xf32>
    ```
  }];
  let arguments = (ins NN_Image:$momentum, NN_Image:$grad, NN_Vector:$hyper);
  let results = (outs NN_Image:$result);
  let assemblyFormat = "$momentum `,` $grad `,` $hyper attr-dict `:` type($grad) `,` type($hyper)";
}

def NS_AscendOp : NS_PureOp<"ascend", [AllTypesMatch<["image", "clean", "direction", "result"]>]> {
  let summary = "A step of projected gradient ascent on the pixels";
  let description = [{
    With x the clean image, y the image so far, d the direction, `hyper = [s, eps, decay]`, s the size of the step, and clip onto [0, 1]; norms are of one image.

    - `linf`: `result = clip(min(max(y + s sign(d), x - eps), x + eps))`; the sign of 0 and of NaN is 0
    - `l2`: with `y' = y + s d / (|d| + 1e-10)`, `result = clip(x + min(1, eps / |y' - x|) (y' - x))`

    NaN pixels stay NaN. An image whose direction is 0 stays as it is, if it lies in the ball.

    Example:
    ```mlir
    %y1 = ns.ascend linf %y, %x, %d, %hyper : tensor<?x3x32x32xf32>, tensor<3xf32>
    ```
  }];
  let arguments = (ins NS_BallNorm:$norm, NN_Image:$image, NN_Image:$clean, NN_Image:$direction, NN_Vector:$hyper);
  let results = (outs NN_Image:$result);
  let assemblyFormat = "$norm $image `,` $clean `,` $direction `,` $hyper attr-dict `:` type($image) `,` type($hyper)";
}

#endif // NS_DIALECT_NS_IR_NSATTACKOPS_TD
