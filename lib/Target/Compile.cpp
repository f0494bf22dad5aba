//===- Compile.cpp - the phases of ns-compile -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Target/Compile.h"

#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Pipelines/Pipelines.h"
#include "ns/Runtime/Abi.h"
#include "ns/Target/Native.h"

#include "mlir/IR/AsmState.h"
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
    {Phase::Import, "import"}, {Phase::Harden, "harden"}, {Phase::Simplify, "simplify"}, {Phase::Differentiate, "differentiate"},
    {Phase::Plan, "plan"},     {Phase::Emit, "emit"},     {Phase::End, "end"}};

StringRef ns::stringifyPhase(Phase phase) { return kPhases[unsigned(phase)].second; }

Phase ns::symbolizePhase(StringRef name) {
  for (auto &[phase, known] : kPhases)
    if (name == known)
      return phase;
  return Phase::End;
}

static LogicalResult report(const llvm::Twine &message) {
  llvm::errs() << "ns-compile: " << message << "\n";
  return failure();
}

static LogicalResult report(llvm::Error error) { return report(llvm::toString(std::move(error))); }

/// Writes to a temporary name and renames, so that no half-written file bears the name.
static LogicalResult writeAtomically(StringRef path, llvm::function_ref<void(llvm::raw_ostream &)> write, bool executable) {
  auto mode = llvm::sys::fs::all_read | llvm::sys::fs::owner_write | (executable ? llvm::sys::fs::all_exe : llvm::sys::fs::no_perms);
  llvm::Expected<llvm::sys::fs::TempFile> file = llvm::sys::fs::TempFile::create(path + ".tmp%%%%%%", mode);
  if (!file)
    return report(path + ": " + llvm::toString(file.takeError()));
  llvm::raw_fd_ostream os(file->FD, /*shouldClose=*/false);
  write(os);
  os.flush();
  if (std::error_code ec = os.error()) {
    os.clear_error();
    llvm::consumeError(file->discard());
    return report(path + ": " + ec.message());
  }
  if (llvm::Error error = file->keep(path))
    return report(path + ": " + llvm::toString(std::move(error)));
  return success();
}

namespace {

class Compiler {
public:
  Compiler(ModuleOp module, const CompileOptions &options) : module(module), options(options) {}

  LogicalResult run() {
    auto target = resolveTarget(options.cpu);
    if (!target)
      return report(target.takeError());
    if (failed(runPhases(*target)))
      return failure();
    if (options.compileTo != Phase::End)
      return writeAtomically(options.output, [&](llvm::raw_ostream &os) { module.print(os); }, false);
    auto object = emitObject(module, *target);
    if (!object)
      return report(object.takeError());
    if (options.emitObject)
      return writeAtomically(options.output, [&](llvm::raw_ostream &os) { os.write(object->data(), object->size()); }, false);
    return link(*object);
  }

private:
  LogicalResult runPhases(const NativeTarget &target) {
    for (int index = int(Phase::Import); index <= int(Phase::Emit); ++index) {
      Phase phase = Phase(index);
      PassManager manager(module.getContext());
      manager.enableVerifier(true);
      if (phase == Phase::Emit)
        reports();
      build(phase, manager, target);
      if (failed(manager.run(module)) || failed(dump(phase)))
        return failure();
      if (options.compileTo == phase)
        return success();
    }
    return success();
  }

  void build(Phase phase, PassManager &manager, const NativeTarget &target) {
    switch (phase) {
    case Phase::Harden: {
      HardenOptions harden;
      harden.emit = options.emit;
      harden.site = options.site;
      harden.init = options.init;
      harden.lim = options.lim;
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
    case Phase::Plan:
      return buildPlanPipeline(manager);
    case Phase::Emit: {
      EmitOptions emit;
      emit.metadata = buildMetadata(module, options, target.cpu, target.features);
      emit.vectorBits = target.vectorBits;
      return buildEmitPipeline(manager, emit);
    }
    case Phase::Import:
    case Phase::End:
      return;
    }
  }

  void reports() {
    if (options.reportMemory)
      printMemoryReport(module, llvm::outs());
    if (options.reportFlops)
      printFlopReport(module, llvm::outs());
  }

  LogicalResult dump(Phase phase) {
    if (options.dumpPhases.empty())
      return success();
    if (std::error_code ec = llvm::sys::fs::create_directories(options.dumpPhases))
      return report(options.dumpPhases + ": " + ec.message());
    SmallString<128> path(options.dumpPhases);
    llvm::sys::path::append(path, std::to_string(int(phase)) + "-" + stringifyPhase(phase).str() + ".mlir");
    return writeAtomically(path, [&](llvm::raw_ostream &os) { module.print(os); }, false);
  }

  LogicalResult link(ArrayRef<char> object) {
    SmallString<128> directory;
    if (std::error_code ec = llvm::sys::fs::createUniqueDirectory("ns-compile", directory))
      return report("temporary directory: " + ec.message());
    llvm::scope_exit cleanup([&] { (void)llvm::sys::fs::remove_directories(directory); });
    auto path = linkShared(object, directory);
    if (!path)
      return report(path.takeError());
    auto library = llvm::MemoryBuffer::getFile(*path);
    if (!library)
      return report(*path + ": " + library.getError().message());
    StringRef bytes = (*library)->getBuffer();
    if (options.emit == "library")
      return writeAtomically(options.output, [&](llvm::raw_ostream &os) { os << bytes; }, true);
    auto driver = llvm::MemoryBuffer::getFile(options.driver);
    if (!driver)
      return report(options.driver + ": expected the driver of executables: " + driver.getError().message());
    return writeAtomically(
        options.output,
        [&](llvm::raw_ostream &os) {
          char size[8];
          llvm::support::endian::write64le(size, bytes.size());
          os << (*driver)->getBuffer() << bytes << StringRef(size, 8) << NSRT_FOOTER_MAGIC;
        },
        true);
  }

  ModuleOp module;
  const CompileOptions &options;
};

} // namespace

LogicalResult ns::compile(ModuleOp module, const CompileOptions &options) { return Compiler(module, options).run(); }
