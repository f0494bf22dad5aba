//===- Passes.td - passes on the ns dialect --------------------*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The hardening passes. Each adds entry functions (docs/abi.md) beside @forward: functions with the attribute `ns.entry`
// whose arguments and results have names (`ns.name`).
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NS_TRANSFORMS_PASSES_TD
#define NS_DIALECT_NS_TRANSFORMS_PASSES_TD

include "mlir/Pass/PassBase.td"

class NS_ModulePass<string flag> : Pass<flag, "::mlir::ModuleOp"> {
  let dependentDialects = ["::mlir::func::FuncDialect", "::ns::harden::NSDialect"];
}

//===----------------------------------------------------------------------===//
// Entries
//===----------------------------------------------------------------------===//

def InsertAttackGradientPass : NS_ModulePass<"ns-insert-attack-gradient"> {
  let summary = "Add the entries value_and_grad and attack_grad";
  let description = [{
    `@value_and_grad(image, labels, weights) -> (losses, logits, image_grad)`: the cross-entropy of each image, and the gradient of its
    weighted sum by the pixels. With weights of 1 each image's gradient is that of its own loss.

    `@attack_grad(image, labels, targets, objective, weights) -> (losses, logits, image_grad)`: the same of the losses that attacks climb, mixed by the six
    numbers of each image's row of `objective` (`ns.attack_loss`).

    Requires: `ns-verify-imported`. Ensures: two gradient requests for `ns-differentiate`.
    Example: `%g = ns.gradient %loss wrt %image : (tensor<f32>, tensor<?x3x32x32xf32>) -> tensor<?x3x32x32xf32>`.
  }];
}

def InsertAttentionTapsPass : NS_ModulePass<"ns-insert-attention-taps"> {
  let summary = "Add the entries attention_received and patchfool_grad";
  let description = [{
    For attacks on the attention between patches (Patch-Fool: Fu et al. 2022), of networks of L layers whose attention spans all tokens.

    `@attention_received(image, query_weights) -> (attention)`: B x (L N), for layer l at columns from l N what each token receives:
    `attention[b, n] = mean_h sum_q query_weights[b, q] P_l[h, q, n]`. With weights of 1/N it is the mean over queries.

    `@patchfool_grad(image, labels, weights, patch) -> (losses, logits, image_grad, attention_loss_1, attention_grad_1, ...)`: `value_and_grad`, and for each of the layers
    from 1 to L / 2 - 1, which the published code takes, the loss `mean_q log(mean_h sum_n P_l[h, q, n] patch[b, n])` (`ns.attention_loss`) with a pixel gradient of its
    own. Without such a layer (L < 4) the entry is left out.

    The attribute `ns.attention` of the module holds `layers`, `tokens`, `prefix` (tokens before those of the patches), `patch` (pixels) and `loss_layers`. For a network
    without attention between all its patches it says why, and nothing is added: attention within windows, over fewer tokens than patches, or none.

    Requires: `ns-verify-imported`. Ensures: a gradient request for each loss, for `ns-differentiate`.
    Example: `%a = nn.attention %q, %k, %mask heads 3 scale 1.250000e-01`, then `%p = ns.mean_channels %a` and `%l = ns.attention_loss %p`.
  }];
  let statistics = [
    Statistic<"numLayers", "num-layers", "Layers of attention over all patches">,
    Statistic<"numLosses", "num-losses", "Attention losses inserted">];
}

def InsertAttackUpdatePass : NS_ModulePass<"ns-insert-attack-update"> {
  let summary = "Add the entries attack_update, attack_update_l2 and attack_update_momentum";
  let description = [{
    What an attack's step does with the gradient by the pixels that another entry left in `image_grad`; `image` is updated in place.

    `@attack_update(image, clean_image, image_grad, attack_hyper) -> (image)`: `ns.ascend linf`; with the step size eps and one step it is FGSM, with more BIM and PGD.

    `@attack_update_l2`: the same with `ns.ascend l2`. `@attack_update_momentum(image, clean_image, image_grad, attack_hyper, momentum) -> (momentum, image)`: `ns.ascend linf`
    along `ns.momentum`, which is MIM.

    `attack_hyper` is [step size, eps, decay]. Nothing of the network is in them, so that one entry follows any that makes a gradient.

    Requires: `ns-verify-imported`. Ensures: three entries without gradient requests.
    Example: `%y1 = ns.ascend linf %y, %x, %g, %hyper : tensor<?x3x32x32xf32>, tensor<3xf32>`.
  }];
  let statistics = [Statistic<"numEntries", "num-entries", "Entries added">];
}

