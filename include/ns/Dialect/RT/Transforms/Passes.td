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

def RTFusePass : Pass<"rt-fuse", "::mlir::func::FuncOp"> {
  let summary = "Merge row programs into the programs that read them";
  let description = [{
    Requires: `nn-to-rt`. Ensures: no row program is read only by row programs that could hold it.

    `fused(fused(a))` over the same rows becomes one program; the inner result is still written if others read it. A cheap program of one large input (a
    bias) is repeated in each of its readers instead: what backward keeps is then the library call's result itself.

    Example: bias, residual, and layer normalisation become one program with two results.
  }];
  let statistics = [Statistic<"numMerged", "num-merged", "Programs merged into a reader">,
                    Statistic<"numRepeated", "num-repeated", "Programs repeated in every reader">];
}

def RTPlanMemoryPass : Pass<"rt-plan-memory", "::mlir::func::FuncOp"> {
  let summary = "Give every value a place in the arena";
  let description = [{
    Requires: `rt-fuse`. Ensures: every op with new results has `rt.offsets`, 64-byte aligned; values that live at the same time do not overlap; the
    function has `rt.work_bytes`. A single-pass program may write over an input that dies in it. Offsets are chosen largest value first, at the lowest place that is free during the value's
    life.

    Example: the gradient of a GELU lies where the gradient of its result lay.
  }];
  let statistics = [Statistic<"workBytes", "work-bytes", "Bytes of scratch that the entry needs">,
                    Statistic<"liveBytes", "live-bytes", "Largest sum of sizes of values that live at once">,
                    Statistic<"numInPlace", "num-in-place", "Results written over a dying input">];
}

#endif // NS_DIALECT_RT_TRANSFORMS_PASSES_TD
