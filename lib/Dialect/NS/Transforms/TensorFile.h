//===- TensorFile.h - float tensors in safetensors files -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_DIALECT_NS_TRANSFORMS_TENSORFILE_H
#define NS_LIB_DIALECT_NS_TRANSFORMS_TENSORFILE_H

#include "mlir/Support/LLVM.h"
#include "llvm/Support/Error.h"

#include <vector>

namespace ns::harden {

/// A tensor converted to float64.
struct StoredTensor {
  std::vector<int64_t> shape;
  std::vector<double> values;
  double epsilon = 0; ///< machine epsilon of the stored type
};

/// Reads one entry of a safetensors file (F64, F32, F16 or BF16). Errors name the file, the entry, what was expected and found.
llvm::Expected<StoredTensor> readTensor(llvm::StringRef path, llvm::StringRef name);

/// An F64 tensor to write.
struct NamedTensor {
  llvm::StringRef name;
  llvm::ArrayRef<int64_t> shape;
  llvm::ArrayRef<double> values;
};

/// Writes a safetensors file, whole or not at all.
llvm::Error writeTensors(llvm::StringRef path, llvm::ArrayRef<NamedTensor> tensors);

} // namespace ns::harden

#endif // NS_LIB_DIALECT_NS_TRANSFORMS_TENSORFILE_H
