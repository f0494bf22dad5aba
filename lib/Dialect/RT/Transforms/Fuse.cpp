//===- Fuse.cpp - merge row programs into their readers -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/RT/IR/RT.h"
#include "ns/Dialect/RT/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/BitVector.h"

namespace ns::rt {
#define GEN_PASS_DEF_RTFUSEPASS
#include "ns/Dialect/RT/Transforms/Passes.h.inc"
} // namespace ns::rt

using namespace mlir;
using namespace ns::rt;

namespace {

/// How a producer's point follows from the reader's: producer row = `row`, an expression of the
/// reader's (r, k).
struct Reindex {
  AffineExpr row;
};

} // namespace

/// An expression of r and k at a point; no part of a row map is negative.
static int64_t evaluate(AffineExpr expr, int64_t r, int64_t k) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue();
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return dim.getPosition() == 0 ? r : k;
  auto binary = cast<AffineBinaryOpExpr>(expr);
  int64_t lhs = evaluate(binary.getLHS(), r, k), rhs = evaluate(binary.getRHS(), r, k);
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return lhs + rhs;
  case AffineExprKind::Mul:
    return lhs * rhs;
  case AffineExprKind::FloorDiv:
    return lhs / rhs;
  default:
    return lhs % rhs;
  }
}

/// Does `row` take each value of [0, R K) once as (r, k) runs over its range? Only then does a
/// program that follows its reader's rows write all of its own.
static bool visitsEachRow(AffineExpr row, FusedOp reader) {
  if (row == getAffineDimExpr(0, row.getContext()))
    return reader.getInner() == 1;
  int64_t count = reader.getRows() * reader.getInner();
  llvm::BitVector seen(count);
  for (int64_t r = 0; r < reader.getRows(); ++r)
    for (int64_t k = 0; k < reader.getInner(); ++k) {
      int64_t at = evaluate(row, r, k);
      if (at < 0 || at >= count || seen[at])
        return false;
      seen.set(at);
    }
  return true;
}

/// The producer's row that the reader reads, if every read of the producer's results is its own
/// point (r, c) of some row.
static FailureOr<Reindex> matchReads(FusedOp producer, FusedOp reader) {
  if (producer.getInner() != 1 || producer.getCols() != reader.getCols() ||
      producer.getRows() != reader.getRows() * reader.getInner())
    return failure();
  MLIRContext *context = producer.getContext();
  AffineExpr r = getAffineDimExpr(0, context), c = getAffineDimExpr(2, context);
  std::optional<AffineExpr> row;
  for (auto [i, input] : llvm::enumerate(reader.getInputs())) {
    if (input.getDefiningOp() != producer)
      continue;
    AffineMap written = producer.getOutMap(cast<OpResult>(input).getResultNumber());
    AffineMap read = reader.getInMap(i);
    bool perRow = written.getResult(1) == getAffineConstantExpr(0, context);
    if (written.getResult(0) != r || (!perRow && written.getResult(1) != c) ||
        read.getResult(1) != written.getResult(1))
      return failure();
    if (row && *row != read.getResult(0))
      return failure();
    row = read.getResult(0);
  }
  if (!row || !visitsEachRow(*row, reader))
    return failure();
  return Reindex{*row};
}

/// A program whose results other reads could see half written: it reads what it overwrites.
static bool updatesInPlace(FusedOp op) {
  auto root = [](Value value) {
    while (auto view = value.getDefiningOp<ViewOp>())
      value = view.getSource();
    return value;
  };
  for (Value dest : op.getDests())
    for (Value input : op.getInputs())
      if (root(dest) == root(input))
        return true;
  return false;
}

/// Cheap to compute again, and of one large input only: repeating it keeps nothing alive that was
/// not.
static bool isRepeatable(FusedOp op) {
  if (!op.isSingleStage() || op.getInner() != 1 || op.getNumResults() != 1 ||
      !op.getDests().empty())
    return false;
  unsigned large = 0;
  for (Value input : op.getInputs())
    large += typeOf(input).getNumElements() == typeOf(op.getResult(0)).getNumElements();
  unsigned ops = 0;
  for (Operation &inner : op.getBody().front().without_terminator()) {
    if (isa<math::ExpOp, math::ErfOp, math::TanhOp, math::LogOp>(inner))
      return false;
    ++ops;
  }
  return large == 1 && ops <= 2;
}

