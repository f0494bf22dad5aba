//===- Passes.td - passes on the rt dialect --------------------*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_RT_TRANSFORMS_PASSES_TD
#define NS_DIALECT_RT_TRANSFORMS_PASSES_TD

include "mlir/Pass/PassBase.td"

def RTCallAttentionPass : Pass<"rt-call-attention", "::mlir::func::FuncOp"> {
  let summary = "Attention as calls of a GPU's library";
  let description = [{
    Requires: `nn-to-rt`. Ensures: every attention and gradient that the library (cuDNN) can compute in bf16 is a call, an op with statistics: heads of at most 128 channels, a multiple of 8, more than
    one query and key, nothing added to the scores. `rt-expand-attention` takes the others, `rt-narrow-products` makes the calls' operands and results bf16.

    The gradient reads the result and the statistics of the forward call, which live until then. Biases of the inputs are added by the product that makes them where only calls read it, else by a program.

    Example: `rt.attention %qkv bias %b heads 3 scale 1.250000e-01` becomes `rt.gemm ... bias %b` and `%o, %s = rt.attention %qkv heads 3 scale 1.250000e-01`.
  }];
  let options = [ListOption<"entries", "entries", "std::string", "Entries to change; none: all">];
  let statistics = [Statistic<"numCalls", "num-calls", "Attentions and gradients that are calls">,
                    Statistic<"numLeft", "num-left", "Those that the library cannot compute">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
}

def RTExpandAttentionPass : Pass<"rt-expand-attention", "::mlir::func::FuncOp"> {
  let summary = "Attention as batched products and row programs";
  let description = [{
    Requires: `nn-to-rt`. Ensures: no `rt.attention` or `rt.attention_grad` is left in an entry but calls of a library (`rt-call-attention`).

    A row program brings the parts that an input holds (queries, keys, values, with their biases) into one matrix of tokens for each image, or window, and head. The scores are a batched
    product, their softmax a row program that scales them and adds `score_bias` and `mask`, and its product with the values goes back to rows of all heads. The gradient reads the
    same matrices; it computes the scores and the probabilities again, or, with up to `keep-keys` keys, reads forward's, which live until then. Keys and values are padded by zeros to a multiple of `pad-keys`
    rows, which makes rows of the scores begin on vectors' boundaries: the softmax gives what lies past the last key the probability 0.

    Example: 16 images of 197 tokens, 3 heads of 64 channels:
    ```mlir
    %h = rt.fused [28800, 1, 64] ins(%qkv : ...) ... : tensor<144x200x64xf32>   // q, k, v: 48 matrices each
    %s = rt.gemm [197, 200, 64] %q, %k trans_b batch [48, 12800, 12800] : ... -> tensor<48x197x200xf32>
    %p = rt.fused [9456, 1, 200] ins(%s : ...) ... : tensor<48x197x200xf32>
    %o = rt.gemm [197, 64, 200] %p, %v batch [48, 39400, 12800] : ... -> tensor<48x197x64xf32>
    ```
  }];
  let options = [Option<"padKeys", "pad-keys", "int64_t", "8", "Multiple that keys are padded to">,
                 Option<"keepKeys", "keep-keys", "int64_t", "0", "Most keys for which the gradient reads forward's probabilities">];
  let statistics = [Statistic<"numExpanded", "num-expanded", "Attentions and gradients expanded">,
                    Statistic<"numMoves", "num-moves", "Programs that only move">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
}

def RTFusePass : Pass<"rt-fuse", "::mlir::func::FuncOp"> {
  let summary = "Merge row programs into the programs that read them";
  let description = [{
    Requires: `nn-to-rt`. Ensures: no row program is read only by row programs that could hold it.

    `fused(fused(a))` over the same rows becomes one program; the inner result is still written if others read it. A cheap program of one large input (a
    bias) is repeated in each of its readers instead: what backward keeps is then the library call's result itself. Sums over rows join the program that makes or reads
    what they add up, if that leaves enough rows to share out among threads: one pass gives the gradient of a layer norm's input, of its scale and shift, and of the bias
    before it.

    A merged program keeps at least `parallel-rows` rows to share out, or the rows of the one that had fewer, unless it has no more than `parallel-elements` points. With `max-vectors`,
    a program with a row reduction, whose row lives in registers, reads and writes at most so many values at each column.

    Example: bias, residual, and layer normalisation become one program with two results.
  }];
  let options = [Option<"parallelRows", "parallel-rows", "int64_t", "8", "Rows that a merged program should keep">,
                 Option<"parallelElements", "parallel-elements", "int64_t", "32768", "Points below which a program needs no rows to share out">,
                 Option<"maxVectors", "max-vectors", "int64_t", "0", "Most values at a column of a program with a row reduction; 0: any number">];
  let statistics = [Statistic<"numMerged", "num-merged", "Programs merged into a reader">,
                    Statistic<"numRepeated", "num-repeated", "Programs repeated in every reader">,
                    Statistic<"numSiblings", "num-siblings", "Sums over rows merged with a program that reads the same input">];
}

def RTNarrowProductsPass : Pass<"rt-narrow-products", "::mlir::ModuleOp"> {
  let summary = "Multiply in bfloat16 what is float32";
  let description = [{
    Each operand of an `rt.gemm` of f32 in the chosen entries becomes a bf16 copy, rounded to nearest even by a program of its own, which `rt-fuse` merges into
    the program that makes the operand; the product's result stays f32. So does everything else: statistics, losses, residual sums, parameters.

    A parameter that no entry writes is copied once, in `@prepare` (made where it is missing): slot `NAME:bf16` at the end of region params. One that is trained is
    copied in each entry that reads it.

    Calls of a library's attention (`rt-call-attention`) read and write bf16, but for their statistics.

    `results=bf16` makes the products themselves write bf16 where the result is a row for each token or belongs to heads of attention, and only programs and products read it: programs widen it. So is
    what several programs write part by part and a product reads, and what a batched product reads: nobody gets it in f32 then. Gradients of weights, logits and what programs make stay f32. `results=rounded` gives the same numbers where the library's results are f32: a program rounds each of them.

    Requires: `nn-to-rt`. Ensures: no `rt.gemm` of f32 operands is left in the chosen entries.
    Example: `rt.gemm [M, N, K] %x, %w : (tensor<MxKxf32>, tensor<KxNxf32>) -> tensor<MxNxf32>` becomes
    `rt.gemm [M, N, K] %x16, %w16 : (tensor<MxKxbf16>, tensor<KxNxbf16>) -> tensor<MxNxf32>`.
  }];
  let options = [ListOption<"entries", "entries", "std::string", "Entries to change; none: all but prepare">,
                 Option<"results", "results", "std::string", "\"f32\"", "Results of products for tokens and heads: f32, bf16 or rounded">];
  let statistics = [Statistic<"numProducts", "num-products", "Products with narrow operands">,
                    Statistic<"numCopies", "num-copies", "Values copied in an entry">,
                    Statistic<"numFrozen", "num-frozen", "Parameters copied in prepare">,
                    Statistic<"numResults", "num-results", "Products with narrow results">,
                    Statistic<"numCalls", "num-calls", "Calls of attention">];
}

def RTQuantizeProductsPass : Pass<"rt-quantize-products", "::mlir::ModuleOp"> {
  let summary = "Multiply frozen weights in e4m3";
  let description = [{
    A product of f32 whose right operand is a frozen parameter, in the chosen entries, becomes one of f8E4M3FN. Every row of both operands (along k) is divided by a power of two of its own, the
    smallest one, but for a factor of two, for which the largest element of the row is at most 448; a program that makes the rows makes these powers, too. What reads the product multiplies element (i, j) by the power of row i of
    the left operand and that of row j of the right one, which is exact. A parameter is quantized in `@prepare` (made where it is missing): `NAME:e4m3` and `NAME:e4m3:scale` at the end of region params,
    `NAME:e4m3t` and `NAME:e4m3t:scale` where the product reads its transpose. Of a part of a parameter, `@` and its offset are in the name.

    Left as they are: products whose n or k is not a multiple of 16, and what `rt.gemm` of f8E4M3FN does not have. A left operand that is written part by part, or by a program of other rows, is rounded to bf16 as it is written.

    Requires: `nn-to-rt`; runs before `rt-narrow-products`, which narrows results and the other products. Ensures: products with frozen parameters that can be are of f8E4M3FN.
    Example: `rt.gemm [M, N, K] %x, %w trans_b : (tensor<MxKxf32>, tensor<NxKxf32>) -> tensor<MxNxf32>` becomes
    `rt.gemm [M, N, K] %x8, %w8 trans_b : (tensor<MxKxf8E4M3FN>, tensor<NxKxf8E4M3FN>) -> tensor<MxNxf32>`, read as `%y * %xs * %ws`.
  }];
  let options = [ListOption<"entries", "entries", "std::string", "Entries to change; none: all but prepare">];
  let statistics = [Statistic<"numProducts", "num-products", "Products of e4m3">,
                    Statistic<"numQuantized", "num-quantized", "Values quantized in an entry">,
                    Statistic<"numFrozen", "num-frozen", "Parameters quantized in prepare">,
                    Statistic<"numScaled", "num-scaled", "Programs that scale what they read">];
}

def RTTileRowsPass : Pass<"rt-tile-rows", "::mlir::func::FuncOp"> {
  let summary = "Run ops that work on the same rows block of rows by block of rows";
  let description = [{
    Requires: `rt-fuse`. Ensures: ops that can share blocks of units (rows or whole images) stand in one `rt.tiles`; what needs a value in full, such as a weight's
    gradient or a sum over the batch, stands after it.

    A chain starts at the first op with at least `min-units` units and takes in every later op that reads what the chain made and nothing that waits for all of it, as long as the units that they have in common are at
    least `min-units`: the images where the chain crosses attention, rows otherwise. It ends where what waits for it would keep alive more than a quarter of the entry's largest value, and where its packed
    operands, which live as long as it runs, would take more than `packed-bytes`. Blocks have about `block-rows` rows of the chain's largest
    product, fewer where there would be less than eight blocks; with less than a third of them there is no chain.

    Example: projection, bias with residual and layer norm, and the first layer of the MLP run on 197 rows at a time.
  }];
  let options = [Option<"minUnits", "min-units", "int64_t", "4", "Fewest units that a chain may have">,
                 Option<"blockRows", "block-rows", "int64_t", "192", "Rows of the chain's largest product that a block should have">,
                 Option<"packedBytes", "packed-bytes", "int64_t", "58720256", "Most bytes of packed operands that a chain reads, with the panels that they are made of">];
  let statistics = [Statistic<"numTiles", "num-tiles", "Chains that run block by block">,
                    Statistic<"numTiled", "num-tiled", "Ops in them">,
                    Statistic<"numInside", "num-inside", "Values that exist for one block at a time">];
}

def RTPackOperandsPass : Pass<"rt-pack-operands", "::mlir::ModuleOp"> {
  let summary = "Choose the products that are generated code and pack their right operands";
  let description = [{
    Requires: `nn-to-rt`. Ensures: every product of f32 or f64 that is to be generated code has a `packed` right operand, made by an `rt.pack` before it. `auto` takes those that
    generated code computes faster than the library, by their extents (docs/decisions/gemm.md), and all where no entry trains parameters: such an artefact needs no library
    (docs/decisions/memory.md). `library` packs nothing, `generated` all.

    Example: `rt.gemm [3152, 576, 192] %x, %w trans_b` becomes `rt.pack [576, 192] %w trans_b` and `rt.gemm [3152, 576, 192] %x, %p packed`.
  }];
  let options = [Option<"products", "products", "std::string", /*default=*/"\"auto\"", "auto, library or generated">];
  let statistics = [Statistic<"numPacked", "num-packed", "Products that are generated code">];
}

def RTPackWeightsPass : Pass<"rt-pack-weights", "::mlir::ModuleOp"> {
  let summary = "Keep frozen weights packed, in the place of the originals";
  let description = [{
    A parameter that no entry trains, and of which all entries read the same parts, each as the right operand of generated products, is packed once, in `@prepare` (made where it is missing),
    and lies packed where the weights file's elements lay: slot `NAME:packed`, or `NAME:packed:OFFSET` for the part that begins at element OFFSET. Forward products read it there; a
    gradient packs its operand from it. A part whose packed form is longer must be the whole parameter: region params grows.

    Requires: `rt-pack-operands`. Ensures: no entry but `@prepare` reads such a parameter unpacked.
    Example: `rt.pack [576, 192] %w trans_b` becomes `rt.slot params "w:packed" : tensor<192x576xf32>`, and `rt.pack [192, 576] %w` becomes `rt.pack [192, 576] %p packed` of that slot.
  }];
  let statistics = [Statistic<"numWeights", "num-weights", "Parameters that lie packed">,
                    Statistic<"numReads", "num-reads", "Packings that are gone from entries">];
}

def RTPlanMemoryPass : Pass<"rt-plan-memory", "::mlir::func::FuncOp"> {
  let summary = "Give every value a place in the arena";
  let description = [{
    Requires: `rt-fuse`. Ensures: every op with new results has `rt.offsets`, 64-byte aligned; values that live at the same time do not overlap; the
    function has `rt.work_bytes`. Values inside `rt.tiles` that are not yielded get offsets in the thread's scratch, whose size is in `rt.scratch_bytes`; members whose results lie in the arena have offset -1. A single-pass program may write over an input that dies in it. Offsets are chosen largest value first, at the lowest place that is free during the value's
    life.

    Example: the gradient of a GELU lies where the gradient of its result lay.
  }];
  let statistics = [Statistic<"workBytes", "work-bytes", "Bytes of scratch that the entry needs">,
                    Statistic<"liveBytes", "live-bytes", "Largest sum of sizes of values that live at once">,
                    Statistic<"scratchBytes", "scratch-bytes", "Largest scratch of a thread">,
                    Statistic<"numInPlace", "num-in-place", "Results written over a dying input">];
}

#endif // NS_DIALECT_RT_TRANSFORMS_PASSES_TD
