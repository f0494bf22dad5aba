//===- Schedule.cpp - how a row program becomes a kernel of a GPU -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Schedule.h"

#include "llvm/Support/MathExtras.h"

#include <numeric>

using namespace mlir;
using namespace ns;

//===----------------------------------------------------------------------===//
// GpuProgram
//===----------------------------------------------------------------------===//

GpuProgram::GpuProgram(rt::FusedOp op, ArrayRef<int64_t> alignments)
    : op(op), stages(op), numInputs(op.getInputs().size()), rows(op.getRows()),
      inner(op.getInner()), cols(op.getCols()), alignments(alignments) {
  for (auto [i, input] : llvm::enumerate(op.getInputs())) {
    types.push_back(rt::typeOf(input));
    maps.push_back(op.getInMap(i));
  }
  for (auto [i, result] : llvm::enumerate(op.getResults())) {
    types.push_back(rt::typeOf(result));
    maps.push_back(op.getOutMap(i));
    sums.push_back(inner > 1 && !op.getOutMap(i).isFunctionOfDim(1));
    hasSums |= sums.back();
  }
  swapsPairs = !op.getBody().front().getOps<rt::SwapPairsOp>().empty();
  collapsed = canCollapse();
  if (collapsed) {
    cols *= rows * inner;
    rows = inner = 1;
  }
}

/// Does every operand run through memory as the points do, or is it one element for all of them?
bool GpuProgram::canCollapse() const {
  Block &body = op.getBody().front();
  if (stages.size() > 1 || hasSums || !body.getOps<rt::IndexOp>().empty())
    return false;
  AffineExpr r = getAffineDimExpr(0, op.getContext()), k = getAffineDimExpr(1, op.getContext());
  AffineExpr c = getAffineDimExpr(2, op.getContext());
  AffineExpr row = inner == 1 ? r : r * inner + k;
  for (auto [type, map] : llvm::zip(types, maps)) {
    bool isOne =
        isa<AffineConstantExpr>(map.getResult(0)) && isa<AffineConstantExpr>(map.getResult(1));
    bool isDense = map.getResult(0) == row && map.getResult(1) == c && rt::rowPitch(type) == cols;
    if (!isDense && !isOne)
      return false;
  }
  return llvm::none_of(llvm::seq(op.getNumResults()),
                       [&](unsigned i) { return isUniformResult(i); });
}

bool GpuProgram::isFull(unsigned argument) const {
  return !isa<AffineConstantExpr>(maps[argument].getResult(1)) &&
         4 * types[argument].getNumElements() >= rows * inner * cols;
}

bool GpuProgram::storesNarrow() const {
  return llvm::all_of(llvm::seq(numInputs, numArguments()), [&](unsigned argument) {
    return !isFull(argument) || types[argument].getElementTypeBitWidth() <= 16;
  });
}

int64_t GpuProgram::alignedElements(unsigned argument) const {
  RankedTensorType type = types[argument];
  int64_t aligned = alignments[argument] / (type.getElementTypeBitWidth() / 8);
  if (collapsed)
    return aligned;
  int64_t row = maps[argument].getResult(0).getLargestKnownDivisor() * rt::rowPitch(type);
  return std::gcd(aligned, row); // row 0 is aligned as the tensor is
}

//===----------------------------------------------------------------------===//
// Schedule
//===----------------------------------------------------------------------===//

namespace {

/// Values that a thread holds of a row while it leaves this many registers for addresses and
/// temporaries.
constexpr int64_t kOtherRegisters = 40;
/// Registers for values of rows that do without shared memory: loads under way make up for the few
/// threads that then fit.
constexpr int64_t kMostOfLane = 112;

/// Chooses by counting; registers are of 32 bits.
struct Chooser {
  const GpuProgram &program;
  const GpuTarget &target;
  Schedule schedule;
  int64_t points, vectors; // vectors of a row
  int64_t numFull = 0;     // inputs
  int64_t registersOfVector;
  int64_t numReductions = 0, costOfElement = 2; // instructions, loads and stores included

  Chooser(const GpuProgram &program, const GpuTarget &target) : program(program), target(target) {
    chooseWidth();
    points = program.rows * program.inner;
    vectors = program.cols / schedule.width;
    for (unsigned i = 0; i < program.numInputs; ++i)
      numFull += program.isFull(i);
    for (Operation &op : program.op.getBody().front().without_terminator()) {
      numReductions += isa<rt::RowReduceOp>(op);
      if (!program.stages.isUniform(op.getResult(0)))
        costOfElement +=
            isa<math::ExpOp, math::ErfcOp, math::TanhOp, math::LogOp, arith::DivFOp>(op) ? 10 : 1;
    }
  }

