//===- NNGridOps.td - ops on tokens that lie on a grid ------*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Convolutional networks and windowed attention. Feature maps are tokens, channels last: B x (H*W) x C with the
// positions of a grid H x W in row-major order, so that norms, activations and linear layers are those of
// transformers. Their backward forms are here too.
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NN_IR_NNGRIDOPS_TD
#define NS_DIALECT_NN_IR_NNGRIDOPS_TD

include "ns/Dialect/NN/IR/NNBase.td"

def NN_ImageToTokensOp : NN_PureOp<"image_to_tokens"> {
  let summary = "An image as tokens, one for each pixel";
  let description = [{
    `result[b, y * W + x, c] = image[b, c, y, x]`.

    Example:
    ```mlir
    %t = nn.image_to_tokens %x : tensor<?x3x224x224xf32> -> tensor<?x50176x3xf32>
    ```
  }];
  let arguments = (ins NN_Image:$image);
  let results = (outs NN_Tokens:$result);
  let assemblyFormat = "$image attr-dict `:` type($image) `->` type($result)";
}

def NN_TokensToImageOp : NN_PureOp<"tokens_to_image"> {
  let summary = "Tokens, one for each pixel, as an image";
  let description = [{
    `result[b, c, y, x] = input[b, y * W + x, c]`: the gradient of `nn.image_to_tokens`.

    Example:
    ```mlir
    %x = nn.tokens_to_image %t : tensor<16x50176x3xf32> -> tensor<16x3x224x224xf32>
    ```
  }];
  let arguments = (ins NN_Tokens:$input);
  let results = (outs NN_Image:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}

//===----------------------------------------------------------------------===//
// Convolution
//===----------------------------------------------------------------------===//

// Geometry of windows that slide over a grid: extents along (y, x). Output extent: (g + 2 p - d (k - 1) - 1) / s + 1, rounded down.
defvar NN_ConvGeometry = (ins DenseI64ArrayAttr:$grid, DenseI64ArrayAttr:$stride, DenseI64ArrayAttr:$padding,
                              DenseI64ArrayAttr:$dilation, I64Attr:$groups);

def NN_ConvOp : NN_PureOp<"conv"> {
  let summary = "Convolution of tokens on a grid";
  let description = [{
    `result[b, (oy, ox), o] = bias[o] + sum_{i,ky,kx} weight[o, i, ky, kx] * input[b, (oy*sy + ky*dy - py, ox*sx + kx*dx - px), g * I + i]`, zero outside the grid;
    weight O x I x kh x kw as PyTorch's, I = C / groups, group g = o / (O / groups). Groups are 1 or, with C = O (depthwise), C.
    `grid` is the input's.

    Example:
    ```mlir
    %y = nn.conv %x, %w grid [224, 224] stride [2, 2] padding [3, 3] dilation [1, 1] groups 1 : (tensor<?x50176x3xf32>, tensor<64x3x7x7xf32>) -> tensor<?x12544x64xf32>
    ```
  }];
  let arguments = !con((ins NN_Tokens:$input, NN_TensorOfRank<[4]>:$weight, Optional<NN_Vector>:$bias), NN_ConvGeometry);
  let results = (outs NN_Tokens:$result);
  let assemblyFormat = [{
    $input `,` $weight (`,` $bias^)? `grid` $grid `stride` $stride `padding` $padding `dilation` $dilation `groups` $groups
    attr-dict `:` functional-type(operands, results)
  }];
}

def NN_ConvGradInputOp : NN_PureOp<"conv_grad_input"> {
  let summary = "Gradient of a convolution by its input";
  let description = [{
    The transposed map of `nn.conv` on the cotangent; `grid` is that of the convolution's input, the result.

    Example:
    ```mlir
    %dx = nn.conv_grad_input %dy, %w grid [56, 56] stride [1, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<16x3136x64xf32>, tensor<64x64x3x3xf32>) -> tensor<16x3136x64xf32>
    ```
  }];
  let arguments = !con((ins NN_Tokens:$grad, NN_TensorOfRank<[4]>:$weight), NN_ConvGeometry);
  let results = (outs NN_Tokens:$result);
  let assemblyFormat = [{
    $grad `,` $weight `grid` $grid `stride` $stride `padding` $padding `dilation` $dilation `groups` $groups
    attr-dict `:` functional-type(operands, results)
  }];
}

def NN_ConvGradWeightOp : NN_PureOp<"conv_grad_weight"> {
  let summary = "Gradient of a convolution by its weight";
  let description = [{
    `result[o, i, ky, kx] = sum_{b,oy,ox} grad[b, (oy, ox), o] * input[b, (oy*sy + ky*dy - py, ox*sx + kx*dx - px), g * I + i]`.

    Example:
    ```mlir
    %dw = nn.conv_grad_weight %dy, %x grid [56, 56] stride [1, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<16x3136x64xf32>, tensor<16x3136x64xf32>) -> tensor<64x64x3x3xf32>
    ```
  }];
  let arguments = !con((ins NN_Tokens:$grad, NN_Tokens:$input), NN_ConvGeometry);
  let results = (outs NN_TensorOfRank<[4]>:$result);
  let assemblyFormat = [{
    $grad `,` $input `grid` $grid `stride` $stride `padding` $padding `dilation` $dilation `groups` $groups
    attr-dict `:` functional-type(operands, results)
  }];
}

def NN_MaxPoolOp : NN_PureOp<"max_pool"> {
  let summary = "Maximum over windows of a grid";
  let description = [{
    `result[b, (oy, ox), c] = max_{ky,kx} input[b, (oy*sy + ky - py, ox*sx + kx - px), c]` over the positions within the grid.
    Padding is at most half the kernel.

    Example:
    ```mlir
    %y = nn.max_pool %x grid [112, 112] kernel [3, 3] stride [2, 2] padding [1, 1] : tensor<?x12544x64xf32> -> tensor<?x3136x64xf32>
    ```
  }];
  let arguments = (ins NN_Tokens:$input, DenseI64ArrayAttr:$grid, DenseI64ArrayAttr:$kernel, DenseI64ArrayAttr:$stride,
                       DenseI64ArrayAttr:$padding);
  let results = (outs NN_Tokens:$result);
  let assemblyFormat = "$input `grid` $grid `kernel` $kernel `stride` $stride `padding` $padding attr-dict `:` type($input) `->` type($result)";
}

def NN_MaxPoolGradOp : NN_PureOp<"max_pool_grad", [AllTypesMatch<["input", "result"]>]> {
  let summary = "Gradient of a maximum over windows by its input";
  let description = [{
    Each window's cotangent goes to its first maximum in row-major order, as in PyTorch.

    Example:
    ```mlir
    %dx = nn.max_pool_grad %dy, %x grid [112, 112] kernel [3, 3] stride [2, 2] padding [1, 1] : tensor<16x3136x64xf32>, tensor<16x12544x64xf32>
    ```
  }];
  let arguments = (ins NN_Tokens:$grad, NN_Tokens:$input, DenseI64ArrayAttr:$grid, DenseI64ArrayAttr:$kernel,
                       DenseI64ArrayAttr:$stride, DenseI64ArrayAttr:$padding);
  let results = (outs NN_Tokens:$result);
  let assemblyFormat = "$grad `,` $input `grid` $grid `kernel` $kernel `stride` $stride `padding` $padding attr-dict `:` type($grad) `,` type($input)";
}

//===----------------------------------------------------------------------===//
// Batch normalisation
//===----------------------------------------------------------------------===//

def NN_BatchNormOp : NN_PureOp<"batch_norm", [AttrSizedOperandSegments, AllTypesMatch<["input", "result"]>, AllTypesMatch<["gamma", "beta"]>]> {
  let summary = "Batch normalisation, by running or by batch statistics";
  let description = [{
    `result[..., c] = (x - mean[c]) / sqrt(var[c] + eps) * gamma[c] + beta[c]`. With `mean` and `var` (the running statistics, buffers) this is the form of
    evaluation; without them mean and biased variance are those of all rows of the input: the form of training, made by `nn-train-batch-norm`.

    Example:
    ```mlir
    %y = nn.batch_norm %x, %g, %b running %m, %v eps 1.000000e-05 : tensor<?x3136x64xf32>, tensor<64xf32>, tensor<64xf32>, tensor<64xf32>
    %z = nn.batch_norm %x, %g, %b eps 1.000000e-05 : tensor<?x3136x64xf32>, tensor<64xf32>
    ```
  }];
  let arguments = (ins NN_Rows:$input, NN_Vector:$gamma, NN_Vector:$beta, Optional<NN_Vector>:$mean, Optional<NN_Vector>:$var, F64Attr:$eps);
  let results = (outs NN_Rows:$result);
  let assemblyFormat = [{
    $input `,` $gamma `,` $beta (`running` $mean^ `,` $var)? `eps` $eps attr-dict `:` type($input) `,` type($gamma) (`,` type($mean)^ `,` type($var))?
  }];
}

def NN_BatchNormGradOp : NN_PureOp<"batch_norm_grad", [AttrSizedOperandSegments, AllTypesMatch<["grad", "input", "result"]>]> {
  let summary = "Gradient of batch normalisation by its input";
  let description = [{
    With running statistics: `result = grad * gamma / sqrt(var + eps)`. Without: with xhat and rstd of the batch and the means over all rows,
    `result = gamma * rstd * (grad - mean(grad) - xhat * mean(grad * xhat))`.

    Example:
    ```mlir
    %dx = nn.batch_norm_grad %dy, %x, %g eps 1.000000e-05 : tensor<16x3136x64xf32>, tensor<64xf32>
    ```
  }];
  let arguments = (ins NN_Rows:$grad, NN_Rows:$input, NN_Vector:$gamma, Optional<NN_Vector>:$mean, Optional<NN_Vector>:$var, F64Attr:$eps);
  let results = (outs NN_Rows:$result);
  let assemblyFormat = [{
    $grad `,` $input `,` $gamma (`running` $mean^ `,` $var)? `eps` $eps attr-dict `:` type($input) `,` type($gamma) (`,` type($mean)^ `,` type($var))?
  }];
}

def NN_BatchNormGradParamsOp : NN_PureOp<"batch_norm_grad_params", [AttrSizedOperandSegments, AllTypesMatch<["grad", "input"]>, AllTypesMatch<["dgamma", "dbeta"]>]> {
  let summary = "Gradients of batch normalisation by gamma and beta";
  let description = [{
    `dgamma[c] = sum_rows grad * xhat`, `dbeta[c] = sum_rows grad`, xhat by running or by batch statistics.

    Example:
    ```mlir
    %dg, %db = nn.batch_norm_grad_params %dy, %x eps 1.000000e-05 : tensor<16x3136x64xf32> -> tensor<64xf32>
    ```
  }];
  let arguments = (ins NN_Rows:$grad, NN_Rows:$input, Optional<NN_Vector>:$mean, Optional<NN_Vector>:$var, F64Attr:$eps);
  let results = (outs NN_Vector:$dgamma, NN_Vector:$dbeta);
  let assemblyFormat = [{
    $grad `,` $input (`running` $mean^ `,` $var)? `eps` $eps attr-dict `:` type($input) (`,` type($mean)^ `,` type($var))? `->` type($dgamma)
  }];
}

def NN_BatchStatsOp : NN_PureOp<"batch_stats", [AllTypesMatch<["mean", "var"]>]> {
  let summary = "Mean and unbiased variance of each channel over all rows";
  let description = [{
    What the running statistics of a batch normalisation take in. Not differentiated.

    Example:
    ```mlir
    %m, %v = nn.batch_stats %x : tensor<16x3136x64xf32> -> tensor<64xf32>
    ```
  }];
  let arguments = (ins NN_Rows:$input);
  let results = (outs NN_Vector:$mean, NN_Vector:$var);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($mean)";
}

//===----------------------------------------------------------------------===//
// Moving tokens
//===----------------------------------------------------------------------===//

def NN_PermuteTokensOp : NN_PureOp<"permute_tokens", [AllTypesMatch<["input", "result"]>]> {
  let summary = "Reorder tokens by permuting the digits of their index";
  let description = [{
    The token index is a mixed-radix number of `digits`, outermost first; digit i of the result is digit `order[i]` of the input, as in
    `reshape(B, *digits, C).permute(...)`. Windows of 7x7 on a grid of 56x56: digits [8, 7, 8, 7], order [0, 2, 1, 3].

    Example:
    ```mlir
    %w = nn.permute_tokens %x digits [8, 7, 8, 7] order [0, 2, 1, 3] : tensor<?x3136x96xf32>
    ```
  }];
  let arguments = (ins NN_Tokens:$input, DenseI64ArrayAttr:$digits, DenseI64ArrayAttr:$order);
  let results = (outs NN_Tokens:$result);
  let assemblyFormat = "$input `digits` $digits `order` $order attr-dict `:` type($input)";
}

def NN_RollTokensOp : NN_PureOp<"roll_tokens", [AllTypesMatch<["input", "result"]>]> {
  let summary = "Shift a grid of tokens cyclically";
  let description = [{
    `result[b, ((y + sy) mod H, (x + sx) mod W), :] = input[b, (y, x), :]` with shifts `by` = [sy, sx], as `torch.roll`.

    Example:
    ```mlir
    %s = nn.roll_tokens %x grid [56, 56] by [-3, -3] : tensor<?x3136x96xf32>
    ```
  }];
  let arguments = (ins NN_Tokens:$input, DenseI64ArrayAttr:$grid, DenseI64ArrayAttr:$shifts);
  let results = (outs NN_Tokens:$result);
  let assemblyFormat = "$input `grid` $grid `by` $shifts attr-dict `:` type($input)";
}

def NN_ReshapeTokensOp : NN_PureOp<"reshape_tokens"> {
  let summary = "Regroup neighbouring tokens and channels";
  let description = [{
    The elements of an image in row-major order under another N x C: four neighbouring tokens become one of four times the channels (Swin's patch
    merging, after `nn.permute_tokens`), or back.

    Example:
    ```mlir
    %m = nn.reshape_tokens %x : tensor<?x3136x96xf32> -> tensor<?x784x384xf32>
    ```
  }];
  let arguments = (ins NN_Tokens:$input);
  let results = (outs NN_Tokens:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}

#endif // NS_DIALECT_NN_IR_NNGRIDOPS_TD
