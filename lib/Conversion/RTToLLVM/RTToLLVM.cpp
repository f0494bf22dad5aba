//===- RTToLLVM.cpp - kernels, entries and the artefact's table -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DeviceEmitter.h"
#include "EntryEmitter.h"

#include "ns/Conversion/Passes.h"
#include "ns/Dialect/NS/IR/NS.h"
#include "ns/Runtime/Abi.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace ns {
#define GEN_PASS_DEF_RTTOLLVMPASS
#include "ns/Conversion/Passes.h.inc"
} // namespace ns

using namespace mlir;
using namespace ns;

namespace {

/// How large the code of a device's kernels is, and their names, by number; 0 and none for the CPU.
struct DeviceTable {
  int64_t imageSize = 0;
  ArrayRef<std::string> kernels = {};
};

/// Emits the constants that nsrt_artifact_query returns.
class TableEmitter {
public:
  TableEmitter(ModuleOp module)
      : module(module), b(OpBuilder::atBlockEnd(module.getBody())), loc(module.getLoc()) {
    pointer = LLVM::LLVMPointerType::get(b.getContext());
  }

  /// `tableName` empty: the table is internal and the module gets the query function.
  void emit(ArrayRef<std::pair<StringRef, LLVM::LLVMFuncOp>> entries, StringRef metadata,
            StringRef tableName, const DeviceTable &device) {
    auto entryType = LLVM::LLVMStructType::getLiteral(b.getContext(), {pointer, pointer});
    auto arrayType = LLVM::LLVMArrayType::get(entryType, entries.size());
    SmallVector<LLVM::GlobalOp> names;
    for (auto &[name, function] : entries)
      names.push_back(string(("name_" + name).str(), name));
    LLVM::GlobalOp text = string("metadata", metadata);
    auto table = global("entries", arrayType, [&](OpBuilder &inner) {
      Value array = LLVM::UndefOp::create(inner, loc, arrayType);
      for (int64_t i = 0; i < int64_t(entries.size()); ++i) {
        Value name = LLVM::AddressOfOp::create(inner, loc, names[i]);
        LLVM::LLVMFuncOp function = entries[i].second;
        Value run = LLVM::AddressOfOp::create(inner, loc, function);
        array = LLVM::InsertValueOp::create(inner, loc, array, name, ArrayRef<int64_t>{i, 0});
        array = LLVM::InsertValueOp::create(inner, loc, array, run, ArrayRef<int64_t>{i, 1});
      }
      return array;
    });
    LLVM::GlobalOp image, kernels;
    if (device.imageSize) { // another object's: bytes that no pass needs to see
      auto type = LLVM::LLVMArrayType::get(b.getI8Type(), device.imageSize);
      image = LLVM::GlobalOp::create(b, loc, type, /*isConstant=*/true, LLVM::Linkage::External,
                                     kImageSymbol, Attribute());
      image.setVisibility_(LLVM::Visibility::Hidden);
    }
    if (!device.kernels.empty())
      kernels = kernelNames(device.kernels);
    Type i32 = b.getI32Type(), i64 = b.getI64Type();
    auto artifactType = LLVM::LLVMStructType::getLiteral(
        b.getContext(), {i32, i32, pointer, i64, i64, pointer, pointer, i64, i64, pointer});
    auto artifact =
        global(tableName.empty() ? "artifact" : tableName, artifactType, [&](OpBuilder &inner) {
          Value s = LLVM::UndefOp::create(inner, loc, artifactType);
          auto set = [&](int64_t field, Value value) {
            s = LLVM::InsertValueOp::create(inner, loc, s, value, ArrayRef<int64_t>{field});
          };
          auto constant = [&](Type type, int64_t value) -> Value {
            return LLVM::ConstantOp::create(inner, loc, type, inner.getIntegerAttr(type, value));
          };
          set(0, constant(i32, sizeof(nsrt_artifact)));
          set(1, constant(i32, NSRT_ABI_VERSION));
          set(2, LLVM::AddressOfOp::create(inner, loc, text));
          set(3, constant(i64, metadata.size()));
          set(4, constant(i64, entries.size()));
          set(5, LLVM::AddressOfOp::create(inner, loc, table));
          auto addressOr = [&](LLVM::GlobalOp global) -> Value {
            if (global)
              return LLVM::AddressOfOp::create(inner, loc, global);
            return LLVM::ZeroOp::create(inner, loc, pointer);
          };
          set(6, addressOr(image));
          set(7, constant(i64, device.imageSize));
          set(8, constant(i64, device.kernels.size()));
          set(9, addressOr(kernels));
          return s;
        });
    if (tableName.empty())
      return emitQuery(artifact);
    artifact.setLinkage(LLVM::Linkage::External);
    artifact.setVisibility_(LLVM::Visibility::Hidden);
  }

private:
  LLVM::GlobalOp string(StringRef name, StringRef text) {
    std::string bytes = text.str() + '\0';
    auto type = LLVM::LLVMArrayType::get(b.getI8Type(), bytes.size());
    return LLVM::GlobalOp::create(b, loc, type, /*isConstant=*/true, LLVM::Linkage::Internal, name,
                                  b.getStringAttr(StringRef(bytes.data(), bytes.size())));
  }

