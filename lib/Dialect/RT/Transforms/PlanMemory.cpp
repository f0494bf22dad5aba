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

/// Buffers of the values of one entry. Views and values written into a destination share their
/// source's buffer.
class Plan {
public:
  explicit Plan(Block &block) {
    int64_t position = 0;
    for (Operation &op : block)
      positions[&op] = position++;
    for (Operation &op : block)
      addOp(&op);
  }

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
  void addOp(Operation *op) {
    int64_t at = positions[op];
    for (Value operand : op->getOperands())
      if (Buffer *buffer = bufferOf.lookup(operand))
        buffer->last = std::max(buffer->last, at);
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

  /// The destination's buffer (null: a slot), the buffer of an input that dies here, or a new one.
  Buffer *bufferFor(Operation *op, OpResult result) {
    if (auto gemm = dyn_cast<GemmOp>(op); gemm && gemm.getDest())
      return bufferOf.lookup(gemm.getDest());
    auto fused = dyn_cast<FusedOp>(op);
    if (fused && fused.getDestOf(result.getResultNumber()))
      return bufferOf.lookup(fused.getDestOf(result.getResultNumber()));
    if (fused)
      if (Buffer *dying = overwritable(fused, result)) {
        ++numInPlace;
        dying->last = lastUse(result, positions[op]);
        return dying;
      }
    int64_t bytes = llvm::alignTo(byteSize(typeOf(result)), kAlignment);
    buffers.push_back(std::make_unique<Buffer>(Buffer{bytes, positions[op], positions[op]}));
    return buffers.back().get();
  }

  /// An input of a single-pass program that is read at the same points as the result is written,
  /// and by nothing later.
  Buffer *overwritable(FusedOp op, OpResult result) {
    if (!op.isSingleStage() || op.getInner() != 1)
      return nullptr;
    AffineMap out = op.getOutMap(result.getResultNumber());
    auto type = typeOf(result);
    for (unsigned i = 0; i < op.getInputs().size(); ++i) {
      Value input = op.getInputs()[i];
      Buffer *buffer = bufferOf.lookup(input);
      auto inputType = typeOf(input);
      if (!buffer || op.getInMap(i) != out || inputType.getNumElements() != type.getNumElements() ||
          inputType.getElementType() != type.getElementType() ||
          rowPitch(inputType) != rowPitch(type) ||
          buffer->bytes != int64_t(llvm::alignTo(byteSize(type), kAlignment)) ||
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
      last = std::max(last, positions.lookup(user));
      if (auto view = dyn_cast<ViewOp>(user))
        last = lastUse(view.getResult(), last);
    }
    return last;
  }

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
    Builder b(&getContext());
    int64_t bytes = plan.place();
    for (Operation &op : block) {
      if (isa<ViewOp, SlotOp>(op) || op.getNumResults() == 0)
        continue;
      SmallVector<int64_t> offsets;
      for (Value result : op.getResults())
        offsets.push_back(plan.offsetOf(result));
      op.setAttr(RTDialect::kOffsetsAttr, b.getDenseI64ArrayAttr(offsets));
    }
    entry->setAttr(RTDialect::kWorkBytesAttr, b.getI64IntegerAttr(bytes));
    workBytes = bytes;
    liveBytes = plan.liveBytes();
    numInPlace = plan.numInPlace;
  }
};
} // namespace
