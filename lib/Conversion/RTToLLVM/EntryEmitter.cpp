//===- EntryEmitter.cpp - entries to calls of the host's services -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "EntryEmitter.h"

#include "ns/Runtime/Abi.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;
using namespace ns;
using rt::typeOf;

static LLVM::LLVMPointerType pointerType(OpBuilder &b) {
  return LLVM::LLVMPointerType::get(b.getContext());
}

//===----------------------------------------------------------------------===//
// EntryEmitter
//===----------------------------------------------------------------------===//

/// Offset of a named slot in `rt.layout`.
static FailureOr<int64_t> slotOffset(ModuleOp module, rt::SlotOp slot) {
  auto layout = module->getAttrOfType<DictionaryAttr>(rt::RTDialect::kLayoutAttr);
  if (!layout)
    return slot.emitOpError("expected the module to have '") << rt::RTDialect::kLayoutAttr << "'";
  for (Attribute entry : layout.getAs<ArrayAttr>(rt::stringifyRegion(slot.getRegion()))) {
    auto fields = cast<DictionaryAttr>(entry);
    if (fields.getAs<StringAttr>("name") == slot.getNameAttr())
      return fields.getAs<IntegerAttr>("offset").getInt();
  }
  return slot.emitOpError("expected region ")
         << rt::stringifyRegion(slot.getRegion()) << " to have a slot '" << slot.getName() << "'";
}

Value EntryEmitter::pointer(Value value) {
  Place place = places.lookup(value);
  return host->bytes(regions[unsigned(place.region)], place.offset);
}

FailureOr<LLVM::LLVMFuncOp> EntryEmitter::emit(func::FuncOp source) {
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  Location loc = source.getLoc();
  Type pointer = pointerType(b);
  auto type = LLVM::LLVMFunctionType::get(b.getI32Type(), {pointer, pointer});
  auto function = LLVM::LLVMFuncOp::create(b, loc, ("entry_" + source.getSymName()).str(), type,
                                           LLVM::Linkage::Internal);
  Block *block = function.addEntryBlock(b);
  b.setInsertionPointToStart(block);
  hostPointer = block->getArgument(0);
  HostCalls calls(b, loc, hostPointer);
  builder = &b;
  host = &calls;
  places.clear();
  regions.clear();
  for (int32_t region = 0; region < NSRT_NUM_REGIONS; ++region) {
    Value at = LLVM::GEPOp::create(b, loc, pointer, pointer, block->getArgument(1),
                                   ArrayRef<LLVM::GEPArg>{region});
    regions.push_back(LLVM::LoadOp::create(b, loc, pointer, at));
  }
  for (Operation &op : source.getBody().front().without_terminator())
    if (failed(emitOp(&op)))
      return failure();
  LLVM::ReturnOp::create(b, loc, calls.i32(0));
  return function;
}

LogicalResult EntryEmitter::emitOp(Operation *op) {
  if (auto slot = dyn_cast<rt::SlotOp>(op)) {
    auto offset = slotOffset(module, slot);
    if (failed(offset))
      return failure();
    places[slot.getResult()] = {slot.getRegion(), *offset};
    return success();
  }
  if (auto view = dyn_cast<rt::ViewOp>(op)) {
    Place place = places.lookup(view.getSource());
    place.offset +=
        int64_t(view.getOffset()) * (typeOf(view.getSource()).getElementTypeBitWidth() / 8);
    places[view.getResult()] = place;
    return success();
  }
  auto offsets = op->getAttrOfType<DenseI64ArrayAttr>(rt::RTDialect::kOffsetsAttr);
  if (!offsets && op->getNumResults() > 0)
    return op->emitOpError("expected '") << rt::RTDialect::kOffsetsAttr << "'; run rt-plan-memory";
  for (OpResult result : op->getResults()) {
    Value dest;
    if (auto gemm = dyn_cast<rt::GemmOp>(op))
      dest = gemm.getDest();
    else if (auto fused = dyn_cast<rt::FusedOp>(op))
      dest = fused.getDestOf(result.getResultNumber());
    places[result] =
        dest ? places.lookup(dest) : Place{rt::Region::Work, offsets[result.getResultNumber()]};
  }
  if (auto gemm = dyn_cast<rt::GemmOp>(op))
    return emitGemm(gemm);
  if (auto fused = dyn_cast<rt::FusedOp>(op))
    return emitFused(fused);
  if (isa<rt::AttentionOp, rt::AttentionGradOp>(op))
    return emitAttention(op);
  return op->emitOpError("expected an rt op");
}

