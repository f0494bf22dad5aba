//===- Raiser.h - state of raising one program -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Raise.cpp holds the walk over the nodes, RaiseValues.cpp the values between them and the SSA
// values that they become, RaiseViews.cpp the ops that only move elements,
// RaiseConstants.cpp those that compute from sizes alone, RaiseAttention.cpp and RaisePositions.cpp
// what attention is spelled in, RaiseGrid.cpp feature maps, windows and convolutions,
// RaiseLayers.cpp the others.
//
// Deferred values. Attention is one nn op and many calls: a model scales, multiplies, adds, takes a
// softmax and multiplies again, in an order of its author's choice. Each of these calls makes a
// *deferred* value, which says what was computed (`Scores`: of which heads, at which scale, with
// which bias), and the last one makes the op. In the graph a deferred value is a placeholder: an
// SSA value of the right shape, so that views of it are index maps like all others. Placeholders
// that no op took in are errors where they are read, and gone at the end.
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_IMPORT_RAISER_H
#define NS_LIB_IMPORT_RAISER_H

#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Import/Raise.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"

#include <variant>

namespace ns::pt2 {

class Raiser {
public:
  Raiser(Program &program, const ModelRecord &record, mlir::MLIRContext &context)
      : program(program), record(record), builder(&context) {}
  llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> run();

private:
  /// A value of the graph: elements of `root` through `map`. The result of an op that could not be
  /// raised is *poison*, a placeholder of the shape that the archive claims, so that what depends
  /// on it is looked at and its own problems are listed; where no shape is claimed the root is
  /// null, and what depends on it is skipped.
  struct View {
    mlir::Value root;
    IndexMap map;
    const Node *source =
        nullptr; ///< the call that it is the result of; null for weights and the image
  };

  /// Numbers that are known here, since they depend on sizes only, or because they are an integer
  /// or boolean buffer. Row-major.
  struct Constant {
    std::vector<double> values;
  };
  /// Would be a constant but for the batch, such as arange(batch).
  struct Unknown {};
  /// `factor * value`: scores may be scaled at the queries.
  struct Scaled {
    mlir::Value value;
    double factor;
  };
  /// `scale * query key^T + bias + mask`, after its softmax where `normalized`. Query and key are
  /// views B x H x N x d; null roots stand for no bias (H x M x N) and no mask (windows x M x N).
  struct Scores {
    View query, key;
    double scale = 1;
    View bias = {}, mask = {};
    bool normalized = false;
  };
  /// Terms that are added to scores: a bias, and a mask for each window.
  struct Sum {
    View lhs, rhs;
  };
  /// Rows of `table` at the constants `index`: rows x channels.
  struct Gathered {
    View table, index;
  };
  /// Tensors stacked along a new last dimension.
  struct Stacked {
    llvm::SmallVector<View, 2> parts;
  };
  /// `heads * factors`, element by element, factors the same for all images and heads.
  struct Product {
    View heads, factors;
  };
  /// `heads` (tokens after a prefix), rotated by `sin` and `cos`.
  struct Rotated {
    View heads, sin, cos;
  };
  using Deferred =
      std::variant<Constant, Unknown, Scaled, Scores, Sum, Gathered, Stacked, Product, Rotated>;

  /// How one op is raised. Arguments that are in neither list and not at their default are outside
  /// the family.
  struct Rule {
    llvm::Error (Raiser::*raise)(const Node &);
    llvm::SmallVector<llvm::StringRef, 3> tensors; ///< required: one tensor each
    llvm::SmallVector<llvm::StringRef, 5> others;
    /// Results that the op computes; the others are empty. 0: all.
    size_t results = 0;
  };
  static const llvm::StringMap<Rule> &rules();

  // Raise.cpp
  llvm::Error start(mlir::ModuleOp module);
  llvm::Error raiseNode(const Node &node);
  llvm::Expected<bool> checkTensors(const Node &node);
  llvm::Expected<bool> checkOperands(const Node &node, const Rule &rule);
  llvm::Error checkResults(const Node &node);
  llvm::Error finish(mlir::ModuleOp module);
  llvm::Error listProblems() const;

