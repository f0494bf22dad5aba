//===- RowEmitter.cpp - the body of one kernel -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "RowEmitter.h"
#include "KernelEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/IRMapping.h"

#include <cmath>
#include <numeric>

using namespace mlir;
using namespace ns;
using rt::typeOf;

RowEmitter::RowEmitter(OpBuilder &b, rt::FusedOp op, ValueRange pointers, int64_t vectorBits)
    : b(b), loc(op.getLoc()), op(op), stages(op), pointers(pointers) {
  element = typeOf(op.getResult(0)).getElementType();
  if (element.isBF16()) // only stored: what is computed is f32
    element = b.getF32Type();
  elementBytes = element.getIntOrFloatBitWidth() / 8;
  width = vectorBits / element.getIntOrFloatBitWidth();
  numChunks = llvm::divideCeil(op.getCols(), width);
  unrolled = numChunks <= KernelEmitter::kMaxUnrolled;
  // Everything stays in registers where it fits beside the temporaries of one chunk.
  keepAll = unrolled && numChunks * stages.numVectorInputs() <= 20;
  if (!unrolled)
    for (Value v : stages.keptValues())
      scratch[v] = rowOnStack();
  sumBlock = op.getInner();
  if (sumBlock > kLongestSerialSum)
    sumBlock = int64_t(std::ceil(std::sqrt(double(sumBlock))));
  blockSums.resize(op.getNumResults());
  for (unsigned i = 0; i < op.getNumResults(); ++i)
    if (sumsOverInner(i) && sumBlock < op.getInner() && !sumsColumnsOnly())
      blockSums[i] = rowOnStack();
}

Value RowEmitter::rowOnStack() {
  auto type = LLVM::LLVMArrayType::get(element, numChunks * width);
  return LLVM::AllocaOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext()), type, i64(1),
                                /*alignment=*/64);
}

Value RowEmitter::i64(int64_t value) {
  return arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(value));
}

Value RowEmitter::expand(AffineExpr expr) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return i64(constant.getValue());
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return dim.getPosition() == 0 ? r : k;
  if (Value known = rowExprs.lookup(expr))
    return known;
  auto binary = cast<AffineBinaryOpExpr>(expr);
  Value lhs = expand(binary.getLHS()), rhs = expand(binary.getRHS()), result;
  switch (expr.getKind()) { // no coordinate is negative
  case AffineExprKind::Add:
    result = arith::AddIOp::create(b, loc, lhs, rhs);
    break;
  case AffineExprKind::Mul:
    result = arith::MulIOp::create(b, loc, lhs, rhs);
    break;
  case AffineExprKind::FloorDiv:
    result = arith::DivUIOp::create(b, loc, lhs, rhs);
    break;
  case AffineExprKind::Mod:
    result = arith::RemUIOp::create(b, loc, lhs, rhs);
    break;
  default:
    llvm_unreachable("row maps hold no ceildiv");
  }
  return rowExprs[expr] = result;
}

Value RowEmitter::address(Value pointer, Type type, Value index) {
  return LLVM::GEPOp::create(b, loc, pointer.getType(), type, pointer,
                             ArrayRef<LLVM::GEPArg>{index});
}

void RowEmitter::beginPoint(Value row, Value inner) {
  r = row;
  k = inner;
  scalars.clear();
  rowExprs.clear();
  kept.clear();
}

/// Element index of column `column` (i64) of the row that `map` names, in a tensor of `pitch`.
static Value elementIndex(OpBuilder &b, Location loc, Value row, int64_t pitch, Value column) {
  Value scaled = arith::MulIOp::create(
      b, loc, row, arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(pitch)));
  return arith::AddIOp::create(b, loc, scaled, column);
}