LogicalResult EntryEmitter::emitGemm(rt::GemmOp op) {
  Type element = typeOf(op.getResult()).getElementType();
  int64_t m = op.getMnk()[0], n = op.getMnk()[1], k = op.getMnk()[2];
  Value beta = op.getAccumulate() ? LLVM::LoadOp::create(*builder, op.getLoc(), element,
                                                         pointer(op.getAccumulate()))
                                        .getResult()
                                  : host->number(element, 0.0);
  host->gemm(element, op.getTransA(), op.getTransB(), m, n, k, host->number(element, 1.0),
             pointer(op.getA()), op.getTransA() ? m : k, pointer(op.getB()), op.getTransB() ? k : n,
             beta, pointer(op.getResult()), n);
  return success();
}

/// Which results lie over an input's bytes.
SmallVector<bool> EntryEmitter::overlaps(rt::FusedOp op) {
  auto overlap = [&](Value a, Value b) {
    Place x = places.lookup(a), y = places.lookup(b);
    return x.region == y.region && x.offset < y.offset + rt::byteSize(typeOf(b)) &&
           y.offset < x.offset + rt::byteSize(typeOf(a));
  };
  SmallVector<bool> result;
  for (Value made : op.getResults())
    result.push_back(
        llvm::any_of(op.getInputs(), [&](Value input) { return overlap(made, input); }));
  return result;
}

void EntryEmitter::launch(LLVM::LLVMFuncOp task, ArrayRef<Value> arguments, int64_t count,
                          int64_t grain) {
  Location loc = task.getLoc();
  Type pointer = pointerType(*builder);
  Value array;
  {
    OpBuilder::InsertionGuard guard(*builder);
    builder->setInsertionPointToStart(builder->getInsertionBlock()); // allocas are static there
    array = LLVM::AllocaOp::create(
        *builder, loc, pointer, LLVM::LLVMArrayType::get(pointer, arguments.size()), host->i64(1));
  }
  for (auto [i, argument] : llvm::enumerate(arguments)) {
    Value at = LLVM::GEPOp::create(*builder, loc, pointer, pointer, array,
                                   ArrayRef<LLVM::GEPArg>{int32_t(i)});
    LLVM::StoreOp::create(*builder, loc, argument, at);
  }
  host->parallelFor(task, array, count, grain);
  ++numLaunches;
}

LogicalResult EntryEmitter::emitFused(rt::FusedOp op) {
  SmallVector<Value> arguments;
  for (Value input : op.getInputs())
    arguments.push_back(pointer(input));
  for (Value result : op.getResults())
    arguments.push_back(pointer(result));
  // A piece of work worth waking a thread for: some 32 thousand elements.
  int64_t grain = std::max<int64_t>(1, 32768 / (op.getInner() * op.getCols()));
  launch(kernels.task(op, overlaps(op)), arguments, op.getRows(), grain);
  return success();
}

LogicalResult EntryEmitter::emitAttention(Operation *op) {
  SmallVector<Value> arguments = {hostPointer};
  for (Value operand : op->getOperands())
    arguments.push_back(pointer(operand));
  for (Value result : op->getResults())
    arguments.push_back(pointer(result));
  auto tokens = typeOf(op->getOperand(0)); // of the queries, or of the result's gradient
  int64_t tasks = tokens.getDimSize(0) * op->getAttrOfType<IntegerAttr>("heads").getInt();
  if (auto window = op->getAttrOfType<IntegerAttr>("window"))
    tasks *= tokens.getDimSize(1) / window.getInt();
  launch(attention.task(op), arguments, tasks, 1);
  return success();
}
