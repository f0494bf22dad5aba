//===- Raise.h - raises an exported program into nn ops -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_IMPORT_RAISE_H
#define NS_IMPORT_RAISE_H

#include "ns/Import/Pt2Archive.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/ADT/StringSet.h"

namespace ns::pt2 {

/// What belongs to a model and is not in its graph: nullspace.json, completed and overruled by the
/// command line.
struct ModelRecord {
  std::string name;
  std::vector<double> mean, std; ///< one for each channel; std > 0
  llvm::StringSet<> noWeightDecay;
  mlir::DictionaryAttr attributes; ///< becomes `nn.model`

  /// `mean` and `std` replace the export's own where not empty. The dictionary has `name` (string),
  /// `image` ([c, h, w], i64), `classes` (i64), `mean`, `std` (lists of f64), and whatever else
  /// nullspace.json says, such as `source`, `interpolation` (strings) and `crop_pct` (f64).
  static llvm::Expected<ModelRecord> create(const Program &program, llvm::ArrayRef<double> mean,
                                            llvm::ArrayRef<double> std, mlir::MLIRContext &context);
};

/// Raises a program to a module: one `nn.param` for each weight that is read, and
/// `func.func @forward(%image: tensor<?xcxHxWxf32>) -> tensor<?xKxf32>` for images in [0, 1].
///
/// Views (reshape, permute, select, ...) leave no op: values carry index maps, and ops recognise
/// heads, tokens and channels by comparing them (IndexMap.h). Dropout in eval mode disappears.
/// What the graph computes from sizes alone and the network needs, such as the mask of shifted
/// windows, is added to the program's weights. Every op has its layer in `nn.layer`. An op or
/// layout that no nn op stands for is an error, which lists all of them with their layers.
llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> raise(Program &program, const ModelRecord &record,
                                                        mlir::MLIRContext &context);

} // namespace ns::pt2

#endif // NS_IMPORT_RAISE_H
