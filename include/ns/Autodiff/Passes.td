//===- Passes.td - differentiation passes -*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_AUTODIFF_PASSES_TD
#define NS_AUTODIFF_PASSES_TD

include "mlir/Pass/PassBase.td"

def DifferentiatePass : Pass<"ns-differentiate", "::mlir::ModuleOp"> {
  let summary = "Replace gradient requests by the backward computation";
  let description = [{
    Reverse mode on straight-line SSA. Only ops that lie between a wanted value and the loss get a backward form, by
    `DifferentiableOpInterface`; each value has one cotangent accumulator (`nn.add`). The backward ops stand where the request
    stood, in reverse order of the forward ones; an `ns.store_grad` moves up to the gradient that it stores, so that no gradient outlives
    its use. A function may hold several requests.

    Requires: `ns-verify-hardened`, static shapes (`nn-bind-batch`). Ensures: `ns-verify-differentiated`.
    Example: `%g = ns.gradient %loss wrt %v` becomes `nn.weighted_sum_grad`, ..., `%g = nn.sum_batch %du`.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::ns::nn::NNDialect", "::ns::harden::NSDialect"];
  let options = [Option<"report", "report", "bool", /*default=*/"false", "Print what each entry saves for its backward ops, as remarks">];
  let statistics = [
    Statistic<"numVjps", "num-vjps", "Ops that got a backward form">,
    Statistic<"numSavedValues", "num-saved-values", "Computed values that the backward ops read">,
    Statistic<"numSavedBytes", "num-saved-bytes", "Bytes of these values">];
}

#endif // NS_AUTODIFF_PASSES_TD
