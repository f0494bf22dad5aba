//===- KernelBody.cpp - flat and row schedules -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelBody.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace ns;

KernelBody::KernelBody(OpBuilder &b, gpu::GPUFuncOp kernel, const GpuProgram &program,
                       const Schedule &schedule, const GpuTarget &target)
    : b(b), loc(program.op.getLoc()), kernel(kernel), program(program), schedule(schedule),
      target(target),
      e(b, program, kernel.getArguments().take_front(program.numArguments()), schedule.width) {
  b.setInsertionPointToStart(&kernel.getBody().front());
  thread = threadId(gpu::Dimension::x);
  lane = schedule.groups == 1 ? thread : e.rem(thread, schedule.lanes);
  group = schedule.groups == 1 ? e.count(0) : e.div(thread, schedule.lanes);
}

void KernelBody::emit() {
  switch (schedule.kind) {
  case Schedule::Kind::Flat:
    emitFlat();
    break;
  case Schedule::Kind::Rows:
  case Schedule::Kind::Loop:
    emitRows();
    break;
  case Schedule::Kind::Sums:
    emitSums();
    break;
  }
  gpu::ReturnOp::create(b, loc, ValueRange());
}

Value KernelBody::threadId(gpu::Dimension dimension) {
  return arith::IndexCastUIOp::create(b, loc, e.counter(),
                                      gpu::ThreadIdOp::create(b, loc, dimension));
}

Value KernelBody::blockId(gpu::Dimension dimension) {
  return arith::IndexCastUIOp::create(b, loc, e.counter(),
                                      gpu::BlockIdOp::create(b, loc, dimension));
}

Value KernelBody::sharedMemory(int64_t elements, Type element) {
  auto space = gpu::AddressSpaceAttr::get(b.getContext(), gpu::AddressSpace::Workgroup);
  auto type = MemRefType::get({elements}, element, MemRefLayoutAttrInterface(), space);
  Value memory = kernel.addWorkgroupAttribution(type, loc);
  kernel.setWorkgroupAttributionAttr(kernel.getNumWorkgroupAttributions() - 1,
                                     LLVM::LLVMDialect::getAlignAttrName(),
                                     b.getI64IntegerAttr(16));
  return memory;
}

//===----------------------------------------------------------------------===//
// Flat
//===----------------------------------------------------------------------===//

/// The nth vector of a thread, whose vectors lie a block's width apart, `first` being its first.
Chunk KernelBody::flatChunk(Value first, int64_t nth, Point &point) {
  int64_t vectors = program.cols / schedule.width;
  int64_t total = program.rows * program.inner * vectors, apart = nth * schedule.groups;
  bool certain = total % (schedule.chunks * schedule.groups) == 0;
  if (program.collapsed && certain) {
    point.r = point.k = e.count(0);
    return Chunk(&point, e.mul(first, schedule.width), apart * schedule.width);
  }
  Value at = nth == 0 ? first : e.add(first, e.count(apart));
  if (!certain) {
    point.exists = e.less(at, total);
    at = e.select(point.exists, at, e.count(total - 1));
  }
  Value row = e.div(at, vectors);
  if (program.rows * program.inner == 1)
    row = e.count(0);
  point.r = e.div(row, program.inner);
  point.k = e.rem(row, program.inner);
  return Chunk(&point, e.mul(vectors == 1 ? e.count(0) : e.rem(at, vectors), schedule.width), 0);
}

