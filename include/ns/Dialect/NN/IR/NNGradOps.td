//===- NNGradOps.td - fused backward forms of nn ops ---------*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Made by `ns-differentiate` only. Each maps to one GEMM or to one row or column kernel. Statistics
// (softmax, layer-norm mean and variance) are recomputed from the saved input: the row is in cache then, and
// nothing but the input is kept.
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NN_IR_NNGRADOPS_TD
#define NS_DIALECT_NN_IR_NNGRADOPS_TD

include "ns/Dialect/NN/IR/NNBase.td"

def NN_LinearGradInputOp : NN_PureOp<"linear_grad_input"> {
  let summary = "Gradient of a linear layer by its input";
  let description = [{
    `result[..., i] = sum_o grad[..., o] * weight[o, i]`.

    Example:
    ```mlir
    %dx = nn.linear_grad_input %dy, %w : (tensor<16x197x576xf32>, tensor<576x192xf32>) -> tensor<16x197x192xf32>
    ```
  }];
  let arguments = (ins NN_Rows:$grad, NN_Matrix:$weight);
  let results = (outs NN_Rows:$result);
  let assemblyFormat = "$grad `,` $weight attr-dict `:` functional-type(operands, results)";
}

def NN_LinearGradWeightOp : NN_PureOp<"linear_grad_weight"> {
  let summary = "Gradient of a linear layer by its weight";
  let description = [{
    `result[o, i] = sum_rows grad[row, o] * input[row, i]`.

    Example:
    ```mlir
    %dw = nn.linear_grad_weight %dy, %x : (tensor<16x197x576xf32>, tensor<16x197x192xf32>) -> tensor<576x192xf32>
    ```
  }];
  let arguments = (ins NN_Rows:$grad, NN_Rows:$input);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = "$grad `,` $input attr-dict `:` functional-type(operands, results)";
}