  LLVM::GlobalOp global(StringRef name, Type type, llvm::function_ref<Value(OpBuilder &)> init) {
    auto op = LLVM::GlobalOp::create(b, loc, type, /*isConstant=*/true, LLVM::Linkage::Internal,
                                     name, Attribute());
    OpBuilder inner = OpBuilder::atBlockEnd(&op.getInitializerRegion().emplaceBlock());
    Value value = init(inner);
    LLVM::ReturnOp::create(inner, loc, value);
    return op;
  }

  LLVM::GlobalOp kernelNames(ArrayRef<std::string> kernels) {
    SmallVector<LLVM::GlobalOp> names;
    for (const std::string &kernel : kernels)
      names.push_back(string("kernel_" + kernel, kernel));
    auto type = LLVM::LLVMArrayType::get(pointer, names.size());
    return global("kernels", type, [&](OpBuilder &inner) {
      Value array = LLVM::UndefOp::create(inner, loc, type);
      for (auto [i, name] : llvm::enumerate(names))
        array = LLVM::InsertValueOp::create(inner, loc, array,
                                            LLVM::AddressOfOp::create(inner, loc, name).getResult(),
                                            ArrayRef<int64_t>{int64_t(i)});
      return array;
    });
  }

  /// Returns the table, or null for a host that speaks another ABI.
  void emitQuery(LLVM::GlobalOp artifact) {
    auto type = LLVM::LLVMFunctionType::get(pointer, {b.getI32Type(), b.getI32Type()});
    auto query = LLVM::LLVMFuncOp::create(b, loc, NSRT_QUERY_SYMBOL, type);
    markCold(query);
    Block *entry = query.addEntryBlock(b);
    OpBuilder inner = OpBuilder::atBlockEnd(entry);
    Value wanted =
        LLVM::ConstantOp::create(inner, loc, b.getI32Type(), b.getI32IntegerAttr(NSRT_ABI_VERSION));
    Value same =
        LLVM::ICmpOp::create(inner, loc, LLVM::ICmpPredicate::eq, entry->getArgument(0), wanted);
    Value table = LLVM::AddressOfOp::create(inner, loc, artifact);
    Value null = LLVM::ZeroOp::create(inner, loc, pointer);
    LLVM::ReturnOp::create(inner, loc,
                           LLVM::SelectOp::create(inner, loc, same, table, null).getResult());
  }

  ModuleOp module;
  OpBuilder b;
  Location loc;
  LLVM::LLVMPointerType pointer;
};

struct RTToLLVMPass : public ns::impl::RTToLLVMPassBase<RTToLLVMPass> {
  using RTToLLVMPassBase::RTToLLVMPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    if (failed(device ? emitDevice(module) : emitCpu(module)))
      return signalPassFailure();
    for (Operation &op : llvm::make_early_inc_range(*module.getBody()))
      if (!isa<LLVM::LLVMFuncOp, LLVM::GlobalOp>(op))
        op.erase();
    SmallVector<NamedAttribute> attributes(module->getAttrs());
    for (NamedAttribute attribute : attributes)
      if (!attribute.getName().strref().starts_with("llvm."))
        module->removeAttr(attribute.getName());
  }

private:
  LogicalResult emitCpu(ModuleOp module) {
    KernelEmitter kernels(module, vectorBits);
    EntryEmitter emitter(module, kernels);
    if (failed(emitEntries(module, emitter, {})))
      return failure();
    numKernels = kernels.numKernels();
    numLaunches = emitter.numLaunches;
    return success();
  }

  LogicalResult emitDevice(ModuleOp module) {
    DeviceEmitter emitter(module, tf32);
    if (failed(emitEntries(module, emitter, {imageSize, emitter.kernels()})))
      return failure();
    numKernels = emitter.kernels().size();
    numLaunches = emitter.numLaunches;
    return success();
  }

  LogicalResult emitEntries(ModuleOp module, EntryFrame &emitter, const DeviceTable &code) {
    SmallVector<std::pair<StringRef, LLVM::LLVMFuncOp>> entries;
    SmallVector<func::FuncOp> sources(module.getOps<func::FuncOp>());
    for (func::FuncOp source : sources) {
      auto entry = emitter.emit(source);
      if (failed(entry))
        return failure();
      entries.push_back({source.getSymName(), *entry});
    }
    TableEmitter(module).emit(entries, metadata, table, code);
    return success();
  }
};
} // namespace
