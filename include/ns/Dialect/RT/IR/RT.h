//===- RT.h - the rt dialect ------------------------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_RT_IR_RT_H
#define NS_DIALECT_RT_IR_RT_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/AffineMap.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "ns/Dialect/RT/IR/RTDialect.h.inc"
#include "ns/Dialect/RT/IR/RTEnums.h.inc"

#define GET_OP_CLASSES
#include "ns/Dialect/RT/IR/RTOps.h.inc"

namespace ns::rt {
/// The type of a tensor value.
inline mlir::RankedTensorType typeOf(mlir::Value value) {
  return mlir::cast<mlir::RankedTensorType>(value.getType());
}
/// Elements in a row of a tensor seen as a matrix: its last dimension, or 1 for vectors and
/// scalars, whose (row, 0) and (0, col) both count single elements.
int64_t rowPitch(mlir::RankedTensorType type);
/// Bytes of a tensor.
int64_t byteSize(mlir::RankedTensorType type);
/// Leading operands of an attention or its gradient that hold a part for each image; all others serve every image.
unsigned numImageOperands(mlir::Operation *attention);
/// Tasks of an attention or its gradient: the heads of all images, or of all windows.
int64_t numHeadTasks(mlir::Operation *attention);
/// Is `op` an attention, or the gradient of one, that a GPU's library computes: one with statistics?
bool isLibraryAttention(mlir::Operation *op);
/// The operand in whose place an op writes its result, or null for a new value.
mlir::Value destinationOf(mlir::OpResult result);
/// The value whose place `value` shares, through views and destinations, as far as they lie in one block.
mlir::Value storageOf(mlir::Value value);
/// Whether an op of an entry's block takes time: slots and views only name memory. These ops, in order, are the
/// entry's list of ops in the metadata.
inline bool isTimed(mlir::Operation *op) {
  return !mlir::isa<SlotOp, ViewOp>(op) && !op->hasTrait<mlir::OpTrait::IsTerminator>();
}
} // namespace ns::rt

#endif // NS_DIALECT_RT_IR_RT_H
