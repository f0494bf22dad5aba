//===- RTOps.td - ops of the rt dialect -----------------------*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_RT_IR_RTOPS_TD
#define NS_DIALECT_RT_IR_RTOPS_TD

include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/OpBase.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "ns/Dialect/RT/IR/RTEnums.td"

def RT_Dialect : Dialect {
  let name = "rt";
  let cppNamespace = "::ns::rt";
  let summary = "How the step runs";
  let description = [{
    One entry function is a straight line of library calls (`rt.gemm`), attention, and fused row programs (`rt.fused`) on
    immutable tensors of static shape; `rt-plan-memory` gives every value an offset in the arena. Made by `nn-to-rt`; gone after
    `rt-to-llvm`. A tensor is row-major and contiguous; ops see it as a matrix whose row is the last dimension (a vector or scalar has rows of
    one element).
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::func::FuncDialect"];
  let extraClassDeclaration = [{
    /// Bytes from the start of region work, one for each result: set by `rt-plan-memory`.
    static constexpr llvm::StringLiteral kOffsetsAttr = "rt.offsets";
    /// Bytes of a thread's scratch that `rt.tiles` needs: set by `rt-plan-memory`.
    static constexpr llvm::StringLiteral kScratchBytesAttr = "rt.scratch_bytes";
    /// Bytes of region work that an entry needs: set on functions by `rt-plan-memory`.
    static constexpr llvm::StringLiteral kWorkBytesAttr = "rt.work_bytes";
    /// Module attribute: the layout of regions params, state and io (a dictionary).
    static constexpr llvm::StringLiteral kLayoutAttr = "rt.layout";
    /// The space of the row program that a launch was made of.
    static constexpr llvm::StringLiteral kSpaceAttr = "rt.space";
    /// FLOPs of a row program that counts as a product (a depthwise convolution).
    static constexpr llvm::StringLiteral kFlopsAttr = "rt.flops";
  }];
}

def RT_Tensor : RankedTensorOf<[F32, F64, BF16, F8E4M3FN, I32]>;
def RT_FloatTensor : RankedTensorOf<[F32, F64, BF16, F8E4M3FN]>;
def RT_TokenTensor : TensorRankOf<[F32, F64, BF16], [3]>;
def RT_Statistics : TensorRankOf<[F32], [3]>;
def RT_Scalar : TensorRankOf<[F32, F64], [0]>;
def RT_Element : AnyTypeOf<[F32, F64, BF16, F8E4M3FN, I32, I1]>;

class RT_Op<string mnemonic, list<Trait> traits = []> : Op<RT_Dialect, mnemonic, traits>;

def RT_SlotOp : RT_Op<"slot", [Pure]> {
  let summary = "A named place in region params, state or io";
  let description = [{
    The tensor that lies there when the entry begins, or, as a destination, the place to write to. No entry reads a slot after it wrote it, except
    in the op that updates it.

    Example:
    ```mlir
    %w = rt.slot params "head.weight" : tensor<10x64xf32>
    ```
  }];
  let arguments = (ins RT_Region:$region, StrAttr:$name);
  let results = (outs RT_Tensor:$result);
  let assemblyFormat = "$region $name attr-dict `:` type($result)";
}

def RT_ViewOp : RT_Op<"view", [Pure]> {
  let summary = "The same memory under another shape";
  let description = [{
    Elements `offset` up to offset plus the size of the result, of the source in row-major order. Costs nothing.

    Example:
    ```mlir
    %q = rt.view %w offset 0 : tensor<576x192xf32> -> tensor<192x192xf32>
    ```
  }];
  let arguments = (ins RT_Tensor:$source, I64Attr:$offset);
  let results = (outs RT_Tensor:$result);
  let assemblyFormat = "$source `offset` $offset attr-dict `:` type($source) `->` type($result)";
  let hasVerifier = 1;
}

def RT_GemmOp : RT_Op<"gemm", [AttrSizedOperandSegments, DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "Matrix product by the library";
  let description = [{
    `C = op(A) op(B)` on the matrices m x k, k x n (before `trans_a`, `trans_b`: their transposes lie in memory). With `dest` the result is written there, and with
    `accumulate` it is `accumulate * dest + op(A) op(B)`. `bias`, n elements, is added to every row. A `packed` B is the result of `rt.pack`: the product is generated code
    then, without it the library's. Operands of bf16 are multiplied exactly and summed in f32; the result is f32 or, rounded once, bf16. So are
    those of f8E4M3FN, which a GPU's library takes as rows along k only: `trans_b`, no `trans_a`, n and k multiples of 16, no batch, no dest, no bias.

    `batch [count, stride A, stride B]`: so many products of matrices that begin as many elements apart; the results lie one after the other.

    Example: projection, and the scores of 16 images' 3 heads, whose keys are padded to 200 rows.
    ```mlir
    %c = rt.gemm [3152, 576, 192] %x, %w trans_b : (tensor<16x197x192xf32>, tensor<576x192xf32>) -> tensor<16x197x576xf32>
    %s = rt.gemm [197, 200, 64] %q, %k trans_b batch [48, 12608, 12800] : (tensor<48x197x64xf32>, tensor<48x200x64xf32>) -> tensor<48x197x200xf32>
    ```
  }];
  let arguments = (ins RT_FloatTensor:$a, RT_FloatTensor:$b, Optional<RT_FloatTensor>:$dest, Optional<RT_Scalar>:$accumulate, Optional<RT_FloatTensor>:$bias,
                       DenseI64ArrayAttr:$mnk, OptionalAttr<DenseI64ArrayAttr>:$batch, UnitAttr:$trans_a, UnitAttr:$trans_b, UnitAttr:$packed);
  let results = (outs RT_FloatTensor:$result);
  let assemblyFormat = [{
    $mnk $a (`trans_a` $trans_a^)? `,` $b (`trans_b` $trans_b^)? (`packed` $packed^)? (`batch` $batch^)? (`into` $dest^)? (`accumulate` $accumulate^)? (`bias` $bias^)?
    attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// What n and k of a product of f8E4M3FN are multiples of.
    static constexpr int64_t kQuantizedMultiple = 16;
    /// Products that the op makes: 1 without a batch.
    int64_t getBatchCount() { return getBatch() ? (*getBatch())[0] : 1; }
  }];
}

def RT_PackOp : RT_Op<"pack", [Pure]> {
  let summary = "The right operand of a product in the panels of the micro-kernel";
  let description = [{
    The k x n matrix `source` (with `trans_b` its transpose lies in memory) cut into panels of columns, each k rows of the columns of one panel, zeros past
    column n. How wide a panel is, is the target's. With `packed` the source is such a result itself, that of the transpose.

    Example: a weight for its forward product, and from there for the gradient of its input.
    ```mlir
    %p = rt.pack [576, 192] %w trans_b : tensor<576x192xf32> -> tensor<192x576xf32>
    %c = rt.gemm [3152, 576, 192] %x, %p packed : (tensor<16x197x192xf32>, tensor<192x576xf32>) -> tensor<16x197x576xf32>
    %q = rt.pack [192, 576] %p packed : tensor<192x576xf32> -> tensor<576x192xf32>
    ```
  }];
  let arguments = (ins RT_FloatTensor:$source, DenseI64ArrayAttr:$nk, UnitAttr:$trans_b, UnitAttr:$packed);
  let results = (outs RT_FloatTensor:$result);
  let assemblyFormat = "$nk $source (`trans_b` $trans_b^)? (`packed` $packed^)? attr-dict `:` type($source) `->` type($result)";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Columns of the result: n, rounded up to whole vectors of any target.
    static int64_t alignedColumns(int64_t n) { return (n + 15) / 16 * 16; }
  }];
}

