//===- Device.h - GPU kernels to images -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_TARGET_DEVICE_H
#define NS_TARGET_DEVICE_H

#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"

#include <array>
#include <string>
#include <vector>

namespace ns {

/// What an image of kernels is made of.
enum class DeviceCode {
  Fatbin,  ///< a cubin for each architecture, and PTX of the first for later ones; PTX alone where
           ///< there is no ptxas, which stderr says
  Ptx,     ///< PTX of the first architecture, ending in a zero byte
  Emulate, ///< x86-64 code of the first architecture's optimised module (docs/emulator.md)
};

struct DeviceOptions {
  DeviceCode code = DeviceCode::Fatbin;
  /// Compute capabilities times ten, ascending; 80 or more.
  llvm::SmallVector<unsigned> archs = {80, 90, 100};
  unsigned threads = 0; ///< that compile architectures side by side; 0: one for each processor
};

/// What became of a kernel on an architecture.
struct KernelReport {
  std::string kernel;
  unsigned arch;
  unsigned registers = 0;  ///< of a thread
  unsigned spillBytes = 0; ///< stores and loads
  unsigned stackBytes = 0;
  unsigned sharedBytes = 0;
  unsigned instructions = 0; ///< in the cubin, with what pads the end
  /// Loads and stores of global memory by bytes: 16 or more, 8, fewer.
  std::array<unsigned, 3> loads = {}, stores = {};
  unsigned calls = 0;
};

struct DeviceImage {
  llvm::SmallVector<char, 0> bytes;
  std::vector<std::string> kernels;
  /// One entry for each cubin's kernel.
  std::vector<KernelReport> reports;
};

/// Compiles the kernels of `module` (gpu, vector, arith, math, scf and memref dialects; arguments
/// are memrefs of static shape, passed as bare pointers, or scalars). `module` is not changed.
/// Errors name the tool, the files searched or the operation that cannot be compiled.
llvm::Expected<DeviceImage> emitDeviceImage(mlir::gpu::GPUModuleOp module,
                                            const DeviceOptions &options);

/// The reports as a table, and as JSON: {"device": [{"kernel", "arch", "registers", ...}]}.
void printDeviceReport(llvm::ArrayRef<KernelReport> reports, llvm::raw_ostream &os);
llvm::json::Object deviceReport(llvm::ArrayRef<KernelReport> reports);

} // namespace ns

#endif // NS_TARGET_DEVICE_H
