//===- Device.cpp - GPU kernels to images -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Target/Device.h"

#include "AnalysisManagers.h"
#include "DeviceInternal.h"

#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/MemRefToLLVM/MemRefToLLVM.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVM.h"
#include "mlir/Dialect/GPU/Transforms/Passes.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Dialect/Vector/Transforms/LoweringPatterns.h"
#include "mlir/Dialect/Vector/Transforms/VectorRewritePatterns.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/GPU/GPUToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/NVVM/NVVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/Bitcode/BitcodeReader.h"
#include "llvm/Bitcode/BitcodeWriter.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IRReader/IRReader.h"
#include "llvm/Linker/Linker.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Support/ThreadPool.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Target/TargetOptions.h"
#include "llvm/Transforms/IPO/Internalize.h"

using namespace mlir;
using llvm::createStringError;
using llvm::Expected;
using namespace ns;

static constexpr llvm::StringLiteral kTriple = "nvptx64-nvidia-cuda";
static constexpr unsigned kWarp = 32;

static nsemu_param describe(gpu::GPUFuncOp kernel, unsigned index) {
  auto flag = [&](StringRef name) { return bool(kernel.getArgAttr(index, name)); };
  Type type = kernel.getArgument(index).getType();
  auto memref = dyn_cast<MemRefType>(type);
  if (!memref)
    return {type.isIndex() ? 8 : llvm::divideCeil(type.getIntOrFloatBitWidth(), 8), 0, 0, 0};
  uint32_t element = llvm::divideCeil(memref.getElementTypeBitWidth(), 8);
  auto align = kernel.getArgAttrOfType<IntegerAttr>(index, "llvm.align");
  uint32_t flags = NSEMU_READ;
  if (!flag("llvm.readonly"))
    flags |= NSEMU_WRITE;
  if (flag("llvm.noalias"))
    flags |= NSEMU_NOALIAS;
  return {8, align ? uint32_t(align.getInt()) : element,
          uint64_t(memref.getNumElements()) * element, flags};
}

/// The kernels of a module; an error where one has memrefs of dynamic shape.
static Expected<std::vector<KernelSignature>> signaturesOf(gpu::GPUModuleOp module) {
  std::vector<KernelSignature> result;
  for (auto kernel : module.getOps<gpu::GPUFuncOp>()) {
    if (!kernel.isKernel())
      continue;
    KernelSignature signature;
    signature.name = kernel.getName().str();
    if (auto block = kernel.getKnownBlockSize())
      llvm::copy(*block, signature.block.begin());
    for (unsigned i = 0; i < kernel.getNumArguments(); ++i) {
      auto memref = dyn_cast<MemRefType>(kernel.getArgument(i).getType());
      if (memref && !memref.hasStaticShape())
        return createStringError("kernel %s, argument %u: expected a static shape",
                                 signature.name.c_str(), i);
      signature.params.push_back(describe(kernel, i));
    }
    result.push_back(std::move(signature));
  }
  if (result.empty())
    return createStringError("module %s: expected at least one kernel",
                             module.getName().str().c_str());
  return result;
}

