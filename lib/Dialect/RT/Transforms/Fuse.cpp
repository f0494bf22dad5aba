//===- Fuse.cpp - merge row programs into their readers -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/RT/IR/RT.h"
#include "ns/Dialect/RT/IR/RowMap.h"
#include "ns/Dialect/RT/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/IRMapping.h"

namespace ns::rt {
#define GEN_PASS_DEF_RTFUSEPASS
#include "ns/Dialect/RT/Transforms/Passes.h.inc"
} // namespace ns::rt

using namespace mlir;
using namespace ns::rt;

namespace {

/// Where a program is at the point (r, k, c) of the program that takes it in: at (row, inner, c),
/// expressions of r and k.
struct Reindex {
  AffineExpr row, inner;
};

/// What a merged program must keep.
struct Limits {
  /// A program of fewer rows leaves threads idle; one of fewer points has none to spare.
  int64_t rows, points;
  /// Values at a column of a program with a row reduction; 0: any number.
  int64_t vectors;
};

} // namespace

static int64_t numPoints(FusedOp op) { return op.getRows() * op.getInner() * op.getCols(); }

/// Rows of `inner` are those of `outer`, one each.
static bool coversSameRows(FusedOp inner, FusedOp outer) {
  return inner.getInner() == 1 && inner.getCols() == outer.getCols() &&
         inner.getRows() == outer.getRows() * outer.getInner();
}

/// Does `inner` keep its parallelism where it follows the rows of `outer`?
static bool staysParallel(FusedOp inner, FusedOp outer, const Limits &limits) {
  return outer.getRows() >= std::min(inner.getRows(), limits.rows) ||
         numPoints(inner) <= limits.points;
}

/// Inputs and results of the two programs in one that vary over the columns, each counted once; a
/// row reduction keeps them in registers from one pass over the row to the next.
static bool fitsRegisters(FusedOp first, FusedOp second, const Limits &limits) {
  if (limits.vectors == 0 || (first.isSingleStage() && second.isSingleStage()))
    return true;
  llvm::SmallDenseSet<Value> values;
  for (FusedOp op : {first, second}) {
    for (auto [i, input] : llvm::enumerate(op.getInputs()))
      if (op.getInMap(i).isFunctionOfDim(2))
        values.insert(input);
    for (auto [i, result] : llvm::enumerate(op.getResults()))
      if (op.getOutMap(i).isFunctionOfDim(2))
        values.insert(result);
  }
  return int64_t(values.size()) <= limits.vectors;
}

/// Substitutes the point in a map of the program that is taken in.
static AffineMap reindexMap(AffineMap map, Reindex reindex) {
  AffineExpr c = getAffineDimExpr(2, map.getContext());
  return simplifyAffineMap(map.replaceDimsAndSymbols({reindex.row, reindex.inner, c}, {}, 3, 0));
}

/// The point of `inner` at a point of `outer` whose row map for a shared value is `row`, where
/// `inner` has r.
static FailureOr<Reindex> followRows(FusedOp inner, FusedOp outer, AffineExpr row,
                                     const Limits &limits) {
  // Only where each row is visited once does a program that follows its reader's rows write all of
  // its own.
  if (!coversSameRows(inner, outer) || !staysParallel(inner, outer, limits) ||
      !visitsEachRow(row, outer.getRows(), outer.getInner()))
    return failure();
  return Reindex{row, getAffineConstantExpr(0, row.getContext())};
}

/// The same point.
static Reindex identity(MLIRContext *context) {
  return {getAffineDimExpr(0, context), getAffineDimExpr(1, context)};
}

