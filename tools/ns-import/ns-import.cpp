//===- ns-import.cpp - imports a PyTorch export -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Import/Import.h"

#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/Path.h"

using namespace llvm;

/// Exit status of bad usage; 1 means that the model cannot be imported.
constexpr int kUsage = 2;

int main(int argc, char **argv) {
  InitLLVM init(argc, argv);
  cl::OptionCategory category("ns-import");
  cl::opt<std::string> input(cl::Positional, cl::Required, cl::desc("model.pt2 or model.onnx"),
                             cl::cat(category));
  cl::opt<std::string> output(
      "o", cl::Required, cl::value_desc("model.mlir"),
      cl::desc("Where to write the network; its weights go to model.safetensors beside it"),
      cl::cat(category));
  cl::list<double> mean(
      "mean", cl::CommaSeparated, cl::value_desc("a,b,c"),
      cl::desc("Mean of each channel of pixels in [0, 1], instead of the export's own"),
      cl::cat(category));
  cl::list<double> std("std", cl::CommaSeparated, cl::value_desc("a,b,c"),
                       cl::desc("Standard deviation of each channel, instead of the export's own"),
                       cl::cat(category));
  cl::opt<std::string> weights(
      "weights", cl::value_desc("checkpoint"),
      cl::desc("Weights instead of the export's own: .safetensors, a PyTorch checkpoint, .npz, or "
               "a folder of transformers"),
      cl::cat(category));
  cl::opt<bool> noEma("no-ema",
                      cl::desc("Take a checkpoint's weights as trained, not their running average"),
                      cl::cat(category));
  cl::opt<std::string> record(
      "record", cl::value_desc("nullspace.json"),
      cl::desc("Normalisation, name and classes of the model, instead of the export's own"),
      cl::cat(category));
  cl::HideUnrelatedOptions(category);
  std::string complaint;
  raw_string_ostream complaints(complaint);
  if (!cl::ParseCommandLineOptions(argc, argv,
                                   "Imports a PyTorch classifier, exported by `python -m "
                                   "nullspace.export`, torch.export.save or torch.onnx.export\n",
                                   &complaints)) {
    errs() << complaint;
    return kUsage;
  }
  if (sys::path::extension(output) != ".mlir") {
    errs() << "ns-import: error: -o " << output << ": expected a name that ends in .mlir\n";
    return kUsage;
  }
  ns::pt2::ImportOptions options{
      input, output, {mean.begin(), mean.end()}, {std.begin(), std.end()}, weights, !noEma};
  options.record = record;
  options.note = [](StringRef text) { errs() << "ns-import: note: " << text << "\n"; };
  if (Error error = ns::pt2::importModel(options)) {
    errs() << "ns-import: error: " << toString(std::move(error)) << "\n";
    return 1;
  }
  return 0;
}
