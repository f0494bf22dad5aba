//===- DeviceEmulation.cpp - optimised device code on x86-64 -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AnalysisManagers.h"
#include "DeviceInternal.h"
#include "ns/Target/Native.h"

#include "llvm/Analysis/ValueTracking.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/MDBuilder.h"
#include "llvm/IR/ReplaceConstant.h"
#include "llvm/IR/Verifier.h"
#include "llvm/Transforms/IPO/AlwaysInliner.h"
#include "llvm/Transforms/Utils/BasicBlockUtils.h"

using namespace llvm;
using namespace ns;

/// NVPTX's address space of a block's shared memory.
static constexpr unsigned kShared = 3;

namespace {

/// An access to memory that is checked.
struct Access {
  Instruction *instruction;
  Value *pointer;
  Value *bytes;
  uint64_t align;
  uint32_t flags;
};

/// Rewrites one kernel: its body becomes a function with the thread as first argument, beside one
/// that takes its arguments as cuLaunchKernel does.
class KernelEmulation {
public:
  KernelEmulation(Function &kernel, const KernelSignature &signature)
      : module(*kernel.getParent()), context(module.getContext()), kernel(kernel),
        signature(signature) {}

  Error run() {
    if (kernel.arg_size() != signature.params.size())
      return createStringError("emulation: kernel %s has %zu arguments, expected %zu",
                               signature.name.c_str(), kernel.arg_size(), signature.params.size());
    moveBody();
    if (Error error = placeShared())
      return error;
    for (const Access &access : collectAccesses())
      check(access);
    useShared();
    if (Error error = replaceCalls())
      return error;
    roundToBf16();
    forbidEstimates();
    makeEntry();
    return Error::success();
  }

  /// The kernel's row of the table, a nsemu_kernel.
  Constant *describe() const;

private:
  void moveBody();
  Error placeShared();
  SmallVector<Access> collectAccesses();
  void check(const Access &access);
  void checkArgument(const Access &access, const nsemu_param &param, Argument &argument);
  void useShared();
  Error replaceCalls();
  void roundToBf16();
  void forbidEstimates();
  void makeEntry();

  Module &module;
  LLVMContext &context;
  Function &kernel;
  const KernelSignature &signature;
  Function *body = nullptr, *entry = nullptr;
  Value *thread = nullptr;
  MapVector<GlobalVariable *, uint64_t> shared; ///< objects and their offsets
  uint64_t sharedBytes = 0;
  bool synchronizes = false;
};

} // namespace

void KernelEmulation::moveBody() {
  SmallVector<Type *> types = {PointerType::get(context, 0)};
  append_range(types, kernel.getFunctionType()->params());
  body = Function::Create(FunctionType::get(Type::getVoidTy(context), types, false),
                          GlobalValue::InternalLinkage, signature.name + ".thread", module);
  body->splice(body->begin(), &kernel);
  for (Argument &argument : kernel.args())
    argument.replaceAllUsesWith(body->getArg(argument.getArgNo() + 1));
  thread = body->getArg(0);
}

Error KernelEmulation::placeShared() {
  SmallVector<Constant *> objects;
  for (GlobalVariable &global : module.globals())
    if (global.getAddressSpace() == kShared)
      objects.push_back(&global);
  convertUsersOfConstantsToInstructions(objects, body); // so that every use is in the body
  for (Constant *constant : objects) {
    auto *global = cast<GlobalVariable>(constant);
    if (none_of(global->users(), [&](User *user) {
          auto *instruction = dyn_cast<Instruction>(user);
          return instruction && instruction->getFunction() == body;
        }))
      continue;
    uint64_t bytes = module.getDataLayout().getTypeAllocSize(global->getValueType());
    if (global->isDeclaration() || bytes == 0)
      return createStringError("emulation: kernel %s: expected shared memory of static size",
                               signature.name.c_str());
    uint64_t align = std::max<uint64_t>(global->getAlign().valueOrOne().value(), 16);
    shared[global] = alignTo(sharedBytes, align);
    sharedBytes = shared[global] + bytes;
  }
  return Error::success();
}