/// Substitutes the producer's row in a map of the producer: (r, 0, c) becomes (row, 0, c).
static AffineMap reindexMap(AffineMap map, Reindex reindex) {
  MLIRContext *context = map.getContext();
  AffineExpr c = getAffineDimExpr(2, context), zero = getAffineConstantExpr(0, context);
  return simplifyAffineMap(map.replaceDimsAndSymbols({reindex.row, zero, c}, {}, 3, 0));
}

namespace {

/// Builds the op that is producer and reader in one, at the reader. With `keep`, those results of
/// the producer that others read, or that have a destination, stay results.
class Merger {
public:
  Merger(FusedOp producer, FusedOp reader, Reindex reindex)
      : producer(producer), reader(reader), reindex(reindex) {}

  void merge(bool keep) {
    OpBuilder b(reader);
    body = std::make_unique<mlir::Region>();
    Block &block = body->emplaceBlock();
    OpBuilder inner(reader.getContext()); // the block has no parent to ask
    inner.setInsertionPointToEnd(&block);

    IRMapping map;
    for (auto [i, arg] : llvm::enumerate(producer.getBody().getArguments()))
      map.map(arg, addInput(producer.getInputs()[i], reindexMap(producer.getInMap(i), reindex),
                            arg.getType()));
    for (Operation &op : producer.getBody().front().without_terminator())
      reindexIndex(inner.clone(op, map));
    auto produced = cast<YieldOp>(producer.getBody().front().getTerminator());
    for (auto [i, arg] : llvm::enumerate(reader.getBody().getArguments())) {
      Value input = reader.getInputs()[i];
      if (input.getDefiningOp() == producer)
        map.map(arg,
                map.lookupOrDefault(produced.getOperand(cast<OpResult>(input).getResultNumber())));
      else
        map.map(arg, addInput(input, reader.getInMap(i), arg.getType()));
    }
    for (Operation &op : reader.getBody().front().without_terminator())
      inner.clone(op, map);

    SmallVector<Value> kept;
    for (auto [i, result] : llvm::enumerate(producer.getResults())) {
      if (!keep || !isNeeded(i))
        continue;
      kept.push_back(result);
      addResult(producer, i, map.lookupOrDefault(produced.getOperand(i)),
                reindexMap(producer.getOutMap(i), reindex));
    }
    auto yielded = cast<YieldOp>(reader.getBody().front().getTerminator());
    for (unsigned i = 0; i < reader.getNumResults(); ++i)
      addResult(reader, i, map.lookupOrDefault(yielded.getOperand(i)), reader.getOutMap(i));
    YieldOp::create(inner, reader.getLoc(), values);

    auto merged =
        FusedOp::create(b, reader.getLoc(), types, inputs, dests, reader.getSpaceAttr(),
                        b.getAffineMapArrayAttr(inMaps), b.getAffineMapArrayAttr(outMaps),
                        dests.empty() ? DenseI64ArrayAttr() : b.getDenseI64ArrayAttr(destOf));
    merged.getBody().takeBody(*body);
    merged->setDiscardableAttrs(reader->getDiscardableAttrDictionary()); // the layer's name
    unsigned next = 0;
    for (Value result : kept)
      result.replaceAllUsesWith(merged.getResult(next++));
    for (Value result : reader.getResults())
      result.replaceAllUsesWith(merged.getResult(next++));
    reader.erase();
    reader = merged;
  }

  FusedOp result() { return reader; }

private:
  bool isNeeded(unsigned i) {
    return producer.getDestOf(i) || llvm::any_of(producer.getResult(i).getUsers(),
                                                 [&](Operation *user) { return user != reader; });
  }