def RT_AttentionOp : RT_Op<"attention", [Pure, AttrSizedOperandSegments]> {
  let summary = "Multi-head attention, head by head";
  let description = [{
    As `nn.attention`, whose `bias` is `score_bias` here; `biases`, one for each input or none, are added to the inputs on the way into scratch. Each head of an image,
    or of a window, is one task: its scores never leave the core's cache.

    With a second result, `statistics`, it is a call of a GPU's library (`isLibraryAttention`), which takes no bias, score_bias or mask: `statistics`, images (or windows) x heads x queries, is
    log(sum(exp(s))) of each row s of scaled scores, which the gradient reads.

    Example: as tasks of a CPU, and as a call.
    ```mlir
    %o = rt.attention %qkv bias %b heads 3 scale 1.250000e-01 : (tensor<16x197x576xf32>, tensor<576xf32>) -> tensor<16x197x192xf32>
    %p, %s = rt.attention %narrow heads 3 scale 1.250000e-01 : (tensor<16x197x576xbf16>) -> (tensor<16x197x192xbf16>, tensor<16x3x197xf32>)
    ```
  }];
  let arguments = (ins Variadic<RT_TokenTensor>:$inputs, Variadic<RT_FloatTensor>:$biases, Optional<RT_TokenTensor>:$score_bias,
                       Optional<RT_TokenTensor>:$mask, I64Attr:$heads, F64Attr:$scale, OptionalAttr<I64Attr>:$window);
  let results = (outs RT_TokenTensor:$result, Optional<RT_Statistics>:$statistics);
  let assemblyFormat = [{
    $inputs (`bias` $biases^)? (`score_bias` $score_bias^)? (`mask` $mask^)? `heads` $heads `scale` $scale (`window` $window^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def RT_AttentionGradOp : RT_Op<"attention_grad", [Pure, AttrSizedOperandSegments]> {
  let summary = "Gradients of attention, head by head";
  let description = [{
    As `nn.attention_grad`, with biases as in `rt.attention`. The scores are recomputed. With one more result than inputs the last is the gradient of the scores,
    `(images * windows) x (heads * M) x N`, whose sum over the first dimension is the gradient of `score_bias`.

    With `output` and `statistics`, the results of an `rt.attention` of the same inputs, it is a call of a GPU's library, with that op's restrictions.

    Example: as tasks of a CPU, and as a call.
    ```mlir
    %d = rt.attention_grad %do, %qkv bias %b heads 3 scale 1.250000e-01 : (tensor<16x197x192xf32>, tensor<16x197x576xf32>, tensor<576xf32>) -> tensor<16x197x576xf32>
    %e = rt.attention_grad %dp, %narrow output %p statistics %s heads 3 scale 1.250000e-01 : (tensor<16x197x192xbf16>, tensor<16x197x576xbf16>, tensor<16x197x192xbf16>, tensor<16x3x197xf32>) -> tensor<16x197x576xbf16>
    ```
  }];
  let arguments = (ins RT_TokenTensor:$grad, Variadic<RT_TokenTensor>:$inputs, Variadic<RT_FloatTensor>:$biases,
                       Optional<RT_TokenTensor>:$score_bias, Optional<RT_TokenTensor>:$mask, Optional<RT_TokenTensor>:$output,
                       Optional<RT_Statistics>:$statistics, I64Attr:$heads, F64Attr:$scale, OptionalAttr<I64Attr>:$window);
  let results = (outs Variadic<RT_TokenTensor>:$results);
  let assemblyFormat = [{
    $grad `,` $inputs (`bias` $biases^)? (`score_bias` $score_bias^)? (`mask` $mask^)? (`output` $output^ `statistics` $statistics)? `heads` $heads `scale` $scale (`window` $window^)? attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The gradient of the scores; null where it is not wanted.
    ::mlir::Value getScoresGrad() { return getNumResults() > getInputs().size() ? getResults().back() : ::mlir::Value(); }
  }];
}

def RT_FusedOp : RT_Op<"fused", [AttrSizedOperandSegments, IsolatedFromAbove, SingleBlock, DeclareOpInterfaceMethods<MemoryEffectsOpInterface>]> {
  let summary = "A row program: one generated kernel";
  let description = [{
    Runs its region for every point of `space = [R, K, C]`: rows r in parallel, k in sequence, columns c by vectors. A block argument is the element of its input
    that the input's map `(r, k, c) -> (row, col)` names; `col` is `c` or a constant, for an input also a multiple of `c` (a transposed read). The element lies
    `row * pitch + col` from the start, pitch being the last extent, or 1 for a vector. `rt.row_reduce` is a reduction over all columns of the
    row. A yielded value is stored where its result's map says; where that map does not depend on k and K > 1, the values of all k are summed; where it does not depend on c, the value must
    be the same for all columns of the row.

    `dests`: result i is written to destination operand `dest_of[i]` in place; -1 is a new value. An in-place program may read its destination as input at the same point.

    Example:
    ```mlir
    #point = affine_map<(r, k, c) -> (r, c)>
    #column = affine_map<(r, k, c) -> (0, c)>
    %y = rt.fused [3152, 1, 768] ins(%h, %b : tensor<16x197x768xf32>, tensor<768xf32>) maps [#point, #column] -> [#point] : tensor<16x197x768xf32> {
    ^bb0(%x: f32, %bias: f32):
      %s = arith.addf %x, %bias : f32
      rt.yield %s : f32
    }
    ```
  }];
  let arguments = (ins Variadic<RT_Tensor>:$inputs, Variadic<RT_FloatTensor>:$dests, DenseI64ArrayAttr:$space,
                       AffineMapArrayAttr:$in_maps, AffineMapArrayAttr:$out_maps, OptionalAttr<DenseI64ArrayAttr>:$dest_of);
  let results = (outs Variadic<RT_FloatTensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $space `ins` `(` ($inputs^ `:` type($inputs))? `)` (`into` `(` $dests^ `:` type($dests) `)` $dest_of)?
    `maps` $in_maps `->` $out_maps attr-dict `:` type($results) $body
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    int64_t getRows() { return getSpace()[0]; }
    int64_t getInner() { return getSpace()[1]; }
    int64_t getCols() { return getSpace()[2]; }
    ::mlir::AffineMap getInMap(unsigned i) { return ::llvm::cast<::mlir::AffineMapAttr>(getInMaps()[i]).getValue(); }
    ::mlir::AffineMap getOutMap(unsigned i) { return ::llvm::cast<::mlir::AffineMapAttr>(getOutMaps()[i]).getValue(); }
    /// The destination operand of result i, or null for a new value.
    ::mlir::Value getDestOf(unsigned i);
    /// True where a point is one pass over the columns: no row reduction, so that an input may be overwritten.
    bool isSingleStage();
  }];
}

def RT_RowReduceOp : RT_Op<"row_reduce", [Pure, SameOperandsAndResultType]> {
  let summary = "Reduce a value over the columns of the row";
  let description = [{
    In the region of `rt.fused` only. The result is the same for every column. max and min may lose a NaN; a sum keeps it.

    Example:
    ```mlir
    %s = rt.row_reduce add %x : f32
    ```
  }];
  let arguments = (ins RT_Reduction:$kind, AnyFloat:$value);
  let results = (outs AnyFloat:$result);
  let assemblyFormat = "$kind $value attr-dict `:` type($value)";
}

def RT_SwapPairsOp : RT_Op<"swap_pairs", [Pure, SameOperandsAndResultType]> {
  let summary = "The value at the other column of a pair";
  let description = [{
    At columns 2j and 2j + 1 the operand's value at columns 2j + 1 and 2j of the same row. In the region of an `rt.fused` with an even number of columns only.

    Example:
    ```mlir
    %y = rt.swap_pairs %x : f32
    ```
  }];
  let arguments = (ins AnyFloat:$value);
  let results = (outs AnyFloat:$result);
  let assemblyFormat = "$value attr-dict `:` type($value)";
  let hasVerifier = 1;
}

def RT_IndexOp : RT_Op<"index", [Pure]> {
  let summary = "A coordinate of the point";
  let description = [{
    The value of a map `(r, k, c) -> (i)`: either c itself or an expression of r and k. In the region of `rt.fused` only.

    Example:
    ```mlir
    %c = rt.index affine_map<(r, k, c) -> (c)> : i32
    ```
  }];
  let arguments = (ins AffineMapAttr:$map);
  let results = (outs I32:$result);
  let assemblyFormat = "$map attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def RT_TilesOp : RT_Op<"tiles", [SingleBlock, NoRegionArguments, RecursiveMemoryEffects]> {
  let summary = "Ops that work on the same rows, block of rows by block of rows";
  let description = [{
    One parallel task: for each block of `height` of the `units`, the last one perhaps lower, it runs the ops of the region one after the other, so that what one op writes is in the core's cache
    when the next one reads it. Unit u of a tensor is the u-th of `units` equal runs of its elements: a row, an image. Every op of the region, on the units of the
    block, writes just those of its results and reads just those of the values made inside; it may read anything of the values made before. So blocks run in
    any order, and a value that is not yielded exists for one block at a time, in the thread's scratch. The height is part of the program: no bit depends on the number of threads.

    Example: of `%h` only `height` rows exist at a time.
    ```mlir
    %y = rt.tiles [3152] height 197 : tensor<16x197x192xf32> {
      %h = rt.gemm [3152, 768, 192] %x, %w1 trans_b : (tensor<16x197x192xf32>, tensor<768x192xf32>) -> tensor<16x197x768xf32>
      %o = rt.gemm [3152, 192, 768] %h, %w2 trans_b : (tensor<16x197x768xf32>, tensor<192x768xf32>) -> tensor<16x197x192xf32>
      rt.yield %o : tensor<16x197x192xf32>
    }
    ```
  }];
  let arguments = (ins I64Attr:$units, I64Attr:$height);
  let results = (outs Variadic<RT_FloatTensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "`[` $units `]` `height` $height (`:` type($results)^)? attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    int64_t getNumBlocks() { return (int64_t(getUnits()) + int64_t(getHeight()) - 1) / int64_t(getHeight()); }
    /// What keeps `op` from running block by block of `units`, for an op that is no member yet; empty where nothing does. `isInside`: the value would be
    /// made inside.
    static std::string whyNotMember(::mlir::Operation *op, int64_t units, ::llvm::function_ref<bool(::mlir::Value)> isInside);
    /// How many units an op could be cut into at most: the rows of a program or product, the images of an attention; 0 for other ops.
    static int64_t unitsOf(::mlir::Operation *op);
  }];
}

def RT_LaunchOp : RT_Op<"launch", [AttrSizedOperandSegments, DeclareOpInterfaceMethods<MemoryEffectsOpInterface>, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "A row program as a kernel of the device";
  let description = [{
    Runs `kernel`, a `gpu.func` of a `gpu.module`, on a grid of `grid` blocks of `block` threads each (x, y, z). Inputs, destinations and results are those of the `rt.fused` in whose
    place it stands. The kernel's arguments are the addresses of the inputs, then those of the results, each a 1-D memref with as many elements as the tensor has. All blocks are independent;
    what the kernel needs of shared memory is part of it.

    Example:
    ```mlir
    gpu.module @kernels {
      gpu.func @rows_0(%x: memref<605184xf32, 1>, %g: memref<192xf32, 1>, %y: memref<605184xf32, 1>) kernel attributes {known_block_size = array<i32: 128, 1, 1>} {
        gpu.return
      }
    }
    %y = rt.launch @kernels::@rows_0 grid [788, 1, 1] block [128, 1, 1] ins(%x, %g : tensor<16x197x192xf32>, tensor<192xf32>) : tensor<16x197x192xf32>
    ```
  }];
  let arguments = (ins SymbolRefAttr:$kernel, DenseI64ArrayAttr:$grid, DenseI64ArrayAttr:$block, Variadic<RT_Tensor>:$inputs,
                       Variadic<RT_FloatTensor>:$dests, OptionalAttr<DenseI64ArrayAttr>:$dest_of);
  let results = (outs Variadic<RT_FloatTensor>:$results);
  let assemblyFormat = [{
    $kernel `grid` $grid `block` $block `ins` `(` ($inputs^ `:` type($inputs))? `)` (`into` `(` $dests^ `:` type($dests) `)` $dest_of)? attr-dict `:` type($results)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// The destination operand of result i, or null for a new value.
    ::mlir::Value getDestOf(unsigned i);
  }];
}

def RT_YieldOp : RT_Op<"yield", [Pure, Terminator, ParentOneOf<["FusedOp", "TilesOp"]>]> {
  let summary = "The values of the results of a row program or of tiles";
  let description = [{
    One operand for each result of the `rt.fused` or `rt.tiles`.

    Example:
    ```mlir
    %y = rt.fused [3152, 1, 768] ins(%h : tensor<16x197x768xf32>) maps [affine_map<(r, k, c) -> (r, c)>] -> [affine_map<(r, k, c) -> (r, c)>] : tensor<16x197x768xf32> {
    ^bb0(%x: f32):
      rt.yield %x : f32
    }
    ```
  }];
  let arguments = (ins Variadic<AnyTypeOf<[AnyFloat, RT_FloatTensor]>>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

#endif // NS_DIALECT_RT_IR_RTOPS_TD
