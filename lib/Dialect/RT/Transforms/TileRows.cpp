//===- TileRows.cpp - ops on the same rows, block by block ----------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/RT/IR/RT.h"
#include "ns/Dialect/RT/Transforms/Passes.h"

#include "llvm/ADT/SetVector.h"

#include <numeric>

namespace ns::rt {
#define GEN_PASS_DEF_RTTILEROWSPASS
#include "ns/Dialect/RT/Transforms/Passes.h.inc"
} // namespace ns::rt

using namespace mlir;
using namespace ns::rt;

namespace {

/// What the options of the pass say.
struct Limits {
  int64_t minUnits, blockRows;
  int64_t packedBytes;  ///< of packed operands, which all live as long as the chain runs
  int64_t waitingBytes; ///< of values that ops after the chain may keep alive
};

/// One chain of ops that share blocks of units, grown from its first op downwards. Three kinds of
/// ops lie between the first and the last member: members; those that wait, because they need what
/// members make in full or read what such an op makes; and those that have nothing to do with it,
/// which stay before.
class Chain {
public:
  explicit Chain(const Limits &limits) : limits(limits) {}

  /// Takes in what follows `first`. False where that is not a chain of two ops at least.
  bool grow(Operation *first);
  /// Puts the members into an `rt.tiles`, and the ops that wait behind it.
  TilesOp build();

private:
  bool visit(Operation *op);
  bool join(Operation *op);
  bool tryJoin(Operation *op, int64_t common);
  bool wait(Operation *op);
  bool writesWhatOthersRead(Operation *op) const;
  int64_t largestProduct() const;
  int64_t height() const;

  bool isInside(Value value) const { return members.contains(value.getDefiningOp()); }
  bool isWaiting(Value value) const { return waiting.contains(value.getDefiningOp()); }

  const Limits &limits;
  int64_t units = 0;
  llvm::SetVector<Operation *> members, waiting;
  llvm::SetVector<Operation *> floating; // ops of no operands, members once somebody reads them
  llvm::SmallDenseSet<Value> memberStorage, waitingStorage; // read or written, by their owner
  llvm::SmallDenseSet<Value> held; // values made inside that waiting ops read
  int64_t heldBytes = 0, heldPacked = 0;
};
} // namespace

//===----------------------------------------------------------------------===//
// Growing
//===----------------------------------------------------------------------===//

static bool writesInPlace(Operation *op) {
  return llvm::any_of(op->getResults(), [](OpResult r) { return bool(destinationOf(r)); });
}

/// Two `rt.slot` of one name are one place.
static bool sameStorage(Value a, Value b) {
  if (a == b)
    return true;
  auto x = a.getDefiningOp<SlotOp>(), y = b.getDefiningOp<SlotOp>();
  return x && y && x.getRegion() == y.getRegion() && x.getName() == y.getName();
}

static bool contains(const llvm::SmallDenseSet<Value> &owners, Value value) {
  return llvm::any_of(owners, [&](Value owner) { return sameStorage(owner, value); });
}

/// Rows of the largest product among the members; 0 where there is none.
int64_t Chain::largestProduct() const {
  int64_t rows = 0;
  for (Operation *op : members)
    if (auto gemm = dyn_cast<GemmOp>(op))
      rows = std::max(rows, gemm.getMnk()[0]);
  return rows;
}

/// Blocks are as high as wanted, or lower: there are eight of them or a multiple, so that the
/// threads of any usual number get equal shares.
int64_t Chain::height() const {
  constexpr int64_t kBlocks = 8;
  int64_t wanted = (largestProduct() + limits.blockRows / 2) / limits.blockRows;
  int64_t blocks = std::max(kBlocks, wanted / kBlocks * kBlocks);
  return llvm::divideCeil(units, std::min(blocks, units));
}

/// An op that writes in place, where somebody else reads the old content: not by its own operands.
bool Chain::writesWhatOthersRead(Operation *op) const {
  return llvm::any_of(op->getResults(), [&](OpResult result) {
    Value dest = destinationOf(result);
    if (!dest)
      return false;
    Value owner = storageOf(dest);
    return contains(waitingStorage, owner) || (!isInside(owner) && contains(memberStorage, owner));
  });
}

bool Chain::tryJoin(Operation *op, int64_t common) {
  auto inside = [&](Value value) {
    return isInside(value) || floating.contains(value.getDefiningOp());
  };
  auto fits = [&](Operation *candidate) {
    return TilesOp::whyNotMember(candidate, common, inside).empty();
  };
  if (!fits(op))
    return false;
  for (Value operand : op->getOperands()) {
    Operation *maker = operand.getDefiningOp();
    if (floating.contains(maker)) {
      if (!fits(maker))
        return false;
      members.insert(maker);
    }
  }
  units = common;
  members.insert(op);
  for (Value operand : op->getOperands())
    memberStorage.insert(storageOf(operand));
  return true;
}

bool Chain::join(Operation *op) {
  if (auto gemm = dyn_cast<GemmOp>(op))
    if (typeOf(gemm.getA()).getElementType().isBF16())
      return false; // the library's: no rows of it
  if (isa<ViewOp>(op)) {
    if (!TilesOp::whyNotMember(op, units, [&](Value v) { return isInside(v); }).empty())
      return false;
    members.insert(op);
    return true;
  }
  int64_t most = TilesOp::unitsOf(op);
  if (most == 0 || writesWhatOthersRead(op))
    return false;
  int64_t common = std::gcd(units, most);
  for (int64_t divisor = 1; common / divisor >= limits.minUnits; ++divisor)
    if (common % divisor == 0 && tryJoin(op, common / divisor))
      return true;
  return false;
}