void KernelBody::emitFlat() {
  Value first = e.add(e.mul(blockId(gpu::Dimension::x), schedule.groups * schedule.chunks), thread);
  SmallVector<Point> points(schedule.chunks);
  SmallVector<Chunk> chunks;
  for (int64_t i = 0; i < schedule.chunks; ++i)
    chunks.push_back(flatChunk(first, i, points[i]));
  for (Chunk &chunk : chunks)
    e.loadFull(chunk);
  for (Chunk &chunk : chunks) {
    for (unsigned i = 0; i < program.op.getNumResults(); ++i)
      if (program.isUniformResult(i)) // read before anything is written
        (void)e.scalar(program.stages.yielded(i), *chunk.point);
    e.storeColumns(program.stages.results(0), chunk);
    for (unsigned i = 0; i < program.op.getNumResults(); ++i) {
      if (!program.isUniformResult(i))
        continue;
      Value value = e.scalar(program.stages.yielded(i), *chunk.point);
      e.when(e.both(chunk.point->exists, e.equal(chunk.base, 0)), [&] {
        Point place(chunk.point->r, chunk.point->k);
        e.storeScalar(i, value, place);
      });
    }
  }
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

void KernelBody::columnChunks(Point &point, Value from, SmallVectorImpl<Chunk> &chunks) {
  Value mine = e.mul(lane, schedule.width);
  if (from)
    mine = e.add(from, mine);
  int64_t stride = schedule.lanes * schedule.width;
  for (int64_t i = 0; i < schedule.chunks; ++i) {
    if (schedule.columnBlocks * (i + 1) * stride <= program.cols) {
      chunks.push_back(Chunk(&point, mine, i * stride));
      continue;
    }
    Value column = i == 0 ? mine : e.add(mine, e.count(i * stride));
    Value exists = e.less(column, program.cols);
    chunks.push_back(Chunk(&point, e.select(exists, column, e.count(0)), 0, exists));
  }
}

void KernelBody::emitRows() {
  int64_t points = program.rows * program.inner;
  Value at = blockId(gpu::Dimension::x);
  if (schedule.groups > 1)
    at = e.add(e.mul(at, schedule.groups), group);
  Point point;
  if (points % schedule.groups != 0) {
    point.exists = e.less(at, points);
    at = e.select(point.exists, at, e.count(points - 1));
  }
  point.r = e.div(at, program.inner);
  point.k = e.rem(at, program.inner);
  SmallVector<Chunk> chunks;
  if (schedule.kind == Schedule::Kind::Rows) {
    columnChunks(point, {}, chunks);
    for (Chunk &chunk : chunks)
      e.loadFull(chunk);
  }
  emitStages(point, chunks);
  storeUniformResults(point);
}

void KernelBody::emitStages(Point &point, MutableArrayRef<Chunk> chunks) {
  for (unsigned stage = 0; stage < program.stages.size(); ++stage) {
    ArrayRef<rt::RowReduceOp> reductions = program.stages.reductions(stage);
    if (schedule.kind == Schedule::Kind::Loop) {
      emitStageLoop(stage, point);
      continue;
    }
    SmallVector<Value> partial(reductions.size());
    for (Chunk &chunk : chunks)
      accumulate(stage, chunk, partial);
    finishReductions(stage, point, partial);
    for (Chunk &chunk : chunks)
      e.storeColumns(program.stages.results(stage), chunk);
  }
}

void KernelBody::accumulate(unsigned stage, Chunk &chunk, MutableArrayRef<Value> partial) {
  for (auto [handle, sum] : llvm::zip(program.stages.reductions(stage), partial)) {
    rt::RowReduceOp reduce = handle;
    Value v = e.vector(reduce.getValue(), chunk);
    if (chunk.exists)
      v = e.select(chunk.exists, v, e.neutral(reduce.getKind(), v.getType()));
    sum = sum ? e.combine(reduce.getKind(), sum, v) : v;
  }
}

void KernelBody::finishReductions(unsigned stage, Point &point, ArrayRef<Value> partial) {
  SmallVector<rt::Reduction> kinds;
  SmallVector<Value> values;
  for (auto [handle, sum] : llvm::zip(program.stages.reductions(stage), partial)) {
    rt::RowReduceOp reduce = handle;
    kinds.push_back(reduce.getKind());
    values.push_back(e.horizontal(reduce.getKind(), sum));
  }
  reduceGroup(kinds, values);
  for (auto [handle, value] : llvm::zip(program.stages.reductions(stage), values)) {
    rt::RowReduceOp reduce = handle;
    point.scalars[reduce.getResult()] = value;
  }
}

/// A stage of a row that does not fit in registers: all of its columns, `chunks` vectors of each
/// lane at a time.
void KernelBody::emitStageLoop(unsigned stage, Point &point) {
  ArrayRef<rt::RowReduceOp> reductions = program.stages.reductions(stage);
  // All results in the last pass: a result may lie over an input that a later pass reads.
  SmallVector<unsigned> results;
  e.prepare(stage, point);
  if (stage + 1 == program.stages.size())
    for (unsigned earlier = 0; earlier <= stage; ++earlier) {
      llvm::append_range(results, program.stages.results(earlier));
      e.prepare(earlier, point);
    }
  if (reductions.empty() && results.empty())
    return;
  SmallVector<Value> init;
  for (rt::RowReduceOp reduce : reductions)
    init.push_back(e.neutral(reduce.getKind(), e.vectorOf(reduce.getValue().getType())));
  int64_t step = schedule.lanes * schedule.width * schedule.chunks;
  auto loop = scf::ForOp::create(b, loc, e.count(0), e.count(program.cols), e.count(step), init);
  SmallVector<Value> totals(loop.getResults());
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    Value first = e.add(loop.getInductionVar(), e.mul(lane, schedule.width));
    SmallVector<Chunk> chunks;
    for (int64_t i = 0; i < schedule.chunks; ++i) {
      if (program.cols % step == 0) {
        chunks.push_back(Chunk(&point, first, i * schedule.lanes * schedule.width));
        continue;
      }
      Value column = e.add(first, e.count(i * schedule.lanes * schedule.width));
      Value exists = e.less(column, program.cols);
      chunks.push_back(Chunk(&point, e.select(exists, column, e.count(0)), 0, exists));
    }
    SmallVector<Value> sums(loop.getRegionIterArgs());
    for (Chunk &chunk : chunks)
      accumulate(stage, chunk, sums);
    for (Chunk &chunk : chunks)
      e.storeColumns(results, chunk);
    if (!sums.empty()) // a loop without results has its terminator already
      scf::YieldOp::create(b, loc, sums);
  }
  finishReductions(stage, point, totals);
}

