//===- Native.cpp - objects and shared libraries in process -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Target/Native.h"

#include "AnalysisManagers.h"
#include "ns/Conversion/Passes.h"

#include "lld/Common/Driver.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/ThreadPool.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Target/TargetOptions.h"
#include "llvm/TargetParser/Host.h"
#include "llvm/TargetParser/X86TargetParser.h"

LLD_HAS_DRIVER(elf)

using namespace llvm;

static constexpr StringLiteral kTriple = "x86_64-unknown-linux-gnu";
/// The features of the processors that libnsrt can check, of all that LLVM knows.
static constexpr StringLiteral kChecked[] = {"avx2",     "fma",      "avx512bf16", "avx512bw",
                                             "avx512cd", "avx512dq", "avx512vl"};

Expected<ns::NativeTarget> ns::resolveTarget(StringRef cpu) {
  std::string name = cpu == "native" ? sys::getHostCPUName().str() : cpu.str();
  SmallVector<StringRef> known;
  X86::fillValidCPUArchList(known, /*Only64Bit=*/true);
  if (!is_contained(known, name))
    return createStringError("--cpu: expected x86-64-v3, x86-64-v4, native or the name of an "
                             "x86-64 processor, found '%s'",
                             name.c_str());
  SmallVector<StringRef> features;
  X86::getFeaturesForCPU(name, features);
  NativeTarget target{name, {}, 256};
  for (StringRef feature : kChecked)
    if (is_contained(features, feature)) {
      target.features.push_back(feature.str());
      if (feature.starts_with("avx512"))
        target.vectorBits = 512;
    }
  if (!is_contained(target.features, "avx2"))
    return createStringError("--cpu: expected a processor with AVX2, found '%s'", name.c_str());
  return target;
}

static Expected<std::unique_ptr<TargetMachine>>
makeMachine(const ns::NativeTarget &target, CodeGenOptLevel level = CodeGenOptLevel::Aggressive) {
  static const bool once = InitializeNativeTarget() || InitializeNativeTargetAsmPrinter();
  (void)once; // tables of the process, which threads must not fill together
  std::string error;
  Triple triple(kTriple);
  const Target *backend = TargetRegistry::lookupTarget(triple, error);
  if (!backend)
    return createStringError("%s", error.c_str());
  return std::unique_ptr<TargetMachine>(backend->createTargetMachine(
      triple, target.cpu, "", TargetOptions(), Reloc::PIC_, std::nullopt, level));
}

static void optimize(Module &module, TargetMachine &machine) {
  PipelineTuningOptions tuning; // the loops are vectors already
  tuning.LoopVectorization = false;
  tuning.SLPVectorization = false;
  tuning.LoopUnrolling = false; // and unrolled as far as they should be
  PassBuilder builder(&machine, tuning);
  ns::AnalysisManagers analyses(builder);
  builder.buildPerModuleDefaultPipeline(OptimizationLevel::O2).run(module, analyses.modules);
}

static Expected<SmallVector<char, 0>> writeObject(Module &module, TargetMachine &machine) {
  module.setTargetTriple(Triple(kTriple));
  module.setDataLayout(machine.createDataLayout());
  SmallVector<char, 0> object;
  raw_svector_ostream os(object);
  legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, os, nullptr, CodeGenFileType::ObjectFile))
    return createStringError("the x86-64 back end cannot write objects");
  passes.run(module);
  return object;
}

namespace {

/// A module of LLVM IR with a context of its own, so that a thread can work on it.
struct Translated {
  LLVMContext context;
  std::unique_ptr<Module> module;
};

} // namespace

static Expected<std::unique_ptr<Translated>> translate(mlir::ModuleOp source) {
  mlir::registerBuiltinDialectTranslation(*source.getContext());
  mlir::registerLLVMDialectTranslation(*source.getContext());
  auto result = std::make_unique<Translated>();
  result->module = mlir::translateModuleToLLVMIR(source, result->context, "artifact");
  if (!result->module)
    return createStringError("translation to LLVM IR failed");
  return result;
}

