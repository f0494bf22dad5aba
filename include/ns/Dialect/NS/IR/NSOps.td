//===- NSOps.td - ops of the ns dialect -----------------------*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NS_IR_NSOPS_TD
#define NS_DIALECT_NS_IR_NSOPS_TD

include "ns/Dialect/NS/IR/NSBase.td"

//===----------------------------------------------------------------------===//
// Nullspace and noise
//===----------------------------------------------------------------------===//

def NS_BasisOp : NS_Op<"basis", [Symbol, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "The exact nullspace of the linear map at the input";
  let description = [{
    Of the first layer as it acts on pixels, `rows` x `cols`, `rank` + `nullity` = `cols`. Made by `ns-compute-basis`.

    `patch`: the patch embedding, `W' = W diag(1/std)`, d x (c r r) (method.md 2). `structural` = max(0, c r r - d) dimensions hold for every W of this shape,
    the rest of `nullity` is numerical. `residual` = max |W' Q| of the orthonormal basis Q, `structural_residual` that of its structural part. The
    basis itself is an entry of `file`, if one was written.

    `image`: any other first convolution, A of the whole image, (O H' W') x (c H W). No basis is made. `nullity` = `structural` is what the shape of A leaves no choice
    about, so a lower bound, and `rank` an upper one; `sigma_min` is the smallest singular value that an iteration reached, an upper bound of the smallest. `file` has one
    image x of the nullspace, and `residual` = `structural_residual` is its |A x| / (|A| |x|), 0 where none was made.

    Example:
    ```mlir
    ns.basis @patch_basis of @patch_embed.proj.weight patch {rows = 192 : i64, cols = 768 : i64, rank = 192 : i64, nullity = 576 : i64, structural = 576 : i64, tol = 1.000000e-06 : f64, sigma_max = 3.000000e+00 : f64, sigma_min = 1.000000e-01 : f64, residual = 1.000000e-14 : f64, structural_residual = 1.000000e-14 : f64, file = "basis.safetensors"}
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, FlatSymbolRefAttr:$param, NS_InputMap:$kind, I64Attr:$rows, I64Attr:$cols, I64Attr:$rank,
                       I64Attr:$nullity, I64Attr:$structural, F64Attr:$tol, F64Attr:$sigma_max, F64Attr:$sigma_min, F64Attr:$residual,
                       F64Attr:$structural_residual, OptionalAttr<StrAttr>:$file);
  let assemblyFormat = "$sym_name `of` $param $kind attr-dict";
  let hasVerifier = 1;
}

def NS_NoiseOp : NS_Op<"noise", [Symbol]> {
  let summary = "Declare a noise shared by all images";
  let description = [{
    State of the artefact: the noise v of one site, `1 x N x D` for tokens, `1 x c x H x W` for the image (the sites: `ns-insert-noise`). `init` and
    `lim` are the start the runtime uses unless told otherwise: U(-lim, lim), N(0, lim), or zero; `lim` 0 means auto, the mean norm of the site's
    tensor. Made by `ns-insert-noise`.

    Example:
    ```mlir
    ns.noise @noise uniform lim 3.000000e+00 site "tokens" : tensor<1x196x192xf32>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, NS_NoiseInit:$init, F64Attr:$lim, StrAttr:$site, TypeAttrOf<NN_Tensor>:$type);
  let assemblyFormat = "$sym_name $init `lim` $lim `site` $site attr-dict `:` $type";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    ::mlir::RankedTensorType getTensorType() { return ::llvm::cast<::mlir::RankedTensorType>(getType()); }
  }];
}

