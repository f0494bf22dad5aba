//===- ns-compile.cpp - compiles an imported model -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/InitAll.h"
#include "ns/Target/Compile.h"
#include "ns/Target/Native.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/InitLLVM.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SourceMgr.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;

static cl::OptionCategory category("ns-compile options");
static ns::CompileOptions options;

template <class T> using Flag = cl::opt<T, /*ExternalStorage=*/true>;

static Flag<std::string> input(cl::Positional, cl::desc("model.mlir"), cl::Required,
                               cl::location(options.input), cl::cat(category));
static Flag<std::string> output("o", cl::desc("Output file"), cl::value_desc("FILE"), cl::Required,
                                cl::location(options.output), cl::cat(category));
static Flag<std::string>
    emit("emit", cl::desc("What to make: synth, finetune, evaluate or library (default: synth)"),
         cl::location(options.emit), cl::cat(category));
static Flag<std::string> target("target", cl::desc("cpu (default) or cuda"),
                                cl::location(options.target), cl::cat(category));
static cl::opt<std::string>
    deviceCode("device-code",
               cl::desc("Code of a GPU's kernels: fatbin (default), ptx, or emulate: "
                        "x86-64 code for the emulator of tests"),
               cl::cat(category));
static cl::list<std::string>
    archs("arch", cl::CommaSeparated, cl::value_desc("sm_XY"),
          cl::desc("GPUs to make code for (default: sm_80,sm_90,sm_100; PTX of the first for all "
                   "later ones)"),
          cl::cat(category));
static Flag<bool> tf32("tf32", cl::desc("On a GPU, float32 products round their operands to TF32"),
                       cl::location(options.tf32), cl::cat(category));
static Flag<std::string> attention(
    "attention",
    cl::desc("Attention is: auto (default), generated (a task for each head), expanded "
             "(batched products and row programs), or library (a GPU's cuDNN, where it can)"),
    cl::location(options.attention), cl::cat(category));
static Flag<std::string> productResults(
    "product-results", cl::Hidden,
    cl::desc("With --precision=bf16, results of products for tokens and heads are: auto (default), "
             "f32, bf16 (a GPU's) or rounded (the same numbers in float32)"),
    cl::location(options.productResults), cl::cat(category));
static Flag<std::string> cpu("cpu",
                             cl::desc("portable (default: x86-64-v3 and -v4, chosen at load), "
                                      "x86-64-v3, x86-64-v4, native, or a processor's name"),
                             cl::location(options.cpu), cl::cat(category));
static Flag<std::string> precision("precision",
                                   cl::desc("f32 (default), f64, or bf16: matrix products of the "
                                            "steps in bfloat16, all else in float32; or fp8 "
                                            "(experimental, on a GPU, with --emit=synth): bf16, "
                                            "and those of frozen weights in e4m3"),
                                   cl::location(options.precision), cl::cat(category));
static Flag<std::string> products("products",
                                  cl::desc("Matrix products: auto (default: the faster for each "
                                           "shape), library or generated"),
                                  cl::location(options.products), cl::cat(category));
static Flag<std::string>
    site("site",
         cl::desc("Where noise is added: image, tokens, stem, block.K, or the first of "
                  "tokens, stem, image that is there (default: auto)"),
         cl::location(options.site), cl::cat(category));
static Flag<std::string> init("init", cl::desc("Start noise: uniform (default), normal or zero"),
                              cl::location(options.init), cl::cat(category));
static Flag<double> lim("lim", cl::desc("Width of the start noise (default: 3; 0: auto)"),
                        cl::location(options.lim), cl::cat(category));
static Flag<double> dropout("dropout",
                            cl::desc("Share of elements that finetuning drops (default: 0)"),
                            cl::location(options.dropout), cl::cat(category));
static Flag<double> dropPath("drop-path",
                             cl::desc("Share of images whose branch finetuning drops in the last "
                                      "block, less before (default: 0)"),
                             cl::location(options.dropPath), cl::cat(category));
static Flag<std::string> batchNorm("batch-norm",
                                   cl::desc("Finetuning takes statistics of batch norms as in "
                                            "PyTorch's eval (default) or train"),
                                   cl::location(options.batchNorm), cl::cat(category));
static cl::opt<std::string> batch(
    "batch",
    cl::desc("Images per call, or auto (default): at most 16, fewer where their memory is "
             "more than 3/2 of the weights'; on a GPU at most 128, fewer where all takes more than "
             "20 GiB. Executables add up the gradients of --batch-size"),
    cl::init("auto"), cl::cat(category));