Value RowEmitter::scalar(Value v) {
  if (Value known = scalars.lookup(v))
    return known;
  Value result;
  if (auto arg = dyn_cast<BlockArgument>(v)) {
    AffineMap map = op.getInMap(arg.getArgNumber());
    int64_t pitch = rt::rowPitch(typeOf(op.getInputs()[arg.getArgNumber()]));
    Value index = elementIndex(b, loc, expand(map.getResult(0)), pitch, expand(map.getResult(1)));
    result = LLVM::LoadOp::create(b, loc, v.getType(),
                                  address(pointers[arg.getArgNumber()], v.getType(), index));
  } else if (auto swap = v.getDefiningOp<rt::SwapPairsOp>()) { // all columns are equal
    result = scalar(swap.getValue());
  } else if (auto index = v.getDefiningOp<rt::IndexOp>()) {
    result = arith::TruncIOp::create(b, loc, b.getI32Type(), expand(index.getMap().getResult(0)));
  } else {
    Operation *source = v.getDefiningOp();
    IRMapping mapping;
    for (Value operand : source->getOperands())
      mapping.map(operand, scalar(operand));
    result = b.clone(*source, mapping)->getResult(0);
  }
  return scalars[v] = result;
}

//===----------------------------------------------------------------------===//
// Vectors
//===----------------------------------------------------------------------===//

Value RowEmitter::splat(Value v) {
  if (auto constant = v.getDefiningOp<arith::ConstantOp>())
    return arith::ConstantOp::create(
        b, loc, DenseElementsAttr::get(vectorOf(v.getType()), constant.getValue()));
  return vector::BroadcastOp::create(b, loc, vectorOf(v.getType()), v);
}

Value RowEmitter::mask(int64_t lanes) {
  SmallVector<bool> bits(width, false);
  std::fill_n(bits.begin(), lanes, true);
  return arith::ConstantOp::create(b, loc, DenseElementsAttr::get(vectorOf(b.getI1Type()), bits));
}

Value RowEmitter::loadInput(BlockArgument arg, const Chunk &chunk) {
  Type type = arg.getType();
  AffineMap map = op.getInMap(arg.getArgNumber());
  int64_t pitch = rt::rowPitch(typeOf(op.getInputs()[arg.getArgNumber()]));
  Value start = chunk.start, row = expand(map.getResult(0));
  auto product = dyn_cast<AffineBinaryOpExpr>(map.getResult(1)); // a multiple of c
  int64_t stride = product ? cast<AffineConstantExpr>(product.getRHS()).getValue() : 1;
  if (stride > 1)
    start = arith::MulIOp::create(b, loc, start, i64(stride));
  Value from = address(pointers[arg.getArgNumber()], type, elementIndex(b, loc, row, pitch, start));
  if (stride == 1)
    return load(from, chunk.lanes, type);
  SmallVector<int64_t> steps;
  for (int64_t lane = 0; lane < width; ++lane)
    steps.push_back(lane * stride);
  Value offsets = arith::ConstantOp::create(
      b, loc, DenseElementsAttr::get(vectorOf(b.getI64Type()), ArrayRef<int64_t>(steps)));
  Value lanes = LLVM::GEPOp::create(b, loc, vectorOf(from.getType()), type, from,
                                    ArrayRef<LLVM::GEPArg>{offsets});
  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(vectorOf(type)));
  return LLVM::masked_gather::create(b, loc, vectorOf(type), lanes, mask(chunk.lanes),
                                     ValueRange(zero),
                                     b.getI32IntegerAttr(type.getIntOrFloatBitWidth() / 8));
}

