//===- Compile.h - from an imported model to an artefact or executable -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_TARGET_COMPILE_H
#define NS_TARGET_COMPILE_H

#include "ns/Target/Device.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "mlir/Support/LogicalResult.h"

#include <optional>
#include <string>

namespace ns {

/// The phases of ns-compile, in order; each is also a pipeline of ns-opt.
/// `kernels` is of GPUs only.
enum class Phase { Import, Harden, Simplify, Differentiate, Plan, Kernels, Emit, End };

/// Name of a phase on the command line.
llvm::StringRef stringifyPhase(Phase phase);
/// The phase of a name; End for an unknown one.
Phase symbolizePhase(llvm::StringRef name);

/// What ns-compile was asked for; every field is a flag of the same name.
struct CompileOptions {
  std::string input;          ///< model.mlir
  std::string output;         ///< executable, library (.so) or, with compileTo, .mlir
  std::string emit = "synth"; ///< synth, finetune, evaluate or library
  std::string target = "cpu";       ///< cpu or cuda
  std::string attention = "auto";   ///< generated, expanded, library, or what the target does best
  /// With bf16, what products for tokens and heads write: f32, bf16, rounded, or auto by the target.
  std::string productResults = "auto";
  DeviceOptions device;             ///< of cuda
  bool tf32 = false;                ///< of cuda: float32 products may be of TF32
  std::string cpu = "portable";  ///< portable (v3 and v4, chosen at load), x86-64-v3, x86-64-v4,
                                 ///< native, or a name that LLVM knows
  std::string precision = "f32"; ///< f32, f64, bf16 or fp8
  std::string products = "auto"; ///< auto, library or generated
  std::string site = "auto";     ///< image, tokens, stem, block.K or auto
  std::string init = "uniform";
  double lim = 3.0;
  double dropout = 0, dropPath = 0; ///< of finetuning, in [0, 1)
  std::string batchNorm = "eval";   ///< of finetuning: eval or train
  int64_t batch = 0;                ///< images per call; 0: by the memory they take
  Phase compileTo = Phase::End;
  std::string dumpPhases; ///< directory for the IR after each phase
  std::string driver;     ///< nsrt-driver; empty: beside ns-compile
  bool emitObject = false;
  /// Reports: a table on stdout where the text is empty, else this JSON file.
  std::optional<std::string> reportMemory, reportFlops;
  std::optional<std::string> reportDevice; ///< of cuda's kernels
};

/// Runs the phases on `module` and writes the output. Errors are diagnostics or on stderr.
mlir::LogicalResult compile(mlir::ModuleOp module, const CompileOptions &options);

/// The artefact's metadata (docs/abi.md) as JSON text. `module` is planned.
std::string buildMetadata(mlir::ModuleOp module, const CompileOptions &options, llvm::StringRef cpu,
                          llvm::ArrayRef<std::string> cpuFeatures);
/// Name of a kind of device code on the command line and in the metadata.
llvm::StringRef stringifyDeviceCode(DeviceCode code);
/// The kind of a name; none for an unknown one.
std::optional<DeviceCode> symbolizeDeviceCode(llvm::StringRef name);

} // namespace ns

#endif // NS_TARGET_COMPILE_H
