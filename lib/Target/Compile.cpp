//===- Compile.cpp - the phases of ns-compile -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Target/Compile.h"

#include "Reports.h"
#include "SplitModule.h"
#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Pipelines/Pipelines.h"
#include "ns/Runtime/Abi.h"
#include "ns/Support/OutputFile.h"
#include "ns/Target/Native.h"

#include "mlir/IR/AsmState.h"
#include "mlir/IR/Threading.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace ns;

static constexpr std::pair<Phase, llvm::StringLiteral> kPhases[] = {
    {Phase::Import, "import"},     {Phase::Harden, "harden"},
    {Phase::Simplify, "simplify"}, {Phase::Differentiate, "differentiate"},
    {Phase::Plan, "plan"},         {Phase::Kernels, "kernels"},
    {Phase::Emit, "emit"},         {Phase::End, "end"}};

StringRef ns::stringifyPhase(Phase phase) { return kPhases[unsigned(phase)].second; }

Phase ns::symbolizePhase(StringRef name) {
  for (auto &[phase, known] : kPhases)
    if (name == known)
      return phase;
  return Phase::End;
}

static constexpr std::pair<DeviceCode, llvm::StringLiteral> kDeviceCodes[] = {
    {DeviceCode::Fatbin, "fatbin"}, {DeviceCode::Ptx, "ptx"}, {DeviceCode::Emulate, "emulate"}};

StringRef ns::stringifyDeviceCode(DeviceCode code) { return kDeviceCodes[unsigned(code)].second; }

std::optional<DeviceCode> ns::symbolizeDeviceCode(StringRef name) {
  for (auto &[code, known] : kDeviceCodes)
    if (name == known)
      return code;
  return std::nullopt;
}

static LogicalResult report(const llvm::Twine &message) {
  llvm::errs() << "ns-compile: " << message << "\n";
  return failure();
}

static LogicalResult report(llvm::Error error) { return report(llvm::toString(std::move(error))); }

/// "-" is standard output.
static LogicalResult writeFile(StringRef path, llvm::function_ref<void(llvm::raw_ostream &)> write,
                               bool executable = false) {
  llvm::Expected<OutputFile> file = OutputFile::create(path, executable);
  if (!file)
    return report(path + ": " + llvm::toString(file.takeError()));
  write(file->os());
  if (llvm::Error error = file->keep())
    return report(path + ": " + llvm::toString(std::move(error)));
  return success();
}

namespace {

class Compiler {
public:
  Compiler(ModuleOp module, const CompileOptions &chosen) : module(module), options(chosen) {
    if (options.attention == "auto")
      options.attention = isDevice() ? "expanded" : "generated";
    if (options.productResults == "auto")
      options.productResults = isDevice() ? "bf16" : "f32";
  }

  LogicalResult run() {
    std::vector<NativeTarget> targets;
    if (failed(resolveTargets(targets)))
      return failure();
    for (Phase phase :
         {Phase::Import, Phase::Harden, Phase::Simplify, Phase::Differentiate, Phase::Plan}) {
      if (phase == Phase::Simplify && options.batch == 0 && failed(chooseBatch(targets.front())))
        return failure();
      if (failed(runPhase(module, phase, targets.front())))
        return failure();
      if (phase == Phase::Plan && failed(reports()))
        return failure();
      if (options.compileTo == phase)
        return writeModule();
    }
    return isDevice() ? finishDevice(targets.front()) : finishCpu(targets);
  }

private:
  bool isDevice() const { return options.target != "cpu"; }

  LogicalResult resolveTargets(std::vector<NativeTarget> &targets) {
    if (isDevice()) { // its host code computes addresses only: any processor's
      options.cpu = "x86-64";
      targets.push_back({options.cpu, {}, 128});
      return success();
    }
    std::vector<StringRef> cpus = {options.cpu};
    if (options.cpu == "portable")
      cpus = {"x86-64-v4", "x86-64-v3"};
    if (options.emitObject || options.compileTo == Phase::Emit)
      cpus.resize(1); // one file shows one level
    for (StringRef cpu : cpus) {
      auto target = resolveTarget(cpu);
      if (!target)
        return report(target.takeError());
      targets.push_back(*target);
    }
    return success();
  }

  /// Kernels and their image, then the host's side of the entries.
  LogicalResult finishDevice(const NativeTarget &target) {
    if (failed(runPhase(module, Phase::Kernels, target)))
      return failure();
    if (options.compileTo == Phase::Kernels)
      return writeModule();
    auto kernels = module.getOps<gpu::GPUModuleOp>();
    if (kernels.empty())
      return report(options.input + ": expected entries with row programs, found none");
    auto image = emitDeviceImage(*kernels.begin(), options.device);
    if (!image)
      return report(image.takeError());
    if (failed(reportKernels(image->reports)))
      return failure();
    imageSize = image->bytes.size();
    if (failed(runPhase(module, Phase::Emit, target)))
      return failure();
    if (options.compileTo == Phase::Emit)
      return writeModule();
    auto host = emitObject(module, target);
    if (!host)
      return report(host.takeError());
    auto code = emitImageObject(StringRef(image->bytes.data(), image->bytes.size()));
    if (!code)
      return report(code.takeError());
    return link({std::move(*host), std::move(*code)});
  }