  /// The widest access of the widest operand that moves through memory, as far as rows divide into
  /// it.
  void chooseWidth() {
    int64_t bits = 0, any = 32;
    for (unsigned i = 0; i < program.numArguments(); ++i) {
      int64_t width = program.argumentType(i).getElementTypeBitWidth();
      if (program.isFull(i))
        bits = std::max(bits, width);
      if (width == 64)
        any = 64;
    }
    registersOfVector = any / 32;
    schedule.width = std::max<int64_t>(1, target.vectorBits / (bits ? bits : any));
    while (program.cols % schedule.width != 0)
      schedule.width /= 2;
    if (program.swapsPairs)
      schedule.width = std::max<int64_t>(2, schedule.width);
    registersOfVector *= schedule.width;
  }

  Schedule choose() {
    if (program.hasSums)
      chooseSums();
    else if (program.stages.size() > 1)
      chooseRows();
    else
      chooseFlat();
    return schedule;
  }

  void chooseFlat() {
    schedule.kind = Schedule::Kind::Flat;
    schedule.lanes = 1;
    int64_t total = points * vectors;
    // What one thread has under way: about 64 bytes.
    schedule.chunks = numFull <= 1 ? (program.collapsed ? 4 : 2) : numFull == 2 ? 2 : 1;
    schedule.groups = 256;
    auto blocks = [&] {
      return int64_t(llvm::divideCeil(total, schedule.chunks * schedule.groups));
    };
    while (schedule.chunks > 1 && blocks() < 8 * target.processors)
      schedule.chunks /= 2;
    while (schedule.groups > 2 * target.warpSize && blocks() < target.processors)
      schedule.groups /= 2;
    schedule.grid[0] = blocks();
  }

  /// Vectors that a lane holds of a row.
  int64_t perLane(int64_t lanes) const { return llvm::divideCeil(vectors, lanes); }
  int64_t registers(int64_t lanes, int64_t values) const {
    return perLane(lanes) * registersOfVector * values;
  }

  /// Instructions of all lanes of a row, about: fewer lanes take fewer exchanges, but may leave
  /// more of the last vectors empty.
  int64_t instructions(int64_t lanes) const {
    int64_t exchanges = 4 * numReductions * int64_t(llvm::Log2_64(lanes));
    return lanes * (perLane(lanes) * schedule.width * costOfElement + exchanges + 40);
  }

  /// Lanes for a row within a warp, at least `least`: the fewest instructions, among those that
  /// need few registers and fill the machine.
  int64_t lanesOfWarp(int64_t least, int64_t values) const {
    int64_t most = std::min<int64_t>(target.warpSize, llvm::PowerOf2Ceil(vectors));
    int64_t best = most;
    for (int64_t lanes = most / 2; lanes >= least; lanes /= 2)
      if (registers(lanes, values) <= 64 && points * lanes >= 512 * target.processors &&
          instructions(lanes) < instructions(best))
        best = lanes;
    return best;
  }

  /// How many values of a row must be held between two stages, at most.
  int64_t carriedValues() const;

  void chooseRows() {
    int64_t values = std::max<int64_t>(carriedValues(), numFull);
    int64_t most = std::min(target.maxThreads, int64_t(llvm::PowerOf2Ceil(vectors)));
    int64_t lanes = lanesOfWarp(4, values);
    while (lanes < most && registers(lanes, values) > budget(lanes))
      lanes *= 2;
    // Few rows: more lanes for each.
    while (lanes < most && points * lanes < 2 * target.warpSize * target.processors &&
           perLane(lanes) > 2)
      lanes *= 2;
    if (registers(lanes, values) > budget(lanes))
      return chooseLoop();
    schedule.kind = Schedule::Kind::Rows;
    schedule.lanes = lanes;
    schedule.chunks = perLane(lanes);
    int64_t threads = std::max({lanes, target.warpSize, int64_t(128)});
    while (threads > std::max(lanes, target.warpSize) &&
           points * lanes < threads * target.processors)
      threads /= 2;
    schedule.groups = threads / lanes;
    schedule.grid[0] = llvm::divideCeil(points, schedule.groups);
  }

  void chooseLoop() {
    schedule.kind = Schedule::Kind::Loop;
    schedule.lanes = std::min<int64_t>(points < target.processors ? 1024 : 512, target.maxThreads);
    schedule.groups = 1;
    schedule.chunks = numFull <= 1 ? 4 : 2;
    schedule.grid[0] = points;
  }

