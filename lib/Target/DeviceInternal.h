//===- DeviceInternal.h - the steps from kernels to an image -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_TARGET_DEVICEINTERNAL_H
#define NS_LIB_TARGET_DEVICEINTERNAL_H

#include "ns/Emulator/Image.h"
#include "ns/Target/Device.h"

#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/Module.h"

#include <array>

namespace ns {

/// What is known of a kernel before its types are gone.
struct KernelSignature {
  std::string name;
  std::array<uint32_t, 3> block = {0, 0, 0}; ///< the only block size; 0: any
  std::vector<nsemu_param> params;
};

/// A program or file of the CUDA toolkit, `path` below its root. Searched in CUDA_HOME, CUDA_PATH
/// and /usr/local/cuda, programs in PATH as well. An error names the places.
llvm::Expected<std::string> findInToolkit(llvm::StringRef path);

/// A program's name, its arguments without the name, and what it wrote to stderr. An error is a
/// status other than 0, with that text.
llvm::Expected<std::string> runTool(llvm::StringRef program, llvm::ArrayRef<std::string> arguments,
                                    llvm::StringRef directory);

/// Assembles PTX to a cubin for an architecture with the ptxas at `program`. Adds a report for each
/// kernel.
llvm::Expected<llvm::SmallVector<char, 0>> assemble(llvm::StringRef program, llvm::StringRef ptx,
                                                    unsigned arch, llvm::StringRef directory,
                                                    std::vector<KernelReport> &reports);

/// Counts the instructions of each report's kernel in a cubin.
llvm::Error readCubin(llvm::ArrayRef<char> cubin, llvm::MutableArrayRef<KernelReport> reports);

/// Turns an optimised NVPTX module into the shared object of an emulation image. Uses up `module`.
llvm::Expected<llvm::SmallVector<char, 0>> emulate(llvm::Module &module,
                                                   llvm::ArrayRef<KernelSignature> kernels);

/// Replaces a call of an NVVM intrinsic, of an intrinsic without x86-64 code or of an assembler
/// text of libdevice by what computes the same. `thread` is the nsemu_thread, `site` the number of
/// barriers so far. An error where there is no such thing; other calls are left.
llvm::Error emulateCall(llvm::CallInst &call, llvm::Value *thread, unsigned &site);

/// A call of the service at `offset` of nsemu_services.
llvm::CallInst *callService(llvm::IRBuilder<> &b, llvm::Value *thread, uint64_t offset,
                            llvm::Type *result, llvm::ArrayRef<llvm::Value *> arguments);

/// Loads a field of `thread` that stays the same while the kernel runs.
llvm::Value *loadField(llvm::IRBuilder<> &b, llvm::Value *thread, uint64_t offset,
                       llvm::Type *type);

} // namespace ns

#endif // NS_LIB_TARGET_DEVICEINTERNAL_H