  LogicalResult reportKernels(ArrayRef<KernelReport> reports) {
    if (!options.reportDevice)
      return success();
    if (!options.reportDevice->empty())
      return writeJson(*options.reportDevice, deviceReport(reports));
    printDeviceReport(reports, llvm::outs());
    return success();
  }

  /// The module of one level of processors on its way to objects.
  struct Level {
    NativeTarget target;
    OwningOpRef<ModuleOp> module;
    std::string suffix; ///< of symbols; empty where there is one level
    std::unique_ptr<PassManager> manager;
  };

  /// Code for each level of processors; levels, then pieces of them, share out the threads.
  LogicalResult finishCpu(ArrayRef<NativeTarget> targets) {
    std::vector<Level> levels;
    std::vector<TableName> tables;
    for (const NativeTarget &target : targets) {
      levels.push_back(
          {target, module.clone(), "", std::make_unique<PassManager>(module.getContext())});
      if (targets.size() > 1) {
        unsigned level = target.cpu == "x86-64-v4" ? 4 : 3;
        levels.back().suffix = "_v" + std::to_string(level);
        tables.push_back({"nsrt_table" + levels.back().suffix, level});
      }
    }
    if (failed(lower(levels)))
      return failure();
    if (options.compileTo == Phase::Emit)
      return writeFile(options.output, [&](llvm::raw_ostream &os) { levels[0].module->print(os); });
    std::vector<NativeUnit> units;
    for (Level &level : levels)
      for (auto &part : splitModule(std::move(level.module), level.suffix))
        units.push_back({std::move(part), level.target});
    auto objects = emitObjects(units);
    if (!objects)
      return report(objects.takeError());
    if (!tables.empty()) {
      auto query = emitQueryObject(tables);
      if (!query)
        return report(query.takeError());
      objects->push_back(std::move(*query));
    }
    return link(*objects);
  }

  /// The emit phase of every level.
  LogicalResult lower(std::vector<Level> &levels) {
    DialectRegistry needed;
    for (Level &level : levels) {
      build(Phase::Emit, *level.manager, *level.module, level.target,
            level.suffix.empty() ? "" : "nsrt_table" + level.suffix);
      level.manager->getDependentDialects(needed);
      level.manager->enableVerifier(false); // a third of the time; once, at the end
    }
    MLIRContext &context = *module.getContext();
    context.appendDialectRegistry(needed); // not while there are threads
    for (StringRef dialect : needed.getDialectNames())
      context.getOrLoadDialect(dialect);
    if (failed(failableParallelForEach(&context, levels, [](Level &level) {
          return failure(failed(level.manager->run(*level.module)) ||
                         failed(verify(*level.module)));
        })))
      return failure();
    for (Level &level : levels)
      if (failed(dump(*level.module, Phase::Emit)))
        return failure();
    return success();
  }

  /// Sets the batch where the user gave none (docs/decisions/memory.md). CPU: the largest of 16, 8,
  /// 4, 2, 1 whose arena is no larger than 3/2 of the parameters, or than 224 MiB where that is
  /// more. GPU: the largest of 128, 64, ..., 1 whose regions together take no more than 20 GiB.
  LogicalResult chooseBatch(const NativeTarget &target) {
    const int64_t kMost = isDevice() ? 128 : 16;
    for (options.batch = kMost; options.batch > 1 && options.batchNorm != "train";) {
      OwningOpRef<ModuleOp> trial(module.clone());
      for (Phase phase : {Phase::Simplify, Phase::Differentiate, Phase::Plan}) {
        PassManager manager(module.getContext());
        build(phase, manager, *trial, target);
        if (failed(manager.run(*trial)))
          return failure();
      }
      int64_t work = regionBytes(*trial, "work"), limit = arenaLimit(*trial);
      if (work <= limit)
        break;
      do // the arena grows as the batch does, or more slowly
        options.batch /= 2, work /= 2;
      while (options.batch > 1 && work > limit + limit / 4);
    }
    return success();
  }

  /// Bytes of region work that a batch chosen by the compiler may take.
  int64_t arenaLimit(ModuleOp planned) {
    constexpr int64_t kAlways = 224 << 20, kDevice = int64_t(20) << 30;
    int64_t params = regionBytes(planned, "params");
    if (!isDevice())
      return std::max(kAlways, params * 3 / 2);
    return kDevice - params - regionBytes(planned, "state") - regionBytes(planned, "io");
  }

  LogicalResult writeModule() {
    return writeFile(options.output, [&](llvm::raw_ostream &os) { module.print(os); });
  }

  LogicalResult runPhase(ModuleOp unit, Phase phase, const NativeTarget &target) {
    PassManager manager(unit.getContext());
    build(phase, manager, unit, target);
    return failure(failed(manager.run(unit)) || failed(dump(unit, phase)));
  }