def InsertDropoutPass : NS_ModulePass<"ns-insert-dropout"> {
  let summary = "Add dropout and stochastic depth to finetuning";
  let description = [{
    In `@finetune_step`, `@finetune_step_noised` and `@finetune_step_trades`, by what the network computes: `dropout` drops elements of the tokens that enter the first block
    (timm's pos_drop), of the output of each branch's last linear layer and of that layer's input where it follows an activation (proj_drop); `drop-path` drops
    the branch of a residual sum for whole images, at a rate that grows linearly from 0 in the first block to the given one in the last. What is kept is divided
    by 1 - rate. The entries get an argument `dropout_seed`, of which the masks are a function (`nn.dropout`); clean and noised images draw their own. Other entries are
    left as they are: synthesis and evaluation drop nothing.

    Requires: `ns-insert-finetune-loss`, not yet differentiated. Ensures: the same network where both rates are 0.
    Example: `%d = nn.dropout image %branch, %seed rate 5.000000e-02 stream 4 : tensor<?x17x64xf32>, tensor<1xi32>`.
  }];
  let options = [
    Option<"dropout", "dropout", "double", /*default=*/"0.0", "Share of elements to drop, in [0, 1)">,
    Option<"dropPath", "drop-path", "double", /*default=*/"0.0", "Share of images whose branch the last block drops, in [0, 1)">];
  let statistics = [Statistic<"numDropouts", "num-dropouts", "Dropouts inserted">];
}

def InsertFinetuneLossPass : NS_ModulePass<"ns-insert-finetune-loss"> {
  let summary = "Add the entries of finetuning";
  let description = [{
    `arm=none`: `@finetune_step`, the weighted cross-entropy and its gradient by every trainable parameter. `arm=noised`: `@finetune_step_noised`,
    cross-entropy of the clean plus of the noised images (method.md 4) as one batch of twice the size, the layers before the noise
    computed once; with `separate` as two passes of the network, the clean images first. `arm=trades`: `@finetune_step_trades`, cross-entropy of the images in `clean_image`
    plus `beta` times the divergence of the predictions for those in `image`, the adversarial ones (`ns.trades_loss`), as one batch or, with `separate`, two passes; and
    `@trades_grad`, the gradient of that loss by the pixels of `image`, given the logits of the clean images. All: `@finetune_update`, one AdamW step.

    Requires: `ns-verify-imported`; `noised` also `ns-insert-noise`. Ensures: gradient requests for `ns-differentiate`.
    Example: `%b = nn.concat_batch %u, %un : (tensor<?x16x64xf32>, tensor<?x16x64xf32>) -> tensor<?x16x64xf32>`.
  }];
  let options = [Option<"arm", "arm", "std::string", /*default=*/"\"none\"", "none, noised or trades">,
                 Option<"separate", "separate", "bool", /*default=*/"false", "Clean and noised images in passes of their own">];
  let statistics = [Statistic<"numTrained", "num-trained", "Parameters that get a gradient">];
}

def InsertNoisePass : NS_ModulePass<"ns-insert-noise"> {
  let summary = "Declare the noise and add the entries forward_noised and site_norm";
  let description = [{
    Adds `ns.noise @noise`, `@forward_noised(image) -> noised_logits`, a copy of @forward with `ns.inject` at the site, and
    `@site_norm(image) -> site_norm`, the norm of each image's tensor there. The sites are found by what the network computes, not by what it is called:

    | site | tensor | rule |
    |---|---|---|
    | `image` | pixels, c x H x W | before normalisation, clamped to [0, 1] |
    | `tokens` | patch tokens, N x D | the result of the one `nn.patch_embed`, or of the layer norm that alone reads it |
    | `block.K` | input of block K, N x D | the trunk is the values that every path from pixels to logits passes through; blocks are the parts of the trunk that end in a sum of two branches; neighbouring ones of one module (longest common path of `nn.layer`) are one block |
    | `stem` | input of the first stage, N x D | the input of block 0: in a CNN what the stem's convolutions, norms and pools leave |
    | `auto` | | the first of `tokens`, `stem` and `image` that the network has |

    Requires: `ns-verify-imported`. Ensures: a symbol @noise and the two entries.
    Example: `%y = ns.inject %u, %v site "tokens" : tensor<?x16x64xf32>, tensor<1x16x64xf32>`.
  }];
  let options = [
    Option<"site", "site", "std::string", /*default=*/"\"auto\"", "image, tokens, stem, block.K or auto">,
    Option<"init", "init", "std::string", /*default=*/"\"uniform\"", "Start distribution: uniform, normal or zero">,
    Option<"lim", "lim", "double", /*default=*/"3.0", "Width of the start distribution; 0: auto, the mean norm of the site's tensor">];
}

def InsertSynthesisLossPass : NS_ModulePass<"ns-insert-synthesis-loss"> {
  let summary = "Add the entries of noise synthesis";
  let description = [{
    `@synth_step(image, clean_logits, weights, accumulate) -> loss` with the gradient of the loss by the noise (`objective=logit_l2` makes it
    `@synth_step_l2`), `@synth_update(noise_hyper) -> noise_norm`, one AdamW step, and `@stop_test(image, clean_logits) -> (logit_sq, prob_sq,
    conf_diff, same_argmax)`. `@clean_logits(image) -> clean_logits` is forward once more: where products are narrow, the clean logits of the loss come from
    the same arithmetic as the noised ones, or the loss has a false floor. The last three are added once.

    Requires: `ns-insert-noise`. Ensures: a gradient request for `ns-differentiate`.
    Example: `%l = ns.synthesis_loss %noised, %clean objective logit_l2sq : tensor<?x10xf32> -> tensor<?xf32>`.
  }];
  let options = [Option<"objective", "objective", "std::string", /*default=*/"\"logit_l2sq\"", "logit_l2sq or logit_l2">];
}

def MarkForwardPass : NS_ModulePass<"ns-mark-forward"> {
  let summary = "Make forward an entry";
  let description = [{
    Gives @forward the attribute `ns.entry` and its argument and result the names `image` and `logits`.

    Requires: `ns-verify-imported`. Ensures: an entry forward.
    Example: `func.func @forward(%image: tensor<?x3x32x32xf32> {ns.name = "image"}) ... attributes {ns.entry}`.
  }];
}

def SelectEntriesPass : NS_ModulePass<"ns-select-entries"> {
  let summary = "Keep the named entries only";
  let description = [{
    Removes every function that is not in `entries`, and a noise that none of the rest reads or updates. Those of `optional` need not be there:
    networks without attention have no taps.

    Requires: the other named entries exist. Ensures: no others do.
    Example: `--ns-select-entries=entries=forward,stop_test`.
  }];
  let options = [
    ListOption<"entries", "entries", "std::string", "Names of the entries to keep, in the order wanted">,
    ListOption<"optional", "optional", "std::string", "Those of them that a network may lack">];
  let statistics = [Statistic<"numRemoved", "num-removed", "Functions removed">];
}

//===----------------------------------------------------------------------===//
// Nullspace
//===----------------------------------------------------------------------===//

def ComputeBasisPass : NS_ModulePass<"ns-compute-basis"> {
  let summary = "Compute the exact nullspace of the linear map at the input";
  let description = [{
    Reads the weight W of the first layer from the weights file, composes the normalisation in (`W diag(1/std)`, method.md 2), and works in float64. Adds `ns.basis` and
    prints its numbers as a remark; a nullity of 0 is an answer. Where the first layer is not linear the remark says so, and nothing is added.

    An `nn.patch_embed` is the same matrix for every patch (ns/Numerics/Nullspace.h): rank and basis by SVD. `file` gets `basis` (k x c*r*r rows in pixel layout)
    and `singular_values`. An `nn.conv` is a map A of the whole image (ns/Numerics/Convolution.h), never formed: the dimensions that its shape forces, and singular values
    by `steps` steps of bidiagonalisation; `file` gets `singular_values`, the largest and the smallest reached.

    `file` also gets `nullspace_image` (c x H x W): the entry `image` of the file `image`, or seeded Gaussian noise, projected onto the nullspace and scaled to `norm`; added to
    pixels it changes nothing behind the first layer. Left out where the nullspace is 0.

    Requires: `ns-verify-imported`, `nn.weights`. Ensures: a symbol @patch_basis or @image_basis, or a remark that says why there is none.
    Example: `ns.basis @patch_basis of @patch_embed.proj.weight patch {rank = 64 : i64, nullity = 128 : i64, ...}`.
  }];
  let options = [
    Option<"tol", "tol", "double", /*default=*/"0.0", "Singular values at most tol count as zero; 0: max(rows, cols) * eps(stored type) * sigma_max">,
    Option<"file", "file", "std::string", /*default=*/"\"\"", "Safetensors file to write the basis to">,
    Option<"image", "image", "std::string", /*default=*/"\"\"", "Safetensors file whose entry `image` (c x H x W) to project; default: Gaussian noise">,
    Option<"norm", "norm", "double", /*default=*/"0.0", "Norm of the projected image; 0: as projected">,
    Option<"steps", "steps", "int64_t", /*default=*/"100", "Steps towards the extreme singular values of an image's map">,
    Option<"weightsDir", "weights-dir", "std::string", /*default=*/"\"\"", "Folder of the weights file; default: that of the .mlir file">];
  let statistics = [Statistic<"nullity", "nullity", "Dimension of the nullspace found">];
}

//===----------------------------------------------------------------------===//
// Contracts between phases
//===----------------------------------------------------------------------===//

def VerifyDifferentiatedPass : NS_ModulePass<"ns-verify-differentiated"> {
  let summary = "Check what differentiation ensures";
  let description = [{
    No `ns.gradient` is left; every shape is static.

    Requires: nothing. Ensures: the above, or an error for each op that fails it.
    Example: `%g = ns.gradient %l wrt %v` is reported, with the pass that removes it in a note.
  }];
}

def VerifyHardenedPass : NS_ModulePass<"ns-verify-hardened"> {
  let summary = "Check what the hardening passes ensure";
  let description = [{
    There is an entry; every function is one; all arguments have names, unique within the function, and so have all results; a result with the name of an
    argument updates it in place; one name has one type in all entries; each gradient is stored or returned.

    Requires: nothing. Ensures: the above, or an error for each thing that fails it.
    Example: an entry argument without `ns.name` is reported.
  }];
}

def VerifyImportedPass : NS_ModulePass<"ns-verify-imported"> {
  let summary = "Check what import ensures";
  let description = [{
    The module defines `@forward(images) -> logits`, in one block of forward ops of the nn dialect, whose shapes are static but for the
    batch.

    Requires: nothing. Ensures: the above, or an error for each op that fails it.
    Example: an op of another dialect in @forward is reported, with its layer.
  }];
}

def VerifyLowerablePass : NS_ModulePass<"ns-verify-lowerable"> {
  let summary = "Check what lowering to rt requires";
  let description = [{
    Only nn and ns ops that compute are left in the entries; float values share one element type, f32 or f64; shapes are
    static.

    Requires: `ns-verify-differentiated`. Ensures: the above, or an error for each op that fails it.
    Example: a bf16 value is reported, with the precisions that code generation has.
  }];
}

#endif // NS_DIALECT_NS_TRANSFORMS_PASSES_TD