/// The producer's point that the reader reads, if every read of the producer's results is its own
/// point (r, c) of some row.
static FailureOr<Reindex> matchReads(FusedOp producer, FusedOp reader, const Limits &limits) {
  MLIRContext *context = producer.getContext();
  bool sameSpace = producer.getSpace() == reader.getSpace() && producer.getInner() > 1;
  if (!sameSpace && !coversSameRows(producer, reader))
    return failure();
  std::optional<Reindex> reindex;
  if (sameSpace)
    reindex = identity(context);
  AffineExpr r = getAffineDimExpr(0, context), c = getAffineDimExpr(2, context);
  for (auto [i, input] : llvm::enumerate(reader.getInputs())) {
    if (input.getDefiningOp() != producer)
      continue;
    AffineMap written = producer.getOutMap(cast<OpResult>(input).getResultNumber());
    AffineMap read = reader.getInMap(i);
    bool perRow = written.getResult(1) == getAffineConstantExpr(0, context);
    bool isOwnPoint = sameSpace ? written.isFunctionOfDim(1) : written.getResult(0) == r;
    if (!isOwnPoint || (!perRow && written.getResult(1) != c))
      return failure();
    if (!reindex) {
      auto followed = followRows(producer, reader, read.getResult(0), limits);
      if (failed(followed))
        return failure();
      reindex = *followed;
    }
    if (reindexMap(written, *reindex) != simplifyAffineMap(read))
      return failure();
  }
  if (!reindex)
    return failure();
  return *reindex;
}

/// Sums over k only: what it makes is small beside what it reads.
static bool onlySums(FusedOp op) {
  return op.getInner() > 1 && op.getDests().empty() &&
         llvm::none_of(llvm::seq(op.getNumResults()),
                       [&](unsigned i) { return op.getOutMap(i).isFunctionOfDim(1); });
}

/// The point of `inner` at a point of `outer` if both read an input as large as `inner` at the same
/// point.
static FailureOr<Reindex> matchSharedInput(FusedOp inner, FusedOp outer, const Limits &limits) {
  MLIRContext *context = inner.getContext();
  AffineExpr r = getAffineDimExpr(0, context), c = getAffineDimExpr(2, context);
  for (auto [i, input] : llvm::enumerate(inner.getInputs()))
    for (auto [j, other] : llvm::enumerate(outer.getInputs())) {
      AffineMap mine = inner.getInMap(i), its = outer.getInMap(j);
      if (input != other || typeOf(input).getNumElements() < numPoints(inner) ||
          mine.getResult(1) != c || its.getResult(1) != c)
        continue;
      if (inner.getSpace() == outer.getSpace() && mine == its)
        return identity(context);
      if (mine.getResult(0) != r)
        continue;
      if (auto followed = followRows(inner, outer, its.getResult(0), limits); succeeded(followed))
        return followed;
    }
  return failure();
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
    if (isa<math::ExpOp, math::ErfcOp, math::TanhOp, math::LogOp>(inner))
      return false;
    ops += !isa<arith::ExtFOp, arith::TruncFOp>(inner);
  }
  return large == 1 && ops <= 2;
}

namespace {

/// Builds the op that is two programs in one, over the points of the second (`reader`), which may
/// read results of the first (`producer`). With `keep`, those results of the producer that others
/// read, or that have a destination, stay results.
class Merger {
public:
  Merger(FusedOp producer, FusedOp reader, Reindex reindex)
      : producer(producer), reader(reader), reindex(reindex) {}

