//===- ProgramEmitter.cpp - the values of a row program on a GPU -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ProgramEmitter.h"

#include "../ExpandMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"

#include <cmath>
#include <numeric>

using namespace mlir;
using namespace ns;

ProgramEmitter::ProgramEmitter(OpBuilder &b, const GpuProgram &program, ValueRange memrefs,
                               int64_t width)
    : b(b), loc(program.op.getLoc()), program(program), width(width), memrefs(memrefs) {
  int64_t most = program.rows * program.inner * program.cols;
  for (unsigned i = 0; i < program.numArguments(); ++i)
    most = std::max(most, program.argumentType(i).getNumElements());
  counterType = most < (int64_t(1) << 31) ? b.getI32Type() : b.getI64Type();
}

//===----------------------------------------------------------------------===//
// Counting
//===----------------------------------------------------------------------===//

Value ProgramEmitter::count(int64_t value) {
  return arith::ConstantOp::create(b, loc, b.getIntegerAttr(counterType, value));
}

Value ProgramEmitter::add(Value a, Value v) { return arith::AddIOp::create(b, loc, a, v); }

Value ProgramEmitter::mul(Value a, int64_t by) {
  return by == 1 ? a : arith::MulIOp::create(b, loc, a, count(by)).getResult();
}

Value ProgramEmitter::div(Value a, int64_t by) {
  return by == 1 ? a : arith::DivUIOp::create(b, loc, a, count(by)).getResult();
}

Value ProgramEmitter::rem(Value a, int64_t by) {
  return by == 1 ? count(0) : arith::RemUIOp::create(b, loc, a, count(by)).getResult();
}

Value ProgramEmitter::less(Value a, int64_t than) {
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, a, count(than));
}

Value ProgramEmitter::equal(Value a, int64_t to) {
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, a, count(to));
}

Value ProgramEmitter::both(Value a, Value v) {
  return !a ? v : !v ? a : arith::AndIOp::create(b, loc, a, v).getResult();
}

Value ProgramEmitter::select(Value condition, Value a, Value v) {
  return arith::SelectOp::create(b, loc, condition, a, v);
}

Value ProgramEmitter::index(Value value) {
  return arith::IndexCastUIOp::create(b, loc, b.getIndexType(), value);
}

void ProgramEmitter::when(Value condition, llvm::function_ref<void()> body) {
  if (!condition)
    return body();
  auto branch = scf::IfOp::create(b, loc, condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  body();
}

Value ProgramEmitter::expand(AffineExpr expr, Point &point) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return count(constant.getValue());
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return dim.getPosition() == 0 ? point.r : point.k;
  if (Value known = point.rows.lookup(expr))
    return known;
  auto binary = cast<AffineBinaryOpExpr>(expr);
  Value lhs = expand(binary.getLHS(), point), result;
  auto constant = dyn_cast<AffineConstantExpr>(binary.getRHS());
  switch (expr.getKind()) { // no coordinate is negative
  case AffineExprKind::Add:
    result = add(lhs, expand(binary.getRHS(), point));
    break;
  case AffineExprKind::Mul:
    result = mul(lhs, constant.getValue());
    break;
  case AffineExprKind::FloorDiv:
    result = div(lhs, constant.getValue());
    break;
  case AffineExprKind::Mod:
    result = rem(lhs, constant.getValue());
    break;
  default:
    llvm_unreachable("row maps hold no ceildiv");
  }
  return point.rows[expr] = result;
}

Value ProgramEmitter::element(unsigned argument, Point &point, Value column, int64_t step) {
  AffineMap map = program.argumentMap(argument);
  Value row = mul(expand(map.getResult(0), point), rt::rowPitch(program.argumentType(argument)));
  Value first = column ? column : expand(map.getResult(1), point);
  Value from = index(add(row, first));
  if (step == 0)
    return from;
  // Added in the width of an address, where it becomes a part of the instruction.
  return arith::AddIOp::create(b, loc, from, arith::ConstantIndexOp::create(b, loc, step));
}

//===----------------------------------------------------------------------===//
// Values
//===----------------------------------------------------------------------===//

Value ProgramEmitter::scalar(Value v, Point &point) {
  if (Value known = point.scalars.lookup(v))
    return known;
  Value result;
  if (auto arg = dyn_cast<BlockArgument>(v)) {
    unsigned i = arg.getArgNumber();
    result = memref::LoadOp::create(b, loc, memrefs[i], element(i, point, {}, 0));
  } else if (auto swap = v.getDefiningOp<rt::SwapPairsOp>()) { // all columns are equal
    result = scalar(swap.getValue(), point);
  } else if (auto place = v.getDefiningOp<rt::IndexOp>()) {
    result = expand(place.getMap().getResult(0), point);
    if (counterType != b.getI32Type())
      result = arith::TruncIOp::create(b, loc, b.getI32Type(), result);
  } else {
    Operation *source = v.getDefiningOp();
    IRMapping mapping;
    for (Value operand : source->getOperands())
      mapping.map(operand, scalar(operand, point));
    result = isa<Float8E4M3FNType>(v.getType())
                 ? roundToE4M3(b, loc, mapping.lookup(source->getOperand(0)))
                 : b.clone(*source, mapping)->getResult(0);
  }
  return point.scalars[v] = result;
}

