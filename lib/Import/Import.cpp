//===- Import.cpp - a .pt2 export to model.mlir and model.safetensors -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Import/Import.h"

#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Import/Raise.h"
#include "ns/Import/SafeTensorsWriter.h"

#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

#include <unistd.h>

using namespace llvm;
using namespace ns::pt2;

static Error inFile(StringRef file, Error error) {
  return createStringError(file + ": " + toString(std::move(error)));
}

namespace {
/// A file under a temporary name, which disappears unless it is kept.
class Draft {
public:
  static Expected<Draft> create(StringRef target) {
    Expected<sys::fs::TempFile> file = sys::fs::TempFile::create(target + ".%%%%%%%%.tmp", 0666);
    if (!file)
      return inFile(target, createStringError("cannot be written: " + toString(file.takeError())));
    return Draft(target, std::move(*file));
  }
  Draft(Draft &&) = default;
  ~Draft() {
    if (file)
      consumeError(file->discard());
  }

  int descriptor() const { return file->FD; }
  Error keep() {
    Error error = file->keep(target);
    file.reset();
    return error ? inFile(target, std::move(error)) : Error::success();
  }

private:
  Draft(StringRef target, sys::fs::TempFile file) : target(target), file(std::move(file)) {}

  std::string target;
  std::optional<sys::fs::TempFile> file;
};
} // namespace

/// Prints `module`, which names its weights file, into `draft`.
static Error print(mlir::ModuleOp module, const Draft &draft) {
  raw_fd_ostream os(draft.descriptor(), /*shouldClose=*/false);
  module.print(
      os, mlir::OpPrintingFlags().printNameLocAsPrefix()); // values are called as in the export
  os.flush();
  if (os.has_error() || fsync(draft.descriptor()) != 0) {
    std::string reason = os.error().message();
    os.clear_error();
    return createStringError("cannot be written: " + reason);
  }
  return Error::success();
}

static Error write(mlir::ModuleOp module, const Program &program, int archive, StringRef output) {
  SmallString<128> weightsPath(output);
  sys::path::replace_extension(weightsPath, "safetensors");
  Expected<Draft> weights = Draft::create(weightsPath);
  if (!weights)
    return weights.takeError();
  Expected<WeightsFile> file = writeSafeTensors(program.weights, archive, weights->descriptor());
  if (!file)
    return inFile(weightsPath, file.takeError());
  module->setAttr(ns::nn::NNDialect::kWeightsAttr,
                  ns::nn::FileAttr::get(module.getContext(), sys::path::filename(weightsPath),
                                        file->size, file->header, file->content));
  Expected<Draft> text = Draft::create(output);
  if (!text)
    return text.takeError();
  if (Error error = print(module, *text))
    return inFile(output, std::move(error));
  if (Error error = weights->keep())
    return error;
  return text->keep();
}

Error ns::pt2::importModel(const ImportOptions &options) {
  Expected<sys::fs::file_t> archive = sys::fs::openNativeFileForRead(options.input);
  if (!archive)
    return inFile(options.input,
                  createStringError("cannot be read: " + toString(archive.takeError())));
  scope_exit close([&] { sys::fs::closeFile(*archive); });
  ErrorOr<std::unique_ptr<MemoryBuffer>> buffer = MemoryBuffer::getOpenFile(
      *archive, options.input, /*FileSize=*/-1, /*RequiresNullTerminator=*/false);
  if (!buffer)
    return inFile(options.input,
                  createStringError("cannot be read: " + buffer.getError().message()));
  Expected<Program> program = Program::read((*buffer)->getMemBufferRef());
  if (!program)
    return inFile(options.input, program.takeError());
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  Expected<ModelRecord> record = ModelRecord::create(*program, options.mean, options.std, context);
  if (!record)
    return inFile(options.input, record.takeError());
  Expected<mlir::OwningOpRef<mlir::ModuleOp>> module = raise(*program, *record, context);
  if (!module)
    return inFile(options.input, module.takeError());
  return write(**module, *program, *archive, options.output);
}
