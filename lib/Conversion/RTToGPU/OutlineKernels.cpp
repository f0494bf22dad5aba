//===- OutlineKernels.cpp - row programs to kernels of a GPU -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "../Places.h"
#include "KernelBody.h"

#include "ns/Conversion/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/FormatVariadic.h"

#include <numeric>

namespace ns {
#define GEN_PASS_DEF_RTOUTLINEKERNELSPASS
#include "ns/Conversion/Passes.h.inc"
} // namespace ns

using namespace mlir;
using namespace ns;
using rt::typeOf;

namespace {

constexpr llvm::StringLiteral kModuleName = "kernels";

/// What is known of the address behind a kernel's argument.
struct Argument {
  MemRefType type;
  int64_t alignment; ///< bytes
  bool isWritten, overlaps;
};

struct Kernel {
  gpu::GPUFuncOp function;
  Schedule schedule;
};

struct RTOutlineKernelsPass : public ns::impl::RTOutlineKernelsPassBase<RTOutlineKernelsPass> {
  using RTOutlineKernelsPassBase::RTOutlineKernelsPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (!llvm::isPowerOf2_64(warpSize) || !llvm::isPowerOf2_64(maxThreads) ||
        !llvm::isPowerOf2_64(vectorBits) || vectorBits < 64 || maxThreads < warpSize) {
      module.emitError("expected warp-size, max-threads and vector-bits (at least 64) to be powers "
                       "of two, a warp no larger than a block");
      return signalPassFailure();
    }
    kernels.clear();
    kernelModule = {};
    for (auto entry : module.getOps<func::FuncOp>())
      if (failed(outline(entry)))
        return signalPassFailure();
    numKernels = kernels.size();
  }

  LogicalResult outline(func::FuncOp entry) {
    PlaceMap places;
    for (Operation &op : llvm::make_early_inc_range(entry.getBody().front().without_terminator())) {
      if (failed(assignPlaces(getOperation(), &op, places)))
        return failure();
      if (auto tiles = dyn_cast<rt::TilesOp>(op))
        return tiles.emitOpError("expected no tiles: a GPU runs one op at a time");
      auto fused = dyn_cast<rt::FusedOp>(op);
      if (!fused)
        continue;
      rt::LaunchOp launch = replace(fused, kernelOf(fused, argumentsOf(fused, places)));
      if (failed(assignPlaces(getOperation(), launch, places)))
        return failure();
      ++numLaunches;
    }
    return success();
  }

  SmallVector<Argument> argumentsOf(rt::FusedOp op, const PlaceMap &places) {
    SmallVector<Argument> arguments;
    auto overlaps = [&](Value a, ValueRange others) {
      return llvm::any_of(others, [&](Value other) {
        return overlap(places.lookup(a), rt::byteSize(typeOf(a)), places.lookup(other),
                       rt::byteSize(typeOf(other)));
      });
    };
    auto add = [&](Value value, bool isWritten) {
      RankedTensorType tensor = typeOf(value);
      auto type = MemRefType::get({tensor.getNumElements()}, tensor.getElementType(),
                                  MemRefLayoutAttrInterface(),
                                  IntegerAttr::get(IntegerType::get(&getContext(), 64), 1));
      int64_t alignment = std::gcd(places.lookup(value).offset, int64_t(vectorBits) / 8);
      ValueRange others = isWritten ? ValueRange(op.getInputs()) : ValueRange(op.getResults());
      arguments.push_back({type, alignment, isWritten, overlaps(value, others)});
    };
    for (Value input : op.getInputs())
      add(input, false);
    for (Value result : op.getResults())
      add(result, true);
    return arguments;
  }

  Kernel kernelOf(rt::FusedOp op, ArrayRef<Argument> arguments) {
    std::string key = programKey(op);
    for (const Argument &argument : arguments)
      key += llvm::formatv("{0}/{1}/{2},", argument.type.getNumElements(), argument.alignment,
                           argument.overlaps);
    auto [known, isNew] = kernels.insert({key, Kernel()});
    if (!isNew)
      return known->second;
    if (!kernelModule) {
      OpBuilder b = OpBuilder::atBlockEnd(getOperation().getBody());
      kernelModule = gpu::GPUModuleOp::create(b, getOperation().getLoc(), kModuleName);
    }
    SmallVector<int64_t> alignments;
    for (const Argument &argument : arguments)
      alignments.push_back(argument.alignment);
    GpuProgram program(op, alignments);
    GpuTarget target{warpSize, vectorBits, maxShared, maxThreads, maxRegisters, processors};
    Kernel &kernel = known->second;
    kernel.schedule = chooseSchedule(program, target);
    countSchedule(kernel.schedule.kind);
    OpBuilder b = OpBuilder::atBlockEnd(kernelModule.getBody());
    kernel.function = makeFunction(b, op.getLoc(), arguments, kernel.schedule);
    KernelBody(b, kernel.function, program, kernel.schedule, target).emit();
    return kernel;
  }

  void countSchedule(Schedule::Kind kind) {
    numFlat += kind == Schedule::Kind::Flat;
    numRows += kind == Schedule::Kind::Rows;
    numLoops += kind == Schedule::Kind::Loop;
    numSums += kind == Schedule::Kind::Sums;
  }

  gpu::GPUFuncOp makeFunction(OpBuilder &b, Location loc, ArrayRef<Argument> arguments,
                              const Schedule &schedule) {
    SmallVector<Type> types;
    for (const Argument &argument : arguments)
      types.push_back(argument.type);
    auto function = gpu::GPUFuncOp::create(
        b, loc, llvm::formatv("{0}_{1}", schedule.name(), kernels.size() - 1).str(),
        b.getFunctionType(types, {}));
    function->setAttr(gpu::GPUDialect::getKernelFuncAttrName(), b.getUnitAttr());
    function.setKnownBlockSizeAttr(b.getDenseI32ArrayAttr({int32_t(schedule.threads()), 1, 1}));
    for (auto [i, argument] : llvm::enumerate(arguments)) {
      function.setArgAttr(i, LLVM::LLVMDialect::getAlignAttrName(),
                          b.getI64IntegerAttr(argument.alignment));
      if (argument.overlaps)
        continue;
      function.setArgAttr(i, LLVM::LLVMDialect::getNoAliasAttrName(), b.getUnitAttr());
      if (!argument.isWritten)
        function.setArgAttr(i, LLVM::LLVMDialect::getReadonlyAttrName(), b.getUnitAttr());
    }
    return function;
  }

  rt::LaunchOp replace(rt::FusedOp op, Kernel kernel) {
    OpBuilder b(op);
    auto symbol = SymbolRefAttr::get(b.getContext(), kModuleName,
                                     {FlatSymbolRefAttr::get(kernel.function.getNameAttr())});
    auto launch = rt::LaunchOp::create(b, op.getLoc(), op.getResultTypes(), symbol,
                                       b.getDenseI64ArrayAttr(kernel.schedule.grid),
                                       b.getDenseI64ArrayAttr({kernel.schedule.threads(), 1, 1}),
                                       op.getInputs(), op.getDests(), op.getDestOfAttr());
    launch->setDiscardableAttrs(op->getDiscardableAttrDictionary());
    launch->setAttr(rt::RTDialect::kSpaceAttr, op.getSpaceAttr());
    op->replaceAllUsesWith(launch);
    op.erase();
    return launch;
  }

  gpu::GPUModuleOp kernelModule;
  llvm::StringMap<Kernel> kernels;
};
} // namespace