Value ProgramEmitter::splat(Value v) {
  if (auto constant = v.getDefiningOp<arith::ConstantOp>())
    return arith::ConstantOp::create(
        b, loc, DenseElementsAttr::get(vectorOf(v.getType()), constant.getValue()));
  return vector::BroadcastOp::create(b, loc, vectorOf(v.getType()), v);
}

Value ProgramEmitter::vector(Value v, Chunk &chunk) {
  if (Value known = chunk.vectors.lookup(v))
    return known;
  Value result = program.stages.isUniform(v) ? splat(scalar(v, *chunk.point)) : compute(v, chunk);
  return chunk.vectors[v] = result;
}

Value ProgramEmitter::compute(Value v, Chunk &chunk) {
  if (auto arg = dyn_cast<BlockArgument>(v))
    return loadInput(arg.getArgNumber(), chunk);
  if (v.getDefiningOp<rt::IndexOp>()) { // not uniform: the column itself
    SmallVector<int32_t> lanes(width);
    std::iota(lanes.begin(), lanes.end(), int32_t(chunk.step));
    Value first = chunk.base;
    if (counterType != b.getI32Type())
      first = arith::TruncIOp::create(b, loc, b.getI32Type(), first);
    Value steps = arith::ConstantOp::create(
        b, loc, DenseElementsAttr::get(vectorOf(b.getI32Type()), ArrayRef<int32_t>(lanes)));
    return arith::AddIOp::create(b, loc, splat(first), steps);
  }
  Operation *source = v.getDefiningOp();
  if (auto swap = dyn_cast<rt::SwapPairsOp>(source)) { // a pair lies in one vector
    SmallVector<int64_t> lanes;
    for (int64_t lane = 0; lane < width; ++lane)
      lanes.push_back(lane ^ 1);
    Value operand = vector(swap.getValue(), chunk);
    return vector::ShuffleOp::create(b, loc, operand, operand, lanes);
  }
  // docs/decisions/gpu-kernels.md: at most 2 units in the last place of f32 for a quotient; an
  // exponential of 1e-5 at the most where bf16 is what is stored.
  constexpr auto approximate = arith::FastMathFlags::arcp | arith::FastMathFlags::afn;
  auto exponential =
      program.storesNarrow() ? arith::FastMathFlags::afn : arith::FastMathFlags::none;
  if (isa<math::ErfcOp>(source) && v.getType().isF32())
    return expandErfc(b, loc, vector(source->getOperand(0), chunk), approximate, exponential);
  if (isa<Float8E4M3FNType>(v.getType()))
    return roundToE4M3(b, loc, vector(source->getOperand(0), chunk));
  IRMapping mapping;
  for (Value operand : source->getOperands())
    mapping.map(operand, vector(operand, chunk));
  Operation *copy = b.clone(*source, mapping);
  if (auto exp = dyn_cast<math::ExpOp>(copy))
    exp.setFastmath(exponential);
  if (auto quotient = dyn_cast<arith::DivFOp>(copy);
      quotient && program.stages.isUniform(source->getOperand(1)))
    quotient.setFastmath(approximate); // of a row by its sum
  copy->getResult(0).setType(vectorOf(v.getType()));
  return copy->getResult(0);
}

/// What a transposed read multiplies the column by; else 1.
static int64_t columnStride(AffineMap map) {
  auto product = dyn_cast<AffineBinaryOpExpr>(map.getResult(1));
  return product ? cast<AffineConstantExpr>(product.getRHS()).getValue() : 1;
}

Value ProgramEmitter::loadInput(unsigned argument, Chunk &chunk) {
  int64_t stride = columnStride(program.inMap(argument));
  Value from = element(argument, *chunk.point, mul(chunk.base, stride), chunk.step * stride);
  return loadVector(argument, from, stride);
}

/// As few accesses as the alignment allows.
Value ProgramEmitter::loadVector(unsigned argument, Value from, int64_t stride) {
  Type type = program.argumentType(argument).getElementType();
  int64_t bytes = type.getIntOrFloatBitWidth() / 8;
  int64_t run = stride == 1 ? std::min(width, program.alignedElements(argument)) : 1;
  auto at = [&](int64_t lane) -> Value {
    Value offset = arith::ConstantIndexOp::create(b, loc, lane * stride);
    return lane == 0 ? from : arith::AddIOp::create(b, loc, from, offset).getResult();
  };
  if (run == 1) {
    SmallVector<Value> elements;
    for (int64_t lane = 0; lane < width; ++lane)
      elements.push_back(memref::LoadOp::create(b, loc, memrefs[argument], at(lane)));
    return vector::FromElementsOp::create(b, loc, vectorOf(type), elements);
  }
  auto load = [&](int64_t lane) -> Value {
    return vector::LoadOp::create(b, loc, VectorType::get({run}, type), memrefs[argument], at(lane),
                                  /*nontemporal=*/false, llvm::MaybeAlign(run * bytes));
  };
  if (run == width)
    return load(0);
  SmallVector<Value> parts;
  for (int64_t lane = 0; lane < width; lane += run)
    parts.push_back(load(lane));
  for (; parts.size() > 1; parts.resize(parts.size() / 2))
    for (size_t i = 0; i < parts.size() / 2; ++i) {
      int64_t size = 2 * cast<VectorType>(parts[2 * i].getType()).getDimSize(0);
      parts[i] = vector::ShuffleOp::create(b, loc, parts[2 * i], parts[2 * i + 1],
                                           llvm::to_vector(llvm::seq<int64_t>(size)));
    }
  return parts.front();
}

