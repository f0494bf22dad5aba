//===- DeviceIntrinsics.cpp - device intrinsics on x86-64 -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DeviceInternal.h"

#include "llvm/ADT/StringSwitch.h"
#include "llvm/IR/InlineAsm.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"

using namespace llvm;
using namespace ns;

CallInst *ns::callService(IRBuilder<> &b, Value *thread, uint64_t offset, Type *result,
                          ArrayRef<Value *> arguments) {
  Value *services = loadField(b, thread, offsetof(nsemu_thread, services), b.getPtrTy());
  Value *function = loadField(b, services, offset, b.getPtrTy());
  SmallVector<Type *> types;
  for (Value *argument : arguments)
    types.push_back(argument->getType());
  return b.CreateCall(FunctionType::get(result, types, false), function, arguments);
}

Value *ns::loadField(IRBuilder<> &b, Value *thread, uint64_t offset, Type *type) {
  LoadInst *load = b.CreateLoad(type, b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), thread, offset));
  load->setMetadata(LLVMContext::MD_invariant_load, MDNode::get(b.getContext(), {}));
  return load;
}

namespace {

/// Replaces one call. Each function returns null where the call is not its own.
class CallEmulator {
public:
  CallEmulator(CallInst &call, Value *thread, unsigned &site)
      : call(call), thread(thread), site(site), b(&call) {
    b.setFastMathFlags(FastMathFlags());
  }

  Error run() {
    if (auto *text = dyn_cast<InlineAsm>(call.getCalledOperand()))
      return finish(assembler(text->getAsmString()), "assembler text " + text->getAsmString());
    Function *callee = call.getCalledFunction();
    if (!callee)
      return createStringError("emulation: a call through a pointer");
    StringRef name = callee->getName();
    if (name.consume_front("llvm.nvvm.")) {
      Value *result = threadIndex(name);
      for (auto emulator :
           {&CallEmulator::synchronization, &CallEmulator::function, &CallEmulator::directed,
            &CallEmulator::arithmetic, &CallEmulator::conversion})
        if (!result)
          result = (this->*emulator)(name);
      return finish(result, "intrinsic " + callee->getName());
    }
    if (callee->isIntrinsic()) {
      if (Value *result = generic(callee->getIntrinsicID()))
        return finish(result, "");
      return Error::success();
    }
    return createStringError("emulation: function %s is neither in the module nor in libdevice",
                             callee->getName().str().c_str());
  }

private:
  Error finish(Value *result, const Twine &what) {
    if (!result)
      return createStringError("emulation: there is none of " + what.str());
    if (!call.getType()->isVoidTy())
      call.replaceAllUsesWith(result);
    call.eraseFromParent();
    return Error::success();
  }

  Value *arg(unsigned i) { return call.getArgOperand(i); }
  Value *one(Value *like) { return ConstantFP::get(like->getType(), 1); }
  Value *unary(Intrinsic::ID id, Value *x) { return b.CreateUnaryIntrinsic(id, x); }

  Value *threadIndex(StringRef name) {
    if (!name.consume_front("read.ptx.sreg."))
      return nullptr;
    auto [what, axis] = name.rsplit('.');
    int offset = StringSwitch<int>(what)
                     .Case("tid", offsetof(nsemu_thread, tid))
                     .Case("ctaid", offsetof(nsemu_thread, ctaid))
                     .Case("ntid", offsetof(nsemu_thread, ntid))
                     .Case("nctaid", offsetof(nsemu_thread, nctaid))
                     .Default(-1);
    if (offset >= 0 && axis.size() == 1 && axis[0] >= 'x' && axis[0] <= 'z')
      return loadField(b, thread, offset + 4 * (axis[0] - 'x'), b.getInt32Ty());
    if (name == "warpsize")
      return b.getInt32(32);
    if (name == "laneid")
      return b.CreateAnd(linearIndex(), 31);
    if (name == "warpid")
      return b.CreateLShr(linearIndex(), 5);
    return nullptr;
  }