/// gpu, vector, arith, math, scf and memref -> the NVVM dialect. Only this function and the two
/// that follow know which vendor's GPU it is.
static LogicalResult lowerToNVVM(ModuleOp module) {
  RewritePatternSet patterns(module.getContext());
  populateGpuRewritePatterns(patterns);
  populateGpuBreakDownSubgroupReducePatterns(patterns);
  populateGpuLowerSubgroupReduceToShufflePatterns(patterns, kWarp);
  populateGpuLowerClusteredSubgroupReduceToShufflePatterns(patterns, kWarp);
  vector::populateVectorBitCastLoweringPatterns(patterns);
  vector::populateVectorBroadcastLoweringPatterns(patterns);
  vector::populateVectorInsertExtractStridedSliceTransforms(patterns);
  vector::populateVectorMaskOpLoweringPatterns(patterns);
  vector::populateVectorShapeCastLoweringPatterns(patterns);
  vector::populateVectorStepLoweringPatterns(patterns);
  if (failed(applyPatternsGreedily(module, std::move(patterns))))
    return failure();
  DialectRegistry interfaces; // convert-gpu-to-nvvm asks the other dialects for their patterns
  arith::registerConvertArithToLLVMInterface(interfaces);
  cf::registerConvertControlFlowToLLVMInterface(interfaces);
  registerConvertMathToLLVMInterface(interfaces);
  registerConvertMemRefToLLVMInterface(interfaces);
  vector::registerConvertVectorToLLVMInterface(interfaces);
  module.getContext()->appendDialectRegistry(interfaces);
  PassManager manager(module.getContext());
  OpPassManager &kernels = manager.nest<gpu::GPUModuleOp>();
  kernels.addPass(createSCFToControlFlowPass());
  kernels.addPass(memref::createExpandStridedMetadataPass());
  kernels.addPass(createLowerAffinePass());
  ConvertGpuOpsToNVVMOpsOptions convert;
  convert.useBarePtrCallConv = true;
  kernels.addPass(createConvertGpuOpsToNVVMOps(convert));
  kernels.addPass(createCanonicalizerPass());
  kernels.addPass(createCSEPass());
  kernels.addPass(createReconcileUnrealizedCastsPass());
  return manager.run(module);
}

static Expected<std::unique_ptr<llvm::TargetMachine>> makeMachine(unsigned arch) {
  LLVMInitializeNVPTXTargetInfo();
  LLVMInitializeNVPTXTarget();
  LLVMInitializeNVPTXTargetMC();
  LLVMInitializeNVPTXAsmPrinter();
  std::string error;
  llvm::Triple triple(kTriple);
  const llvm::Target *backend = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!backend)
    return createStringError("%s", error.c_str());
  // The oldest version of PTX that knows the architecture, so that older drivers can read it.
  std::string features = arch < 100 ? "+ptx80" : arch < 103 ? "+ptx86" : "+ptx88";
  return std::unique_ptr<llvm::TargetMachine>(backend->createTargetMachine(
      triple, "sm_" + std::to_string(arch), features, llvm::TargetOptions(), std::nullopt,
      std::nullopt, llvm::CodeGenOptLevel::Aggressive));
}

/// Adds the functions of libdevice that `module` calls, if any.
static llvm::Error linkLibdevice(llvm::Module &module) {
  if (llvm::none_of(module, [](llvm::Function &function) {
        return function.isDeclaration() && function.getName().starts_with("__nv_");
      }))
    return llvm::Error::success();
  Expected<std::string> path = findInToolkit("nvvm/libdevice/libdevice.10.bc");
  if (!path)
    return path.takeError();
  llvm::SMDiagnostic diagnostic;
  auto library = llvm::parseIRFile(*path, diagnostic, module.getContext());
  if (!library)
    return createStringError("%s: %s", path->c_str(), diagnostic.getMessage().str().c_str());
  library->setTargetTriple(module.getTargetTriple());
  library->setDataLayout(module.getDataLayout());
  auto internalize = [](llvm::Module &linked, const llvm::StringSet<> &names) {
    llvm::internalizeModule(linked, [&](const llvm::GlobalValue &value) {
      return !value.hasName() || !names.contains(value.getName());
    });
  };
  if (llvm::Linker::linkModules(module, std::move(library), llvm::Linker::LinkOnlyNeeded,
                                internalize))
    return createStringError("%s: expected functions that link with the kernels", path->c_str());
  return llvm::Error::success();
}