void ProgramEmitter::loadFull(Chunk &chunk) {
  for (BlockArgument arg : program.op.getBody().getArguments())
    if (!program.stages.isUniform(arg) && program.isFull(arg.getArgNumber()))
      (void)vector(arg, chunk);
}

void ProgramEmitter::prepare(unsigned stage, Point &point) {
  for (Value v : program.stages.uniformOperands(stage))
    (void)scalar(v, point);
  for (unsigned i = 0; i < program.numArguments(); ++i)
    (void)expand(program.argumentMap(i).getResult(0), point);
}

Value ProgramEmitter::slice(Value v, int64_t from, int64_t size) {
  return vector::ShuffleOp::create(b, loc, v, v,
                                   llvm::to_vector(llvm::seq<int64_t>(from, from + size)));
}

//===----------------------------------------------------------------------===//
// Results
//===----------------------------------------------------------------------===//

void ProgramEmitter::store(unsigned result, Value value, Chunk &chunk) {
  unsigned argument = program.numInputs + result;
  Type type = program.argumentType(argument).getElementType();
  int64_t bytes = type.getIntOrFloatBitWidth() / 8;
  int64_t run = std::min(width, program.alignedElements(argument));
  Value to = element(argument, *chunk.point, chunk.base, chunk.step);
  for (int64_t lane = 0; lane < width; lane += run) {
    Value at = to;
    if (lane > 0)
      at = arith::AddIOp::create(b, loc, to, arith::ConstantIndexOp::create(b, loc, lane));
    if (run == 1) {
      Value element = vector::ExtractOp::create(b, loc, value, ArrayRef<int64_t>{lane});
      memref::StoreOp::create(b, loc, element, memrefs[argument], at);
      continue;
    }
    Value part = value;
    if (run < width)
      part = slice(value, lane, run);
    vector::StoreOp::create(b, loc, part, memrefs[argument], at, /*nontemporal=*/false,
                            llvm::MaybeAlign(run * bytes));
  }
}

void ProgramEmitter::storeColumns(ArrayRef<unsigned> results, Chunk &chunk) {
  SmallVector<std::pair<unsigned, Value>> stored;
  // All values before the first store: a result may lie over an input that a later one reads.
  for (unsigned i : results)
    if (!program.isSum(i))
      stored.push_back({i, vector(program.stages.yielded(i), chunk)});
  if (stored.empty())
    return;
  when(both(chunk.point->exists, chunk.exists), [&] {
    Point place(chunk.point->r, chunk.point->k); // its addresses live in the branch
    Chunk inside(&place, chunk.base, chunk.step);
    for (auto [i, value] : stored)
      store(i, value, inside);
  });
}

void ProgramEmitter::storeScalar(unsigned result, Value value, Point &point) {
  unsigned argument = program.numInputs + result;
  memref::StoreOp::create(b, loc, value, memrefs[argument], element(argument, point, {}, 0));
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

Value ProgramEmitter::neutral(rt::Reduction kind, Type type) {
  double value = kind == rt::Reduction::Add   ? 0.0
                 : kind == rt::Reduction::Max ? -INFINITY
                                              : INFINITY;
  TypedAttr attr = b.getFloatAttr(getElementTypeOrSelf(type), value);
  if (auto vector = dyn_cast<VectorType>(type))
    attr = DenseElementsAttr::get(vector, attr);
  return arith::ConstantOp::create(b, loc, attr);
}

Value ProgramEmitter::combine(rt::Reduction kind, Value a, Value v) {
  switch (kind) {
  case rt::Reduction::Add:
    return arith::AddFOp::create(b, loc, a, v);
  case rt::Reduction::Max:
    return arith::MaxNumFOp::create(b, loc, a, v);
  case rt::Reduction::Min:
    return arith::MinNumFOp::create(b, loc, a, v);
  }
  llvm_unreachable("a reduction");
}

Value ProgramEmitter::horizontal(rt::Reduction kind, Value v) {
  for (int64_t size = width; size > 1; size /= 2) {
    v = combine(kind, slice(v, 0, size / 2), slice(v, size / 2, size / 2));
  }
  return vector::ExtractOp::create(b, loc, v, ArrayRef<int64_t>{0});
}