Value RowEmitter::compute(Value v, const Chunk &chunk) {
  if (auto arg = dyn_cast<BlockArgument>(v))
    return loadInput(arg, chunk);
  if (v.getDefiningOp<rt::IndexOp>()) { // not uniform: the column itself
    SmallVector<int32_t> lanes(width);
    std::iota(lanes.begin(), lanes.end(), 0);
    Value first = arith::TruncIOp::create(b, loc, b.getI32Type(), chunk.start);
    Value steps = arith::ConstantOp::create(
        b, loc, DenseElementsAttr::get(vectorOf(b.getI32Type()), ArrayRef<int32_t>(lanes)));
    return arith::AddIOp::create(b, loc, splat(first), steps);
  }
  Operation *source = v.getDefiningOp();
  if (auto swap =
          dyn_cast<rt::SwapPairsOp>(source)) { // a pair lies in one chunk: its width is even
    SmallVector<int64_t> lanes;
    for (int64_t lane = 0; lane < width; ++lane)
      lanes.push_back(lane ^ 1);
    Value operand = vector(swap.getValue(), chunk);
    return vector::ShuffleOp::create(b, loc, operand, operand, lanes);
  }
  SmallVector<Value> operands;
  for (Value operand : source->getOperands())
    operands.push_back(vector(operand, chunk));
  IRMapping mapping;
  mapping.map(source->getOperands(), operands);
  Operation *copy = b.clone(*source, mapping);
  copy->getResult(0).setType(vectorOf(v.getType()));
  return copy->getResult(0);
}

Value RowEmitter::vector(Value v, const Chunk &chunk) {
  if (Value known = chunkValues.lookup(v))
    return known;
  Value result;
  bool crossesStages = stages.isKept(v);
  if (stages.isUniform(v)) {
    result = splat(scalar(v));
  } else if (unrolled && (keepAll || crossesStages)) {
    Value &slot = kept[{v, chunk.index}];
    if (!slot) {
      Value fresh = compute(v, chunk); // may rehash `kept`
      kept[{v, chunk.index}] = fresh;
      result = fresh;
    } else {
      result = slot;
    }
  } else if (crossesStages) {
    Value row = address(scratch[v], element, chunk.start);
    if (stages.isKeptNow(v)) {
      result = compute(v, chunk);
      LLVM::StoreOp::create(b, loc, result, row, unsigned(elementBytes));
    } else {
      result = LLVM::LoadOp::create(b, loc, vectorOf(v.getType()), row, unsigned(elementBytes));
    }
  } else {
    result = compute(v, chunk);
  }
  return chunkValues[v] = result;
}

Value RowEmitter::resultAddress(unsigned i, Value column) {
  auto type = typeOf(op.getResult(i));
  Value index =
      elementIndex(b, loc, expand(op.getOutMap(i).getResult(0)), rt::rowPitch(type), column);
  return address(pointers[op.getInputs().size() + i], type.getElementType(), index);
}

Value RowEmitter::pointAddress(unsigned i, Value column) {
  if (!blockSums[i])
    return resultAddress(i, column);
  return address(blockSums[i], element, isUniformResult(i) ? i64(0) : column);
}

Value RowEmitter::load(Value from, int64_t lanes, Type type) {
  if (type.isBF16()) // its bits: LLVM takes masked bf16 apart where the processor has no bf16
    return arith::BitcastOp::create(b, loc, vectorOf(type), load(from, lanes, b.getI16Type()));
  VectorType vector = vectorOf(type);
  unsigned alignment = type.getIntOrFloatBitWidth() / 8;
  if (lanes == width)
    return LLVM::LoadOp::create(b, loc, vector, from, alignment);
  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(vector));
  return LLVM::MaskedLoadOp::create(b, loc, vector, from, mask(lanes), zero, alignment);
}

void RowEmitter::store(Value value, Value to, int64_t lanes) {
  Type type = getElementTypeOrSelf(value);
  if (type.isBF16())
    return store(arith::BitcastOp::create(b, loc, vectorOf(b.getI16Type()), value), to, lanes);
  unsigned alignment = type.getIntOrFloatBitWidth() / 8;
  if (lanes == width)
    LLVM::StoreOp::create(b, loc, value, to, alignment);
  else
    LLVM::MaskedStoreOp::create(b, loc, value, to, mask(lanes), alignment);
}