  Value addInput(Value input, AffineMap map, Type type) {
    for (auto [i, known] : llvm::enumerate(inputs))
      if (known == input && inMaps[i] == map)
        return body->front().getArgument(i);
    inputs.push_back(input);
    inMaps.push_back(map);
    return body->front().addArgument(type, reader.getLoc());
  }

  void addResult(FusedOp from, unsigned i, Value value, AffineMap map) {
    values.push_back(value);
    types.push_back(from.getResult(i).getType());
    outMaps.push_back(map);
    Value dest = from.getDestOf(i);
    destOf.push_back(dest ? int64_t(dests.size()) : -1);
    if (dest)
      dests.push_back(dest);
  }

  void reindexIndex(Operation *op) {
    if (auto index = dyn_cast<IndexOp>(op))
      index.setMap(reindexMap(index.getMap(), reindex));
  }

  FusedOp producer, reader;
  Reindex reindex;
  std::unique_ptr<mlir::Region> body;
  SmallVector<Value> inputs, dests, values;
  SmallVector<AffineMap> inMaps, outMaps;
  SmallVector<Type> types;
  SmallVector<int64_t> destOf;
};

struct RTFusePass : public ns::rt::impl::RTFusePassBase<RTFusePass> {
  using RTFusePassBase::RTFusePassBase;

  void runOnOperation() override {
    Block &block = getOperation().getBody().front();
    repeatCheapProducers(block);
    // Readers from the top: a chain of programs grows downwards, each reader taking its producers
    // in.
    for (Operation *op = &block.front(); op;) {
      Operation *next = op->getNextNode();
      if (auto reader = dyn_cast<FusedOp>(op))
        while (FusedOp merged = mergeOneProducer(reader))
          reader = merged;
      op = next;
    }
  }

  void repeatCheapProducers(Block &block) {
    for (Operation *op = &block.front(); op;) {
      auto producer = dyn_cast<FusedOp>(op);
      bool repeated = producer && repeatInReaders(producer);
      op = op->getNextNode(); // readers have been replaced by now
      if (repeated)
        producer.erase();
    }
  }

  /// Merges a cheap producer into each of its readers, if all can take it; it has no users then.
  bool repeatInReaders(FusedOp producer) {
    if (!isRepeatable(producer) || producer->use_empty() || producer->hasOneUse())
      return false;
    llvm::SetVector<FusedOp> readers;
    for (Operation *user : producer->getUsers()) {
      auto reader = dyn_cast<FusedOp>(user);
      if (!reader || failed(matchReads(producer, reader)) ||
          llvm::is_contained(reader.getDests(), producer.getResult(0)))
        return false;
      readers.insert(reader);
    }
    for (FusedOp reader : readers)
      Merger(producer, reader, *matchReads(producer, reader)).merge(/*keep=*/false);
    ++numRepeated;
    return true;
  }

  /// Merges one producer into `reader`; null if none can be.
  FusedOp mergeOneProducer(FusedOp reader) {
    for (Value input : reader.getInputs()) {
      auto producer = input.getDefiningOp<FusedOp>();
      if (!producer || updatesInPlace(producer) || updatesInPlace(reader))
        continue;
      auto reindex = matchReads(producer, reader);
      if (failed(reindex) || isUsedBetween(producer, reader) || destDependsOn(reader, producer))
        continue;
      Merger merger(producer, reader, *reindex);
      merger.merge(/*keep=*/true);
      producer.erase();
      ++numMerged;
      return merger.result();
    }
    return {};
  }

  static bool destDependsOn(FusedOp reader, FusedOp producer) {
    return llvm::any_of(reader.getDests(),
                        [&](Value dest) { return dest.getDefiningOp() == producer; });
  }

  /// The merged op stands at the reader: nothing before it may need the producer's results.
  static bool isUsedBetween(FusedOp producer, FusedOp reader) {
    return llvm::any_of(producer->getUsers(), [&](Operation *user) {
      return user != reader && user->isBeforeInBlock(reader);
    });
  }
};
} // namespace
