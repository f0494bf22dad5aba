//===- SumKernel.cpp - programs with sums over k -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "KernelBody.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace ns;

SmallVector<KernelBody::Slot> KernelBody::sumSlots() const {
  SmallVector<Slot> slots;
  for (unsigned i = 0; i < program.op.getNumResults(); ++i) {
    if (!program.isSum(i))
      continue;
    if (program.isUniformResult(i))
      slots.push_back({i, -1});
    else
      for (int64_t chunk = 0; chunk < schedule.chunks; ++chunk)
        slots.push_back({i, chunk});
  }
  return slots;
}

void KernelBody::emitSums() {
  Value row = blockId(gpu::Dimension::x), columns;
  if (schedule.columnBlocks > 1)
    columns = e.mul(blockId(gpu::Dimension::y), schedule.lanes * schedule.width * schedule.chunks);
  SmallVector<Slot> slots = sumSlots();
  SmallVector<Value> sums = emitInner(row, columns, slots);
  combineSums(row, columns, slots, sums);
}

/// Each group's sums over the k that it takes: group, group + groups, and so on.
SmallVector<Value> KernelBody::emitInner(Value row, Value columns, ArrayRef<Slot> slots) {
  SmallVector<Value> init;
  for (const Slot &slot : slots) {
    Type type = program.stages.yielded(slot.result).getType();
    init.push_back(e.neutral(rt::Reduction::Add, slot.chunk < 0 ? type : Type(e.vectorOf(type))));
  }
  int64_t step = schedule.groups * schedule.unroll;
  // From 0, not from the group: all groups must meet at the same barriers.
  auto loop = scf::ForOp::create(b, loc, e.count(0), e.count(program.inner), e.count(step), init);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(loop.getBody());
  SmallVector<Value> sums(loop.getRegionIterArgs());
  emitTerms(row, e.add(loop.getInductionVar(), group), columns, slots, sums);
  if (reductionMemory) // read here, written in the next round
    gpu::BarrierOp::create(b, loc);
  usedReductionSlots = 0;
  if (!sums.empty())
    scf::YieldOp::create(b, loc, sums);
  return SmallVector<Value>(loop.getResults());
}

/// Points (row, first), (row, first + groups), ...: stores what is stored at each point and adds
/// the terms to the sums, the terms of one round by pairs.
void KernelBody::emitTerms(Value row, Value first, Value columns, ArrayRef<Slot> slots,
                           MutableArrayRef<Value> sums) {
  SmallVector<Point> points(schedule.unroll);
  SmallVector<SmallVector<Chunk>> chunks(schedule.unroll);
  for (int64_t u = 0; u < schedule.unroll; ++u) {
    Point &point = points[u];
    point.r = row;
    point.k = u == 0 ? first : e.add(first, e.count(u * schedule.groups));
    if (program.inner % (schedule.groups * schedule.unroll) != 0) {
      point.exists = e.less(point.k, program.inner);
      point.k = e.select(point.exists, point.k, e.count(program.inner - 1));
    }
    columnChunks(point, columns, chunks[u]);
    for (Chunk &chunk : chunks[u])
      e.loadFull(chunk);
  }
  SmallVector<SmallVector<Value>> terms(slots.size());
  for (int64_t u = 0; u < schedule.unroll; ++u) {
    emitStages(points[u], chunks[u]);
    storeUniformResults(points[u]);
    for (auto [i, slot] : llvm::enumerate(slots)) {
      Value v = program.stages.yielded(slot.result);
      v = slot.chunk < 0 ? e.scalar(v, points[u]) : e.vector(v, chunks[u][slot.chunk]);
      if (points[u].exists)
        v = e.select(points[u].exists, v, e.neutral(rt::Reduction::Add, v.getType()));
      terms[i].push_back(v);
    }
  }
  for (auto [sum, parts] : llvm::zip(sums, terms)) {
    for (; parts.size() > 1; parts.resize((parts.size() + 1) / 2))
      for (size_t i = 0; 2 * i + 1 < parts.size() + 1; ++i)
        parts[i] = 2 * i + 1 < parts.size()
                       ? e.combine(rt::Reduction::Add, parts[2 * i], parts[2 * i + 1])
                       : parts[2 * i];
    sum = e.combine(rt::Reduction::Add, sum, parts.front());
  }
}

void KernelBody::storeSum(const Slot &slot, Value value, Point &point, Chunk *chunk) {
  if (slot.chunk < 0)
    return e.storeScalar(slot.result, value, point);
  e.store(slot.result, value, *chunk);
}

/// Adds up the sums of the groups, group 0 first, and stores them. As many slots at a time as
/// shared memory holds; group s of a round takes slot s.
void KernelBody::combineSums(Value row, Value columns, ArrayRef<Slot> slots, ArrayRef<Value> sums) {
  Point point(row, e.count(0));
  SmallVector<Chunk> chunks;
  columnChunks(point, columns, chunks);
  Type element = program.stages.yielded(slots.front().result).getType();
  int64_t threads = schedule.threads(), slotElements = threads * schedule.width;
  int64_t slotBytes = slotElements * (element.getIntOrFloatBitWidth() / 8);
  int64_t perRound = std::min<int64_t>({int64_t(slots.size()), schedule.groups,
                                        std::max<int64_t>(1, target.maxShared / 2 / slotBytes)});
  Value memory;
  if (schedule.groups > 1)
    memory = sharedMemory(perRound * slotElements, element);
  auto at = [&](int64_t nth, Value ofGroup) { // of this lane
    Value unit = e.add(e.mul(ofGroup, schedule.lanes), lane);
    return e.index(e.add(e.mul(unit, schedule.width), e.count(nth * slotElements)));
  };
  bool first = true;
  for (size_t begin = 0; begin < slots.size(); begin += perRound) {
    auto round = slots.slice(begin, std::min<size_t>(perRound, slots.size() - begin));
    if (memory) {
      if (!first)
        gpu::BarrierOp::create(b, loc);
      first = false;
      for (auto [nth, slot] : llvm::enumerate(round)) {
        Value sum = sums[begin + nth];
        if (slot.chunk < 0)
          memref::StoreOp::create(b, loc, sum, memory, at(nth, group));
        else
          vector::StoreOp::create(b, loc, sum, memory, at(nth, group));
      }
      gpu::BarrierOp::create(b, loc);
    }
    for (auto [nth, slot] : llvm::enumerate(round)) {
      Chunk *chunk = slot.chunk < 0 ? nullptr : &chunks[slot.chunk];
      Value mine = memory ? e.equal(group, nth) : Value();
      if (slot.chunk < 0) {
        mine = e.both(mine, e.equal(lane, 0));
        if (schedule.columnBlocks > 1)
          mine = e.both(mine, e.equal(columns, 0));
      } else {
        mine = e.both(mine, chunk->exists);
      }
      e.when(mine, [&, nth = nth, slot = slot] {
        Value total = sums[begin + nth];
        for (int64_t g = 0; memory && g < schedule.groups; ++g) {
          Value from = at(nth, e.count(g)), part;
          if (slot.chunk < 0)
            part = memref::LoadOp::create(b, loc, memory, from);
          else
            part = vector::LoadOp::create(b, loc, e.vectorOf(element), memory, from);
          total = g == 0 ? part : e.combine(rt::Reduction::Add, total, part);
        }
        Point place(row, e.count(0));
        Chunk inside = chunk ? Chunk(&place, chunk->base, chunk->step) : Chunk(&place, {}, 0);
        storeSum(slot, total, place, &inside);
      });
    }
  }
}
