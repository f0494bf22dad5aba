//===- Import.cpp - an export to model.mlir and model.safetensors -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Import/Import.h"

#include "Schema.h"
#include "ns/Checkpoint/Checkpoint.h"
#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Import/Onnx.h"
#include "ns/Import/Raise.h"
#include "ns/Import/SafeTensorsWriter.h"
#include "ns/Support/OutputFile.h"

#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

using namespace llvm;
using namespace ns::pt2;

static Error inFile(StringRef file, Error error) {
  return createStringError(file + ": " + toString(std::move(error)));
}

static Error cannotWrite(StringRef file, Error error) {
  return inFile(file, createStringError("cannot be written: " + toString(std::move(error))));
}

static SmallString<128> weightsBeside(StringRef output) {
  SmallString<128> path(output);
  sys::path::replace_extension(path, "safetensors");
  return path;
}

/// An import may replace an earlier one, but not, in a folder of transformers, the weights that are
/// called as its own would be.
static Error checkOutput(StringRef output) {
  SmallString<128> weights = weightsBeside(output);
  if (!sys::fs::exists(weights) || sys::fs::exists(output))
    return Error::success();
  return inFile(weights, createStringError("would be overwritten, and is of no earlier import, for "
                                           "there is no '" +
                                           sys::path::filename(output) +
                                           "' beside it: choose another name for -o"));
}

static Error write(mlir::ModuleOp module, const Program &program, int archive, StringRef output) {
  SmallString<128> weightsPath = weightsBeside(output);
  Expected<ns::OutputFile> weights = ns::OutputFile::create(weightsPath);
  if (!weights)
    return cannotWrite(weightsPath, weights.takeError());
  Expected<WeightsFile> file = writeSafeTensors(program.weights, archive, weights->descriptor());
  if (!file)
    return inFile(weightsPath, file.takeError());
  module->setAttr(ns::nn::NNDialect::kWeightsAttr,
                  ns::nn::FileAttr::get(module.getContext(), sys::path::filename(weightsPath),
                                        file->size, file->header, file->content));
  Expected<ns::OutputFile> text = ns::OutputFile::create(output);
  if (!text)
    return cannotWrite(output, text.takeError());
  // Values are called as in the export.
  module.print(text->os(), mlir::OpPrintingFlags().printNameLocAsPrefix());
  if (Error error = text->flush(/*durable=*/true)) // before any weights are replaced
    return cannotWrite(output, std::move(error));
  if (Error error = weights->keep())
    return cannotWrite(weightsPath, std::move(error));
  if (Error error = text->keep())
    return cannotWrite(output, std::move(error));
  return Error::success();
}

/// Gives the program's weights the elements that a checkpoint has for them, and returns what holds
/// these. Buffers that no checkpoint has, such as an attention mask, stay.
static Expected<std::shared_ptr<const ns::checkpoint::Checkpoint>>
replaceWeights(Program &program, const ImportOptions &options) {
  std::vector<ns::checkpoint::Wanted> wanted;
  std::vector<Weight *> targets;
  for (Weight &weight : program.weights) {
    std::optional<ns::checkpoint::Type> type = ns::checkpoint::typeNamed(nameOf(weight.type));
    bool isStatistic = StringRef(weight.name).rsplit('.').second.starts_with("running_");
    if (!type || !isFloat(*type))
      continue; // an index or a counter, which follows from the architecture
    wanted.push_back({weight.name,
                      {weight.sizes.begin(), weight.sizes.end()},
                      weight.kind != Weight::Kind::Parameter && !isStatistic});
    targets.push_back(&weight);
  }
  ns::checkpoint::Fitted fitted =
      ns::checkpoint::openAndFit(options.weights, {options.ema}, wanted, program.stem);
  if (!fitted.error.empty())
    return createStringError(fitted.error);
  for (auto [weight, pieces] : zip_equal(targets, fitted.pieces))
    weight->replacement = std::move(pieces);
  return std::move(fitted.owner);
}

static bool isOnnx(StringRef path) { return sys::path::extension(path) == ".onnx"; }

/// Replaces the export's nullspace.json by the file that the user gave.
static Error readRecord(StringRef path, Program &program) {
  ErrorOr<std::unique_ptr<MemoryBuffer>> buffer = MemoryBuffer::getFile(path);
  if (!buffer)
    return inFile(path, createStringError("cannot be read: " + buffer.getError().message()));
  Expected<json::Value> value = schema::parseJson((*buffer)->getBuffer(), "nullspace.json");
  if (!value)
    return inFile(path, value.takeError());
  if (!value->getAsObject())
    return inFile(path, createStringError("expected an object"));
  program.record = std::move(*value->getAsObject());
  return Error::success();
}

/// The normalisation of an ONNX model for which nobody says one: none. True where it was assumed.
static bool assumeNoNormalisation(const Program &program, ImportOptions &options) {
  auto missing = [&](StringRef key, const std::vector<double> &given) {
    return given.empty() && (!program.record || !program.record->getArray(key));
  };
  auto image = program.values.find(program.imageName);
  const size_t channels = image == program.values.end() || image->second.sizes.size() != 4 ||
                                  image->second.sizes[1] > 64
                              ? 3
                              : image->second.sizes[1];
  const bool assumed = missing("mean", options.mean);
  if (assumed)
    options.mean.assign(channels, 0);
  if (missing("std", options.std))
    options.std.assign(channels, 1);
  return assumed;
}

/// Reads the program in `buffer`; `model` keeps what its weights point into.
static Expected<Program> readProgram(MemoryBufferRef buffer, StringRef path,
                                     ns::onnx::Model &model) {
  if (!isOnnx(path))
    return Program::read(buffer);
  StringRef folder = sys::path::parent_path(path);
  if (Error error = ns::onnx::Model::read(buffer, folder.empty() ? "." : folder).moveInto(model))
    return error;
  Expected<Program> program = ns::onnx::translate(model);
  if (program)
    program->stem = sys::path::stem(path).str();
  return program;
}

Error ns::pt2::importModel(ImportOptions options) {
  if (Error error = checkOutput(options.output))
    return error;
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
  ns::onnx::Model model;
  Expected<Program> program = readProgram((*buffer)->getMemBufferRef(), options.input, model);
  if (!program)
    return inFile(options.input, program.takeError());
  if (!options.record.empty())
    if (Error error = readRecord(options.record, *program))
      return error;
  const bool assumed = isOnnx(options.input) && assumeNoNormalisation(*program, options);
  std::shared_ptr<const ns::checkpoint::Checkpoint> checkpoint;
  if (!options.weights.empty())
    if (Error error = replaceWeights(*program, options).moveInto(checkpoint))
      return error;
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  Expected<ModelRecord> record = ModelRecord::create(*program, options.mean, options.std, context);
  if (!record)
    return inFile(options.input, record.takeError());
  Expected<mlir::OwningOpRef<mlir::ModuleOp>> module = raise(*program, *record, context);
  if (!module)
    return inFile(options.input, module.takeError());
  if (assumed && options.note)
    options.note("an ONNX model does not say how its pixels are normalised: taking them as they "
                 "are, in [0, 1] (else: --mean, --std, or --record nullspace.json)");
  return write(**module, *program, isOnnx(options.input) ? -1 : *archive, options.output);
}
