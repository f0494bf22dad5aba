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

    Example: `nn.gelu %x approximate none : tensor<16x197x768xf32>` becomes an `rt.fused [3152, 1, 768]` whose region is the GELU of one element.
  }];
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

    Example: twelve blocks of one width make one layer-norm kernel, called twelve times.
  }];
  let options = [
    Option<"metadata", "metadata", "std::string", /*default=*/"\"{}\"", "JSON text that the artefact carries">,
    Option<"vectorBits", "vector-bits", "int64_t", /*default=*/"512", "Width of a vector register">,
    Option<"table", "table", "std::string", /*default=*/"\"\"",
           "Name of the artefact's table, to be returned by a query function of another object; empty: the module has the query function">];
  let statistics = [Statistic<"numKernels", "num-kernels", "Kernels generated">,
                    Statistic<"numLaunches", "num-launches", "Kernel launches in all entries">];
  let dependentDialects = ["::mlir::LLVM::LLVMDialect", "::mlir::scf::SCFDialect", "::mlir::vector::VectorDialect",
                           "::mlir::arith::ArithDialect", "::mlir::math::MathDialect", "::mlir::func::FuncDialect"];
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