  /// The op stands before `place`.
  void merge(bool keep, Operation *place) {
    OpBuilder b(place);
    body = std::make_unique<mlir::Region>();
    Block &block = body->emplaceBlock();
    OpBuilder inner(reader.getContext()); // the block has no parent to ask
    inner.setInsertionPointToEnd(&block);

    IRMapping map;
    for (auto [i, arg] : llvm::enumerate(producer.getBody().getArguments()))
      map.map(arg, addInput(producer.getInputs()[i], reindexMap(producer.getInMap(i), reindex),
                            arg.getType()));
    for (Operation &op : producer.getBody().front().without_terminator())
      append(inner, op, map, reindex);
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
      append(inner, op, map, identity(reader.getContext()));

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

  /// Clones `op`, unless the body computes the same already.
  void append(OpBuilder &inner, Operation &op, IRMapping &map, Reindex at) {
    Operation *copy = inner.clone(op, map);
    if (auto index = dyn_cast<IndexOp>(copy))
      index.setMap(reindexMap(index.getMap(), at));
    for (Operation &known : body->front()) {
      if (&known == copy)
        return;
      if (!OperationEquivalence::isEquivalentTo(&known, copy,
                                                OperationEquivalence::IgnoreLocations))
        continue;
      map.map(op.getResults(), known.getResults());
      copy->erase();
      return;
    }
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
    limits = {parallelRows, parallelElements, maxVectors};
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
    for (Operation *op = &block.front(); op;) {
      Operation *next = op->getNextNode();
      if (auto program = dyn_cast<FusedOp>(op))
        while (FusedOp merged = mergeOneSibling(program, next))
          program = merged;
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
      if (!reader || failed(matchReads(producer, reader, limits)) ||
          llvm::is_contained(reader.getDests(), producer.getResult(0)))
        return false;
      readers.insert(reader);
    }
    for (FusedOp reader : readers)
      Merger(producer, reader, *matchReads(producer, reader, limits)).merge(/*keep=*/false, reader);
    ++numRepeated;
    return true;
  }

  /// Merges one producer into `reader`; null if none can be.
  FusedOp mergeOneProducer(FusedOp reader) {
    for (Value input : reader.getInputs()) {
      auto producer = input.getDefiningOp<FusedOp>();
      if (!producer || updatesInPlace(producer) || updatesInPlace(reader) ||
          destDependsOn(reader, producer))
        continue;
      auto reindex = matchReads(producer, reader, limits);
      Operation *place = failed(reindex) || !fitsRegisters(producer, reader, limits)
                             ? nullptr
                             : placeOfBoth(producer, reader);
      if (!place)
        continue;
      Merger merger(producer, reader, *reindex);
      merger.merge(/*keep=*/true, place);
      producer.erase();
      ++numMerged;
      return merger.result();
    }
    return {};
  }

  /// Merges `program` with a later one that reads one of its large inputs at the same points, where
  /// one of the two makes nothing but sums over rows: what lives longer is small. `next`, an op of
  /// the block, moves on where it would be erased.
  FusedOp mergeOneSibling(FusedOp program, Operation *&next) {
    if (updatesInPlace(program))
      return {};
    for (Value input : program.getInputs())
      for (Operation *user : input.getUsers()) {
        auto other = dyn_cast<FusedOp>(user);
        if (!other || !program->isBeforeInBlock(other) || updatesInPlace(other) ||
            !(onlySums(program) || onlySums(other)) || reads(other, program) ||
            !fitsRegisters(program, other, limits))
          continue;
        Operation *place = placeOfBoth(program, other);
        if (!place)
          continue;
        FusedOp inner = program, outer = other;
        auto reindex = matchSharedInput(inner, outer, limits);
        if (failed(reindex)) {
          std::swap(inner, outer);
          reindex = matchSharedInput(inner, outer, limits);
        }
        if (failed(reindex))
          continue;
        if (next == other)
          next = other->getNextNode();
        Merger merger(inner, outer, *reindex);
        merger.merge(/*keep=*/true, place);
        inner.erase();
        ++numSiblings;
        return merger.result();
      }
    return {};
  }

  static bool reads(Operation *op, Operation *producer) {
    return llvm::any_of(op->getOperands(),
                        [&](Value operand) { return operand.getDefiningOp() == producer; });
  }

  static bool destDependsOn(FusedOp reader, FusedOp producer) {
    return llvm::any_of(reader.getDests(),
                        [&](Value dest) { return dest.getDefiningOp() == producer; });
  }

  /// Where one op can stand for both: at the later one, if nothing in between needs what the first
  /// makes, or at the first, if all that the later one reads is there already, it writes no place
  /// that others may read before it, and it is not there to be late. Null if nowhere.
  static Operation *placeOfBoth(FusedOp first, FusedOp later) {
    if (llvm::none_of(first->getUsers(), [&](Operation *user) {
          return user != later && user->isBeforeInBlock(later);
        }))
      return later;
    bool isReady = llvm::all_of(later->getOperands(), [&](Value operand) {
      Operation *made = operand.getDefiningOp();
      return !made || made == first || made->isBeforeInBlock(first);
    });
    bool mayMove = later.getDests().empty() && !later->hasAttr(kRecomputedAttr);
    return isReady && mayMove ? first : nullptr;
  }

  Limits limits;
};
} // namespace
