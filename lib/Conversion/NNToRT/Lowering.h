//===- Lowering.h - state of nn-to-rt within one entry -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_CONVERSION_NNTORT_LOWERING_H
#define NS_CONVERSION_NNTORT_LOWERING_H

#include "ns/Dialect/RT/IR/RowProgram.h"
#include "Layout.h"

#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Dialect/NS/IR/NS.h"

#include "mlir/IR/Builders.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringMap.h"

#include <map>

namespace ns {

using rt::typeOf;

/// Rows and columns of a tensor seen as a matrix whose row is the last dimension.
int64_t numRows(mlir::RankedTensorType type);
int64_t numCols(mlir::RankedTensorType type);

/// Lowers the body of one entry, op by op in order. The overloads of `lower` are grouped by op
/// family in the .cpp files.
class Lowering {
public:
  /// `sumRows`: rows of a partial sum, or 0 for those of an image.
  Lowering(mlir::func::FuncOp source, mlir::func::FuncOp target, Layout &layout, int64_t sumRows);
  mlir::LogicalResult run();

  mlir::OpBuilder builder;

  /// The rt value of an nn value.
  mlir::Value get(mlir::Value value) { return values.lookup(value); } // null for an absent operand
  void set(mlir::Value value, mlir::Value result) { values[value] = result; }

  /// A named place; one op for each, at the top of the entry.
  mlir::Value slot(rt::Region region, llvm::StringRef name, mlir::RankedTensorType type);
  /// `value` under another shape, from element `offset` on.
  mlir::Value view(mlir::Value value, llvm::ArrayRef<int64_t> shape, int64_t offset = 0);
  /// A row program over [R, K, C].
  RowProgram program(mlir::Operation *op, std::array<int64_t, 3> space) {
    return RowProgram(builder, op->getLoc(), layout.element, space);
  }
  /// A program over the rows and columns of `type`.
  RowProgram rowwise(mlir::Operation *op, mlir::RankedTensorType type) {
    return program(op, {numRows(type), 1, numCols(type)});
  }
  /// Makes the program's op and binds its results to the nn values.
  void finish(RowProgram &program, mlir::ValueRange results);
  /// Groups of rows over which partial sums are taken, whatever the thread count: blocks of some
  /// `sumRows` rows, or images or parts of them.
  int64_t numGroups(mlir::RankedTensorType type) const;
  /// Elements of an optimizer group, whole rows.
  int64_t groupElements(llvm::StringRef group) const { return layout.groupElements(group); }
  mlir::RankedTensorType tensor(llvm::ArrayRef<int64_t> shape) {
    return mlir::RankedTensorType::get(shape, layout.element);
  }
  /// The normalised image as a matrix of patches (B N) x (c ph pw); made once for an image.
  mlir::FailureOr<mlir::Value> patches(mlir::Operation *user, mlir::Value image,
                                       llvm::ArrayRef<int64_t> patch, int64_t tokens);
  /// Values that several ops need, made once for an entry: those made under this name from these
  /// values; empty at first.
  llvm::SmallVector<mlir::Value> &memo(llvm::StringRef name, llvm::ArrayRef<mlir::Value> from);
  /// Raw linear result and bias where every reader adds the bias itself.
  llvm::DenseMap<mlir::Value, mlir::Value> biasOf;

private:
  mlir::LogicalResult lowerOp(mlir::Operation *op);
  mlir::LogicalResult writeResults(mlir::func::ReturnOp op);