/// The object of a translated module; code that is all cold is not optimised.
static Expected<SmallVector<char, 0>> generate(Module &module, const ns::NativeTarget &target) {
  bool cold = all_of(module, [](const Function &function) {
    return function.isDeclaration() || function.hasOptNone();
  });
  auto machine = makeMachine(target, cold ? CodeGenOptLevel::None : CodeGenOptLevel::Aggressive);
  if (!machine)
    return machine.takeError();
  module.setTargetTriple(Triple(kTriple));
  module.setDataLayout((*machine)->createDataLayout());
  for (Function &function : module)
    if (!function.isDeclaration()) {
      function.addFnAttr(Attribute::NoUnwind);
      function.addFnAttr("prefer-vector-width", std::to_string(target.vectorBits));
      function.addFnAttr("target-cpu", target.cpu);
    }
  if (!cold)
    optimize(module, **machine);
  return writeObject(module, **machine);
}

Expected<SmallVector<char, 0>> ns::emitObject(mlir::ModuleOp source, const NativeTarget &target) {
  auto translated = translate(source);
  if (!translated)
    return translated.takeError();
  return generate(*(*translated)->module, target);
}

Expected<std::vector<SmallVector<char, 0>>> ns::emitObjects(MutableArrayRef<NativeUnit> units) {
  std::vector<std::optional<Expected<SmallVector<char, 0>>>> made(units.size());
  Error failed = Error::success();
  {
    DefaultThreadPool pool(hardware_concurrency());
    for (auto [unit, object] : zip(units, made)) {
      auto translated = translate(*unit.module);
      unit.module = nullptr;
      if (!translated) {
        failed = joinErrors(std::move(failed), translated.takeError());
        continue;
      }
      pool.async([&target = unit.target, &object, ir = std::shared_ptr(std::move(*translated))] {
        object.emplace(generate(*ir->module, target));
      });
    }
  }
  std::vector<SmallVector<char, 0>> objects;
  for (auto &object : made)
    if (!object)
      continue; // not translated
    else if (*object)
      objects.push_back(std::move(**object));
    else
      failed = joinErrors(std::move(failed), object->takeError());
  if (failed)
    return failed;
  return objects;
}

static Error writeFile(StringRef path, StringRef bytes) {
  std::error_code ec;
  raw_fd_ostream os(path, ec);
  if (!ec) {
    os << bytes;
    os.close();
    ec = os.error();
  }
  return ec ? createStringError(ec, "%s: %s", path.str().c_str(), ec.message().c_str())
            : Error::success();
}

Expected<SmallVector<char, 0>> ns::emitImageObject(StringRef image) {
  LLVMContext context;
  Module module("image", context);
  Constant *bytes = ConstantDataArray::getString(context, image, /*AddNull=*/false);
  auto *global = new GlobalVariable(module, bytes->getType(), true, GlobalValue::ExternalLinkage,
                                    bytes, kImageSymbol);
  global->setVisibility(GlobalValue::HiddenVisibility);
  global->setAlignment(Align(64));
  auto machine = makeMachine({"x86-64", {}, 128});
  if (!machine)
    return machine.takeError();
  return writeObject(module, **machine);
}

Expected<SmallVector<char, 0>> ns::emitQueryObject(ArrayRef<TableName> tables) {
  LLVMContext context;
  Module module("query", context);
  IRBuilder<> b(context);
  Type *pointer = b.getPtrTy();
  auto *query =
      Function::Create(FunctionType::get(pointer, {b.getInt32Ty(), b.getInt32Ty()}, false),
                       GlobalValue::ExternalLinkage, NSRT_QUERY_SYMBOL, module);
  b.SetInsertPoint(BasicBlock::Create(context, "", query));
  Value *result = nullptr; // from the lowest level up: the last that fits wins
  for (const TableName &table : reverse(tables)) {
    auto *global = new GlobalVariable(module, pointer, true, GlobalValue::ExternalLinkage, nullptr,
                                      table.symbol);
    global->setVisibility(GlobalValue::HiddenVisibility);
    result = result ? b.CreateSelect(b.CreateICmpUGE(query->getArg(1), b.getInt32(table.level)),
                                     global, result)
                    : global;
  }
  Value *speaks = b.CreateICmpEQ(query->getArg(0), b.getInt32(NSRT_ABI_VERSION));
  b.CreateRet(b.CreateSelect(speaks, result, ConstantPointerNull::get(cast<PointerType>(pointer))));
  auto machine = makeMachine({"x86-64", {}, 128});
  if (!machine)
    return machine.takeError();
  return writeObject(module, **machine);
}

