//===- NNTokenOps.td - ops that move tokens, channels, batches *- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NN_IR_NNTOKENOPS_TD
#define NS_DIALECT_NN_IR_NNTOKENOPS_TD

include "ns/Dialect/NN/IR/NNBase.td"

def NN_PrependTokensOp : NN_PureOp<"prepend_tokens"> {
  let summary = "Put learned tokens before the patch tokens";
  let description = [{
    Class, distillation and register tokens (each 1 x k x D, the same for every image), in the order given,
    then the input's tokens.

    Example:
    ```mlir
    %y = nn.prepend_tokens %u, %cls : (tensor<?x196x192xf32>, tensor<1x1x192xf32>) -> tensor<?x197x192xf32>
    ```
  }];
  let arguments = (ins NN_Tokens:$input, Variadic<NN_Tokens>:$tokens);
  let results = (outs NN_Tokens:$result);
  let assemblyFormat = "$input `,` $tokens attr-dict `:` functional-type(operands, results)";
}

def NN_SelectTokenOp : NN_PureOp<"select_token"> {
  let summary = "Read one token of each image";
  let description = [{
    `result[b, d] = input[b, index, d]`.

    Example:
    ```mlir
    %y = nn.select_token %x [0] : tensor<?x197x192xf32> -> tensor<?x192xf32>
    ```
  }];
  let arguments = (ins NN_Tokens:$input, I64Attr:$index);
  let results = (outs NN_Features:$result);
  let assemblyFormat = "$input `[` $index `]` attr-dict `:` type($input) `->` type($result)";
}

class NN_SliceOp<string mnemonic, string what, string example> : NN_PureOp<mnemonic> {
  let summary = "A range of " # what;
  let description = "Positions `from` up to, not including, `from + size`, the result's extent.\n\n"
    # "Example:\n```mlir\n" # example # "\n```\n";
  let arguments = (ins NN_Tensor:$input, I64Attr:$from);
  let results = (outs NN_Tensor:$result);
  let assemblyFormat = "$input `from` $from attr-dict `:` type($input) `->` type($result)";
}
def NN_SliceTokensOp : NN_SliceOp<"slice_tokens", "tokens (dimension 1)",
  "%y = nn.slice_tokens %x from 1 : tensor<?x197x192xf32> -> tensor<?x196x192xf32>">;
def NN_SliceChannelsOp : NN_SliceOp<"slice_channels", "channels (the last dimension)",
  "%q = nn.slice_channels %qkv from 0 : tensor<?x197x576xf32> -> tensor<?x197x192xf32>">;
def NN_SliceRowsOp : NN_SliceOp<"slice_rows", "rows (dimension 0) of a parameter",
  "%wq = nn.slice_rows %w from 0 : tensor<576x192xf32> -> tensor<192x192xf32>">;

def NN_MeanTokensOp : NN_PureOp<"mean_tokens"> {
  let summary = "Mean over the tokens of each image";
  let description = [{
    `result[b, d] = mean_n input[b, n, d]`.

    Example:
    ```mlir
    %y = nn.mean_tokens %x : tensor<?x196x192xf32> -> tensor<?x192xf32>
    ```
  }];
  let arguments = (ins NN_Tokens:$input);
  let results = (outs NN_Features:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
}

class NN_ConcatOp<string mnemonic, string what, string example> : NN_PureOp<mnemonic> {
  let summary = "Join tensors along " # what;
  let description = "In the order of the operands; all other dimensions agree.\n\n"
    # "Example:\n```mlir\n" # example # "\n```\n";
  let arguments = (ins Variadic<NN_Tensor>:$inputs);
  let results = (outs NN_Tensor:$result);
  let assemblyFormat = "$inputs attr-dict `:` functional-type(operands, results)";
}
def NN_ConcatChannelsOp : NN_ConcatOp<"concat_channels", "channels (the last dimension)",
  "%y = nn.concat_channels %cls, %mean : (tensor<?x384xf32>, tensor<?x384xf32>) -> tensor<?x768xf32>">;
def NN_ConcatRowsOp : NN_ConcatOp<"concat_rows", "rows (dimension 0) of parameters",
  "%y = nn.concat_rows %q, %k, %v : (tensor<768xf32>, tensor<768xf32>, tensor<768xf32>) -> tensor<2304xf32>">;

def NN_ExpandBatchOp : NN_PureOp<"expand_batch"> {
  let summary = "Repeat a shared tensor for every image";
  let description = [{
    `result[b, ...] = input[0, ...]`, with the batch of `like`: a learned query of attention pooling.

    Example:
    ```mlir
    %q = nn.expand_batch %latent like %x : (tensor<1x1x768xf32>, tensor<?x196x768xf32>) -> tensor<?x1x768xf32>
    ```
  }];
  let arguments = (ins NN_Tensor:$input, NN_Tensor:$like);
  let results = (outs NN_Tensor:$result);
  let assemblyFormat = "$input `like` $like attr-dict `:` functional-type(operands, results)";
}

def NN_ConcatBatchOp : NN_PureOp<"concat_batch"> {
  let summary = "Stack two batches";
  let description = [{
    Images of `lhs`, then images of `rhs`: finetuning's clean and noised halves in one pass.

    Example:
    ```mlir
    %y = nn.concat_batch %u, %un : (tensor<?x196x192xf32>, tensor<?x196x192xf32>) -> tensor<?x196x192xf32>
    ```
  }];
  let arguments = (ins NN_Tensor:$lhs, NN_Tensor:$rhs);
  let results = (outs NN_Tensor:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` functional-type(operands, results)";
}

#endif // NS_DIALECT_NN_IR_NNTOKENOPS_TD