  mlir::func::FuncOp source;
  Layout &layout;
  int64_t sumRows;
  mlir::Block *block;
  llvm::DenseMap<mlir::Value, mlir::Value> values;
  llvm::DenseMap<mlir::Value, mlir::Value> patchesOf;
  llvm::StringMap<mlir::Value> slots;
  std::map<std::pair<std::string, std::vector<const void *>>, llvm::SmallVector<mlir::Value>> memos;
};

/// op(a) op(b) as an m x n matrix of `type`.
mlir::Value gemm(Lowering &l, mlir::Operation *op, mlir::RankedTensorType type, mlir::Value a,
                 mlir::Value b, int64_t m, int64_t n, int64_t k, bool transA, bool transB);
/// Binds result = product + bias, as a row program.
void addBias(Lowering &l, mlir::Operation *op, mlir::Value product, mlir::Value bias,
             mlir::Value result);

/// Elements of one row of what is summed.
using RowTerms =
    llvm::function_ref<llvm::SmallVector<mlir::Value>(RowProgram &p, mlir::AffineExpr row)>;
/// Sums of `terms` over all rows, vectors of a row's width: first over each group, then over the
/// groups, in order. `space`: groups, rows of a group, columns.
llvm::SmallVector<mlir::Value> sumOverRows(Lowering &l, mlir::Operation *op,
                                           std::array<int64_t, 3> space, RowTerms terms);
/// The same over the rows of `type`.
llvm::SmallVector<mlir::Value> sumOverRows(Lowering &l, mlir::Operation *op,
                                           mlir::RankedTensorType type, RowTerms terms);

/// How a factor varies over the matrix that it multiplies.
enum class Varies { ByPoint, ByRow, ByColumn };
/// Lowers result = input * factor to a row program; binds the result of `op`.
mlir::LogicalResult lowerProduct(mlir::Operation *op, mlir::Value input, mlir::Value factor,
                                 Varies varies, Lowering &l);

/// `value` between `low` and `high`; NaN passes.
mlir::Value clamp(RowProgram &p, mlir::Value value, mlir::Value low, mlir::Value high);

/// A new tensor of zeros.
mlir::Value zeros(Lowering &l, mlir::Operation *op, mlir::RankedTensorType type);

/// Sets the destination of the op that makes `value`, if it makes it as a new whole value of that
/// type; else false.
bool retarget(mlir::Value value, mlir::Value dest);

// Linear.cpp
mlir::LogicalResult lower(nn::LinearOp, Lowering &);
mlir::LogicalResult lower(nn::LinearGradInputOp, Lowering &);
mlir::LogicalResult lower(nn::LinearGradWeightOp, Lowering &);
mlir::LogicalResult lower(nn::PatchEmbedOp, Lowering &);
mlir::LogicalResult lower(nn::PatchEmbedGradInputOp, Lowering &);
mlir::LogicalResult lower(nn::PatchEmbedGradWeightOp, Lowering &);
mlir::LogicalResult lower(nn::AttentionOp, Lowering &);
mlir::LogicalResult lower(nn::AttentionGradOp, Lowering &);
// Elementwise.cpp
mlir::LogicalResult lower(nn::NormalizeOp, Lowering &);
mlir::LogicalResult lower(nn::NormalizeGradOp, Lowering &);
mlir::LogicalResult lower(nn::LayerNormOp, Lowering &);
mlir::LogicalResult lower(nn::LayerNormGradOp, Lowering &);
mlir::LogicalResult lower(nn::LayerNormGradParamsOp, Lowering &);
mlir::LogicalResult lower(nn::GeluOp, Lowering &);
mlir::LogicalResult lower(nn::GeluGradOp, Lowering &);
mlir::LogicalResult lower(nn::AddOp, Lowering &);
mlir::LogicalResult lower(nn::MulOp, Lowering &);
mlir::LogicalResult lower(nn::ScaleOp, Lowering &);
mlir::LogicalResult lower(nn::LayerScaleOp, Lowering &);
mlir::LogicalResult lower(nn::LayerScaleGradGammaOp, Lowering &);
mlir::LogicalResult lower(nn::SumRowsOp, Lowering &);
mlir::LogicalResult lower(nn::SumBatchOp, Lowering &);
mlir::LogicalResult lower(harden::InjectOp, Lowering &);
mlir::LogicalResult lower(harden::ClipGradOp, Lowering &);
// Activation.cpp
mlir::LogicalResult lower(nn::ActivationOp, Lowering &);
mlir::LogicalResult lower(nn::ActivationGradOp, Lowering &);
// BatchNorm.cpp
mlir::LogicalResult lower(nn::BatchNormOp, Lowering &);
mlir::LogicalResult lower(nn::BatchNormGradOp, Lowering &);
mlir::LogicalResult lower(nn::BatchNormGradParamsOp, Lowering &);
mlir::LogicalResult lower(nn::BatchStatsOp, Lowering &);
// Conv.cpp
mlir::LogicalResult lower(nn::ConvOp, Lowering &);
mlir::LogicalResult lower(nn::ConvGradInputOp, Lowering &);
mlir::LogicalResult lower(nn::ConvGradWeightOp, Lowering &);
mlir::LogicalResult lower(nn::MaxPoolOp, Lowering &);
mlir::LogicalResult lower(nn::MaxPoolGradOp, Lowering &);
// Grid.cpp
mlir::LogicalResult lower(nn::ImageToTokensOp, Lowering &);
mlir::LogicalResult lower(nn::TokensToImageOp, Lowering &);
mlir::LogicalResult lower(nn::PermuteTokensOp, Lowering &);
mlir::LogicalResult lower(nn::RollTokensOp, Lowering &);
mlir::LogicalResult lower(nn::ReshapeTokensOp, Lowering &);
// Fold.cpp
mlir::LogicalResult lower(nn::FoldNormBiasOp, Lowering &);
mlir::LogicalResult lower(nn::FoldNormWeightOp, Lowering &);
mlir::LogicalResult lower(nn::FoldScaleBiasOp, Lowering &);
mlir::LogicalResult lower(nn::FoldScaleWeightOp, Lowering &);
mlir::LogicalResult lower(nn::StoreParamOp, Lowering &);
// Tokens.cpp
mlir::LogicalResult lower(nn::PrependTokensOp, Lowering &);
mlir::LogicalResult lower(nn::SelectTokenOp, Lowering &);
mlir::LogicalResult lower(nn::ScatterTokenOp, Lowering &);
mlir::LogicalResult lower(nn::SliceTokensOp, Lowering &);
mlir::LogicalResult lower(nn::PadTokensOp, Lowering &);
mlir::LogicalResult lower(nn::SliceChannelsOp, Lowering &);
mlir::LogicalResult lower(nn::PadChannelsOp, Lowering &);
mlir::LogicalResult lower(nn::SliceRowsOp, Lowering &);
mlir::LogicalResult lower(nn::PadRowsOp, Lowering &);
mlir::LogicalResult lower(nn::SliceBatchOp, Lowering &);
mlir::LogicalResult lower(nn::ConcatBatchOp, Lowering &);
mlir::LogicalResult lower(nn::ConcatChannelsOp, Lowering &);
mlir::LogicalResult lower(nn::ConcatRowsOp, Lowering &);
mlir::LogicalResult lower(nn::ExpandBatchOp, Lowering &);
mlir::LogicalResult lower(nn::MeanTokensOp, Lowering &);
mlir::LogicalResult lower(nn::ExpandTokensOp, Lowering &);
// Positions.cpp
mlir::LogicalResult lower(nn::RelativeBiasOp, Lowering &);
mlir::LogicalResult lower(nn::RelativeBiasGradOp, Lowering &);
mlir::LogicalResult lower(nn::RotaryOp, Lowering &);
// Dropout.cpp
mlir::LogicalResult lower(nn::DropoutOp, Lowering &);
// Losses.cpp
mlir::LogicalResult lower(nn::CrossEntropyOp, Lowering &);
mlir::LogicalResult lower(nn::CrossEntropyGradOp, Lowering &);
mlir::LogicalResult lower(nn::WeightedSumOp, Lowering &);
mlir::LogicalResult lower(nn::WeightedSumGradOp, Lowering &);
mlir::LogicalResult lower(harden::TradesLossOp, Lowering &);
mlir::LogicalResult lower(harden::TradesLossGradOp, Lowering &);
mlir::LogicalResult lower(harden::AttackLossOp, Lowering &);
mlir::LogicalResult lower(harden::AttackLossGradOp, Lowering &);
mlir::LogicalResult lower(harden::ExpandChannelsOp, Lowering &);
mlir::LogicalResult lower(harden::MeanChannelsOp, Lowering &);
mlir::LogicalResult lower(harden::AttentionLossOp, Lowering &);
mlir::LogicalResult lower(harden::AttentionLossGradOp, Lowering &);
mlir::LogicalResult lower(harden::SynthesisLossOp, Lowering &);
mlir::LogicalResult lower(harden::SynthesisLossGradOp, Lowering &);
mlir::LogicalResult lower(harden::InvarianceOp, Lowering &);
mlir::LogicalResult lower(harden::SampleNormOp, Lowering &);
// AttackStep.cpp
mlir::LogicalResult lower(harden::MomentumOp, Lowering &);
mlir::LogicalResult lower(harden::AscendOp, Lowering &);
// Optimizer.cpp
mlir::LogicalResult lower(nn::LoadParamOp, Lowering &);
mlir::LogicalResult lower(harden::ReadNoiseOp, Lowering &);
mlir::LogicalResult lower(harden::StoreGradOp, Lowering &);
mlir::LogicalResult lower(harden::AdamWParamsOp, Lowering &);
mlir::LogicalResult lower(harden::AdamWNoiseOp, Lowering &);

} // namespace ns

#endif // NS_CONVERSION_NNTORT_LOWERING_H