  /// Registers for values of rows, where a row takes `lanes` threads of a block.
  int64_t budget(int64_t lanes) const {
    if (lanes <= target.warpSize)
      return kMostOfLane;
    return std::min<int64_t>(64,
                             target.maxRegisters / std::max<int64_t>(256, lanes) - kOtherRegisters);
  }

  void chooseSums() {
    schedule.kind = Schedule::Kind::Sums;
    int64_t sums = 0;
    for (unsigned i = 0; i < program.op.getNumResults(); ++i)
      sums += program.isSum(i) && !program.isUniformResult(i);
    int64_t values = std::max<int64_t>(carriedValues(), numFull) + sums;
    bool wholeRows = program.stages.size() > 1;
    if (wholeRows) {
      int64_t most = std::min(target.maxThreads, int64_t(llvm::PowerOf2Ceil(vectors)));
      schedule.lanes = lanesOfWarp(4, values);
      while (schedule.lanes < most && registers(schedule.lanes, values) > 128)
        schedule.lanes *= 2;
      schedule.chunks = perLane(schedule.lanes);
    } else {
      schedule.lanes = std::min<int64_t>(target.warpSize, llvm::PowerOf2Ceil(vectors));
      for (int64_t lanes : {16, 8}) // fewer idle ones
        if (lanes < schedule.lanes &&
            perLane(lanes) * lanes * 10 < perLane(schedule.lanes) * schedule.lanes * 9)
          schedule.lanes = lanes;
      while (schedule.lanes > 4 && program.rows * perLane(schedule.lanes) < target.processors)
        schedule.lanes /= 2;
      schedule.chunks = 1;
      schedule.columnBlocks = perLane(schedule.lanes);
    }
    shareInner(registers(schedule.lanes, values) / (wholeRows ? 1 : perLane(schedule.lanes)));
    if (!wholeRows)
      schedule.unroll = std::clamp<int64_t>(4 / std::max<int64_t>(numFull, 1), 1,
                                            llvm::divideCeil(program.inner, schedule.groups));
    schedule.grid = {program.rows, schedule.columnBlocks, 1};
  }

  /// Groups of a block that share out k: enough threads to fill the machine, as far as registers,
  /// shared memory and k allow.
  void shareInner(int64_t registers) {
    int64_t blocks = program.rows * schedule.columnBlocks;
    int64_t threads = std::max<int64_t>({256, schedule.lanes, target.warpSize});
    auto fits = [&](int64_t count) {
      return count <= std::min<int64_t>(512, target.maxThreads) &&
             count * schedule.width * 8 <= target.maxShared &&
             count / schedule.lanes <= program.inner &&
             target.maxRegisters / count >= registers + kOtherRegisters;
    };
    while (blocks * threads < 1024 * target.processors && fits(2 * threads))
      threads *= 2;
    while (threads > std::max(schedule.lanes, target.warpSize) && !fits(threads))
      threads /= 2;
    schedule.groups = threads / schedule.lanes;
  }
};

} // namespace

int64_t Chooser::carriedValues() const {
  const RowStages &stages = program.stages;
  llvm::DenseMap<Value, std::pair<unsigned, unsigned>> life; // first and last stage
  for (BlockArgument arg : program.op.getBody().getArguments())
    if (!stages.isUniform(arg) && program.isFull(arg.getArgNumber()))
      life[arg] = {0, 0};
  for (unsigned stage = 0; stage < stages.size(); ++stage) {
    SmallVector<Value> work;
    for (rt::RowReduceOp reduce : stages.reductions(stage))
      work.push_back(reduce.getValue());
    for (unsigned i : stages.results(stage))
      work.push_back(stages.yielded(i));
    while (!work.empty()) {
      Value v = work.pop_back_val();
      if (stages.isUniform(v))
        continue;
      auto [known, isNew] = life.insert({v, {stage, stage}});
      known->second.second = stage;
      if (Operation *op = v.getDefiningOp(); op && isNew)
        work.append(op->operand_begin(), op->operand_end());
    }
  }
  int64_t most = 0;
  for (unsigned stage = 0; stage + 1 < stages.size(); ++stage)
    most = std::max<int64_t>(most, llvm::count_if(life, [&](auto &entry) {
                               return entry.second.first <= stage && stage < entry.second.second;
                             }));
  return most;
}

Schedule ns::chooseSchedule(const GpuProgram &program, const GpuTarget &target) {
  return Chooser(program, target).choose();
}