/// False where waiting would keep too much alive: the chain must end.
bool Chain::wait(Operation *op) {
  for (Value operand : op->getOperands())
    if (isInside(operand) && held.insert(storageOf(operand)).second)
      heldBytes += byteSize(typeOf(operand));
  if (heldBytes > limits.waitingBytes)
    return false;
  waiting.insert(op);
  for (Value operand : op->getOperands())
    waitingStorage.insert(storageOf(operand));
  return true;
}

/// False where the chain ends before `op`.
bool Chain::visit(Operation *op) {
  if (isa<SlotOp>(op))
    return true;
  bool waits = llvm::any_of(op->getOperands(), [&](Value v) { return isWaiting(v); });
  bool reads = llvm::any_of(op->getOperands(), [&](Value v) { return isInside(v); });
  bool readsFloating = llvm::any_of(op->getOperands(),
                                    [&](Value v) { return floating.contains(v.getDefiningOp()); });
  if (waits)
    return wait(op);
  if (auto gemm = dyn_cast<GemmOp>(op); gemm && gemm.getPacked()) {
    heldPacked += byteSize(typeOf(gemm.getB()));
    if (auto pack = gemm.getB().getDefiningOp<PackOp>(); pack && pack.getPacked())
      heldPacked += byteSize(typeOf(pack.getSource()));
    if (heldPacked > limits.packedBytes)
      return false;
  }
  if ((members.empty() || reads || readsFloating) && !(members.empty() && isa<ViewOp>(op)) &&
      join(op))
    return true;
  if (reads)
    return wait(op);
  if (op->getNumOperands() == 0 && TilesOp::unitsOf(op) > 0) {
    floating.insert(op);
    return true;
  }
  for (Value operand : op->getOperands()) // what it reads stays before too
    floating.remove(operand.getDefiningOp());
  // It stays before the chain: it must not change what members or those that wait read.
  return !writesInPlace(op) || llvm::none_of(op->getResults(), [&](OpResult result) {
    Value dest = destinationOf(result);
    return dest &&
           (contains(memberStorage, storageOf(dest)) || contains(waitingStorage, storageOf(dest)));
  });
}

bool Chain::grow(Operation *first) {
  if (isa<SlotOp, ViewOp>(first) || first->getNumOperands() == 0)
    return false;
  for (Operation *op = first; !op->hasTrait<OpTrait::IsTerminator>(); op = op->getNextNode()) {
    if (!visit(op))
      break;
    if (members.empty())
      return false;
  }
  // Products of too few rows read their right operands from memory again and again.
  int64_t rows = largestProduct() / int64_t(llvm::divideCeil(units, height()));
  return llvm::count_if(members, [](Operation *op) { return isTimed(op); }) > 1 &&
         (largestProduct() == 0 || 3 * rows >= limits.blockRows);
}

//===----------------------------------------------------------------------===//
// Building
//===----------------------------------------------------------------------===//

TilesOp Chain::build() {
  Operation *last = members.back(), *end = last->getNextNode();
  OpBuilder b(end);
  llvm::SetVector<Value> needed;
  // Views that are read outside are made again there.
  for (Operation *op : llvm::reverse(members)) {
    auto isOutside = [&](OpOperand &use) { return !members.contains(use.getOwner()); };
    if (auto view = dyn_cast<ViewOp>(op); view && llvm::any_of(view->getUses(), isOutside)) {
      Operation *copy = b.clone(*op);
      view->getResult(0).replaceUsesWithIf(copy->getResult(0), isOutside);
      b.setInsertionPoint(copy); // its source may be a view too
    }
  }
  for (Operation *op : members)
    for (OpResult result : op->getResults())
      if (llvm::any_of(result.getUsers(), [&](Operation *user) { return !members.contains(user); }))
        needed.insert(result);

  b.setInsertionPointAfter(last);
  SmallVector<Type> types(ValueRange(needed.getArrayRef()).getTypes());
  auto tiles = TilesOp::create(b, last->getLoc(), types, units, height());
  Block &body = tiles.getBody().emplaceBlock();
  for (Operation *op : members)
    op->moveBefore(&body, body.end());
  OpBuilder inner = OpBuilder::atBlockEnd(&body);
  YieldOp::create(inner, last->getLoc(), needed.getArrayRef());
  for (auto [i, result] : llvm::enumerate(tiles.getResults()))
    Value(needed[i]).replaceUsesWithIf(
        result, [&](OpOperand &use) { return use.getOwner()->getBlock() != &body; });
  Operation *after = end->getPrevNode(); // the tiles, or a view of what they yield
  for (Operation *op : waiting)
    if (op->isBeforeInBlock(tiles)) {
      op->moveAfter(after);
      after = op;
    }
  return tiles;
}

namespace {

struct RTTileRowsPass : public ns::rt::impl::RTTileRowsPassBase<RTTileRowsPass> {
  using RTTileRowsPassBase::RTTileRowsPassBase;

  void runOnOperation() override {
    Block &block = getOperation().getBody().front();
    int64_t largest = 0;
    for (Operation &op : block)
      for (Value result : op.getResults())
        if (!isa<SlotOp, ViewOp>(op))
          largest = std::max(largest, byteSize(typeOf(result)));
    Limits limits{minUnits, blockRows, packedBytes, largest / 4};
    for (Operation *op = &block.front(); !op->hasTrait<OpTrait::IsTerminator>();) {
      Chain chain(limits);
      if (!chain.grow(op)) {
        op = op->getNextNode();
        continue;
      }
      TilesOp tiles = chain.build();
      ++numTiles;
      for (Operation &member : tiles.getBody().front().without_terminator()) {
        numTiled += isTimed(&member);
        numInside += isTimed(&member) ? member.getNumResults() : 0;
      }
      numInside -= tiles.getNumResults();
      op = tiles->getNextNode();
    }
  }
};
} // namespace
