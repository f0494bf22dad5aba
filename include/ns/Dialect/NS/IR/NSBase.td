//===- NSBase.td - the ns dialect -----------------------------*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NS_IR_NSBASE_TD
#define NS_DIALECT_NS_IR_NSBASE_TD

include "ns/Dialect/NN/IR/NNBase.td"
include "ns/Dialect/NS/IR/NSEnums.td"

def NS_Dialect : Dialect {
  let name = "ns";
  let cppNamespace = "::ns::harden";
  let summary = "What hardening does to the network";
  let description = [{
    Nullspace bases, noise, its injection, the losses and measures of arXiv 2403.10476, gradient requests and
    optimizer updates. Made by the hardening passes; gradient requests are gone after `ns-differentiate`,
    the rest after `nn-to-rt`.

    Discardable attributes: `ns.entry` (a function that becomes an entry point of the artefact), `ns.name` (an argument
    or result of an entry: its name for the runtime), `ns.attention` (of the module: the attention that attacks may aim at, or why there is none).
  }];
  let dependentDialects = ["::ns::nn::NNDialect"];
  let extraClassDeclaration = [{
    /// Unit attribute of functions that become entry points of the artefact.
    static constexpr llvm::StringLiteral kEntryAttr = "ns.entry";
    /// Name of an entry's argument or result, as the runtime asks for it.
    static constexpr llvm::StringLiteral kNameAttr = "ns.name";
    /// Attribute of the module, a dictionary or a string: ns-insert-attention-taps.
    static constexpr llvm::StringLiteral kAttentionAttr = "ns.attention";
  }];
}

class NS_Op<string mnemonic, list<Trait> traits = []> : Op<NS_Dialect, mnemonic, traits>;
class NS_PureOp<string mnemonic, list<Trait> traits = []> : NS_Op<mnemonic, !listconcat([Pure], traits)> {
  let hasVerifier = 1;
}

#endif // NS_DIALECT_NS_IR_NSBASE_TD