/// The kernels and what they call, as bitcode: each architecture optimises its own copy.
static Expected<SmallVector<char, 0>> translate(gpu::GPUModuleOp module, unsigned arch) {
  llvm::LLVMContext context;
  auto machine = makeMachine(arch);
  if (!machine)
    return machine.takeError();
  MLIRContext &mlirContext = *module.getContext();
  registerBuiltinDialectTranslation(mlirContext);
  registerGPUDialectTranslation(mlirContext);
  registerLLVMDialectTranslation(mlirContext);
  registerNVVMDialectTranslation(mlirContext);
  std::unique_ptr<llvm::Module> result = translateModuleToLLVMIR(module, context, "kernels");
  if (!result)
    return createStringError("kernels: translation to LLVM IR failed");
  result->setTargetTriple(llvm::Triple(kTriple));
  result->setDataLayout((*machine)->createDataLayout());
  if (llvm::Error error = linkLibdevice(*result))
    return error;
  SmallVector<char, 0> bitcode;
  llvm::raw_svector_ostream os(bitcode);
  llvm::WriteBitcodeToFile(*result, os);
  return bitcode;
}

static void optimize(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::PassBuilder builder(&machine);
  AnalysisManagers analyses(builder);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O3).run(module, analyses.modules);
}

namespace {

/// One architecture; in its own LLVMContext, so that several can be compiled at once.
class ArchCompiler {
public:
  /// The threads of the kernels `alone` may take all registers of a multiprocessor.
  ArchCompiler(ArrayRef<char> bitcode, unsigned arch, ArrayRef<std::string> alone = {})
      : arch(arch) {
    llvm::MemoryBufferRef buffer(StringRef(bitcode.data(), bitcode.size()), "kernels");
    module = llvm::cantFail(llvm::parseBitcodeFile(buffer, context));
    for (const std::string &kernel : alone)
      module->getFunction(kernel)->addFnAttr("nvvm.minctasm", "1");
    machine = llvm::cantFail(makeMachine(arch)); // did work for translate()
    optimize(*module, *machine);
  }

  Expected<std::string> emitPtx() {
    llvm::SmallString<0> ptx;
    llvm::raw_svector_ostream os(ptx);
    llvm::legacy::PassManager passes;
    if (machine->addPassesToEmitFile(passes, os, nullptr, llvm::CodeGenFileType::AssemblyFile))
      return createStringError("the NVPTX back end cannot write PTX");
    passes.run(*module);
    return ptx.str().str();
  }

  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> module;
  std::unique_ptr<llvm::TargetMachine> machine;
  unsigned arch;
};

/// PTX and cubins of all architectures, and the fatbin of them.
class FatbinCompiler {
public:
  FatbinCompiler(ArrayRef<char> bitcode, const DeviceOptions &options, StringRef directory)
      : bitcode(bitcode), options(options), directory(directory), parts(options.archs.size()) {}

  Expected<DeviceImage> run(StringRef ptxas, StringRef fatbinary) {
    llvm::DefaultThreadPool pool(llvm::hardware_concurrency(options.threads));
    for (size_t i = 0; i < parts.size(); ++i)
      pool.async([this, i, ptxas] { parts[i].error = toString(compile(i, ptxas)); });
    pool.wait();
    for (Part &part : parts)
      if (!part.error.empty())
        return createStringError("%s", part.error.c_str());
    return pack(fatbinary);
  }

private:
  struct Part {
    std::vector<KernelReport> reports;
    std::string error;
  };

  /// ptxas would rather spill a little than not have room for a second block: a kernel that spills
  /// is compiled again for one block of a multiprocessor, so that its threads take what they want.
  llvm::Error compile(size_t index, StringRef ptxas) {
    std::vector<std::string> spilling;
    if (llvm::Error error = compileFor(index, ptxas, {}))
      return error;
    for (const KernelReport &report : parts[index].reports)
      if (report.spillBytes)
        spilling.push_back(report.kernel);
    return spilling.empty() ? llvm::Error::success() : compileFor(index, ptxas, spilling);
  }

  llvm::Error compileFor(size_t index, StringRef ptxas, ArrayRef<std::string> alone) {
    unsigned arch = options.archs[index];
    auto ptx = ArchCompiler(bitcode, arch, alone).emitPtx();
    if (!ptx)
      return ptx.takeError();
    auto cubin = assemble(ptxas, *ptx, arch, directory, parts[index].reports);
    return cubin ? llvm::Error::success() : cubin.takeError();
  }