void KernelBody::storeUniformResults(Point &point) {
  SmallVector<std::pair<unsigned, Value>> stored;
  for (unsigned i = 0; i < program.op.getNumResults(); ++i)
    if (program.isUniformResult(i) && !program.isSum(i))
      stored.push_back({i, e.scalar(program.stages.yielded(i), point)});
  if (stored.empty())
    return;
  e.when(e.both(point.exists, e.equal(lane, 0)), [&] {
    Point place(point.r, point.k);
    for (auto [i, value] : stored)
      e.storeScalar(i, value, place);
  });
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

Value KernelBody::shuffleReduce(rt::Reduction kind, Value v, int64_t lanes) {
  auto i32 = [&](int64_t value) {
    return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(value));
  };
  for (int64_t apart = lanes / 2; apart > 0; apart /= 2) {
    auto other =
        gpu::ShuffleOp::create(b, loc, v, i32(apart), i32(target.warpSize), gpu::ShuffleMode::XOR);
    v = e.combine(kind, v, other.getShuffleResult());
  }
  return v;
}

void KernelBody::reduceGroup(ArrayRef<rt::Reduction> kinds, MutableArrayRef<Value> values) {
  if (values.empty())
    return;
  int64_t inWarp = std::min(schedule.lanes, target.warpSize);
  for (auto [kind, value] : llvm::zip(kinds, values))
    value = shuffleReduce(kind, value, inWarp);
  int64_t warps = schedule.lanes / target.warpSize; // of a group
  if (warps <= 1)
    return;
  // Each reduction has a place of its own, so that one barrier separates writers from readers.
  int64_t perReduction = schedule.threads() / target.warpSize;
  Type element = values.front().getType();
  if (!reductionMemory) {
    int64_t count = llvm::range_size(program.op.getBody().front().getOps<rt::RowReduceOp>());
    reductionMemory = sharedMemory(count * perReduction, element);
  }
  Value warp = e.div(thread, target.warpSize);
  auto place = [&](size_t i, Value at) {
    return e.index(e.add(at, e.count((usedReductionSlots + i) * perReduction)));
  };
  e.when(e.equal(e.rem(thread, target.warpSize), 0), [&] {
    for (auto [i, value] : llvm::enumerate(values))
      memref::StoreOp::create(b, loc, value, reductionMemory, place(i, warp));
  });
  gpu::BarrierOp::create(b, loc);
  Value mine = e.add(e.mul(group, warps), e.rem(thread, warps));
  for (auto [i, value] : llvm::enumerate(values)) {
    value = memref::LoadOp::create(b, loc, reductionMemory, place(i, mine));
    value = shuffleReduce(kinds[i], value, warps);
  }
  usedReductionSlots += values.size();
}