void RowEmitter::storeResult(unsigned i, const Chunk &chunk) {
  Value value = vector(stages.yielded(i), chunk);
  Value to = pointAddress(i, chunk.start);
  if (sumsOverInner(i))
    value = arith::AddFOp::create(b, loc, load(to, chunk.lanes, element), value);
  store(value, to, chunk.lanes);
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

Value RowEmitter::neutral(rt::Reduction kind) {
  double value = kind == rt::Reduction::Add   ? 0.0
                 : kind == rt::Reduction::Max ? -INFINITY
                                              : INFINITY;
  return arith::ConstantOp::create(
      b, loc, DenseElementsAttr::get(vectorOf(element), b.getFloatAttr(element, value)));
}

Value RowEmitter::combine(rt::Reduction kind, Value a, Value v) {
  if (kind == rt::Reduction::Add)
    return arith::AddFOp::create(b, loc, a, v);
  auto predicate =
      kind == rt::Reduction::Max ? arith::CmpFPredicate::OLT : arith::CmpFPredicate::OGT;
  return arith::SelectOp::create(b, loc, arith::CmpFOp::create(b, loc, predicate, a, v), v,
                                 a); // one vmaxps
}

Value RowEmitter::horizontal(rt::Reduction kind, Value v) {
  // A tree of our own: vector.reduction <maxnumf> without nnan becomes a serial chain, and the
  // order of a sum must not be the back end's choice.
  for (int64_t size = width; size > 1; size /= 2) {
    auto half = [&](int64_t from) -> Value {
      return vector::ExtractStridedSliceOp::create(
          b, loc, v, ArrayRef<int64_t>{from}, ArrayRef<int64_t>{size / 2}, ArrayRef<int64_t>{1});
    };
    v = combine(kind, half(0), half(size / 2));
  }
  return vector::ExtractOp::create(b, loc, v, ArrayRef<int64_t>{0});
}

SmallVector<Value> RowEmitter::emitChunk(unsigned stage, const Chunk &chunk,
                                         ValueRange accumulators) {
  chunkValues.clear();
  SmallVector<Value> next;
  for (auto [handle, accumulator] : llvm::zip(stages.reductions(stage), accumulators)) {
    rt::RowReduceOp reduce = handle;
    Value v = vector(reduce.getValue(), chunk);
    if (chunk.lanes != width)
      v = arith::SelectOp::create(b, loc, mask(chunk.lanes), v, neutral(reduce.getKind()));
    next.push_back(combine(reduce.getKind(), accumulator, v));
  }
  // All values before the first store: a result may lie over an input that a later one reads.
  for (unsigned i : stages.results(stage))
    (void)vector(stages.yielded(i), chunk);
  for (unsigned i : stages.results(stage))
    storeResult(i, chunk);
  return next;
}

/// Emits the whole vectors of a long row as a loop, accumulators.size() at a time; returns how many
/// vectors it covers.
int64_t RowEmitter::emitLoop(unsigned stage, MutableArrayRef<SmallVector<Value>> accumulators) {
  // Uniform values must be made before the loop, in whose body they would not dominate later
  // stages.
  for (Value v : stages.uniformOperands(stage))
    (void)scalar(v);
  for (unsigned i = 0; i < op.getInputs().size(); ++i)
    (void)expand(op.getInMap(i).getResult(0));
  for (unsigned i = 0; i < op.getNumResults(); ++i)
    (void)expand(op.getOutMap(i).getResult(0));

  int64_t ways = accumulators.size(), perWay = accumulators.front().size();
  int64_t covered = op.getCols() / width / ways * ways;
  SmallVector<Value> init;
  for (auto &way : accumulators)
    llvm::append_range(init, way);
  auto loop = scf::ForOp::create(b, loc, i64(0), i64(covered * width), i64(ways * width), init);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  SmallVector<Value> yielded;
  for (int64_t way = 0; way < ways; ++way) {
    Value start = loop.getInductionVar();
    if (way > 0)
      start = arith::AddIOp::create(b, loc, start, i64(way * width));
    auto mine = loop.getRegionIterArgs().slice(way * perWay, perWay);
    llvm::append_range(yielded, emitChunk(stage, {start, width, -1}, ValueRange(mine)));
  }
  if (!yielded.empty()) // a loop without results has its terminator already
    scf::YieldOp::create(b, loc, yielded);
  for (int64_t way = 0; way < ways; ++way)
    for (int64_t j = 0; j < perWay; ++j)
      accumulators[way][j] = loop.getResult(way * perWay + j);
  return covered;
}

void RowEmitter::emitStage(unsigned stage) {
  ArrayRef<rt::RowReduceOp> reductions = stages.reductions(stage);
  if (reductions.empty() && stages.results(stage).empty())
    return;
  stages.enter(stage);
  int64_t lanesInTail = op.getCols() % width, full = op.getCols() / width;
  // Independent accumulators hide the latency of the adds.
  int64_t ways = std::clamp<int64_t>(full, 1, unrolled ? 4 : 2);
  SmallVector<SmallVector<Value>> accumulators(ways);
  for (auto &way : accumulators)
    for (rt::RowReduceOp reduce : reductions)
      way.push_back(neutral(reduce.getKind()));

  int64_t first = unrolled ? 0 : emitLoop(stage, accumulators);
  for (int64_t i = first; i < numChunks; ++i) {
    auto &way = accumulators[i % ways];
    way = emitChunk(stage, {i64(i * width), i < full ? width : lanesInTail, i}, way);
  }
  for (auto [j, handle] : llvm::enumerate(reductions)) {
    rt::RowReduceOp reduce = handle;
    Value v = accumulators[0][j];
    for (int64_t way = 1; way < ways; ++way)
      v = combine(reduce.getKind(), v, accumulators[way][j]);
    scalars[reduce.getResult()] = horizontal(reduce.getKind(), v);
  }
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

void RowEmitter::storeUniformResults() {
  for (unsigned i = 0; i < op.getNumResults(); ++i)
    if (isUniformResult(i)) // as in emitChunk
      (void)scalar(stages.yielded(i));
  for (unsigned i = 0; i < op.getNumResults(); ++i) {
    if (!isUniformResult(i))
      continue;
    Value value = scalar(stages.yielded(i));
    Value to = pointAddress(i, expand(op.getOutMap(i).getResult(1)));
    if (sumsOverInner(i))
      value = arith::AddFOp::create(b, loc, LLVM::LoadOp::create(b, loc, element, to), value);
    LLVM::StoreOp::create(b, loc, value, to);
  }
}

void RowEmitter::emitPoint() {
  for (unsigned stage = 0; stage < stages.size(); ++stage)
    emitStage(stage);
  storeUniformResults();
}

void RowEmitter::emitRows(Value begin, Value end) {
  auto rows = scf::ForOp::create(b, loc, begin, end, i64(1));
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(rows.getBody());
  Value row = rows.getInductionVar();
  if (op.getInner() == 1) {
    beginPoint(row, i64(0));
    return emitPoint();
  }
  if (sumsColumnsOnly())
    return emitColumnSums(row);
  beginPoint(row, i64(0));
  clearSums([&](unsigned i) { return resultAddress(i, firstColumn(i)); });
  if (sumBlock == op.getInner())
    return emitInner(row, i64(0), i64(op.getInner()));
  auto blocks = scf::ForOp::create(b, loc, i64(0), i64(op.getInner()), i64(sumBlock));
  b.setInsertionPointToStart(blocks.getBody());
  Value first = blocks.getInductionVar();
  Value last = arith::MinSIOp::create(b, loc, i64(op.getInner()),
                                      arith::AddIOp::create(b, loc, first, i64(sumBlock)));
  clearSums([&](unsigned i) { return blockSums[i]; });
  emitInner(row, first, last);
  beginPoint(row, i64(0));
  for (unsigned i = 0; i < op.getNumResults(); ++i)
    if (blockSums[i])
      addBlockSum(i);
}
