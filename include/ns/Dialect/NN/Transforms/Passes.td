//===- Passes.td - passes on the nn dialect -*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NN_TRANSFORMS_PASSES_TD
#define NS_DIALECT_NN_TRANSFORMS_PASSES_TD

include "mlir/Pass/PassBase.td"

def BindBatchPass : Pass<"nn-bind-batch", "::mlir::ModuleOp"> {
  let summary = "Make the batch size static";
  let description = [{
    Replaces the dynamic leading dimension of every function's arguments by `batch` and carries it through the function:
    each result takes the batch of the operand it comes from, `nn.concat_batch` the sum of two.

    Requires: only leading dimensions are dynamic; not yet differentiated. Ensures: every shape is static.
    Example, with `batch=4`: `%y = nn.gelu %x ... : tensor<?x8xf32>` becomes `%y = nn.gelu %x ... : tensor<4x8xf32>`.
  }];
  let options = [Option<"batch", "batch", "int64_t", /*default=*/"16", "Images per call">];
  let statistics = [Statistic<"numBound", "num-bound", "Values whose batch became static">];
}

def FoldFrozenPass : Pass<"nn-fold-frozen", "::mlir::ModuleOp"> {
  let summary = "Fold scales and shifts into frozen weights, at load";
  let description = [{
    Makes the entry `prepare`, which the runtime runs once after it has loaded the weights: it overwrites weights and biases in place, so that the fold costs no
    memory. With it
    - a layer_norm whose readers all are linear layers with a bias, perhaps through selections of tokens, loses gamma and beta:
      `W' = W diag(gamma)`, `b' = b + W beta`;
    - a layer_scale of a linear layer's only use goes: `W' = diag(gamma) W`, `b' = gamma b`.

    Parameters that an entry trains stay, and so do those with a use of another kind in any entry. The scale of attention stays where it is: `rt.attention` multiplies it
    in already.

    Requires: not yet differentiated; every entry is made. Ensures: the same results, up to rounding, once `prepare` has run.
    Example: `linear(layer_norm(x, g, b), w, c)` becomes `linear(layer_norm(x), w, c)`.
  }];
  let dependentDialects = ["::mlir::func::FuncDialect", "::ns::harden::NSDialect"];
  let statistics = [Statistic<"numNorms", "norms-folded", "Layer norms that lost gamma and beta">,
                    Statistic<"numScales", "scales-folded", "Layer scales that went">];
}

def RecomputePass : Pass<"nn-recompute", "::mlir::func::FuncOp"> {
  let summary = "Make activations and norms again for the gradients of weights";
  let description = [{
    Where the gradient of a linear layer's weight reads an activation, a GELU or a layer norm whose own input backward reads anyway, the op is repeated before that product,
    and its first result need not be saved. A pass over rows for each; bits stay the same. Of a transformer block's saved values that is the widest, GELU's result, and two of
    the norms: 3/8 of the bytes (docs/decisions/memory.md).

    Requires: differentiated; no CSE after it. Ensures: the same results.
    Example: `%dw = nn.linear_grad_weight %dy, %h` becomes `%h2 = nn.gelu %x` and `%dw = nn.linear_grad_weight %dy, %h2`.
  }];
  let statistics = [Statistic<"numRecomputed", "num-recomputed", "Ops repeated">,
                    Statistic<"numBytes", "num-bytes", "Bytes of their results">];
}

def SetPrecisionPass : Pass<"nn-set-precision", "::mlir::ModuleOp"> {
  let summary = "Change the element type of every float tensor";
  let description = [{
    Parameters, noise, arguments and values of type f32 become `precision`; with bf16 they stay f32, and `rt-narrow-products` narrows what products read. Numbers in attributes (eps, factors) are f64 already and stay. The
    runtime converts the stored weights while loading.

    Requires: float tensors are f32. Ensures: they are f64 where `precision` is, else f32.
    Example, with `precision=f64`: `nn.param @w : tensor<8x8xf32>` becomes `nn.param @w : tensor<8x8xf64>`.
  }];
  let options = [Option<"precision", "precision", "std::string", /*default=*/"\"f32\"", "f32, f64 or bf16">];
}

def SinkTokenSelectPass : Pass<"nn-sink-token-select", "::mlir::ModuleOp"> {
  let summary = "Compute only the tokens that are read";
  let description = [{
    A value of which `nn.select_token` and `nn.slice_tokens` read a range of at most half of the tokens is computed for that range only:
    the slice moves up through layer_norm, linear, gelu, activation, add, mul, scale, layer_scale and drop-path, and through the query side of attention, whose packed
    projection splits into one of the queries and one of the keys and values (`nn.slice_rows` of weight and bias). Exact: no
    sum changes. In a ViT only the class token is read after the last block: 7 % of ViT-B's work.

    Requires: not yet differentiated. Ensures: the same results.
    Example: `select_token(layer_norm(x), [0])` becomes `select_token(layer_norm(slice_tokens(x, from 0, size 1)), [0])`.
  }];
  let statistics = [Statistic<"numSunk", "num-sunk", "Ops that compute fewer tokens">];
}

def TrainBatchNormPass : Pass<"nn-train-batch-norm", "::mlir::ModuleOp"> {
  let summary = "Batch normalisation as in training";
  let description = [{
    In the entries that store gradients of parameters, each nn.batch_norm takes the statistics of its batch, and the entry updates the running ones as
    PyTorch does in `train()`: `running = (1 - momentum) * running + momentum * batch`, the variance unbiased, once for each pass of the network, in their
    order. The momentum is the op's attribute `nn.momentum`, or else the option. Other entries keep the running statistics.

    Requires: not yet differentiated; the running statistics are parameters; `ns-insert-finetune-loss` with `separate`, since the statistics of clean and of
    noised images are their own. Ensures: no nn.batch_norm of these entries reads running statistics.
    Example: `nn.batch_norm %x, %g, %b running %m, %v eps 1.000000e-05` becomes `nn.batch_norm %x, %g, %b eps 1.000000e-05`,
    with `nn.store_param` of both statistics at the end.
  }];
  let dependentDialects = ["::ns::harden::NSDialect"];
  let options = [Option<"momentum", "momentum", "double", /*default=*/"0.1", "Weight of the batch, in [0, 1]">];
  let statistics = [Statistic<"numTrained", "num-trained", "Batch norms that take the statistics of the batch">];
}

#endif // NS_DIALECT_NN_TRANSFORMS_PASSES_TD
