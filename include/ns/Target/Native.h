//===- Native.h - objects and shared libraries in process -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_TARGET_NATIVE_H
#define NS_TARGET_NATIVE_H

#include "ns/Runtime/Abi.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Error.h"

#include <string>
#include <vector>

namespace llvm {
class Module;
} // namespace llvm

namespace ns {

/// A processor to generate code for.
struct NativeTarget {
  std::string cpu;                   ///< as LLVM names it
  std::vector<std::string> features; ///< CPUID features that must be there at load
  int64_t vectorBits;                ///< 512 with AVX-512, else 256
};

/// Resolves x86-64-v3, x86-64-v4, native or a processor's name; an error for one that LLVM does not
/// know.
llvm::Expected<NativeTarget> resolveTarget(llvm::StringRef cpu);

/// Translates a module of the LLVM dialect, optimises it, and returns a relocatable ELF object.
llvm::Expected<llvm::SmallVector<char, 0>> emitObject(mlir::ModuleOp module,
                                                      const NativeTarget &target);

/// A module of the LLVM dialect and the processor that it is for.
struct NativeUnit {
  mlir::OwningOpRef<mlir::ModuleOp> module;
  NativeTarget target;
};

/// emitObject of each unit, as many at a time as there are processors; the modules are gone then.
llvm::Expected<std::vector<llvm::SmallVector<char, 0>>>
emitObjects(llvm::MutableArrayRef<NativeUnit> units);

/// The object that holds a GPU's image: bytes under the hidden symbol kImageSymbol, 64-byte
/// aligned.
llvm::Expected<llvm::SmallVector<char, 0>> emitImageObject(llvm::StringRef image);

/// A table of an artefact and the x86-64 level of its code.
struct TableName {
  std::string symbol;
  unsigned level;
};

/// The object of a query function that returns the table for the host's level; `tables` from the
/// highest level down.
llvm::Expected<llvm::SmallVector<char, 0>> emitQueryObject(llvm::ArrayRef<TableName> tables);

/// Links objects into a shared library that exports one symbol only. `directory` holds the
/// temporary files.
llvm::Expected<std::string> linkShared(llvm::ArrayRef<llvm::SmallVector<char, 0>> objects,
                                       llvm::StringRef directory,
                                       llvm::StringRef symbol = NSRT_QUERY_SYMBOL);

/// The same objects as one that can be linked further.
llvm::Expected<std::string> linkRelocatable(llvm::ArrayRef<llvm::SmallVector<char, 0>> objects,
                                            llvm::StringRef directory);

/// The shared library of a module alone, as it is: nothing is optimised, floating-point operations
/// are not contracted. An error names a symbol that it takes from elsewhere, but for memset, memcpy
/// and memmove.
llvm::Expected<llvm::SmallVector<char, 0>>
linkModule(llvm::Module &module, const NativeTarget &target, llvm::StringRef symbol);

} // namespace ns

#endif // NS_TARGET_NATIVE_H
