//===- Rules.h - derivative rules by op family -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_AUTODIFF_RULES_RULES_H
#define NS_LIB_AUTODIFF_RULES_RULES_H

#include "ns/Autodiff/DifferentiableOpInterface.h"

namespace ns::autodiff {

/// Each attaches the models of one family; the dialect of its ops must be loaded.
void attachAttentionRules(mlir::MLIRContext &context);
void attachGridRules(mlir::MLIRContext &context);
void attachLinearRules(mlir::MLIRContext &context);
void attachLossRules(mlir::MLIRContext &context);
void attachNoiseRules(mlir::MLIRContext &context);
void attachAttackLossRules(mlir::MLIRContext &context);
void attachNormRules(mlir::MLIRContext &context);
void attachTokenRules(mlir::MLIRContext &context);

/// Base of a rule for `Op`: typed access to the op for the methods of `Rule`, which are
///   static bool inactive(unsigned index);                                        optional
///   static void save(Op op, const BitVector &wanted, SmallVectorImpl<Value> &saved);   optional
///   static void vjp(Op op, OpBuilder &builder, Value dy, const BitVector &wanted, MutableArrayRef<Value> results);
template <typename Rule, typename Op>
struct RuleBase : DifferentiableOpInterface::ExternalModel<Rule, Op> {
  static bool inactive(unsigned) { return false; }
  static void save(Op, const llvm::BitVector &, llvm::SmallVectorImpl<mlir::Value> &) {}

  bool isOperandInactive(mlir::Operation *, unsigned index) const { return Rule::inactive(index); }
  void getSavedForBackward(mlir::Operation *op, const llvm::BitVector &wanted,
                           llvm::SmallVectorImpl<mlir::Value> &saved) const {
    Rule::save(llvm::cast<Op>(op), wanted, saved);
  }
  llvm::LogicalResult buildVjp(mlir::Operation *op, mlir::OpBuilder &builder, mlir::Value cotangent,
                               const llvm::BitVector &wanted, llvm::MutableArrayRef<mlir::Value> results) const {
    Rule::vjp(llvm::cast<Op>(op), builder, cotangent, wanted, results);
    return llvm::success();
  }
};

/// `type` with extent `size` in dimension `dim`.
mlir::RankedTensorType withDim(mlir::Type type, unsigned dim, int64_t size);

/// `cotangent` for a value of `type`, of the same shape or shared by the batch (first dimension 1).
mlir::Value sumToShape(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value cotangent, mlir::Type type);

} // namespace ns::autodiff

#endif // NS_LIB_AUTODIFF_RULES_RULES_H