  Value *linearIndex() {
    auto load = [&](uint64_t offset) { return loadField(b, thread, offset, b.getInt32Ty()); };
    uint64_t tid = offsetof(nsemu_thread, tid), ntid = offsetof(nsemu_thread, ntid);
    Value *rows = b.CreateAdd(load(tid + 4), b.CreateMul(load(tid + 8), load(ntid + 4)));
    return b.CreateAdd(load(tid), b.CreateMul(rows, load(ntid)));
  }

  Value *synchronization(StringRef name) {
    if (name == "barrier.cta.sync.aligned.all" || name == "barrier.cta.sync.all" ||
        name == "barrier0")
      return callService(b, thread, offsetof(nsemu_services, barrier), b.getVoidTy(),
                         {thread, b.getInt32(site++)});
    if (name == "bar.warp.sync")
      return callService(b, thread, offsetof(nsemu_services, warp_barrier), b.getVoidTy(),
                         {thread, arg(0)});
    if (name == "trap" || name == "exit")
      return callService(b, thread, offsetof(nsemu_services, trap), b.getVoidTy(), {thread});
    if (name.consume_front("shfl.sync."))
      return shuffle(name);
    return nullptr;
  }

  Value *shuffle(StringRef name) {
    int mode = StringSwitch<int>(name.split('.').first)
                   .Case("up", NSEMU_SHUFFLE_UP)
                   .Case("down", NSEMU_SHUFFLE_DOWN)
                   .Case("bfly", NSEMU_SHUFFLE_BFLY)
                   .Case("idx", NSEMU_SHUFFLE_IDX)
                   .Default(-1);
    if (mode < 0)
      return nullptr;
    Type *type = arg(1)->getType();
    Value *both = callService(b, thread, offsetof(nsemu_services, shuffle), b.getInt64Ty(),
                              {thread, b.getInt32(mode), arg(0),
                               b.CreateBitCast(arg(1), b.getInt32Ty()), arg(2), arg(3)});
    Value *value = b.CreateBitCast(b.CreateTrunc(both, b.getInt32Ty()), type);
    if (!call.getType()->isStructTy())
      return value;
    Value *inside = b.CreateTrunc(b.CreateLShr(both, 32), b.getInt1Ty());
    Value *result = b.CreateInsertValue(PoisonValue::get(call.getType()), value, 0);
    return b.CreateInsertValue(result, inside, 1);
  }

  /// Functions that the hardware takes from a table.
  Value *function(StringRef name) {
    auto which = StringSwitch<int>(name.split('.').first)
                     .Case("ex2", NSEMU_EXP2)
                     .Case("lg2", NSEMU_LOG2)
                     .Case("sin", NSEMU_SIN)
                     .Case("cos", NSEMU_COS)
                     .Case("tanh", NSEMU_TANH)
                     .Default(-1);
    return which < 0 ? nullptr : callFunction(which, arg(0));
  }

  Value *callFunction(int which, Value *x) {
    uint64_t offset = offsetof(nsemu_services, function) + sizeof(void *) * which;
    if (x->getType()->isFloatTy())
      return callService(b, thread, offset, x->getType(), {x});
    auto *type = dyn_cast<FixedVectorType>(x->getType());
    if (!type || !type->getElementType()->isFloatTy())
      return nullptr;
    Value *result = PoisonValue::get(type);
    for (unsigned i = 0; i < type->getNumElements(); ++i)
      result = b.CreateInsertElement(result, callFunction(which, b.CreateExtractElement(x, i)), i);
    return result;
  }