  void build(Phase phase, PassManager &manager, ModuleOp unit, const NativeTarget &target,
             StringRef table = "") {
    switch (phase) {
    case Phase::Harden: {
      HardenOptions harden;
      harden.emit = options.emit;
      harden.site = options.site;
      harden.init = options.init;
      harden.lim = options.lim;
      harden.batchNorm = options.batchNorm;
      harden.dropout = options.dropout;
      harden.dropPath = options.dropPath;
      harden.precision = options.precision;
      harden.basis = module->hasAttr(nn::NNDialect::kWeightsAttr);
      return buildHardenPipeline(manager, harden);
    }
    case Phase::Simplify: {
      SimplifyOptions simplify;
      simplify.batch = options.batch;
      simplify.precision = options.precision;
      return buildSimplifyPipeline(manager, simplify);
    }
    case Phase::Differentiate:
      return buildDifferentiatePipeline(manager);
    case Phase::Plan: {
      PlanOptions plan;
      plan.precision = options.precision;
      plan.products = options.products;
      plan.target = options.target;
      plan.attention = options.attention;
      plan.results = options.productResults;
      return buildPlanPipeline(manager, plan);
    }
    case Phase::Kernels:
      return buildKernelsPipeline(manager);
    case Phase::Emit: {
      EmitOptions emit;
      emit.metadata = buildMetadata(unit, options, target.cpu, target.features);
      emit.vectorBits = target.vectorBits;
      emit.expandBf16 =
          options.precision == "bf16" && !llvm::is_contained(target.features, "avx512bf16");
      emit.table = table.str();
      emit.device = isDevice();
      emit.imageSize = imageSize;
      emit.tf32 = options.tf32;
      return buildEmitPipeline(manager, emit);
    }
    case Phase::Import:
    case Phase::End:
      return;
    }
  }

  LogicalResult writeJson(StringRef path, llvm::json::Object object) {
    return writeFile(
        path, [&](llvm::raw_ostream &os) { os << llvm::json::Value(std::move(object)) << '\n'; });
  }

  LogicalResult reportMemory(StringRef path) {
    if (path.ends_with(".html"))
      return writeFile(path, [&](llvm::raw_ostream &os) { drawMemory(module, os); });
    if (!path.empty())
      return writeJson(path, memoryReport(module));
    printMemoryReport(module, llvm::outs());
    return success();
  }

  LogicalResult reports() {
    if (options.reportMemory && failed(reportMemory(*options.reportMemory)))
      return failure();
    if (options.reportFlops && options.reportFlops->empty())
      printFlopReport(module, options.batch, llvm::outs());
    else if (options.reportFlops)
      return writeJson(*options.reportFlops, flopReport(module, options.batch));
    return success();
  }

  LogicalResult dump(ModuleOp unit, Phase phase) {
    if (options.dumpPhases.empty())
      return success();
    if (std::error_code ec = llvm::sys::fs::create_directories(options.dumpPhases))
      return report(options.dumpPhases + ": " + ec.message());
    SmallString<128> path(options.dumpPhases);
    llvm::sys::path::append(path, std::to_string(int(phase)) + "-" + stringifyPhase(phase).str() +
                                      ".mlir");
    return writeFile(path, [&](llvm::raw_ostream &os) { unit.print(os); });
  }

  LogicalResult link(ArrayRef<SmallVector<char, 0>> objects) {
    SmallString<128> directory;
    if (std::error_code ec = llvm::sys::fs::createUniqueDirectory("ns-compile", directory))
      return report("temporary directory: " + ec.message());
    llvm::scope_exit cleanup([&] { (void)llvm::sys::fs::remove_directories(directory); });
    auto path =
        options.emitObject ? linkRelocatable(objects, directory) : linkShared(objects, directory);
    if (!path)
      return report(path.takeError());
    auto library = llvm::MemoryBuffer::getFile(*path);
    if (!library)
      return report(*path + ": " + library.getError().message());
    StringRef bytes = (*library)->getBuffer();
    if (options.emitObject)
      return writeFile(options.output, [&](llvm::raw_ostream &os) { os << bytes; });
    if (options.emit == "library")
      return writeFile(options.output, [&](llvm::raw_ostream &os) { os << bytes; }, true);
    auto driver = llvm::MemoryBuffer::getFile(options.driver);
    if (!driver)
      return report(options.driver +
                    ": expected the driver of executables: " + driver.getError().message());
    return writeFile(
        options.output,
        [&](llvm::raw_ostream &os) {
          char size[8];
          llvm::support::endian::write64le(size, bytes.size());
          os << (*driver)->getBuffer() << bytes << StringRef(size, 8) << NSRT_FOOTER_MAGIC;
        },
        true);
  }

  ModuleOp module;
  CompileOptions options;
  int64_t imageSize = 0;
};

} // namespace

LogicalResult ns::compile(ModuleOp module, const CompileOptions &options) {
  return Compiler(module, options).run();
}
