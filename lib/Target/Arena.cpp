//===- Arena.cpp - the scratch of one entry by value and time -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Arena.h"

#include "ns/Dialect/RT/IR/RT.h"

using namespace mlir;
using namespace ns;

using Positions = llvm::DenseMap<Operation *, int64_t>;

/// Position of the last op that reads a value, through views and through ops that write into it.
static int64_t lastUse(Value value, Operation *block, const Positions &positions, int64_t least) {
  int64_t last = least;
  for (Operation *user : value.getUsers()) {
    Operation *top = block->getRegion(0).front().findAncestorOpInBlock(*user);
    last = std::max(last, positions.lookup(top));
    if (auto view = dyn_cast<rt::ViewOp>(user))
      last = std::max(last, lastUse(view.getResult(), block, positions, last));
  }
  return last;
}

static bool isGradient(const OpInfo &info) {
  return info.kind.ends_with("_gradient") || llvm::any_of(info.members, isGradient);
}

/// Bytes that at least one of the values covers; they may lie over each other.
static int64_t covered(std::vector<const ArenaValue *> values) {
  llvm::sort(values, [](auto *a, auto *b) { return a->offset < b->offset; });
  int64_t sum = 0, end = 0;
  for (const ArenaValue *value : values) {
    int64_t begin = std::max(value->offset, end);
    end = std::max(end, value->offset + value->bytes);
    sum += std::max<int64_t>(0, end - begin);
  }
  return sum;
}

Arena::Arena(func::FuncOp entry)
    : name(entry.getSymName()),
      bytes(entry->getAttrOfType<IntegerAttr>(rt::RTDialect::kWorkBytesAttr).getInt()),
      ops(listOps(entry)) {
  Positions positions;
  for (auto [index, info] : llvm::enumerate(ops))
    positions[info.op] = index;
  for (const OpInfo &info : ops)
    if (auto own = info.op->getAttrOfType<IntegerAttr>(rt::RTDialect::kScratchBytesAttr))
      scratch = std::max(scratch, own.getInt());
  turn = llvm::find_if(ops, isGradient) - ops.begin();
  for (auto [index, info] : llvm::enumerate(ops)) {
    auto offsets = info.op->getAttrOfType<DenseI64ArrayAttr>(rt::RTDialect::kOffsetsAttr);
    for (OpResult result : info.op->getResults()) {
      int64_t offset = offsets ? offsets[result.getResultNumber()] : -1;
      if (offset < 0)
        continue; // in a slot
      int64_t last = lastUse(result, entry, positions, index);
      bool packed = isa<rt::PackOp>(info.op);
      bool saved = !packed && int64_t(index) < turn && last > turn;
      values.push_back({rt::typeOf(result), info.layer, offset, rt::byteSize(rt::typeOf(result)),
                        int64_t(index), last, saved, packed});
    }
  }
  for (int64_t at = 0; at < int64_t(ops.size()); ++at) {
    std::vector<const ArenaValue *> present, kept, packed;
    for (const ArenaValue &value : values)
      if (value.first <= at && at <= value.last) {
        present.push_back(&value);
        if (value.saved)
          kept.push_back(&value);
        if (value.packed)
          packed.push_back(&value);
      }
    live.push_back(covered(std::move(present)));
    savedBytes = std::max(savedBytes, covered(std::move(kept)));
    packedBytes = std::max(packedBytes, covered(std::move(packed)));
    if (live[at] > live[peak])
      peak = at;
  }
}
