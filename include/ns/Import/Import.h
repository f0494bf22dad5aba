//===- Import.h - an export to model.mlir and model.safetensors -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_IMPORT_IMPORT_H
#define NS_IMPORT_IMPORT_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <functional>
#include <string>
#include <vector>

namespace ns::pt2 {

struct ImportOptions {
  std::string input;             ///< model.pt2 or model.onnx
  std::string output;            ///< model.mlir; the weights go to model.safetensors beside it
  std::vector<double> mean, std; ///< where not empty: instead of the export's own
  std::string weights;           ///< where not empty: a checkpoint to take instead of the export's
  bool ema = true;               ///< prefer averaged weights where the checkpoint has both
  std::string record;            ///< where not empty: a nullspace.json instead of the export's own
  /// Told what was assumed; may be null.
  std::function<void(llvm::StringRef)> note;
};

/// Imports an export (Raise.h says into what). An ONNX model has no nullspace.json: without
/// `record`, `mean` and `std` its pixels are taken as they are, which is noted. Both files are
/// written under temporary names, synced, then renamed: on an error neither is touched. Errors name
/// the file, the entry, what was expected and what was found.
llvm::Error importModel(ImportOptions options);

} // namespace ns::pt2

#endif // NS_IMPORT_IMPORT_H