  Expected<DeviceImage> pack(StringRef fatbinary) {
    std::string output = (directory + "/kernels.fatbin").str();
    std::vector<std::string> arguments = {"--64", "--create=" + output};
    DeviceImage image;
    auto add = [&](StringRef kind, unsigned arch) { // assemble() has left the files here
      std::string number = std::to_string(arch);
      arguments.push_back(("--image3=kind=" + kind + ",sm=" + number + ",file=" + directory + "/" +
                           number + (kind == "ptx" ? ".ptx" : ".cubin"))
                              .str());
    };
    for (auto [arch, part] : llvm::zip_equal(options.archs, parts)) {
      add("elf", arch);
      llvm::append_range(image.reports, part.reports);
    }
    add("ptx", options.archs.front());
    if (auto log = runTool(fatbinary, arguments, directory); !log)
      return log.takeError();
    auto buffer = llvm::MemoryBuffer::getFile(output);
    if (!buffer)
      return createStringError("%s: %s", output.c_str(), buffer.getError().message().c_str());
    image.bytes.append((*buffer)->getBufferStart(), (*buffer)->getBufferEnd());
    return image;
  }

  ArrayRef<char> bitcode;
  const DeviceOptions &options;
  StringRef directory;
  std::vector<Part> parts;
};

} // namespace

static Expected<DeviceImage> emitPtx(ArrayRef<char> bitcode, unsigned arch) {
  auto ptx = ArchCompiler(bitcode, arch).emitPtx();
  if (!ptx)
    return ptx.takeError();
  DeviceImage image;
  image.bytes.append(ptx->begin(), ptx->end());
  image.bytes.push_back(0); // the driver reads to a zero
  return image;
}

static Expected<DeviceImage> emitFatbin(ArrayRef<char> bitcode, const DeviceOptions &options) {
  auto ptxas = findInToolkit("bin/ptxas"), fatbinary = findInToolkit("bin/fatbinary");
  if (!ptxas || !fatbinary) {
    llvm::errs() << "ns-compile: kernels become PTX, which the driver compiles at the first start: "
                 << toString(llvm::joinErrors(ptxas.takeError(), fatbinary.takeError())) << "\n";
    return emitPtx(bitcode, options.archs.front());
  }
  SmallString<128> directory;
  if (std::error_code ec = llvm::sys::fs::createUniqueDirectory("ns-device", directory))
    return createStringError(ec, "temporary directory: %s", ec.message().c_str());
  llvm::scope_exit cleanup([&] { (void)llvm::sys::fs::remove_directories(directory); });
  return FatbinCompiler(bitcode, options, directory).run(*ptxas, *fatbinary);
}

Expected<DeviceImage> ns::emitDeviceImage(gpu::GPUModuleOp source, const DeviceOptions &options) {
  if (options.archs.empty() || options.archs.front() < 80 || !llvm::is_sorted(options.archs))
    return createStringError("architectures: expected sm_80 or later ones in ascending order");
  auto signatures = signaturesOf(source);
  if (!signatures)
    return signatures.takeError();
  OwningOpRef<ModuleOp> module(ModuleOp::create(source.getLoc()));
  module->push_back(source->clone());
  auto kernels = cast<gpu::GPUModuleOp>(module->getBody()->front());
  if (failed(lowerToNVVM(*module)))
    return createStringError("kernels: the lowering to NVVM failed");
  auto bitcode = translate(kernels, options.archs.front());
  if (!bitcode)
    return bitcode.takeError();
  Expected<DeviceImage> image = DeviceImage();
  switch (options.code) {
  case DeviceCode::Fatbin:
    image = emitFatbin(*bitcode, options);
    break;
  case DeviceCode::Ptx:
    image = emitPtx(*bitcode, options.archs.front());
    break;
  case DeviceCode::Emulate: {
    auto bytes = emulate(*ArchCompiler(*bitcode, options.archs.front()).module, *signatures);
    if (!bytes)
      return bytes.takeError();
    image->bytes = std::move(*bytes);
    break;
  }
  }
  if (image)
    for (const KernelSignature &signature : *signatures)
      image->kernels.push_back(signature.name);
  return image;
}