  /// add, mul and fma of float32, rounded other than to nearest: computed in float64, then stepped
  /// where the conversion went the wrong way.
  Value *directed(StringRef name) {
    SmallVector<StringRef> parts;
    name.split(parts, '.');
    if (!call.getType()->isFloatTy() || parts.size() < 2 || parts[1].size() != 2 ||
        parts[1] == "rn" || !StringRef("rz rm rp").contains(parts[1]))
      return nullptr;
    auto wide = [&](unsigned i) { return b.CreateFPExt(arg(i), b.getDoubleTy()); };
    Value *exact = nullptr;
    if (parts[0] == "add")
      exact = b.CreateFAdd(wide(0), wide(1));
    else if (parts[0] == "mul")
      exact = b.CreateFMul(wide(0), wide(1));
    else if (parts[0] == "fma")
      exact = b.CreateFAdd(b.CreateFMul(wide(0), wide(1)), wide(2));
    else
      return nullptr;
    Value *nearest = b.CreateFPTrunc(exact, b.getFloatTy());
    Value *back = b.CreateFPExt(nearest, b.getDoubleTy());
    Value *above = b.CreateFCmpOGT(back, exact), *below = b.CreateFCmpOLT(back, exact);
    Value *negative = b.CreateFCmpOLT(back, ConstantFP::get(b.getDoubleTy(), 0));
    Value *down = parts[1] == "rm"   ? above
                  : parts[1] == "rz" ? b.CreateAnd(above, b.CreateNot(negative))
                                     : b.getFalse();
    Value *up = parts[1] == "rp"   ? below
                : parts[1] == "rz" ? b.CreateAnd(below, negative)
                                   : b.getFalse();
    Value *bits = b.CreateBitCast(nearest, b.getInt32Ty());
    Value *outward = b.CreateXor(down, b.CreateNot(negative)); // away from zero
    Value *stepped =
        b.CreateSelect(outward, b.CreateAdd(bits, b.getInt32(1)), b.CreateSub(bits, b.getInt32(1)));
    return b.CreateBitCast(b.CreateSelect(b.CreateOr(up, down), stepped, bits), b.getFloatTy());
  }

  Value *arithmetic(StringRef name) {
    auto [op, rest] = name.split('.');
    bool rounded = rest.starts_with("rn") || rest.starts_with("approx") || rest.starts_with("full");
    if (op == "rsqrt")
      return b.CreateFDiv(one(arg(0)), unary(Intrinsic::sqrt, arg(0)));
    if (op == "sqrt" && (rounded || rest == "f"))
      return unary(Intrinsic::sqrt, arg(0));
    if (op == "rcp" && rounded)
      return b.CreateFDiv(one(arg(0)), arg(0));
    if (op == "div" && rounded)
      return b.CreateFDiv(arg(0), arg(1));
    if (op == "fma" && rounded)
      return b.CreateIntrinsic(call.getType(), Intrinsic::fma, {arg(0), arg(1), arg(2)});
    if (op == "mul" && rounded)
      return b.CreateFMul(arg(0), arg(1));
    if (op == "add" && rounded)
      return b.CreateFAdd(arg(0), arg(1));
    if (op == "fmax" || op == "fmin") {
      bool nan = rest.contains("nan"), max = op == "fmax";
      if (rest.contains("xorsign"))
        return nullptr;
      Intrinsic::ID id = nan ? (max ? Intrinsic::maximum : Intrinsic::minimum)
                             : (max ? Intrinsic::maxnum : Intrinsic::minnum);
      return b.CreateBinaryIntrinsic(id, arg(0), arg(1));
    }
    if (op == "saturate") { // NaN becomes 0
      Value *low =
          b.CreateBinaryIntrinsic(Intrinsic::maxnum, arg(0), ConstantFP::get(call.getType(), 0));
      return b.CreateBinaryIntrinsic(Intrinsic::minnum, low, one(low));
    }
    Intrinsic::ID id = StringSwitch<Intrinsic::ID>(op)
                           .Case("fabs", Intrinsic::fabs)
                           .Case("floor", Intrinsic::floor)
                           .Case("ceil", Intrinsic::ceil)
                           .Case("trunc", Intrinsic::trunc)
                           .Case("round", Intrinsic::roundeven)
                           .Default(Intrinsic::not_intrinsic);
    return id == Intrinsic::not_intrinsic ? nullptr : unary(id, arg(0));
  }

