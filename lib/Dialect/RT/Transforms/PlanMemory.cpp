//===- PlanMemory.cpp - offsets in the arena -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/RT/IR/RT.h"
#include "ns/Dialect/RT/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/MathExtras.h"

namespace ns::rt {
#define GEN_PASS_DEF_RTPLANMEMORYPASS
#include "ns/Dialect/RT/Transforms/Passes.h.inc"
} // namespace ns::rt

using namespace mlir;
using namespace ns::rt;

namespace {

constexpr int64_t kAlignment = 64;

/// One piece of region work and the positions in the entry between which it holds a value.
struct Buffer {
  int64_t bytes;
  int64_t first, last; // op positions, inclusive
  int64_t offset = -1;
};

/// Buffers of the values of one block: of an entry, or of tiles, where a value has room for one
/// block of units. Views and values written into a destination share their source's buffer.
class Plan {
public:
  /// The arena of an entry.
  explicit Plan(Block &block) : Plan(block, 1, 1) {}
  /// The scratch of a thread: a value has room for `height` of its `units` runs. What is yielded,
  /// or lies in the place of such a value, lies in the arena.
  explicit Plan(TilesOp tiles)
      : Plan(tiles.getBody().front(), tiles.getUnits(), tiles.getHeight()) {}

  /// Places the buffers, largest first, each at the lowest offset that is free during its life.
  /// Returns the bytes needed.
  int64_t place() {
    SmallVector<Buffer *> order;
    for (auto &buffer : buffers)
      order.push_back(buffer.get());
    llvm::stable_sort(order, [](Buffer *a, Buffer *b) { return a->bytes > b->bytes; });
    int64_t total = 0;
    SmallVector<Buffer *> placed;
    for (Buffer *buffer : order) {
      SmallVector<Buffer *> rivals;
      for (Buffer *other : placed)
        if (other->first <= buffer->last && buffer->first <= other->last)
          rivals.push_back(other);
      llvm::sort(rivals, [](Buffer *a, Buffer *b) { return a->offset < b->offset; });
      int64_t offset = 0;
      for (Buffer *rival : rivals) {
        if (offset + buffer->bytes <= rival->offset)
          break;
        offset = std::max(offset, rival->offset + rival->bytes);
      }
      buffer->offset = offset;
      total = std::max(total, offset + buffer->bytes);
      placed.push_back(buffer);
    }
    return total;
  }

  int64_t offsetOf(Value value) const {
    Buffer *buffer = bufferOf.lookup(value);
    return buffer ? buffer->offset : -1;
  }

  /// The largest sum of sizes at one position: what no placement can beat.
  int64_t liveBytes() const {
    int64_t most = 0;
    for (int64_t at = 0; at < int64_t(positions.size()); ++at) {
      int64_t sum = 0;
      for (auto &buffer : buffers)
        if (buffer->first <= at && at <= buffer->last)
          sum += buffer->bytes;
      most = std::max(most, sum);
    }
    return most;
  }

  int64_t numInPlace = 0;

private:
  Plan(Block &block, int64_t units, int64_t height) : units(units), height(height) {
    if (auto tiles = dyn_cast<TilesOp>(block.getParentOp()))
      for (Value value : block.getTerminator()->getOperands())
        inArena.insert(storageOf(value));
    int64_t position = 0;
    for (Operation &op : block)
      positions[&op] = position++;
    for (Operation &op : block)
      addOp(&op);
  }

  int64_t bytesOf(Value value) const {
    return llvm::alignTo(byteSize(typeOf(value)) / units * height, kAlignment);
  }

  void addOp(Operation *op) {
    int64_t at = positions[op];
    op->walk([&](Operation *reader) { // members of tiles read values of this block
      for (Value operand : reader->getOperands())
        if (Buffer *buffer = bufferOf.lookup(operand))
          buffer->last = std::max(buffer->last, at);
    });
    if (auto view = dyn_cast<ViewOp>(op)) {
      // A view may be read after its source's last direct use: they share one buffer, whose life
      // covers both.
      if (Buffer *buffer = bufferOf.lookup(view.getSource()))
        bufferOf[view.getResult()] = buffer;
      return;
    }
    if (isa<SlotOp>(op))
      return;
    for (OpResult result : op->getResults())
      bufferOf[result] = bufferFor(op, result);
  }

  /// The destination's buffer (null: a slot, or outside of the tiles), the buffer of an input that
  /// dies here, or a new one.
  Buffer *bufferFor(Operation *op, OpResult result) {
    if (Value dest = destinationOf(result))
      return bufferOf.lookup(dest);
    if (inArena.contains(result))
      return nullptr;
    if (auto tiles = dyn_cast<TilesOp>(op)) // two results may lie in one place
      for (OpResult other : op->getResults().take_front(result.getResultNumber()))
        if (yieldedFrom(tiles, other) == yieldedFrom(tiles, result))
          return bufferOf.lookup(other);
    if (auto fused = dyn_cast<FusedOp>(op))
      if (Buffer *dying = overwritable(fused, result)) {
        ++numInPlace;
        dying->last = lastUse(result, positions[op]);
        return dying;
      }
    buffers.push_back(
        std::make_unique<Buffer>(Buffer{bytesOf(result), positions[op], positions[op]}));
    return buffers.back().get();
  }

