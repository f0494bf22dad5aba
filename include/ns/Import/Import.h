//===- Import.h - a .pt2 export to model.mlir and model.safetensors -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_IMPORT_IMPORT_H
#define NS_IMPORT_IMPORT_H

#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace ns::pt2 {

struct ImportOptions {
  std::string input;             ///< model.pt2
  std::string output;            ///< model.mlir; the weights go to model.safetensors beside it
  std::vector<double> mean, std; ///< where not empty: instead of the export's own
};

/// Imports an export (Raise.h says into what). Both files are written under temporary names,
/// synced, then renamed: on an error neither is touched. Errors name the file, the entry, what was
/// expected and what was found.
llvm::Error importModel(const ImportOptions &options);

} // namespace ns::pt2

#endif // NS_IMPORT_IMPORT_H
