//===- NNOps.td - ops of the nn dialect ----------------------*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Forward ops. Their fused backward forms are in NNGradOps.td.
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NN_IR_NNOPS_TD
#define NS_DIALECT_NN_IR_NNOPS_TD

include "ns/Dialect/NN/IR/NNBase.td"

//===----------------------------------------------------------------------===//
// Parameters
//===----------------------------------------------------------------------===//

def NN_ParamOp : NN_Op<"param", [Symbol]> {
  let summary = "Declare a parameter by its name in the weights file";
  let description = [{
    Names one entry of the module's weights file. The symbol is the entry's key, so that weights go
    back into the source framework without a map. `no_decay` marks parameters that weight decay
    leaves out (timm's convention: vectors, and what the model lists in `no_weight_decay`);
    `buffer` marks entries that are not trained. Made by `ns-import`.

    Example:
    ```mlir
    nn.param @blocks.0.attn.qkv.weight : tensor<576x192xf32>
    nn.param @blocks.0.norm1.bias no_decay : tensor<192xf32>
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypeAttrOf<NN_Tensor>:$type,
                       UnitAttr:$no_decay, UnitAttr:$buffer);
  let assemblyFormat = "$sym_name (`no_decay` $no_decay^)? (`buffer` $buffer^)? attr-dict `:` $type";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    ::mlir::RankedTensorType getTensorType() { return ::llvm::cast<::mlir::RankedTensorType>(getType()); }
  }];
}

def NN_LoadParamOp : NN_Op<"load_param", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "The current value of a parameter";
  let description = [{
    Within one entry function a parameter is one immutable value. The optimizer entry writes parameters and holds no load of them; others
    write at their end (`nn.store_param`).

    Example:
    ```mlir
    %w = nn.load_param @head.weight : tensor<1000x192xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$param);
  let results = (outs NN_Tensor:$result);
  let assemblyFormat = "$param attr-dict `:` type($result)";
}

def NN_StoreParamOp : NN_Op<"store_param", [DeclareOpInterfaceMethods<SymbolUserOpInterface>, MemoryEffects<[MemWrite]>]> {
  let summary = "Overwrite a parameter";
  let description = [{
    `@param = value`, at the end of the entry: every load of the entry reads the value before. Made by `nn-fold-frozen`, in the entry `prepare`,
    and by `nn-train-batch-norm`, of running statistics; removed by `nn-to-rt`.

    Example:
    ```mlir
    nn.store_param @head.weight, %w : tensor<1000x192xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$param, NN_Tensor:$value);
  let assemblyFormat = "$param `,` $value attr-dict `:` type($value)";
}

//===----------------------------------------------------------------------===//
// Image and patches
//===----------------------------------------------------------------------===//

def NN_NormalizeOp : NN_PureOp<"normalize", [AllTypesMatch<["image", "result"]>]> {
  let summary = "Normalize pixels in [0, 1] by channel mean and standard deviation";
  let description = [{
    `result[b, c, h, w] = (image[b, c, h, w] - mean[c]) / std[c]`. The image is in [0, 1], so an
    attack's eps and an image noise are in pixels by construction. Mean and std are finite, and std
    is positive; text holds the shortest decimals that are these doubles again.

    Example:
    ```mlir
    %x = nn.normalize %image mean [0.5, 0.5, 0.5] std [0.5, 0.5, 0.5] : tensor<?x3x224x224xf32>
    ```
  }];
  let arguments = (ins NN_Image:$image, DenseF64ArrayAttr:$mean, DenseF64ArrayAttr:$std);
  let results = (outs NN_Image:$result);
  let assemblyFormat = [{
    $image `mean` custom<Decimals>($mean) `std` custom<Decimals>($std) attr-dict `:` type($result)
  }];
}

def NN_PatchEmbedOp : NN_PureOp<"patch_embed"> {
  let summary = "Embed non-overlapping patches";
  let description = [{
    A convolution whose stride equals its kernel, flattened to tokens in row-major grid order:
    `result[b, (gy, gx), d] = bias[d] + sum_{c,py,px} weight[d, c, py, px] *
    image[b, c, gy*ph + py, gx*pw + px]`, image B x c x H x W, weight d x c x ph x pw,
    result B x (H/ph * W/pw) x d; rows and columns that do not fill a patch are not read.

    Example:
    ```mlir
    %u = nn.patch_embed %x, %w, %b patch [16, 16] : (tensor<?x3x224x224xf32>, tensor<192x3x16x16xf32>, tensor<192xf32>) -> tensor<?x196x192xf32>
    ```
  }];
  let arguments = (ins NN_Image:$image, NN_TensorOfRank<[4]>:$weight, Optional<NN_Vector>:$bias,
                       DenseI64ArrayAttr:$patch);
  let results = (outs NN_Tokens:$result);
  let assemblyFormat = [{
    $image `,` $weight (`,` $bias^)? `patch` $patch attr-dict `:` functional-type(operands, results)
  }];
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

def NN_LinearOp : NN_PureOp<"linear"> {
  let summary = "Apply a linear layer to the last dimension";
  let description = [{
    `result[..., o] = bias[o] + sum_i input[..., i] * weight[o, i]`; weight is out x in, as PyTorch's.

    Example:
    ```mlir
    %y = nn.linear %x, %w, %b : (tensor<?x197x192xf32>, tensor<576x192xf32>, tensor<576xf32>) -> tensor<?x197x576xf32>
    ```
  }];
  let arguments = (ins NN_Rows:$input, NN_Matrix:$weight, Optional<NN_Vector>:$bias);
  let results = (outs NN_Rows:$result);
  let assemblyFormat = "$input `,` $weight (`,` $bias^)? attr-dict `:` functional-type(operands, results)";
}

def NN_LayerNormOp : NN_PureOp<"layer_norm", [AttrSizedOperandSegments, AllTypesMatch<["input", "result"]>]> {
  let summary = "Layer normalisation over groups of channels";
  let description = [{
    Over each contiguous group of `g` channels, g = size of gamma (or the whole last dimension without
    gamma): `result = (x - mean) / sqrt(var + eps) * gamma + beta`, var biased. g smaller than the last
    dimension is the query/key normalisation per head.

    Example:
    ```mlir
    %y = nn.layer_norm %x, %g, %b eps 1.0e-06 : tensor<?x197x192xf32>, tensor<192xf32>, tensor<192xf32>
    ```
  }];
  let arguments = (ins NN_Rows:$input, Optional<NN_Vector>:$gamma, Optional<NN_Vector>:$beta, F64Attr:$eps);
  let results = (outs NN_Rows:$result);
  let assemblyFormat = [{
    $input (`,` $gamma^ `,` $beta)? `eps` $eps attr-dict `:` type($input) (`,` type($gamma)^ `,` type($beta))?
  }];
}

def NN_AttentionOp : NN_PureOp<"attention", [AttrSizedOperandSegments]> {
  let summary = "Multi-head scaled dot-product attention";
  let description = [{
    Per head h of width d = C / heads: `softmax(scale * Q_h K_h^T + bias[h] + mask[w]) V_h`, heads concatenated. Inputs are one
    packed `B x N x 3C` tensor (q, k, v), or q `B x M x C` and packed kv `B x N x 2C`, or q, k, v.
    Channel `h*d + j` of a C-wide part is coordinate j of head h. Result `B x M x C`.

    `bias` (heads x M x N) is shared by all images, `mask` is added to the scores of all heads. With `window` the tokens of an
    image are consecutive windows of that many, M = N = `window`, and each attends within itself; `mask` then has one M x N matrix for each
    window of the image, else one.

    Example:
    ```mlir
    %o = nn.attention %qkv heads 3 scale 1.250000e-01 : (tensor<?x197x576xf32>) -> tensor<?x197x192xf32>
    %p = nn.attention %q, %kv heads 3 scale 1.250000e-01 : (tensor<?x1x192xf32>, tensor<?x197x384xf32>) -> tensor<?x1x192xf32>
    %s = nn.attention %w bias %b mask %m heads 3 scale 1.767767e-01 window 49 : (tensor<?x3136x288xf32>, tensor<3x49x49xf32>, tensor<64x49x49xf32>) -> tensor<?x3136x96xf32>
    ```
  }];
  let arguments = (ins Variadic<NN_Tokens>:$inputs, Optional<NN_Tokens>:$bias, Optional<NN_Tokens>:$mask, I64Attr:$heads,
                       F64Attr:$scale, OptionalAttr<I64Attr>:$window);
  let results = (outs NN_Tokens:$result);
  let assemblyFormat = [{
    $inputs (`bias` $bias^)? (`mask` $mask^)? `heads` $heads `scale` $scale (`window` $window^)? attr-dict `:` functional-type(operands, results)
  }];
  let builders = [
    OpBuilder<(ins "::mlir::Type":$result, "::mlir::ValueRange":$inputs, "int64_t":$heads, "::llvm::APFloat":$scale), [{
      build($_builder, $_state, result, inputs, ::mlir::Value(), ::mlir::Value(), heads, scale, ::mlir::IntegerAttr());
    }]>
  ];
}

def NN_RelativeBiasOp : NN_PureOp<"relative_bias"> {
  let summary = "Attention bias from a table of relative positions";
  let description = [{
    For tokens i, j of a `grid` of gh x gw (row-major): `result[h, i, j] = table[(yi - yj + gh - 1) * (2 gw - 1) + xi - xj + gw - 1, h]`: the index of
    Swin and BEiT. With `prefix` 1 token 0 is a class token before the grid, and the table has three more rows, T of them: T-3 for i = 0, T-2 for
    j = 0, T-1 for both. Table T x heads, result heads x N x N.

    Example:
    ```mlir
    %b = nn.relative_bias %t grid [7, 7] prefix 0 : tensor<169x3xf32> -> tensor<3x49x49xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$table, DenseI64ArrayAttr:$grid, I64Attr:$prefix);
  let results = (outs NN_Tokens:$result);
  let assemblyFormat = "$table `grid` $grid `prefix` $prefix attr-dict `:` type($table) `->` type($result)";
}

def NN_RotaryOp : NN_PureOp<"rotary", [AllTypesMatch<["input", "result"]>, AllTypesMatch<["sin", "cos"]>]> {
  let summary = "Rotate pairs of channels by the token's position";
  let description = [{
    Rotary position embedding on interleaved pairs. For token n >= prefix, head h and coordinates 2j, 2j+1 of the head, p = n - prefix:
    `result[2j] = x[2j] * cos[p, 2j] - x[2j+1] * sin[p, 2j]`, `result[2j+1] = x[2j+1] * cos[p, 2j+1] + x[2j] * sin[p, 2j+1]`; the first `prefix` tokens
    are unchanged. Input B x N x (heads * d), sin and cos (N - prefix) x d, buffers: not differentiated. `transposed` is the transposed map, its own derivative rule.

    Example:
    ```mlir
    %q1 = nn.rotary %q, %sin, %cos heads 3 prefix 1 : tensor<?x197x192xf32>, tensor<196x64xf32>
    ```
  }];
  let arguments = (ins NN_Tokens:$input, NN_Matrix:$sin, NN_Matrix:$cos, I64Attr:$heads, I64Attr:$prefix, UnitAttr:$transposed);
  let results = (outs NN_Tokens:$result);
  let assemblyFormat = [{
    $input `,` $sin `,` $cos `heads` $heads `prefix` $prefix (`transposed` $transposed^)? attr-dict `:` type($input) `,` type($sin)
  }];
}

def NN_GeluOp : NN_PureOp<"gelu", [AllTypesMatch<["input", "result"]>]> {
  let summary = "Gaussian error linear unit";
  let description = [{
    `none`: `x/2 * (1 + erf(x / sqrt 2))`; `tanh`: `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`. The two
    differ by up to 4e-4 and are never exchanged.

    Example:
    ```mlir
    %y = nn.gelu %x approximate none : tensor<?x197x768xf32>
    ```
  }];
  let arguments = (ins NN_Rows:$input, NN_GeluApproximation:$approximate);
  let results = (outs NN_Rows:$result);
  let assemblyFormat = "$input `approximate` $approximate attr-dict `:` type($input)";
  let hasVerifier = 0;
}

def NN_ActivationOp : NN_PureOp<"activation", [AllTypesMatch<["input", "result"]>]> {
  let summary = "Elementwise activation";
  let description = [{
    `relu`: max(x, 0), NaN kept; `silu`: x * sigmoid(x); `sigmoid`: 1 / (1 + exp(-x)); `tanh`; `quick_gelu`: x * sigmoid(1.702 x).

    Example:
    ```mlir
    %y = nn.activation relu %x : tensor<?x3136x64xf32>
    ```
  }];
  let arguments = (ins NN_ActivationKind:$kind, NN_Rows:$input);
  let results = (outs NN_Rows:$result);
  let assemblyFormat = "$kind $input attr-dict `:` type($input)";
  let hasVerifier = 0;
}

def NN_DropoutOp : NN_PureOp<"dropout", [AllTypesMatch<["input", "result"]>]> {
  let summary = "Dropout, or stochastic depth, in training";
  let description = [{
    `result = keep ? input / (1 - rate) : 0`, keep with probability 1 - rate, drawn for each element or each `image` (drop-path). The draw is a
    counter-based hash of (seed[0], stream, index of the element or image): the same in the backward pass, which applies the op to the cotangent, and for
    any number of threads. Made by `ns-insert-dropout`; `stream` differs between the places of a network.

    Example:
    ```mlir
    %y = nn.dropout element %x, %seed rate 1.000000e-01 stream 3 : tensor<?x197x192xf32>, tensor<1xi32>
    ```
  }];
  let arguments = (ins NN_DropoutUnit:$unit, NN_Rows:$input, NN_Labels:$seed, F64Attr:$rate, I64Attr:$stream);
  let results = (outs NN_Rows:$result);
  let assemblyFormat = "$unit $input `,` $seed `rate` $rate `stream` $stream attr-dict `:` type($input) `,` type($seed)";
}

def NN_MulOp : NN_PureOp<"mul", [AllTypesMatch<["lhs", "result"]>]> {
  let summary = "Multiply two tensors, the second broadcast over the batch";
  let description = [{
    `result = lhs * rhs`; rhs has lhs's shape, or a first dimension of 1. The product of a gated layer.

    Example:
    ```mlir
    %y = nn.mul %gate, %x : tensor<?x197x512xf32>, tensor<?x197x512xf32>
    ```
  }];
  let arguments = (ins NN_Tensor:$lhs, NN_Tensor:$rhs);
  let results = (outs NN_Tensor:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs)";
}

def NN_AddOp : NN_PureOp<"add", [AllTypesMatch<["lhs", "result"]>]> {
  let summary = "Add two tensors, the second broadcast over the batch";
  let description = [{
    `result = lhs + rhs`; rhs has lhs's shape, or a first dimension of 1 (a position embedding).

    Example:
    ```mlir
    %y = nn.add %x, %pos : tensor<?x197x192xf32>, tensor<1x197x192xf32>
    ```
  }];
  let arguments = (ins NN_Tensor:$lhs, NN_Tensor:$rhs);
  let results = (outs NN_Tensor:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs)";
}

def NN_ScaleOp : NN_PureOp<"scale", [AllTypesMatch<["input", "result"]>]> {
  let summary = "Multiply by a constant";
  let description = [{
    `result = factor * input`.

    Example:
    ```mlir
    %y = nn.scale %x by 5.000000e-01 : tensor<?x1000xf32>
    ```
  }];
  let arguments = (ins NN_Tensor:$input, F64Attr:$factor);
  let results = (outs NN_Tensor:$result);
  let assemblyFormat = "$input `by` $factor attr-dict `:` type($input)";
  let hasVerifier = 0;
}

def NN_LayerScaleOp : NN_PureOp<"layer_scale", [AllTypesMatch<["input", "result"]>]> {
  let summary = "Multiply each channel by a parameter";
  let description = [{
    `result[..., d] = input[..., d] * gamma[d]`.

    Example:
    ```mlir
    %y = nn.layer_scale %x, %g : tensor<?x197x384xf32>, tensor<384xf32>
    ```
  }];
  let arguments = (ins NN_Rows:$input, NN_Vector:$gamma);
  let results = (outs NN_Rows:$result);
  let assemblyFormat = "$input `,` $gamma attr-dict `:` type($input) `,` type($gamma)";
}

//===----------------------------------------------------------------------===//
// Folding
//===----------------------------------------------------------------------===//

def NN_FoldNormBiasOp : NN_PureOp<"fold_norm_bias", [AllTypesMatch<["bias", "result"]>]> {
  let summary = "The bias of a linear layer that takes a norm's shift over";
  let description = [{
    `result[o] = bias[o] + sum_i weight[o, i] * beta[i]`, weight as it is before it takes gamma over. Made by `nn-fold-frozen`, removed by `nn-to-rt`.

    Example:
    ```mlir
    %y = nn.fold_norm_bias %b, %w, %beta : tensor<576xf32>, tensor<576x192xf32>, tensor<192xf32>
    ```
  }];
  let arguments = (ins NN_Vector:$bias, NN_Matrix:$weight, NN_Vector:$beta);
  let results = (outs NN_Vector:$result);
  let assemblyFormat = "$bias `,` $weight `,` $beta attr-dict `:` type($bias) `,` type($weight) `,` type($beta)";
}

def NN_FoldNormWeightOp : NN_PureOp<"fold_norm_weight", [AllTypesMatch<["weight", "result"]>]> {
  let summary = "The weight of a linear layer that takes a norm's scale over";
  let description = [{
    `result[o, i] = weight[o, i] * gamma[i]`. Made by `nn-fold-frozen`, removed by `nn-to-rt`.

    Example:
    ```mlir
    %y = nn.fold_norm_weight %w, %gamma : tensor<576x192xf32>, tensor<192xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$weight, NN_Vector:$gamma);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = "$weight `,` $gamma attr-dict `:` type($weight) `,` type($gamma)";
}

def NN_FoldScaleBiasOp : NN_PureOp<"fold_scale_bias", [AllTypesMatch<["bias", "gamma", "result"]>]> {
  let summary = "The bias of a linear layer that takes a layer scale over";
  let description = [{
    `result[o] = gamma[o] * bias[o]`. Made by `nn-fold-frozen`, removed by `nn-to-rt`.

    Example:
    ```mlir
    %y = nn.fold_scale_bias %b, %gamma : tensor<192xf32>
    ```
  }];
  let arguments = (ins NN_Vector:$bias, NN_Vector:$gamma);
  let results = (outs NN_Vector:$result);
  let assemblyFormat = "$bias `,` $gamma attr-dict `:` type($bias)";
  let hasVerifier = 0;
}

def NN_FoldScaleWeightOp : NN_PureOp<"fold_scale_weight", [AllTypesMatch<["weight", "result"]>]> {
  let summary = "The weight of a linear layer that takes a layer scale over";
  let description = [{
    `result[o, i] = gamma[o] * weight[o, i]`. Made by `nn-fold-frozen`, removed by `nn-to-rt`.

    Example:
    ```mlir
    %y = nn.fold_scale_weight %w, %gamma : tensor<192x768xf32>, tensor<192xf32>
    ```
  }];
  let arguments = (ins NN_Matrix:$weight, NN_Vector:$gamma);
  let results = (outs NN_Matrix:$result);
  let assemblyFormat = "$weight `,` $gamma attr-dict `:` type($weight) `,` type($gamma)";
}

include "ns/Dialect/NN/IR/NNTokenOps.td"

//===----------------------------------------------------------------------===//
// Losses
//===----------------------------------------------------------------------===//

def NN_CrossEntropyOp : NN_PureOp<"cross_entropy"> {
  let summary = "Cross-entropy of each row of logits";
  let description = [{
    `result[r] = logsumexp(logits[r]) - logits[r, labels[r mod B]]` with B labels and a multiple of B rows (stacked
    batches share labels). Labels lie in [0, K); the runtime checks them.

    Example:
    ```mlir
    %l = nn.cross_entropy %z, %y : (tensor<?x1000xf32>, tensor<?xi32>) -> tensor<?xf32>
    ```
  }];
  let arguments = (ins NN_Features:$logits, NN_Labels:$labels);
  let results = (outs NN_Vector:$result);
  let assemblyFormat = "$logits `,` $labels attr-dict `:` functional-type(operands, results)";
}

def NN_WeightedSumOp : NN_PureOp<"weighted_sum"> {
  let summary = "Weighted sum of per-sample losses";
  let description = [{
    `result = sum_r weights[r mod B] * losses[r]`. The runtime sets a weight to 1/n for each of n real images and to
    0 for padding, so partial batches are exact.

    Example:
    ```mlir
    %s = nn.weighted_sum %l, %w : (tensor<?xf32>, tensor<?xf32>) -> tensor<f32>
    ```
  }];
  let arguments = (ins NN_Vector:$losses, NN_Vector:$weights);
  let results = (outs NN_Scalar:$result);
  let assemblyFormat = "$losses `,` $weights attr-dict `:` functional-type(operands, results)";
}

include "ns/Dialect/NN/IR/NNGridOps.td"
include "ns/Dialect/NN/IR/NNGradOps.td"

#endif // NS_DIALECT_NN_IR_NNOPS_TD
