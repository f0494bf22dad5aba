//===- DeviceEmitter.cpp - entries to launches on a device -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DeviceEmitter.h"

#include "ns/Runtime/Abi.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

#include <numeric>

using namespace mlir;
using namespace ns;
using rt::typeOf;

/// Of a gradient: q, k, v, o, statistics, do, dq, dk, dv.
static constexpr int64_t kAttentionArguments = 9;
static_assert(sizeof(nsrt_attention) == 160, "DeviceEmitter::description writes its fields");

DeviceEmitter::DeviceEmitter(ModuleOp module, bool tf32) : EntryFrame(module), tf32(tf32) {
  for (auto unit : module.getOps<gpu::GPUModuleOp>())
    for (auto kernel : unit.getOps<gpu::GPUFuncOp>()) {
      numbers[kernel.getName()] = int64_t(names.size());
      names.push_back(kernel.getName().str());
    }
}

void DeviceEmitter::begin(func::FuncOp source) {
  int64_t most = kAttentionArguments;
  source.walk([&](rt::LaunchOp op) {
    most = std::max<int64_t>(most, op.getInputs().size() + op.getNumResults());
  });
  // One call after the other fills them: the host has read them when it returns.
  SmallVector<Value> nulls(
      most, LLVM::ZeroOp::create(*builder, source.getLoc(), hostPointer.getType()).getResult());
  values = host->array(nulls);
  SmallVector<Value> places;
  for (int64_t i = 0; i < most; ++i)
    places.push_back(host->bytes(values, i * int64_t(sizeof(void *))));
  addresses = host->array(places);
}

LogicalResult DeviceEmitter::emitTimed(Operation *op) {
  if (auto gemm = dyn_cast<rt::GemmOp>(op))
    emitGemm(gemm);
  else if (auto launch = dyn_cast<rt::LaunchOp>(op))
    emitLaunch(launch);
  else if (rt::isLibraryAttention(op))
    emitAttention(op);
  else
    return op->emitOpError("expected what rt-verify-device lets pass");
  return success();
}

Value DeviceEmitter::constant(StringRef name, ArrayRef<Type> fields, ArrayRef<int64_t> values) {
  std::vector<int64_t> key(values.begin(), values.end());
  LLVM::GlobalOp &global = constants[key];
  Location loc = module.getLoc();
  if (!global) {
    OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
    auto type = LLVM::LLVMStructType::getLiteral(b.getContext(), fields);
    global = LLVM::GlobalOp::create(b, loc, type, /*isConstant=*/true, LLVM::Linkage::Internal,
                                    (name + "_" + Twine(constants.size())).str(), Attribute());
    b.setInsertionPointToStart(&global.getInitializerRegion().emplaceBlock());
    Value all = LLVM::UndefOp::create(b, loc, type);
    for (auto [i, value] : llvm::enumerate(values)) {
      TypedAttr number;
      if (fields[i].isF64())
        number = b.getF64FloatAttr(llvm::bit_cast<double>(value));
      else
        number = b.getIntegerAttr(fields[i], value);
      Value field = LLVM::ConstantOp::create(b, loc, fields[i], number);
      all = LLVM::InsertValueOp::create(b, loc, all, field, ArrayRef<int64_t>{int64_t(i)});
    }
    LLVM::ReturnOp::create(b, loc, all);
  }
  return LLVM::AddressOfOp::create(*builder, builder->getInsertionBlock()->getParentOp()->getLoc(),
                                   global);
}

int64_t DeviceEmitter::alignmentOf(rt::GemmOp op) {
  int64_t factor = typeOf(op.getA()).getElementTypeBitWidth() / 8,
          made = typeOf(op.getResult()).getElementTypeBitWidth() / 8, alignment = 256;
  for (Value value : {op.getA(), op.getB(), op.getResult(), op.getBias()})
    if (value)
      alignment = std::gcd(alignment, places.lookup(value).offset);
  if (auto batch = op.getBatch())
    for (int64_t stride :
         {(*batch)[1] * factor, (*batch)[2] * factor, op.getMnk()[0] * op.getMnk()[1] * made})
      alignment = std::gcd(alignment, stride);
  return alignment;
}