def NS_ReadNoiseOp : NS_Op<"read_noise", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "The current value of a noise";
  let description = [{
    Immutable within one entry, as `nn.load_param`.

    Example:
    ```mlir
    %v = ns.read_noise @noise : tensor<1x196x192xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$noise);
  let results = (outs NN_Tensor:$result);
  let assemblyFormat = "$noise attr-dict `:` type($result)";
}

def NS_InjectOp : NS_PureOp<"inject", [AllTypesMatch<["input", "result"]>]> {
  let summary = "Add one shared noise at a site";
  let description = [{
    `result[b, ...] = input[b, ...] + noise[0, ...]`, clamped to [0, 1] with `clip` (the image site). The sites: `ns-insert-noise`.

    Example:
    ```mlir
    %y = ns.inject %u, %v site "tokens" : tensor<?x196x192xf32>, tensor<1x196x192xf32>
    ```
  }];
  let arguments = (ins NN_Tensor:$input, NN_Tensor:$noise, StrAttr:$site, UnitAttr:$clip);
  let results = (outs NN_Tensor:$result);
  let assemblyFormat = "$input `,` $noise `site` $site (`clip` $clip^)? attr-dict `:` type($input) `,` type($noise)";
}

def NS_ClipGradOp : NS_PureOp<"clip_grad", [AllTypesMatch<["grad", "input", "result"]>]> {
  let summary = "Gradient through the clamp of an injection";
  let description = [{
    `result = grad` where `0 <= input + noise <= 1`, else 0 (PyTorch's convention for clamp).

    Example:
    ```mlir
    %y = ns.clip_grad %dy, %x, %v : tensor<16x3x224x224xf32>, tensor<1x3x224x224xf32>
    ```
  }];
  let arguments = (ins NN_Tensor:$grad, NN_Tensor:$input, NN_Tensor:$noise);
  let results = (outs NN_Tensor:$result);
  let assemblyFormat = "$grad `,` $input `,` $noise attr-dict `:` type($input) `,` type($noise)";
}

//===----------------------------------------------------------------------===//
// Losses and measures
//===----------------------------------------------------------------------===//

def NS_SynthesisLossOp : NS_PureOp<"synthesis_loss", [AllTypesMatch<["noised", "clean"]>]> {
  let summary = "Distance of noised from clean logits, per image";
  let description = [{
    `logit_l2sq`: `result[b] = sum_k (noised - clean)^2` (paper, equation 4, squared); `logit_l2`: its square root. The
    clean logits are constants: no gradient flows into them.

    Example:
    ```mlir
    %l = ns.synthesis_loss %noised, %clean objective logit_l2sq : tensor<?x1000xf32> -> tensor<?xf32>
    ```
  }];
  let arguments = (ins NN_Features:$noised, NN_Features:$clean, NS_Objective:$objective);
  let results = (outs NN_Vector:$result);
  let assemblyFormat = "$noised `,` $clean `objective` $objective attr-dict `:` type($noised) `->` type($result)";
}

def NS_SynthesisLossGradOp : NS_PureOp<"synthesis_loss_grad", [AllTypesMatch<["noised", "clean", "result"]>]> {
  let summary = "Gradient of the synthesis loss by the noised logits";
  let description = [{
    `logit_l2sq`: `result[b, k] = 2 grad[b] (noised - clean)[b, k]`; `logit_l2`: `grad[b] (noised - clean)[b, k] / norm_b`, 0 where the norm is 0.

    Example:
    ```mlir
    %dz = ns.synthesis_loss_grad %dl, %noised, %clean objective logit_l2sq : tensor<16xf32>, tensor<16x1000xf32>
    ```
  }];
  let arguments = (ins NN_Vector:$grad, NN_Features:$noised, NN_Features:$clean, NS_Objective:$objective);
  let results = (outs NN_Features:$result);
  let assemblyFormat = "$grad `,` $noised `,` $clean `objective` $objective attr-dict `:` type($grad) `,` type($noised)";
}

def NS_TradesLossOp : NS_PureOp<"trades_loss"> {
  let summary = "Loss of clean and adversarial logits, stacked, as TRADES has it";
  let description = [{
    Of B images the logits z_0 .. z_{B-1}, then those z'_0 .. z'_{B-1} of their adversarial versions (Zhang et al. 2019, equation 5): with p = softmax(z_b), q = softmax(z'_b)

    `result[b] = logsumexp(z_b) - z_b[labels[b]]`, `result[B + b] = beta KL(p || q) = beta sum_k p_k (log p_k - log q_k)`

    so that their weighted sum is cross-entropy of the clean images plus beta times the divergence. Labels lie in [0, K); the runtime checks them.

    Example:
    ```mlir
    %l = ns.trades_loss %z, %y, %beta : (tensor<32x1000xf32>, tensor<16xi32>, tensor<f32>) -> tensor<32xf32>
    ```
  }];
  let arguments = (ins NN_Features:$logits, NN_Labels:$labels, NN_Scalar:$beta);
  let results = (outs NN_Vector:$result);
  let assemblyFormat = "$logits `,` $labels `,` $beta attr-dict `:` functional-type(operands, results)";
}

def NS_TradesLossGradOp : NS_PureOp<"trades_loss_grad", [AllTypesMatch<["logits", "result"]>]> {
  let summary = "Gradient of trades_loss by the logits";
  let description = [{
    With the names of `ns.trades_loss`, d = KL(p || q) and g = grad:

    `result[b, k] = g[b] (p_k - (k == labels[b])) + g[B + b] beta p_k (log p_k - log q_k - d)`, `result[B + b, k] = g[B + b] beta (q_k - p_k)`

    Example:
    ```mlir
    %dz = ns.trades_loss_grad %dl, %z, %y, %beta : tensor<32xf32>, tensor<32x1000xf32>, tensor<16xi32>, tensor<f32>
    ```
  }];
  let arguments = (ins NN_Vector:$grad, NN_Features:$logits, NN_Labels:$labels, NN_Scalar:$beta);
  let results = (outs NN_Features:$result);
  let assemblyFormat = "$grad `,` $logits `,` $labels `,` $beta attr-dict `:` type($grad) `,` type($logits) `,` type($labels) `,` type($beta)";
}

def NS_InvarianceOp : NS_PureOp<"invariance", [AllTypesMatch<["noised", "clean"]>,
    AllTypesMatch<["logit_sq", "prob_sq", "conf_diff", "same_argmax"]>]> {
  let summary = "How far noised predictions are from clean ones, per image";
  let description = [{
    `logit_sq[b] = sum_k (noised - clean)^2`; `prob_sq[b] = sum_k (p' - p)^2`, the quantity of the stop test;
    `conf_diff[b] = |max p' - max p|`; `same_argmax[b]` is 1 where both predict one class (first of equals), else 0.

    Example:
    ```mlir
    %a, %b, %c, %d = ns.invariance %noised, %clean : tensor<?x1000xf32> -> tensor<?xf32>
    ```
  }];
  let arguments = (ins NN_Features:$noised, NN_Features:$clean);
  let results = (outs NN_Vector:$logit_sq, NN_Vector:$prob_sq, NN_Vector:$conf_diff, NN_Vector:$same_argmax);
  let assemblyFormat = "$noised `,` $clean attr-dict `:` type($noised) `->` type($logit_sq)";
}

def NS_SampleNormOp : NS_PureOp<"sample_norm"> {
  let summary = "Euclidean norm of each image's tensor";
  let description = [{
    `result[b] = ||input[b]||_2`: what `--lim auto` measures a noise by.

    Example:
    ```mlir
    %n = ns.sample_norm %u : tensor<?x196x192xf32> -> tensor<?xf32>
    ```
  }];
  let arguments = (ins NN_Tensor:$input);
  let results = (outs NN_Vector:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}

include "ns/Dialect/NS/IR/NSAttackOps.td"
include "ns/Dialect/NS/IR/NSTrainingOps.td"

#endif // NS_DIALECT_NS_IR_NSOPS_TD