SmallVector<Access> KernelEmulation::collectAccesses() {
  const DataLayout &layout = module.getDataLayout();
  SmallVector<Access> accesses;
  IRBuilder<> b(context);
  auto add = [&](Instruction &at, Value *pointer, Type *type, Align align, uint32_t flags) {
    accesses.push_back(
        {&at, pointer, b.getInt64(layout.getTypeStoreSize(type)), align.value(), flags});
  };
  for (Instruction &at : instructions(*body)) {
    if (auto *load = dyn_cast<LoadInst>(&at)) {
      add(at, load->getPointerOperand(), load->getType(), load->getAlign(), NSEMU_READ);
    } else if (auto *store = dyn_cast<StoreInst>(&at)) {
      add(at, store->getPointerOperand(), store->getValueOperand()->getType(), store->getAlign(),
          NSEMU_WRITE);
    } else if (auto *rmw = dyn_cast<AtomicRMWInst>(&at)) {
      add(at, rmw->getPointerOperand(), rmw->getType(), rmw->getAlign(),
          NSEMU_READ | NSEMU_WRITE | NSEMU_ATOMIC);
    } else if (auto *exchange = dyn_cast<AtomicCmpXchgInst>(&at)) {
      add(at, exchange->getPointerOperand(), exchange->getNewValOperand()->getType(),
          exchange->getAlign(), NSEMU_READ | NSEMU_WRITE | NSEMU_ATOMIC);
    } else if (auto *memory = dyn_cast<MemIntrinsic>(&at)) {
      accesses.push_back({&at, memory->getRawDest(), memory->getLength(),
                          memory->getDestAlign().valueOrOne().value(), NSEMU_WRITE});
      if (auto *copy = dyn_cast<MemTransferInst>(memory))
        accesses.push_back({&at, copy->getRawSource(), copy->getLength(),
                            copy->getSourceAlign().valueOrOne().value(), NSEMU_READ});
    }
  }
  return accesses;
}

void KernelEmulation::check(const Access &access) {
  const Value *object = getUnderlyingObject(access.pointer, /*MaxLookup=*/0);
  if (isa<AllocaInst>(object))
    return;
  IRBuilder<> b(access.instruction);
  auto address = [&](const Value *pointer) {
    return b.CreatePtrToInt(const_cast<Value *>(pointer), b.getInt64Ty());
  };
  Value *bytes = b.CreateZExtOrTrunc(access.bytes, b.getInt64Ty());
  Value *align = b.getInt32(access.align), *flags = b.getInt32(access.flags);
  if (auto *global = dyn_cast<GlobalVariable>(object)) {
    if (global->getAddressSpace() != kShared)
      return; // a table of constants
    Value *extent = b.getInt64(module.getDataLayout().getTypeAllocSize(global->getValueType()));
    callService(b, thread, offsetof(nsemu_services, shared_access), b.getVoidTy(),
                {thread, address(global), extent, address(access.pointer), bytes, align, flags});
    return;
  }
  if (auto *argument = dyn_cast<Argument>(object)) {
    const nsemu_param &param = signature.params[argument->getArgNo() - 1];
    if (param.extent && isa<ConstantInt>(bytes))
      return checkArgument(access, param, *const_cast<Argument *>(argument));
  }
  callService(b, thread, offsetof(nsemu_services, check), b.getVoidTy(),
              {thread, address(access.pointer), bytes, align, flags});
}

/// In line, because nearly every access of a kernel is of this kind.
void KernelEmulation::checkArgument(const Access &access, const nsemu_param &param,
                                    Argument &argument) {
  IRBuilder<> b(access.instruction);
  Value *address = b.CreatePtrToInt(access.pointer, b.getInt64Ty());
  Value *offset = b.CreateSub(address, b.CreatePtrToInt(&argument, b.getInt64Ty()));
  uint64_t bytes = cast<ConstantInt>(access.bytes)->getZExtValue();
  Value *bad = bytes > param.extent ? b.getTrue()
                                    : b.CreateICmpUGT(offset, b.getInt64(param.extent - bytes));
  if (access.align > 1) {
    Value *rest = b.CreateAnd(address, b.getInt64(access.align - 1));
    bad = b.CreateOr(bad, b.CreateICmpNE(rest, b.getInt64(0)));
  }
  Instruction *stop = SplitBlockAndInsertIfThen(bad, access.instruction, /*Unreachable=*/true,
                                                MDBuilder(context).createUnlikelyBranchWeights());
  IRBuilder<> cold(stop);
  callService(cold, thread, offsetof(nsemu_services, fault), cold.getVoidTy(),
              {thread, cold.getInt32(argument.getArgNo() - 1), address, cold.getInt64(bytes),
               cold.getInt32(access.align), cold.getInt32(access.flags)});
}