  Value *conversion(StringRef name) {
    auto [op, rest] = name.split('.');
    bool toInt = StringSwitch<bool>(op)
                     .Cases({"f2i", "f2ui", "f2ll", "f2ull", "d2i", "d2ui", "d2ll", "d2ull"}, true)
                     .Default(false);
    if (toInt && rest != "lo" && rest != "hi") {
      Intrinsic::ID round = StringSwitch<Intrinsic::ID>(rest.take_front(2))
                                .Case("rn", Intrinsic::roundeven)
                                .Case("rm", Intrinsic::floor)
                                .Case("rp", Intrinsic::ceil)
                                .Default(Intrinsic::trunc);
      Intrinsic::ID convert = op.contains('u') ? Intrinsic::fptoui_sat : Intrinsic::fptosi_sat;
      return b.CreateIntrinsic(convert, {call.getType(), arg(0)->getType()},
                               {unary(round, arg(0))});
    }
    if (rest == "rn" && (op == "i2f" || op == "ll2f" || op == "i2d" || op == "ll2d"))
      return b.CreateSIToFP(arg(0), call.getType());
    if (rest == "rn" && (op == "ui2f" || op == "ull2f" || op == "ui2d" || op == "ull2d"))
      return b.CreateUIToFP(arg(0), call.getType());
    if (op == "d2f" && rest.starts_with("rn"))
      return b.CreateFPTrunc(arg(0), call.getType());
    if (op == "f2bf16" && rest == "rn")
      return b.CreateFPTrunc(arg(0), call.getType());
    if ((op == "ff2bf16x2" || op == "ff2f16x2") && rest == "rn") { // the first one is the high half
      auto *type = cast<FixedVectorType>(call.getType());
      Value *pair = PoisonValue::get(type);
      for (unsigned i : {0, 1})
        pair = b.CreateInsertElement(pair, b.CreateFPTrunc(arg(1 - i), type->getElementType()), i);
      return pair;
    }
    if (op == "mulhi")
      return mulhi(rest.starts_with("u"));
    return nullptr;
  }

  Value *mulhi(bool isUnsigned) {
    unsigned width = call.getType()->getIntegerBitWidth();
    Type *wide = b.getIntNTy(2 * width);
    auto extend = [&](Value *v) {
      return isUnsigned ? b.CreateZExt(v, wide) : b.CreateSExt(v, wide);
    };
    Value *product = b.CreateMul(extend(arg(0)), extend(arg(1)));
    return b.CreateTrunc(b.CreateLShr(product, width), call.getType());
  }

  Value *assembler(StringRef text) {
    if (text.starts_with("rcp.approx.ftz.f32 "))
      return b.CreateFDiv(one(arg(0)), arg(0));
    if (text.starts_with("sub.rn.f32 ") || text.starts_with("sub.rn.f64 "))
      return b.CreateFSub(arg(0), arg(1));
    return nullptr;
  }

  /// Intrinsics of every target that x86-64 would turn into calls of libm.
  Value *generic(Intrinsic::ID id) {
    switch (id) {
    case Intrinsic::exp2:
      return callFunction(NSEMU_EXP2, arg(0));
    case Intrinsic::log2:
      return callFunction(NSEMU_LOG2, arg(0));
    case Intrinsic::sin:
      return callFunction(NSEMU_SIN, arg(0));
    case Intrinsic::cos:
      return callFunction(NSEMU_COS, arg(0));
    case Intrinsic::tanh:
      return callFunction(NSEMU_TANH, arg(0));
    case Intrinsic::fmuladd: // a GPU fuses it
      return b.CreateIntrinsic(call.getType(), Intrinsic::fma, {arg(0), arg(1), arg(2)});
    case Intrinsic::trap:
      return callService(b, thread, offsetof(nsemu_services, trap), b.getVoidTy(), {thread});
    default:
      return nullptr;
    }
  }

  CallInst &call;
  Value *thread;
  unsigned &site; ///< of the next barrier
  IRBuilder<> b;
};

} // namespace

Error ns::emulateCall(CallInst &call, Value *thread, unsigned &site) {
  return CallEmulator(call, thread, site).run();
}