  /// Notes that `node` cannot be raised for what its operands are; its results become poison.
  /// Returns success, for the walk goes on. Where an operand is poison nothing is noted, for that
  /// may be the cause.
  llvm::Error outside(const Node &node, const llvm::Twine &reason);
  /// The same where the reason lies in its target or arguments, whatever its operands are.
  llvm::Error refuse(const Node &node, const llvm::Twine &reason);
  bool followsPoison(const Node &node) const;
  View makePoison(const Node &node, llvm::ArrayRef<int64_t> shape);
  /// The archive contradicts itself.
  llvm::Error malformed(const Node &node, const llvm::Twine &what) const;

  /// The tensor argument, which must be there (a rule's `tensors` are).
  View view(const Node &node, llvm::StringRef argument);
  View viewOf(llvm::StringRef value);
  mlir::Value load(size_t weight);
  /// Weights C x 1 x 1, as torchvision's layer scales are, become vectors. The elements are the
  /// same; `nullspace.load` gives them their dimensions back.
  void flattenVectors();
  /// A buffer of these elements, which the program gets as a new weight: `nullspace.`, the node's
  /// layer, and the name. No model has modules of that name.
  mlir::Value addBuffer(const Node &node, llvm::StringRef name, llvm::ArrayRef<int64_t> shape,
                        llvm::ArrayRef<double> elements);
  /// A placeholder for `what`, of this shape with the batch at `kProbeBatch`; poison where a part
  /// of it is.
  mlir::Value defer(llvm::ArrayRef<int64_t> shape, Deferred what);
  /// What the root stands for, where it is a placeholder for a `T`; null otherwise.
  template <typename T> const T *deferred(mlir::Value root) const {
    auto found = placeholders.find(root);
    return found == placeholders.end() ? nullptr : std::get_if<T>(found->second.get());
  }
  bool isDeferred(mlir::Value root) const { return placeholders.contains(root); }
  /// The root itself, or what computes a placeholder's values; null where no nn op does.
  mlir::Value force(mlir::Value root, const Node &node);
  /// An SSA value with the view's elements: the root, or a slice of it. Null where no nn op makes
  /// it.
  mlir::Value materialize(const View &view, const Node &node);
  mlir::Value makeSlice(const View &view, const Node &node);
  /// The last value so far that has the batch's tokens, or the image.
  mlir::Value latestTokens();
  /// `materialize` of an argument; notes the problem where it fails. Null for an absent argument,
  /// too.
  mlir::Value operand(const Node &node, llvm::StringRef argument);
  /// Rows of channels as an op's operand: `materialize` of an argument or, where no nn op makes it
  /// because it has the root's rows in another order (torchvision computes on N x B x C), the root,
  /// with the order as the map. Ops on rows are then computed on the root. A null root where the
  /// problem is noted.
  View rows(const Node &node, llvm::StringRef argument);
  /// Defines the result of an op on `rows`: `value` in their order.
  void defineRows(const Node &node, mlir::Value value, const View &rows);
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
  static std::string describe(const Deferred &what);
  /// Why `materialize` made nothing of an argument.
  std::string cannotMake(llvm::StringRef argument, const View &view) const;

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

  // RaiseGrid.cpp
  /// Windows that slide over a grid: numbers along (y, x).
  struct Sliding {
    llvm::SmallVector<int64_t, 2> kernel, stride, padding, dilation;