/// Shared objects become places in the block's memory.
void KernelEmulation::useShared() {
  if (shared.empty())
    return;
  SmallVector<Constant *> objects;
  for (auto [global, offset] : shared)
    objects.push_back(global);
  convertUsersOfConstantsToInstructions(objects, body);
  IRBuilder<> b(&body->getEntryBlock(), body->getEntryBlock().getFirstInsertionPt());
  Value *base = loadField(b, thread, offsetof(nsemu_thread, shared), b.getPtrTy());
  for (auto [global, offset] : shared) {
    Value *place = b.CreateAddrSpaceCast(b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), base, offset),
                                         global->getType());
    global->replaceUsesWithIf(place, [&](Use &use) {
      auto *instruction = dyn_cast<Instruction>(use.getUser());
      return instruction && instruction->getFunction() == body;
    });
  }
}

Error KernelEmulation::replaceCalls() {
  SmallVector<CallInst *> calls;
  for (Instruction &at : instructions(*body))
    if (auto *call = dyn_cast<CallInst>(&at))
      if (!call->isIndirectCall() || call->isInlineAsm())
        calls.push_back(call);
  unsigned sites = 0;
  for (CallInst *call : calls) {
    StringRef name = call->getCalledFunction() ? call->getCalledFunction()->getName() : "";
    synchronizes |= name.contains(".shfl.") || name.contains(".bar.") || name.contains("barrier");
    if (Error error = emulateCall(*call, thread, sites))
      return joinErrors(createStringError("kernel %s", signature.name.c_str()), std::move(error));
  }
  return Error::success();
}

/// Rounds a float, or a vector of floats, to the nearest bfloat16, ties to even; NaN stays NaN.
static Value *toBf16(IRBuilder<> &b, Value *value, Type *result) {
  auto like = [&](Type *element) {
    auto *vector = dyn_cast<FixedVectorType>(value->getType());
    return vector ? FixedVectorType::get(element, vector->getNumElements()) : element;
  };
  Type *i32 = like(b.getInt32Ty());
  auto constant = [&](uint64_t number) { return ConstantInt::get(i32, number); };
  Value *bits = b.CreateBitCast(value, i32);
  Value *odd = b.CreateAnd(b.CreateLShr(bits, 16), constant(1));
  Value *rounded = b.CreateAdd(bits, b.CreateAdd(odd, constant(0x7fff)));
  Value *nan = b.CreateFCmpUNO(value, value);
  Value *high = b.CreateLShr(b.CreateSelect(nan, constant(0x7fff0000), rounded), 16);
  return b.CreateBitCast(b.CreateTrunc(high, like(b.getInt16Ty())), result);
}

void KernelEmulation::roundToBf16() {
  for (Instruction &at : make_early_inc_range(instructions(*body))) {
    auto *truncation = dyn_cast<FPTruncInst>(&at);
    if (!truncation || !truncation->getType()->getScalarType()->isBFloatTy() ||
        !truncation->getOperand(0)->getType()->getScalarType()->isFloatTy())
      continue;
    IRBuilder<> b(truncation);
    truncation->replaceAllUsesWith(toBf16(b, truncation->getOperand(0), truncation->getType()));
    truncation->eraseFromParent();
  }
}

/// Quotients and roots that may be approximate are not: x86-64's estimates are further off than a
/// GPU's.
void KernelEmulation::forbidEstimates() {
  for (Instruction &at : instructions(*body))
    if (isa<FPMathOperator>(&at)) {
      at.setHasAllowReciprocal(false);
      at.setHasApproxFunc(false);
    }
}

void KernelEmulation::makeEntry() {
  IRBuilder<> b(context);
  entry = Function::Create(FunctionType::get(b.getVoidTy(), {b.getPtrTy(), b.getPtrTy()}, false),
                           GlobalValue::InternalLinkage, signature.name + ".entry", module);
  b.SetInsertPoint(BasicBlock::Create(context, "", entry));
  SmallVector<Value *> arguments = {entry->getArg(0)};
  for (Argument &argument : drop_begin(body->args())) {
    Value *slot =
        b.CreateConstInBoundsGEP1_64(b.getPtrTy(), entry->getArg(1), arguments.size() - 1);
    arguments.push_back(b.CreateLoad(argument.getType(), b.CreateLoad(b.getPtrTy(), slot)));
  }
  b.CreateCall(body, arguments);
  b.CreateRetVoid();
}