static cl::opt<std::string>
    compileTo("compile-to",
              cl::desc("Stop after a phase and write its IR: import, harden, simplify, "
                       "differentiate, plan, kernels (of a GPU) or emit"),
              cl::cat(category));
static Flag<std::string> dumpPhases("dump-phases", cl::desc("Write the IR after each phase"),
                                    cl::value_desc("DIR"), cl::location(options.dumpPhases),
                                    cl::cat(category));
static Flag<std::string>
    driver("driver",
           cl::desc("nsrt-driver to put before the artefact (default: beside ns-compile)"),
           cl::location(options.driver), cl::cat(category));
static Flag<bool> emitObject("emit-object", cl::desc("Write the relocatable object and stop"),
                             cl::location(options.emitObject), cl::cat(category));
static cl::opt<std::string>
    reportMemory("report-memory", cl::ValueOptional, cl::value_desc("FILE"),
                 cl::desc("Print what lies in memory: regions, and each entry's arena by value and "
                          "by time; with FILE as JSON, or as a picture where it ends in .html"),
                 cl::cat(category));
static cl::opt<std::string>
    reportFlops("report-flops", cl::ValueOptional, cl::value_desc("FILE"),
                cl::desc("Print the FLOPs of each entry by kind and layer; with FILE as JSON"),
                cl::cat(category));

static cl::opt<std::string>
    reportDevice("report-device", cl::ValueOptional, cl::value_desc("FILE"),
                 cl::desc("Print registers, spills and accesses of a GPU's kernels; with FILE as "
                          "JSON"),
                 cl::cat(category));

/// Prints a usage error; returns exit status 2.
static int usage(const Twine &message) {
  errs() << "ns-compile: " << message << "\n";
  return 2;
}

/// The GPUs that multiply e4m3: Ada, Hopper, Blackwell.
static constexpr unsigned kFp8Arch = 89;

static int checkFp8() {
  if (options.precision != "fp8")
    return 0;
  if (options.target != "cuda")
    return usage("--precision: expected f32, f64 or bf16 with --target=cpu, found 'fp8', an "
                 "experiment with --target=cuda --emit=synth");
  if (options.emit != "synth")
    return usage("--precision: expected f32 or bf16 with --emit=" + options.emit +
                 ", found 'fp8', an experiment with --emit=synth: its products are of weights that "
                 "nothing trains, and the noise they find is verified in float32");
  if (archs.empty())
    options.device.archs = {kFp8Arch, 90, 100};
  return 0;
}

/// What only one of the targets takes.
static int checkDeviceOptions() {
  bool isDevice = options.target == "cuda";
  auto given = [](ArrayRef<std::reference_wrapper<const cl::Option>> flags) {
    for (const cl::Option &flag : flags)
      if (flag.getNumOccurrences())
        return flag.ArgStr;
    return StringRef();
  };
  StringRef other = isDevice ? given({cpu, products, emitObject})
                             : given({deviceCode, archs, tf32, reportDevice});
  if (!other.empty())
    return usage("--" + other + ": expected with --target=" + (isDevice ? "cpu" : "cuda") +
                 " only");
  if (isDevice && options.precision == "f64")
    return usage("--precision: expected f32 or bf16 with --target=cuda, found 'f64': it is the "
                 "precision of tests, which a GPU's generated kernels and products do not have");
  if (int status = checkFp8())
    return status;
  if (isDevice && options.attention == "generated")
    return usage("--attention: expected expanded or library with --target=cuda, found 'generated': "
                 "its tasks are a CPU's");
  if (options.attention == "library" && !(isDevice && options.precision == "bf16"))
    return usage("--attention: expected library with --target=cuda --precision=bf16 only: cuDNN's "
                 "attention is for bfloat16");
  if (!deviceCode.empty()) {
    auto code = ns::symbolizeDeviceCode(deviceCode);
    if (!code)
      return usage("--device-code: expected fatbin, ptx or emulate, found '" + deviceCode + "'");
    options.device.code = *code;
  }
  if (archs.empty())
    return 0;
  options.device.archs.clear();
  for (StringRef arch : archs) {
    unsigned number;
    StringRef digits = arch;
    if (!digits.consume_front("sm_") || digits.getAsInteger(10, number) || number < 80 ||
        number > 130)
      return usage("--arch: expected sm_80 or later, such as sm_90, found '" + arch + "'");
    options.device.archs.push_back(number);
  }
  if (unsigned least = *min_element(options.device.archs);
      options.precision == "fp8" && least < kFp8Arch)
    return usage("--arch: expected sm_89 or later with --precision=fp8, found 'sm_" + Twine(least) +
                 "', whose tensor cores have no FP8");
  sort(options.device.archs);
  options.device.archs.erase(llvm::unique(options.device.archs), options.device.archs.end());
  return 0;
}

