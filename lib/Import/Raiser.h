//===- Raiser.h - state of raising one program -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Raise.cpp holds the walk over the nodes, RaiseViews.cpp the ops that only move elements,
// RaiseLayers.cpp the others.
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_IMPORT_RAISER_H
#define NS_LIB_IMPORT_RAISER_H

#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Import/Raise.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"

namespace ns::pt2 {

class Raiser {
public:
  Raiser(const Program &program, const ModelRecord &record, mlir::MLIRContext &context)
      : program(program), record(record), builder(&context) {}
  llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> run();

private:
  /// A value of the graph: elements of `root` through `map`. A null root stands for the result of
  /// an op that could not be raised; what depends on it is skipped in silence, since the cause is
  /// in `problems`.
  struct View {
    mlir::Value root;
    IndexMap map;
    const Node *source =
        nullptr; ///< the call that it is the result of; null for weights and the image
  };

  /// How one op is raised. Arguments that are in neither list and not at their default are outside
  /// the family.
  struct Rule {
    llvm::Error (Raiser::*raise)(const Node &);
    llvm::SmallVector<llvm::StringRef, 3> tensors; ///< required: one tensor each
    llvm::SmallVector<llvm::StringRef, 5> others;
  };
  static const llvm::StringMap<Rule> &rules();

  // Raise.cpp
  llvm::Error start(mlir::ModuleOp module);
  llvm::Error raiseNode(const Node &node);
  llvm::Expected<bool> checkOperands(const Node &node, const Rule &rule);
  llvm::Error checkResults(const Node &node);
  llvm::Error finish(mlir::ModuleOp module);
  llvm::Error listProblems() const;

  /// Notes that `node` cannot be raised; its results become null. Returns success, for the walk
  /// goes on.
  llvm::Error outside(const Node &node, const llvm::Twine &reason);
  /// The archive contradicts itself.
  llvm::Error malformed(const Node &node, const llvm::Twine &what) const;

  /// The tensor argument, which must be there (a rule's `tensors` are).
  View view(const Node &node, llvm::StringRef argument);
  View viewOf(llvm::StringRef value);
  mlir::Value load(size_t weight);
  /// An SSA value with the view's elements: the root, or a slice of it. Null where no nn op makes
  /// it.
  mlir::Value materialize(const View &view, const Node &node);
  mlir::Value makeSlice(const View &view, const Node &node);
  /// `materialize` of an argument; notes the problem where it fails. Null for an absent argument,
  /// too.
  mlir::Value operand(const Node &node, llvm::StringRef argument);
  std::optional<int64_t> integer(const Node &node, llvm::StringRef argument) const;
  std::optional<double> number(const Node &node, llvm::StringRef argument) const;
  /// A dimension argument, counted from the front; nothing when it is missing or out of range.
  std::optional<unsigned> dimension(const Node &node, llvm::StringRef argument,
                                    unsigned rank) const;

  void define(const Node &node, llvm::StringRef output, mlir::Value root, IndexMap map) {
    environment[output] = {root, std::move(map), &node};
  }
  void define(const Node &node, mlir::Value root, IndexMap map) {
    define(node, node.outputs.front(), root, std::move(map));
  }
  void define(const Node &node, mlir::Value value);
  llvm::ArrayRef<int64_t> claimedShape(llvm::StringRef value) const {
    return program.values.find(value)->second.sizes;
  }
  static mlir::RankedTensorType typeOf(mlir::Value value) {
    return llvm::cast<mlir::RankedTensorType>(value.getType());
  }
  /// The shape of an SSA value with the batch at `kProbeBatch`.
  static llvm::SmallVector<int64_t> shapeOf(mlir::Value value);
  /// The type of `value` with another last extent.
  static mlir::RankedTensorType withChannels(mlir::Value value, int64_t channels);
  static std::string describe(llvm::ArrayRef<int64_t> shape);

  template <typename OpT, typename... Args> mlir::Value emit(const Node &node, Args &&...args) {
    mlir::Location loc = mlir::NameLoc::get(builder.getStringAttr(node.name));
    OpT op = OpT::create(builder, loc, std::forward<Args>(args)...);
    if (!node.layer.empty())
      op->setAttr(nn::NNDialect::kLayerAttr, builder.getStringAttr(node.layer));
    return op->getResult(0);
  }

  // RaiseViews.cpp
  llvm::Error raiseIdentity(const Node &node);
  llvm::Error raiseDropout(const Node &node);
  llvm::Error raiseReshape(const Node &node);
  llvm::Error raiseTranspose(const Node &node);
  llvm::Error raisePermute(const Node &node);
  llvm::Error raiseSelect(const Node &node);
  llvm::Error raiseSlice(const Node &node);
  llvm::Error raiseSplit(const Node &node);
  llvm::Error raiseUnbind(const Node &node);
  llvm::Error raiseExpand(const Node &node);
  llvm::Error raiseResize(const Node &node);
  /// Neighbouring slices of one tensor, put together again: defines the result and returns true.
  bool raiseJoinedSlices(const Node &node, llvm::ArrayRef<std::string> parts, unsigned dim);

  // RaiseLayers.cpp
  /// The heads that a view B x H x N x d shows of channels `from` to `from + H * d` of B x N x C
  /// tokens.
  struct Heads {
    int64_t count, width, from;
  };
  static std::optional<Heads> headsOf(const View &view);
  static IndexMap headsMap(llvm::ArrayRef<int64_t> tokens, const Heads &heads);
  /// The channels that the heads occupy, as tokens B x N x (H * d).
  mlir::Value headChannels(const View &view, const Heads &heads, const Node &node);
  llvm::Error raisePatchEmbed(const Node &node);
  llvm::Error raiseLinear(const Node &node);
  llvm::Error raiseLayerNorm(const Node &node);
  llvm::Error raiseAttention(const Node &node);
  llvm::Error raiseGelu(const Node &node);
  llvm::Error raiseAdd(const Node &node);
  llvm::Error raiseMul(const Node &node);
  llvm::Error raiseDiv(const Node &node);
  llvm::Error raiseConcat(const Node &node);
  llvm::Error raiseMean(const Node &node);

  const Program &program;
  const ModelRecord &record;
  mlir::OpBuilder builder;
  mlir::func::FuncOp forward;
  llvm::StringMap<View> environment;
  llvm::DenseMap<size_t, mlir::Value> loaded; ///< canonical weight -> its load
  /// Slices made so far, by root.
  llvm::DenseMap<mlir::Value, llvm::SmallVector<std::pair<IndexMap, mlir::Value>, 2>> slices;
  std::vector<std::string> problems;
};

} // namespace ns::pt2

#endif // NS_LIB_IMPORT_RAISER_H
