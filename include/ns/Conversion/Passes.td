//===- Passes.td - conversions between dialects --------------*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_PASSES_TD
#define NS_CONVERSION_PASSES_TD

include "mlir/Pass/PassBase.td"

def NNToRTPass : Pass<"nn-to-rt", "::mlir::ModuleOp"> {
  let summary = "Lower entries to library calls and row programs";
  let description = [{
    Requires: `ns-verify-lowerable` (static batch, no gradient requests). Ensures: every entry is a function without arguments and results whose body holds `rt` ops only;
    the module has `rt.layout`, the places of parameters, state and io.

    A linear layer becomes one `rt.gemm`, its bias a row program that `rt-fuse` merges into what reads it; every other op becomes one row program, or
    `rt.attention`.

    Sums over all tokens are partial sums first, of an image's rows, or of some `sum-rows` rows where that divides the rows and keeps more threads busy.

    Example: `nn.gelu %x approximate none : tensor<16x197x768xf32>` becomes an `rt.fused [3152, 1, 768]` whose region is the GELU of one element.
  }];
  let options = [Option<"sumRows", "sum-rows", "int64_t", "0", "Rows of a partial sum; 0: those of an image">];
  let statistics = [Statistic<"numGemms", "num-gemms", "Library calls made">,
                    Statistic<"numFused", "num-row-programs", "Row programs made, before fusion">];
  let dependentDialects = ["::ns::rt::RTDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
}

def RTToLLVMPass : Pass<"rt-to-llvm", "::mlir::ModuleOp"> {
  let summary = "Generate kernels and entry functions";
  let description = [{
    Requires: `rt-plan-memory`. Ensures: each distinct row program is one task function that loops over its rows by vectors; each entry a function that calls
    the host's services in order; the module exports `nsrt_artifact_query` (ns/Runtime/Abi.h). Row programs that differ only in their operands share a
    kernel.

    With `device` the entries are of a GPU: requires `rt-verify-device`; every op is a launch of a kernel or a call of a library of the device, whose descriptions lie in
    static storage, and the table carries the kernels' names and the image, `image-size` bytes that another object defines as `nsrt_image`.

    Example: twelve blocks of one width make one layer-norm kernel, called twelve times.
  }];
  let options = [
    Option<"metadata", "metadata", "std::string", /*default=*/"\"{}\"", "JSON text that the artefact carries">,
    Option<"vectorBits", "vector-bits", "int64_t", /*default=*/"512", "Width of a vector register">,
    Option<"table", "table", "std::string", /*default=*/"\"\"",
           "Name of the artefact's table, to be returned by a query function of another object; empty: the module has the query function">,
    Option<"device", "device", "bool", /*default=*/"false", "Entries of a GPU, whose regions are addresses on it">,
    Option<"imageSize", "image-size", "int64_t", /*default=*/"0", "Bytes of the image of a GPU's kernels; 0: none">,
    Option<"tf32", "tf32", "bool", /*default=*/"false", "Products of f32 on a GPU may round their operands to TF32">];
  let statistics = [Statistic<"numKernels", "num-kernels", "Kernels generated">,
                    Statistic<"numLaunches", "num-launches", "Kernel launches in all entries">];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect",
                           "::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::func::FuncDialect"];
}

def RTOutlineKernelsPass : Pass<"rt-outline-kernels", "::mlir::ModuleOp"> {
  let summary = "Row programs to kernels of a GPU";
  let description = [{
    Requires: `rt-plan-memory`. Ensures: no `rt.fused` is left: each is an `rt.launch` of a `gpu.func` in `gpu.module @kernels`, made of gpu, vector, arith, math, scf and memref ops
    only, without a vendor's. Programs that differ in nothing but their operands share a kernel; what is known of the operands' alignment, and whether a result lies over an input, is part of it.

    One of three schedules serves a program (docs/decisions/gpu-kernels.md). *Flat*: no row reduction and no sum; a thread takes a few vectors of elements. *Rows*: a group of lanes, a power of two from one
    lane to a block, holds a row in registers, or, where it is too long, passes over it once for each stage. *Sums*: programs with sums over k; groups of a block share out k and add up in
    shared memory, in an order that depends on nothing but the program; columns are cut into blocks where no row reduction needs all of them.

    Example: `rt.fused [12608, 1, 192]`, a layer norm, becomes `rt.launch @kernels::@rows_0 grid [3152, 1, 1] block [128, 1, 1]`, a warp for each row.
  }];
  let options = [
    Option<"warpSize", "warp-size", "int64_t", /*default=*/"32", "Lanes that exchange values without shared memory; a power of two">,
    Option<"vectorBits", "vector-bits", "int64_t", /*default=*/"128", "Widest access of a thread">,
    Option<"maxShared", "max-shared", "int64_t", /*default=*/"49152", "Bytes of shared memory of a block">,
    Option<"maxThreads", "max-threads", "int64_t", /*default=*/"1024", "Threads of a block">,
    Option<"maxRegisters", "max-registers", "int64_t", /*default=*/"65536", "32-bit registers that the threads of a block share">,
    Option<"processors", "processors", "int64_t", /*default=*/"132", "Multiprocessors: blocks that a launch should have at least">];
  let statistics = [Statistic<"numKernels", "num-kernels", "Kernels generated">,
                    Statistic<"numLaunches", "num-launches", "Launches in all entries">,
                    Statistic<"numFlat", "num-flat", "Kernels of the flat schedule">,
                    Statistic<"numRows", "num-rows", "Kernels that hold rows in registers">,
                    Statistic<"numLoops", "num-loops", "Kernels that pass over rows several times">,
                    Statistic<"numSums", "num-sums", "Kernels with sums over k">];
  let dependentDialects = ["::mlir::gpu::GPUDialect", "::mlir::LLVM::LLVMDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect",
                           "::mlir::memref::MemRefDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::ns::rt::RTDialect"];
}

def RTVerifyDevicePass : Pass<"rt-verify-device", "::mlir::ModuleOp"> {
  let summary = "Every op of the entries has device code";
  let description = [{
    Requires: `rt-outline-kernels`. Ensures: entries hold slots, views, launches, and products of f32 or bf16 whose operands are not packed. What is not one of them is an error; each
    kind of op is named once, all in one run.

    Example: `error: a GPU cannot run 'rt.attention' of entry 'forward', layer 'blocks.0.attn': it has no device code`.
  }];
}

def ExpandMathPass : Pass<"rt-expand-math", "::mlir::ModuleOp"> {
  let summary = "Replace transcendental functions by arithmetic";
  let description = [{
    Requires: `rt-to-llvm`. Ensures: no f32 `math.exp`, `erfc`, `tanh` or `log` is left: each is a polynomial or rational approximation on vectors (at most 1.03, 6.2, 4.9, 0.85 units in the
    last place, `erfc` up to 2, where it is below 0.005). In f64, the precision of tests, they become calls of libm, one element at a time.

    Example: `math.exp %x : vector<16xf32>` becomes some twenty multiply-adds on the vector.
  }];
  let dependentDialects = ["::mlir::vector::VectorDialect", "::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::func::FuncDialect"];
}

#endif // NS_CONVERSION_PASSES_TD