    /// The grid of their positions on `grid`; nothing where not one fits.
    std::optional<llvm::SmallVector<int64_t, 2>> over(llvm::ArrayRef<int64_t> grid) const;
  };
  /// B x C x H x W whose elements are in rows B x (H * W) x C.
  static IndexMap channelsFirst(llvm::ArrayRef<int64_t> tokens, llvm::ArrayRef<int64_t> grid);
  /// Whether the view has each element of its root once.
  static bool isWhole(const View &view);
  /// The tokens B x N x C of a view that orders, or groups, those of its root in another way. Null
  /// where no nn op makes them.
  mlir::Value makePermutation(const View &view, const Node &node);
  /// The view as rows of channels: a root B x N x C or B x C, and the view's map on it, whose last
  /// dimension is a whole row. The rows are in the view's order where its images are outermost;
  /// where they are not (torchvision computes on N x B x C), the map may permute them. A null root
  /// where no nn op makes such a root.
  View rowsOf(const View &view, const Node &node);
  /// `rowsOf` with dimension `dim` of the view as the channels, which the map has last; every row
  /// is there once. Given an argument, notes the problem where there are none.
  View rowsAt(const View &view, unsigned dim, const Node &node);
  View rowsAt(const Node &node, llvm::StringRef argument, unsigned dim);
  /// Defines the result of an op on rows that `rowsAt` found.
  void defineRowsAt(const Node &node, mlir::Value value, const View &rows, unsigned dim);
  /// The view for an op on each element: a root of tokens or features, each element once, and the
  /// map of the view on it.
  View elementsOf(const View &view, const Node &node);
  /// `elementsOf` an argument; notes the problem where there is none.
  View elements(const Node &node, llvm::StringRef argument);
  /// Brings two views of one shape to roots of one type with one map. False where that is not
  /// possible.
  bool alignRoots(View &a, View &b, const Node &node);
  /// The dimension of `x` that `gamma` has one number for, broadcast over the others; nothing where
  /// there is none.
  static std::optional<unsigned> channelOf(const View &gamma, const View &x);
  /// `x` times one number for each channel, whichever dimension that is. False, and nothing done,
  /// where it is not that.
  bool raiseChannelScale(const Node &node, const View &x, const View &gamma);
  /// The tokens B x (H * W) x C of a feature map B x C x H x W; notes the problem where there are
  /// none.
  mlir::Value gridOf(const Node &node, llvm::StringRef argument,
                     llvm::SmallVectorImpl<int64_t> &grid);
  /// Whether the archive claims this feature map as the result. What is claimed has at most
  /// `kMaxElements`, so that products of its extents are safe.
  bool claims(const Node &node, int64_t channels, llvm::ArrayRef<int64_t> grid) const;
  llvm::Error raiseConvolution(const Node &node);
  llvm::Error raiseMaxPool(const Node &node);
  llvm::Error meanOverGrid(const Node &node, unsigned channel);
  llvm::Error raiseAdaptivePool(const Node &node);
  llvm::Error raiseBatchNorm(const Node &node);
  llvm::Error raisePad(const Node &node);
  llvm::Error raiseRoll(const Node &node);

  // RaiseConstants.cpp
  /// Computes a node whose tensors are all constants. False where it is not that, or not known how.
  llvm::Expected<bool> fold(const Node &node, llvm::StringRef op);
  bool foldScatter(const Node &node);
  bool foldFactory(const Node &node, llvm::StringRef op);
  /// Whether `fold` knows how to compute an aten op.
  static bool isFoldable(llvm::StringRef op);
  /// The constant's value at each element of a view of it, batch and other repeated dimensions
  /// once. Nothing for another view.
  std::optional<std::vector<double>> constantsOf(const View &view) const;
  /// The one value of a constant view; nothing where there are several, or of another view.
  std::optional<double> uniform(const View &view) const;
  /// An integer or boolean weight, or a number.
  mlir::Value constantOf(size_t weight);