def NN_SumRowsOp : NN_PureOp<"sum_rows"> {
  let summary = "Sum over all dimensions but the last";
  let description = [{
    `result[d] = sum_rows input[row, d]`: a bias gradient. The order of the sum does not depend on the thread count.

    Example:
    ```mlir
    %db = nn.sum_rows %dy : tensor<16x197x576xf32> -> tensor<576xf32>
    ```
  }];
  let arguments = (ins NN_Rows:$input);
  let results = (outs NN_Vector:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}

def NN_SumBatchOp : NN_PureOp<"sum_batch"> {
  let summary = "Sum over the batch";
  let description = [{
    `result[0, ...] = sum_b input[b, ...]`: the gradient of what is shared by all images (noise, position embedding).

    Example:
    ```mlir
    %dv = nn.sum_batch %du : tensor<16x196x192xf32> -> tensor<1x196x192xf32>
    ```
  }];
  let arguments = (ins NN_Tensor:$input);
  let results = (outs NN_Tensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}

def NN_LayerNormGradOp : NN_PureOp<"layer_norm_grad", [AllTypesMatch<["grad", "input", "result"]>]> {
  let summary = "Gradient of layer normalisation by its input";
  let description = [{
    With xhat = (x - mean) * rstd and w = grad * gamma, over each group:
    `result = rstd * (w - mean(w) - xhat * mean(w * xhat))`.

    Example:
    ```mlir
    %dx = nn.layer_norm_grad %dy, %x, %g eps 1.0e-06 : tensor<16x197x192xf32>, tensor<192xf32>
    ```
  }];
  let arguments = (ins NN_Rows:$grad, NN_Rows:$input, Optional<NN_Vector>:$gamma, F64Attr:$eps);
  let results = (outs NN_Rows:$result);
  let assemblyFormat = "$grad `,` $input (`,` $gamma^)? `eps` $eps attr-dict `:` type($input) (`,` type($gamma)^)?";
}

def NN_LayerNormGradParamsOp : NN_PureOp<"layer_norm_grad_params", [AllTypesMatch<["grad", "input"]>,
                                                                      AllTypesMatch<["dgamma", "dbeta"]>]> {
  let summary = "Gradients of layer normalisation by gamma and beta";
  let description = [{
    `dgamma[d] = sum_rows grad * xhat`, `dbeta[d] = sum_rows grad`; summed over the groups too where there are several.

    Example:
    ```mlir
    %dg, %db = nn.layer_norm_grad_params %dy, %x eps 1.0e-06 : tensor<16x197x192xf32> -> tensor<192xf32>
    ```
  }];
  let arguments = (ins NN_Rows:$grad, NN_Rows:$input, F64Attr:$eps);
  let results = (outs NN_Vector:$dgamma, NN_Vector:$dbeta);
  let assemblyFormat = "$grad `,` $input `eps` $eps attr-dict `:` type($input) `->` type($dgamma)";
}

def NN_AttentionGradOp : NN_PureOp<"attention_grad", [AttrSizedOperandSegments]> {
  let summary = "Gradients of attention by its inputs";
  let description = [{
    Operands: the gradient of the result, then the attention's operands; results: a gradient for each input, of its type, and, last, one for the bias where that is wanted.
    P is recomputed per head; with dP = dO V^T and D = rowsum(P * dP): `dS = P * (dP - D)`, `dV = P^T dO`, `dQ = scale * dS K`,
    `dK = scale * dS^T Q`, `dbias[h] = sum dS` over images and windows.

    Example:
    ```mlir
    %dqkv = nn.attention_grad %do, %qkv heads 3 scale 1.250000e-01 : (tensor<16x197x192xf32>, tensor<16x197x576xf32>) -> tensor<16x197x576xf32>
    ```
  }];
  let arguments = (ins NN_Tokens:$grad, Variadic<NN_Tokens>:$inputs, Optional<NN_Tokens>:$bias, Optional<NN_Tokens>:$mask, I64Attr:$heads,
                       F64Attr:$scale, OptionalAttr<I64Attr>:$window);
  let results = (outs Variadic<NN_Tokens>:$results);
  let assemblyFormat = [{
    $grad `,` $inputs (`bias` $bias^)? (`mask` $mask^)? `heads` $heads `scale` $scale (`window` $window^)? attr-dict `:` functional-type(operands, results)
  }];
  let extraClassDeclaration = [{
    /// The gradient of the bias; null where it is not wanted.
    ::mlir::Value getDbias() { return getNumResults() > getInputs().size() ? getResults().back() : ::mlir::Value(); }
  }];
}

def NN_RelativeBiasGradOp : NN_PureOp<"relative_bias_grad"> {
  let summary = "Gradient of an attention bias by its table";
  let description = [{
    `result[t, h]`: the sum of grad[h, i, j] over the pairs of tokens whose entry of the table is t.

    Example:
    ```mlir
    %dt = nn.relative_bias_grad %db grid [7, 7] prefix 0 : tensor<3x49x49xf32> -> tensor<169x3xf32>
    ```
  }];
  let arguments = (ins NN_Tokens:$grad, DenseI64ArrayAttr:$grid, I64Attr:$prefix);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = "$grad `grid` $grid `prefix` $prefix attr-dict `:` type($grad) `->` type($result)";
}

def NN_ActivationGradOp : NN_PureOp<"activation_grad", [AllTypesMatch<["grad", "input", "result"]>]> {
  let summary = "Gradient of an activation by its input";
  let description = [{
    `result = grad * f'(input)`; relu's derivative at 0 is 0.

    Example:
    ```mlir
    %dx = nn.activation_grad relu %dy, %x : tensor<16x3136x64xf32>
    ```
  }];
  let arguments = (ins NN_ActivationKind:$kind, NN_Rows:$grad, NN_Rows:$input);
  let results = (outs NN_Rows:$result);
  let assemblyFormat = "$kind $grad `,` $input attr-dict `:` type($input)";
  let hasVerifier = 0;
}

def NN_GeluGradOp : NN_PureOp<"gelu_grad", [AllTypesMatch<["grad", "input", "result"]>]> {
  let summary = "Gradient of GELU by its input";
  let description = [{
    `result = grad * gelu'(input)`.

    Example:
    ```mlir
    %dx = nn.gelu_grad %dy, %x approximate none : tensor<16x197x768xf32>
    ```
  }];
  let arguments = (ins NN_Rows:$grad, NN_Rows:$input, NN_GeluApproximation:$approximate);
  let results = (outs NN_Rows:$result);
  let assemblyFormat = "$grad `,` $input `approximate` $approximate attr-dict `:` type($input)";
  let hasVerifier = 0;
}

def NN_LayerScaleGradGammaOp : NN_PureOp<"layer_scale_grad_gamma", [AllTypesMatch<["grad", "input"]>]> {
  let summary = "Gradient of a layer scale by gamma";
  let description = [{
    `result[d] = sum_rows grad[row, d] * input[row, d]`.

    Example:
    ```mlir
    %dg = nn.layer_scale_grad_gamma %dy, %x : tensor<16x197x384xf32> -> tensor<384xf32>
    ```
  }];
  let arguments = (ins NN_Rows:$grad, NN_Rows:$input);
  let results = (outs NN_Vector:$result);
  let assemblyFormat = "$grad `,` $input attr-dict `:` type($input) `->` type($result)";
}

class NN_PadOp<string mnemonic, string what, string example> : NN_PureOp<mnemonic> {
  let summary = "Zeros around a range of " # what;
  let description = "The gradient of the slice of the same range: the input at `from`, zero elsewhere.\n\n"
    # "Example:\n```mlir\n" # example # "\n```\n";
  let arguments = (ins NN_Tensor:$input, I64Attr:$from);
  let results = (outs NN_Tensor:$result);
  let assemblyFormat = "$input `from` $from attr-dict `:` type($input) `->` type($result)";
}
def NN_PadTokensOp : NN_PadOp<"pad_tokens", "tokens (dimension 1)",
  "%y = nn.pad_tokens %x from 0 : tensor<16x1x192xf32> -> tensor<16x197x192xf32>">;
def NN_PadChannelsOp : NN_PadOp<"pad_channels", "channels (the last dimension)",
  "%y = nn.pad_channels %dq from 0 : tensor<16x197x192xf32> -> tensor<16x197x576xf32>">;
def NN_PadRowsOp : NN_PadOp<"pad_rows", "rows (dimension 0)",
  "%y = nn.pad_rows %dw from 192 : tensor<384x192xf32> -> tensor<576x192xf32>">;

def NN_ScatterTokenOp : NN_PureOp<"scatter_token"> {
  let summary = "One token of each image, zeros elsewhere";
  let description = [{
    `result[b, n, d] = n == index ? input[b, d] : 0`: the gradient of `nn.select_token`.

    Example:
    ```mlir
    %y = nn.scatter_token %x [0] : tensor<16x192xf32> -> tensor<16x197x192xf32>
    ```
  }];
  let arguments = (ins NN_Features:$input, I64Attr:$index);
  let results = (outs NN_Tokens:$result);
  let assemblyFormat = "$input `[` $index `]` attr-dict `:` type($input) `->` type($result)";
}

def NN_ExpandTokensOp : NN_PureOp<"expand_tokens"> {
  let summary = "Repeat features for every token, divided by the number of tokens";
  let description = [{
    `result[b, n, d] = input[b, d] / N`: the gradient of `nn.mean_tokens`.

    Example:
    ```mlir
    %y = nn.expand_tokens %x : tensor<16x192xf32> -> tensor<16x196x192xf32>
    ```
  }];
  let arguments = (ins NN_Features:$input);
  let results = (outs NN_Tokens:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}

def NN_SliceBatchOp : NN_SliceOp<"slice_batch", "images (dimension 0)",
  "%y = nn.slice_batch %x from 16 : tensor<32x196x192xf32> -> tensor<16x196x192xf32>">;

def NN_NormalizeGradOp : NN_PureOp<"normalize_grad", [AllTypesMatch<["grad", "result"]>]> {
  let summary = "Gradient of pixel normalisation by the image";
  let description = [{
    `result[b, c, h, w] = grad[b, c, h, w] / std[c]`.

    Example:
    ```mlir
    %y = nn.normalize_grad %dx std [0.5, 0.5, 0.5] : tensor<16x3x224x224xf32>
    ```
  }];
  let arguments = (ins NN_Image:$grad, DenseF64ArrayAttr:$std);
  let results = (outs NN_Image:$result);
  let assemblyFormat = "$grad `std` custom<Decimals>($std) attr-dict `:` type($grad)";
}

def NN_PatchEmbedGradInputOp : NN_PureOp<"patch_embed_grad_input"> {
  let summary = "Gradient of a patch embedding by the image";
  let description = [{
    Pixels that no patch reads get 0.

    Example:
    ```mlir
    %dx = nn.patch_embed_grad_input %du, %w patch [16, 16] : (tensor<16x196x192xf32>, tensor<192x3x16x16xf32>) -> tensor<16x3x224x224xf32>
    ```
  }];
  let arguments = (ins NN_Tokens:$grad, NN_TensorOfRank<[4]>:$weight, DenseI64ArrayAttr:$patch);
  let results = (outs NN_Image:$result);
  let assemblyFormat = "$grad `,` $weight `patch` $patch attr-dict `:` functional-type(operands, results)";
}

def NN_PatchEmbedGradWeightOp : NN_PureOp<"patch_embed_grad_weight"> {
  let summary = "Gradient of a patch embedding by its kernel";
  let description = [{
    `result[d, c, py, px] = sum_{b,gy,gx} grad[b, (gy, gx), d] * image[b, c, gy*ph + py, gx*pw + px]`.

    Example:
    ```mlir
    %dw = nn.patch_embed_grad_weight %du, %x patch [16, 16] : (tensor<16x196x192xf32>, tensor<16x3x224x224xf32>) -> tensor<192x3x16x16xf32>
    ```
  }];
  let arguments = (ins NN_Tokens:$grad, NN_Image:$image, DenseI64ArrayAttr:$patch);
  let results = (outs NN_TensorOfRank<[4]>:$result);
  let assemblyFormat = "$grad `,` $image `patch` $patch attr-dict `:` functional-type(operands, results)";
}

def NN_CrossEntropyGradOp : NN_PureOp<"cross_entropy_grad"> {
  let summary = "Gradient of cross-entropy by the logits";
  let description = [{
    `result[r, k] = grad[r] * (softmax(logits[r])[k] - (k == labels[r mod B]))`.

    Example:
    ```mlir
    %dz = nn.cross_entropy_grad %dl, %z, %y : (tensor<16xf32>, tensor<16x1000xf32>, tensor<16xi32>) -> tensor<16x1000xf32>
    ```
  }];
  let arguments = (ins NN_Vector:$grad, NN_Features:$logits, NN_Labels:$labels);
  let results = (outs NN_Features:$result);
  let assemblyFormat = "$grad `,` $logits `,` $labels attr-dict `:` functional-type(operands, results)";
}

def NN_WeightedSumGradOp : NN_PureOp<"weighted_sum_grad"> {
  let summary = "Gradient of a weighted sum by the losses";
  let description = [{
    `result[r] = grad * weights[r mod B]`; without `grad` it is 1, the seed of reverse mode.

    Example:
    ```mlir
    %dl = nn.weighted_sum_grad %w : (tensor<16xf32>) -> tensor<32xf32>
    ```
  }];
  let arguments = (ins NN_Vector:$weights, Optional<NN_Scalar>:$grad);
  let results = (outs NN_Vector:$result);
  let assemblyFormat = "$weights (`,` $grad^)? attr-dict `:` functional-type(operands, results)";
}

#endif // NS_DIALECT_NN_IR_NNGRADOPS_TD
