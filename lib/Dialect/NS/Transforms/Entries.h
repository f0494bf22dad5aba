//===- Entries.h - building entry functions from @forward -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Every entry starts as a copy of @forward: EntryBuilder holds the copy and adds named arguments, ops at its end, and named
// results. The tables of entries are in docs/abi.md.
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_DIALECT_NS_TRANSFORMS_ENTRIES_H
#define NS_LIB_DIALECT_NS_TRANSFORMS_ENTRIES_H

#include "ns/Dialect/NS/IR/NS.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

namespace ns::harden {

/// The module's @forward: one batched image in, one batch of logits out, straight-line. Reports what is missing.
mlir::FailureOr<mlir::func::FuncOp> getForward(mlir::ModuleOp module);

/// Gives a function's argument or result its name for the runtime.
void nameArgument(mlir::func::FuncOp func, unsigned index, llvm::StringRef name);
void nameResult(mlir::func::FuncOp func, unsigned index, llvm::StringRef name);

/// An entry under construction. The insertion point stays before the terminator.
class EntryBuilder {
public:
  /// A copy of `forward` called `name`, at the end of its module. Fails where the name is taken.
  static mlir::FailureOr<EntryBuilder> cloneForward(mlir::func::FuncOp forward, llvm::StringRef name);
  /// An entry without a body yet.
  static mlir::FailureOr<EntryBuilder> create(mlir::ModuleOp module, llvm::StringRef name);

  mlir::func::FuncOp getFunc() { return func; }
  mlir::OpBuilder &builder() { return opBuilder; }
  mlir::Location getLoc() { return func.getLoc(); }
  mlir::Value getImage() { return func.getArgument(0); }
  /// Images of a call; dynamic before nn-bind-batch.
  int64_t getBatch() { return mlir::cast<mlir::RankedTensorType>(getImage().getType()).getDimSize(0); }
  /// The first value the function returns: the logits of a fresh copy.
  mlir::Value getLogits() { return func.getBody().front().getTerminator()->getOperand(0); }
  /// Element type of the images, and so of every float argument.
  mlir::Type getElementType();

  mlir::Value addArgument(llvm::StringRef name, llvm::ArrayRef<int64_t> shape, mlir::Type elementType);
  mlir::Value addArgument(llvm::StringRef name, mlir::Type type);
  /// Requests the gradient by the images of the losses' weighted sum.
  mlir::Value imageGradient(mlir::Value losses, mlir::Value weights);
  /// Returns these values, under these names, and removes what no longer is read.
  void setResults(llvm::ArrayRef<std::pair<llvm::StringRef, mlir::Value>> results);

private:
  explicit EntryBuilder(mlir::func::FuncOp func);

  mlir::func::FuncOp func;
  mlir::OpBuilder opBuilder;
};

/// Adds `ns.inject` of the noise at its site, to every reader of the site's tensor.
mlir::LogicalResult injectNoise(EntryBuilder &entry, NoiseOp noise);
/// As injectNoise, but readers get the clean batch followed by the noised one.
mlir::LogicalResult injectNoiseStacked(EntryBuilder &entry, NoiseOp noise);
/// `site`, or for "auto" the first of tokens, stem and image that `func` has.
llvm::StringRef resolveSite(mlir::func::FuncOp func, llvm::StringRef site);
/// The tensor at a noise site of `func` (the rules: ns-insert-noise); reports an unknown site or one that the network lacks. In Sites.cpp.
mlir::FailureOr<mlir::Value> findSite(mlir::func::FuncOp func, llvm::StringRef site);
/// A part of the network from `input` to `sum`, a sum of two branches that start there, and the module that holds it: the longest
/// common path of its layers.
struct Residual {
  mlir::Value input;
  nn::AddOp sum;
  std::string module;
};
/// The residual parts that every path from pixels to logits passes through, of tokens, in order: a sum of logits or of pooled
/// features is none. In Sites.cpp.
llvm::SmallVector<Residual> findResiduals(mlir::func::FuncOp func);
/// The same by block: neighbouring parts of one module are one block. In Sites.cpp.
llvm::SmallVector<llvm::SmallVector<Residual>> findBlocks(mlir::func::FuncOp func);

/// The module's only noise; reports that there is none.
mlir::FailureOr<NoiseOp> getNoise(mlir::ModuleOp module);

} // namespace ns::harden

#endif // NS_LIB_DIALECT_NS_TRANSFORMS_ENTRIES_H
