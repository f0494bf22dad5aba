//===- OnnxFiles.h - tensor data beside an ONNX model -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_IMPORT_ONNXFILES_H
#define NS_LIB_IMPORT_ONNXFILES_H

#include "ns/Import/OnnxModel.h"

namespace ns::onnx {

/// Maps the files that a model names for its weights. A name is one from outside, so it must stay
/// below the model's folder: no absolute path, no "..", no symbolic link, and nothing but an
/// ordinary file, which is opened without waiting for it.
class DataFiles {
public:
  /// `folder` may be empty: then there are none. Buffers go to `buffers`.
  DataFiles(llvm::StringRef folder, std::vector<std::unique_ptr<llvm::MemoryBuffer>> &buffers)
      : folder(folder), buffers(buffers) {}

  /// Points a tensor with a location to its bytes.
  llvm::Error attach(Tensor &tensor);

private:
  llvm::Expected<llvm::StringRef> open(llvm::StringRef location);

  llvm::StringRef folder;
  std::vector<std::unique_ptr<llvm::MemoryBuffer>> &buffers;
  llvm::StringMap<llvm::StringRef> contents; ///< by location
};

} // namespace ns::onnx

#endif // NS_LIB_IMPORT_ONNXFILES_H