static int checkOptions() {
  auto oneOf = [](StringRef value, ArrayRef<StringRef> known) {
    return is_contained(known, value);
  };
  if (!oneOf(options.emit, {"synth", "finetune", "evaluate", "library"}))
    return usage("--emit: expected synth, finetune, evaluate or library, found '" + options.emit +
                 "'");
  if (!oneOf(options.target, {"cpu", "cuda"}))
    return usage("--target: expected cpu or cuda, found '" + options.target + "'");
  if (int status = checkDeviceOptions())
    return status;
  if (options.cpu != "portable")
    if (auto processor = ns::resolveTarget(options.cpu); !processor)
      return usage(toString(processor.takeError()));
  if (!oneOf(options.precision, {"f32", "f64", "bf16", "fp8"}))
    return usage("--precision: expected f32, f64, bf16 or fp8, found '" + options.precision + "'");
  if (!oneOf(options.products, {"auto", "library", "generated"}))
    return usage("--products: expected auto, library or generated, found '" + options.products +
                 "'");
  if (!oneOf(options.attention, {"auto", "generated", "expanded", "library"}))
    return usage("--attention: expected auto, generated, expanded or library, found '" + options.attention +
                 "'");
  if (!oneOf(options.productResults, {"auto", "f32", "bf16", "rounded"}))
    return usage("--product-results: expected auto, f32, bf16 or rounded, found '" +
                 options.productResults + "'");
  if (!oneOf(options.init, {"uniform", "normal", "zero"}))
    return usage("--init: expected uniform, normal or zero, found '" + options.init + "'");
  if (!oneOf(options.batchNorm, {"eval", "train"}))
    return usage("--batch-norm: expected eval or train, found '" + options.batchNorm + "'");
  if (batch != "auto" && (StringRef(batch).getAsInteger(10, options.batch) || options.batch < 1 ||
                          options.batch > 4096))
    return usage("--batch: expected auto or 1 to 4096, found '" + batch + "'");
  if (!(options.lim >= 0 && options.lim < 1e6))
    return usage("--lim: expected a number from 0 to 1e6");
  for (auto [flag, rate] :
       {std::pair("--dropout", options.dropout), {"--drop-path", options.dropPath}})
    if (!(rate >= 0 && rate < 1))
      return usage(Twine(flag) + ": expected a number in [0, 1)");
  if (reportMemory.getNumOccurrences())
    options.reportMemory = reportMemory;
  if (reportFlops.getNumOccurrences())
    options.reportFlops = reportFlops;
  if (reportDevice.getNumOccurrences())
    options.reportDevice = reportDevice;
  if (!compileTo.empty()) {
    options.compileTo = ns::symbolizePhase(compileTo);
    if (options.compileTo == ns::Phase::End)
      return usage(
          "--compile-to: expected import, harden, simplify, differentiate, plan, kernels or emit, "
          "found '" +
          compileTo + "'");
    if (options.compileTo == ns::Phase::Kernels && options.target != "cuda")
      return usage("--compile-to: expected kernels with --target=cuda only");
  }
  return 0;
}

int main(int argc, char **argv) {
  InitLLVM init(argc, argv);
  cl::HideUnrelatedOptions(category);
  if (!cl::ParseCommandLineOptions(argc, argv, "Compile an imported model into an executable\n",
                                   &errs()))
    return 2;
  if (int status = checkOptions())
    return status;
  if (options.driver.empty()) {
    SmallString<256> path(sys::fs::getMainExecutable(argv[0], reinterpret_cast<void *>(&main)));
    sys::path::remove_filename(path);
    sys::path::append(path, "nsrt-driver");
    options.driver = path.str().str();
  }
  mlir::DialectRegistry registry;
  ns::registerAllDialects(registry);
  mlir::MLIRContext context(registry);
  SourceMgr sources;
  auto buffer = MemoryBuffer::getFile(options.input);
  if (!buffer) {
    errs() << "ns-compile: " << options.input << ": " << buffer.getError().message() << "\n";
    return 1;
  }
  sources.AddNewSourceBuffer(std::move(*buffer), SMLoc());
  mlir::SourceMgrDiagnosticHandler handler(sources, &context);
  auto module = mlir::parseSourceFile<mlir::ModuleOp>(sources, &context);
  ns::CompileOptions chosen = options; // lld resets the command line options of the process
  if (!module || failed(ns::compile(*module, chosen)))
    return 1;
  return 0;
}