  static Value yieldedFrom(TilesOp tiles, OpResult result) {
    return storageOf(tiles.getBody().front().getTerminator()->getOperand(result.getResultNumber()));
  }

  /// An input of a single-pass program that is read at the same points as the result is written,
  /// and by nothing later.
  Buffer *overwritable(FusedOp op, OpResult result) {
    AffineMap out = op.getOutMap(result.getResultNumber());
    auto type = typeOf(result);
    if (!op.isSingleStage() || type.getNumElements() != op.getRows() * op.getInner() * op.getCols())
      return nullptr;
    for (unsigned i = 0; i < op.getInputs().size(); ++i) {
      Value input = op.getInputs()[i];
      Buffer *buffer = bufferOf.lookup(input);
      auto inputType = typeOf(input);
      if (!buffer || op.getInMap(i) != out || inputType.getNumElements() != type.getNumElements() ||
          inputType.getElementType() != type.getElementType() ||
          rowPitch(inputType) != rowPitch(type) || buffer->bytes != bytesOf(result) ||
          taken.contains({op, buffer}) || otherReads(op, i, buffer) ||
          lastUseOfBuffer(buffer) > positions.lookup(op))
        continue;
      taken.insert({op, buffer});
      return buffer;
    }
    return nullptr;
  }

  /// Does the op read the buffer by another input, at other points?
  bool otherReads(FusedOp op, unsigned index, Buffer *buffer) {
    for (unsigned i = 0; i < op.getInputs().size(); ++i)
      if (i != index && bufferOf.lookup(op.getInputs()[i]) == buffer &&
          op.getInMap(i) != op.getInMap(index))
        return true;
    return false;
  }

  int64_t lastUseOfBuffer(Buffer *buffer) {
    int64_t last = 0;
    for (auto &[value, owner] : bufferOf)
      if (owner == buffer)
        last = std::max(last, lastUse(value, 0));
    return last;
  }

  /// Position of the last reader of a value, through views and destinations.
  int64_t lastUse(Value value, int64_t least) {
    int64_t last = least;
    for (Operation *user : value.getUsers()) {
      Operation *reader = user; // in this block, perhaps around the user
      while (reader && !positions.contains(reader))
        reader = reader->getParentOp();
      last = std::max(last, positions.lookup(reader));
      if (auto view = dyn_cast<ViewOp>(user))
        last = lastUse(view.getResult(), last);
    }
    return last;
  }

  int64_t units, height;
  llvm::SmallDenseSet<Value> inArena; ///< owners of the storage of what tiles yield
  llvm::DenseMap<Operation *, int64_t> positions;
  std::vector<std::unique_ptr<Buffer>> buffers;
  llvm::MapVector<Value, Buffer *> bufferOf;
  llvm::DenseSet<std::pair<Operation *, Buffer *>> taken;
};

struct RTPlanMemoryPass : public ns::rt::impl::RTPlanMemoryPassBase<RTPlanMemoryPass> {
  using RTPlanMemoryPassBase::RTPlanMemoryPassBase;

  void runOnOperation() override {
    func::FuncOp entry = getOperation();
    Block &block = entry.getBody().front();
    Plan plan(block);
    int64_t bytes = place(block, plan);
    entry->setAttr(RTDialect::kWorkBytesAttr, Builder(&getContext()).getI64IntegerAttr(bytes));
    workBytes = bytes;
    liveBytes = plan.liveBytes();
    int64_t mostScratch = 0;
    for (auto tiles : block.getOps<TilesOp>()) {
      Plan scratch(tiles);
      bytes = place(tiles.getBody().front(), scratch);
      tiles->setAttr(RTDialect::kScratchBytesAttr, Builder(&getContext()).getI64IntegerAttr(bytes));
      mostScratch = std::max(mostScratch, bytes);
    }
    scratchBytes = mostScratch;
  }

  /// Places the values of a block and writes down where; returns the bytes needed.
  int64_t place(Block &block, Plan &plan) {
    int64_t bytes = plan.place();
    for (Operation &op : block) {
      if (isa<ViewOp, SlotOp>(op) || op.getNumResults() == 0)
        continue;
      SmallVector<int64_t> offsets;
      for (Value result : op.getResults())
        offsets.push_back(plan.offsetOf(result));
      op.setAttr(RTDialect::kOffsetsAttr, Builder(&getContext()).getDenseI64ArrayAttr(offsets));
    }
    numInPlace += plan.numInPlace;
    return bytes;
  }
};
} // namespace