static std::string pathIn(StringRef directory, const Twine &name) {
  SmallString<128> result(directory);
  sys::path::append(result, name);
  return std::string(result);
}

/// Runs the linker; `output` is the name of the file in `directory`.
static Expected<std::string> runLinker(ArrayRef<SmallVector<char, 0>> objects, StringRef directory,
                                       ArrayRef<std::string> flags, StringRef output) {
  std::vector<std::string> arguments = {"ld.lld", "-o", pathIn(directory, output)};
  llvm::append_range(arguments, flags);
  for (auto [i, object] : enumerate(objects)) {
    arguments.push_back(pathIn(directory, Twine(i) + ".o"));
    if (Error error = writeFile(arguments.back(), StringRef(object.data(), object.size())))
      return error;
  }
  std::vector<const char *> pointers;
  for (const std::string &argument : arguments)
    pointers.push_back(argument.c_str());
  std::string messages;
  raw_string_ostream log(messages);
  lld::Result result = lld::lldMain(pointers, log, log, {{lld::Gnu, &lld::elf::link}});
  if (result.retCode != 0)
    return createStringError("linking failed: %s", messages.c_str());
  return arguments[2];
}

Expected<std::string> ns::linkShared(ArrayRef<SmallVector<char, 0>> objects, StringRef directory,
                                     StringRef symbol) {
  std::string exports = pathIn(directory, "exports.map");
  if (Error error = writeFile(exports, ("{ global: " + symbol + "; local: *; };\n").str()))
    return error;
  return runLinker(objects, directory,
                   {"-shared", "--gc-sections", "--hash-style=gnu", "-z", "noexecstack",
                    "--version-script=" + exports},
                   "artifact.so");
}

Expected<std::string> ns::linkRelocatable(ArrayRef<SmallVector<char, 0>> objects,
                                          StringRef directory) {
  return runLinker(objects, directory, {"-r"}, "artifact.o");
}

/// An error where an object takes a symbol from elsewhere that a host may not have.
static Error checkImports(StringRef bytes) {
  auto object = object::ObjectFile::createELFObjectFile(MemoryBufferRef(bytes, "object"));
  if (!object)
    return object.takeError();
  for (const object::SymbolRef &symbol : (*object)->symbols()) {
    auto flags = symbol.getFlags();
    auto name = symbol.getName();
    if (!flags || !name)
      return joinErrors(flags.takeError(), name.takeError());
    if (*flags & object::SymbolRef::SF_Undefined && !name->empty() &&
        !is_contained({"memset", "memcpy", "memmove"}, *name))
      return createStringError("generated code calls %s, which it has to do without",
                               name->str().c_str());
  }
  return Error::success();
}

Expected<SmallVector<char, 0>> ns::linkModule(Module &module, const NativeTarget &target,
                                              StringRef symbol) {
  auto machine = makeMachine(target);
  if (!machine)
    return machine.takeError();
  (*machine)->Options.AllowFPOpFusion = FPOpFusion::Strict;
  auto object = writeObject(module, **machine);
  if (!object)
    return object.takeError();
  if (Error error = checkImports(StringRef(object->data(), object->size())))
    return error;
  SmallString<128> directory;
  if (std::error_code ec = sys::fs::createUniqueDirectory("ns-link", directory))
    return createStringError(ec, "temporary directory: %s", ec.message().c_str());
  scope_exit cleanup([&] { (void)sys::fs::remove_directories(directory); });
  auto path = linkShared(*object, directory, symbol);
  if (!path)
    return path.takeError();
  auto library = MemoryBuffer::getFile(*path);
  if (!library)
    return createStringError("%s: %s", path->c_str(), library.getError().message().c_str());
  return SmallVector<char, 0>((*library)->getBufferStart(), (*library)->getBufferEnd());
}