  // RaiseAttention.cpp
  /// The heads that a view B x H x N x d shows of channels `from` to `from + H * d` of B x N x C
  /// tokens, or of each of `windows` windows of neighbouring tokens: (B * windows) x H x
  /// (N / windows) x d.
  struct Heads {
    int64_t count, width, from, windows = 1;
  };
  static std::optional<Heads> headsOf(const View &view);
  static IndexMap headsMap(llvm::ArrayRef<int64_t> tokens, const Heads &heads);
  /// The channels that the heads occupy, as tokens B x N x (H * d).
  mlir::Value headChannels(const View &view, const Heads &heads, const Node &node);
  /// Takes scale factors off a view; multiplies `scale` by them.
  View unscaled(View view, double &scale) const;
  llvm::Error raiseAttention(const Node &node);
  llvm::Error raiseMatmul(const Node &node);
  llvm::Error raiseSoftmax(const Node &node);
  llvm::Error attend(const Node &node, const Scores &scores, const View &value);
  llvm::Error scaleScores(const Node &node, const View &view, double factor);
  /// Adds what is the same for all images to scores; notes the problem where it is neither bias nor
  /// mask.
  llvm::Error addToScores(const Node &node, const View &scores, const View &term);
  /// Scores of this shape (or with windows apart from the batch) plus a bias or a mask; nothing
  /// where it is neither.
  std::optional<Scores> withTerm(Scores scores, View term, llvm::ArrayRef<int64_t> shape) const;
  mlir::Value biasOf(const Node &node, const View &term);
  llvm::SmallVector<mlir::Value> packedInputs(llvm::ArrayRef<View> views,
                                              llvm::ArrayRef<Heads> heads, const Node &node);

  // RaisePositions.cpp
  llvm::Error raiseIndex(const Node &node);
  llvm::Error raiseStack(const Node &node);
  /// `table[index]` as H x N x N; null, with the problem noted, where the index is not that of
  /// relative positions.
  mlir::Value relativeBias(const Node &node, const View &view);
  /// Pairs of heads and positions whose sum is a rotation.
  std::optional<Rotated> rotation(const Product &cosines, const Product &sines) const;
  llvm::Error raiseRotation(const Node &node, const Product &first, const Product &second);
  /// Heads, rotated after the first `prefix` tokens.
  llvm::Error rotate(const Node &node, const Rotated &rotated, int64_t prefix);
  bool raiseRotatedConcat(const Node &node, llvm::ArrayRef<std::string> parts, unsigned dim);

  // RaiseLayers.cpp
  llvm::Error raiseLinear(const Node &node);
  llvm::Error raiseLayerNorm(const Node &node);
  llvm::Error raiseGelu(const Node &node);
  llvm::Error raiseActivation(const Node &node);
  llvm::Error raiseAdd(const Node &node);
  llvm::Error raiseMul(const Node &node);
  llvm::Error raiseDiv(const Node &node);
  llvm::Error raiseNeg(const Node &node);
  /// Multiplies by a number: of tokens and features at once, of heads and scores deferred.
  llvm::Error scaleBy(const Node &node, double factor);
  static bool fitsBroadcast(mlir::Value lhs, mlir::Value rhs);
  static std::optional<View> channelVector(View view);
  llvm::Error raiseConcat(const Node &node);
  llvm::Error raiseJoin(const Node &node, llvm::ArrayRef<std::string> parts, unsigned dim);
  /// Tokens `first` and `rest` as which a sum of prepended tokens and positions is cut after its
  /// prefix; nothing where it is no such sum.
  std::optional<std::pair<mlir::Value, mlir::Value>>
  cutAfterPrefix(const Node &node, const View &first, const View &rest);
  llvm::Error raisePrependTokens(const Node &node, llvm::ArrayRef<std::string> parts);
  llvm::Error raiseMean(const Node &node);

  Program &program;
  const ModelRecord &record;
  mlir::OpBuilder builder;
  mlir::func::FuncOp forward;
  llvm::StringMap<View> environment;
  llvm::DenseMap<size_t, mlir::Value> loaded; ///< canonical weight -> its load, or its constants
  llvm::DenseMap<mlir::Value, std::unique_ptr<Deferred>> placeholders;
  llvm::DenseSet<mlir::Value> poison;              ///< roots that no op computes
  llvm::DenseMap<mlir::Value, mlir::Value> forced; ///< placeholder -> what `force` made of it
  int64_t folded = 0;                              ///< elements of constants so far
  /// Slices made so far, by root.
  llvm::DenseMap<mlir::Value, llvm::SmallVector<std::pair<IndexMap, mlir::Value>, 2>> slices;
  std::vector<std::string> problems;
};

} // namespace ns::pt2

#endif // NS_LIB_IMPORT_RAISER_H
