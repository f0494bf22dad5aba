//===- Tiles.cpp - what may run block of rows by block of rows ------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/RT/IR/RT.h"
#include "ns/Dialect/RT/IR/RowMap.h"

using namespace mlir;
using namespace ns::rt;

using IsInside = llvm::function_ref<bool(Value)>;

unsigned ns::rt::numImageOperands(Operation *attention) {
  if (auto gradient = dyn_cast<AttentionGradOp>(attention))
    return 1 + gradient.getInputs().size();
  return cast<AttentionOp>(attention).getInputs().size();
}

int64_t ns::rt::numHeadTasks(Operation *attention) {
  auto tokens = typeOf(attention->getOperand(0)); // of the queries, or of the result's gradient
  int64_t tasks = tokens.getDimSize(0) * attention->getAttrOfType<IntegerAttr>("heads").getInt();
  if (auto window = attention->getAttrOfType<IntegerAttr>("window"))
    tasks *= tokens.getDimSize(1) / window.getInt();
  return tasks;
}

Value ns::rt::destinationOf(OpResult result) {
  if (auto gemm = dyn_cast<GemmOp>(result.getOwner()))
    return gemm.getDest();
  if (auto fused = dyn_cast<FusedOp>(result.getOwner()))
    return fused.getDestOf(result.getResultNumber());
  if (auto launch = dyn_cast<LaunchOp>(result.getOwner()))
    return launch.getDestOf(result.getResultNumber());
  if (auto tiles = dyn_cast<TilesOp>(result.getOwner())) {
    Value owner =
        storageOf(tiles.getBody().front().getTerminator()->getOperand(result.getResultNumber()));
    return owner.getParentBlock() == tiles->getBlock() ? owner : Value();
  }
  return {};
}

Value ns::rt::storageOf(Value value) {
  while (auto result = dyn_cast<OpResult>(value)) {
    auto view = dyn_cast<ViewOp>(result.getOwner());
    Value next = view ? view.getSource() : destinationOf(result);
    if (!next)
      break;
    bool leaves = next.getParentBlock() != value.getParentBlock();
    value = next;
    if (leaves)
      break;
  }
  return value;
}

int64_t TilesOp::unitsOf(Operation *op) {
  if (auto gemm = dyn_cast<GemmOp>(op))
    return gemm.getTransA() || gemm.getBatch() || gemm.getBias() ? 0 : gemm.getMnk()[0];
  if (auto fused = dyn_cast<FusedOp>(op))
    return fused.getRows();
  // Images of the queries or of the result's gradient.
  if (isa<AttentionOp, AttentionGradOp>(op) && !isLibraryAttention(op))
    return typeOf(op->getOperand(0)).getDimSize(0);
  return 0;
}

/// Does the program, at each of its points, touch an element of `type` by `map` that lies in the
/// same of `units` runs as the point?
static bool staysInUnit(FusedOp op, RankedTensorType type, AffineMap map, int64_t units) {
  AffineExpr row = map.getResult(0);
  int64_t elements = type.getNumElements(), pitch = rowPitch(type), rows = op.getRows();
  if (row == getAffineDimExpr(0, row.getContext()) && elements == rows * pitch)
    return true;
  return elements % (units * pitch) == 0 &&
         ns::rt::staysInUnit(row, rows, op.getInner(), elements / pitch, units);
}

static std::string whyNotProgram(FusedOp op, int64_t units, IsInside isInside) {
  for (unsigned i = 0; i < op.getInputs().size(); ++i)
    if (isInside(op.getInputs()[i]) &&
        !staysInUnit(op, typeOf(op.getInputs()[i]), op.getInMap(i), units))
      return "input " + std::to_string(i) + " is read outside of the block";
  for (unsigned i = 0; i < op.getNumResults(); ++i)
    if (!staysInUnit(op, typeOf(op.getResult(i)), op.getOutMap(i), units))
      return "result " + std::to_string(i) + " is written outside of the block";
  return {};
}

std::string TilesOp::whyNotMember(Operation *op, int64_t units, IsInside isInside) {
  if (auto view = dyn_cast<ViewOp>(op)) {
    bool whole = view.getOffset() == 0 && typeOf(view.getSource()).getNumElements() ==
                                              typeOf(view.getResult()).getNumElements();
    return !isInside(view.getSource()) || whole ? "" : "the view is of a part of a value";
  }
  int64_t most = unitsOf(op);
  if (most == 0 || most % units != 0)
    return "its rows are not a multiple of " + std::to_string(units);
  ValueRange whole; // operands that each block reads in full
  if (auto gemm = dyn_cast<GemmOp>(op)) {
    whole = op->getOperands().slice(1, 1); // B
    if (gemm.getAccumulate() && isInside(gemm.getAccumulate()))
      return "it scales by a value made inside";
  } else if (auto fused = dyn_cast<FusedOp>(op)) {
    return whyNotProgram(fused, units, isInside);
  } else {
    unsigned perImage = numImageOperands(op);
    for (Value operand : op->getOperands().take_front(perImage))
      if (typeOf(operand).getDimSize(0) != most)
        return "its operands differ in their images";
    whole = op->getOperands().drop_front(perImage);
  }
  return llvm::any_of(whole, isInside) ? "an operand made inside is needed in full" : "";
}

LogicalResult TilesOp::verifyRegions() {
  int64_t units = getUnits(), height = getHeight();
  if (units <= 0 || height <= 0 || height > units)
    return emitOpError("expected a height from 1 to ") << units << " units, but got " << height;
  Block &block = getBody().front();
  auto isInside = [&](Value value) { return value.getParentBlock() == &block; };
  for (Operation &op : block.without_terminator())
    if (std::string why = whyNotMember(&op, units, isInside); !why.empty())
      return op.emitOpError("expected an op that runs on blocks of ")
             << units << " units, but " << why;
  auto yield = cast<YieldOp>(block.getTerminator());
  if (yield.getOperandTypes() != getResultTypes())
    return emitOpError("expected a yielded value of each result's type");
  for (Value value : yield.getOperands())
    if (!isInside(value))
      return emitOpError("expected yielded values to be made inside");
  return success();
}