Value DeviceEmitter::description(rt::GemmOp op) {
  int64_t m = op.getMnk()[0], n = op.getMnk()[1], k = op.getMnk()[2];
  auto typeNumber = [](Value value) -> int64_t {
    Type element = typeOf(value).getElementType();
    return element.isF32() ? NSRT_F32 : element.isBF16() ? NSRT_BF16 : NSRT_E4M3;
  };
  int64_t factors = typeNumber(op.getA());
  if (factors == NSRT_F32 && tf32)
    factors = NSRT_TF32;
  bool isBatch = op.getBatch() && op.getBatchCount() > 1;
  // The fields of nsrt_gemm after `index`.
  std::vector<int64_t> fields = {op.getTransA(),
                                 op.getTransB(),
                                 m,
                                 n,
                                 k,
                                 op.getTransA() ? m : k,
                                 op.getTransB() ? k : n,
                                 n,
                                 op.getBatchCount(),
                                 isBatch ? (*op.getBatch())[1] : 0,
                                 isBatch ? (*op.getBatch())[2] : 0,
                                 isBatch ? m * n : 0,
                                 factors,
                                 typeNumber(op.getResult()),
                                 op.getBias() ? NSRT_EPILOGUE_BIAS : NSRT_EPILOGUE_NONE,
                                 alignmentOf(op)};
  int64_t index = products.try_emplace(fields, int64_t(products.size())).first->second;
  fields.insert(fields.begin(), index);
  Type i32 = builder->getI32Type(), i64 = builder->getI64Type();
  SmallVector<Type> types = {i64, i32, i32};
  types.append(10, i64);
  types.append(4, i32);
  return constant("product", types, fields);
}

void DeviceEmitter::emitGemm(rt::GemmOp op) {
  Value null = LLVM::ZeroOp::create(*builder, op.getLoc(), hostPointer.getType());
  auto addressOr = [&](Value value) { return value ? pointer(value) : null; };
  host->deviceGemm(description(op), pointer(op.getA()), pointer(op.getB()), addressOr(op.getBias()),
                   addressOr(op.getAccumulate()), pointer(op.getResult()));
}

Value DeviceEmitter::description(const rt::AttentionShape &shape, bool isGradient) {
  // The fields of nsrt_attention after `index`.
  std::vector<int64_t> fields = {isGradient,  NSRT_BF16,     shape.images * shape.windows,
                                 shape.heads, shape.queries, shape.keys,
                                 shape.dim};
  for (int64_t part = 0; part < 3; ++part) { // a window's tokens lie together, as an image's
    int64_t pitch = shape.parts[part].pitch, tokens = part == 0 ? shape.queries : shape.keys;
    fields.insert(fields.end(), {tokens * pitch, shape.dim, pitch});
  }
  fields.insert(fields.end(), {shape.queries * shape.width, shape.dim, shape.width});
  fields.push_back(llvm::bit_cast<int64_t>(shape.scale));
  int64_t index = attentions.try_emplace(fields, int64_t(attentions.size())).first->second;
  fields.insert(fields.begin(), index);
  Type i32 = builder->getI32Type(), i64 = builder->getI64Type();
  SmallVector<Type> types = {i64, i32, i32};
  types.append(17, i64);
  types.push_back(builder->getF64Type());
  return constant("attention", types, fields);
}

void DeviceEmitter::emitAttention(Operation *op) {
  rt::AttentionShape shape(op);
  constexpr int64_t kBytes = 2; // of a bfloat16
  SmallVector<Value> arguments;
  auto addParts = [&](ValueRange values) {
    for (const auto &part : shape.parts)
      arguments.push_back(host->bytes(pointer(values[part.input]), part.channel * kBytes));
  };
  addParts(shape.inputs);
  auto gradient = dyn_cast<rt::AttentionGradOp>(op);
  if (gradient) {
    for (Value value : {gradient.getOutput(), gradient.getStatistics(), gradient.getGrad()})
      arguments.push_back(pointer(value));
    addParts(gradient.getResults());
  } else {
    for (Value value : op->getResults())
      arguments.push_back(pointer(value));
  }
  storeArguments(op, arguments);
  host->deviceAttention(description(shape, bool(gradient)), values);
}

void DeviceEmitter::storeArguments(Operation *op, ArrayRef<Value> arguments) {
  for (auto [i, argument] : llvm::enumerate(arguments))
    LLVM::StoreOp::create(*builder, op->getLoc(), argument,
                          host->bytes(values, int64_t(i) * int64_t(sizeof(void *))));
}

void DeviceEmitter::emitLaunch(rt::LaunchOp op) {
  SmallVector<Value> arguments;
  for (Value value : op.getInputs())
    arguments.push_back(pointer(value));
  for (Value value : op.getResults())
    arguments.push_back(pointer(value));
  storeArguments(op, arguments);
  SmallVector<int64_t> sizes(op.getGrid());
  llvm::append_range(sizes, op.getBlock());
  SmallVector<Type> types(sizes.size(), builder->getI64Type());
  host->launch(numbers.lookup(op.getKernel().getLeafReference()), constant("launch", types, sizes),
               addresses, int64_t(arguments.size()));
  ++numLaunches;
}