/// A global that holds `elements`, of which there is at least one.
static Constant *makeTable(Module &module, ArrayRef<Constant *> elements) {
  Constant *table =
      ConstantArray::get(ArrayType::get(elements[0]->getType(), elements.size()), elements);
  return new GlobalVariable(module, table->getType(), /*isConstant=*/true,
                            GlobalValue::InternalLinkage, table);
}

Constant *KernelEmulation::describe() const {
  IRBuilder<> b(context);
  SmallVector<Constant *> params;
  for (const nsemu_param &param : signature.params)
    params.push_back(ConstantStruct::getAnon({b.getInt32(param.bytes), b.getInt32(param.align),
                                              b.getInt64(param.extent), b.getInt32(param.flags)}));
  Constant *name = ConstantDataArray::getString(context, signature.name);
  auto *nameGlobal = new GlobalVariable(module, name->getType(), /*isConstant=*/true,
                                        GlobalValue::InternalLinkage, name);
  auto [x, y, z] = signature.block;
  return ConstantStruct::getAnon(
      {nameGlobal, entry,
       params.empty() ? ConstantPointerNull::get(b.getPtrTy()) : makeTable(module, params),
       b.getInt32(params.size()), b.getInt32(sharedBytes), b.getInt32(x), b.getInt32(y),
       b.getInt32(z), b.getInt32(synchronizes)});
}

/// Every helper becomes a part of the kernels, so that one function knows the thread.
static void inlineHelpers(Module &module) {
  for (Function &function : module) {
    if (function.isDeclaration())
      continue;
    function.removeFnAttr(Attribute::NoInline);
    function.removeFnAttr(Attribute::OptimizeNone);
    if (function.getCallingConv() == CallingConv::PTX_Kernel)
      continue;
    function.setLinkage(GlobalValue::InternalLinkage);
    function.addFnAttr(Attribute::AlwaysInline);
  }
  PassBuilder builder;
  AnalysisManagers analyses(builder);
  AlwaysInlinerPass().run(module, analyses.modules);
  for (Function &function : make_early_inc_range(module))
    if (!function.isDeclaration() && function.getCallingConv() != CallingConv::PTX_Kernel &&
        function.use_empty())
      function.eraseFromParent();
}

/// What the back end calls where bfloat16 results of an addition or product are rounded.
static void defineBf16Rounding(Module &module) {
  IRBuilder<> b(module.getContext());
  auto *function = Function::Create(FunctionType::get(b.getBFloatTy(), {b.getFloatTy()}, false),
                                    GlobalValue::ExternalLinkage, "__truncsfbf2", module);
  function->setVisibility(GlobalValue::HiddenVisibility);
  b.SetInsertPoint(BasicBlock::Create(module.getContext(), "", function));
  b.CreateRet(toBf16(b, function->getArg(0), b.getBFloatTy()));
}

static void defineImage(Module &module, ArrayRef<Constant *> kernels) {
  IRBuilder<> b(module.getContext());
  Constant *image = ConstantStruct::getAnon(
      {b.getInt32(NSEMU_IMAGE_VERSION), b.getInt32(kernels.size()), makeTable(module, kernels)});
  new GlobalVariable(module, image->getType(), /*isConstant=*/true, GlobalValue::ExternalLinkage,
                     image, NSEMU_IMAGE_SYMBOL);
}

Expected<SmallVector<char, 0>> ns::emulate(Module &module, ArrayRef<KernelSignature> kernels) {
  inlineHelpers(module);
  while (!module.named_metadata_empty())
    module.eraseNamedMetadata(&*module.named_metadata_begin());
  std::vector<Constant *> rows;
  for (const KernelSignature &signature : kernels) {
    Function *kernel = module.getFunction(signature.name);
    if (!kernel)
      return createStringError("emulation: kernel %s is gone", signature.name.c_str());
    KernelEmulation emulation(*kernel, signature);
    if (Error error = emulation.run())
      return error;
    rows.push_back(emulation.describe());
    kernel->eraseFromParent();
  }
  for (GlobalVariable &global : make_early_inc_range(module.globals()))
    if (global.getAddressSpace() == kShared && global.use_empty())
      global.eraseFromParent();
  defineBf16Rounding(module);
  defineImage(module, rows);
  std::string message;
  raw_string_ostream os(message);
  if (verifyModule(module, &os))
    return createStringError("emulation: the rewritten module is invalid: %s", message.c_str());
  return linkModule(module, {"x86-64-v3", {}, 256}, NSEMU_IMAGE_SYMBOL);
}
