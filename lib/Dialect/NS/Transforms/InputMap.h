//===- InputMap.h - the linear map at the input -----------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_DIALECT_NS_TRANSFORMS_INPUTMAP_H
#define NS_LIB_DIALECT_NS_TRANSFORMS_INPUTMAP_H

#include "ns/Dialect/NS/IR/NS.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <array>
#include <string>
#include <vector>

namespace ns::harden {

/// The first layer of a network, which sees the pixels linearly but for mean and bias.
struct LinearInput {
  mlir::Operation *op; ///< nn.patch_embed or nn.conv
  llvm::StringRef param;
  mlir::RankedTensorType weight;  ///< O x c/groups x kh x kw
  std::vector<double> std;        ///< of the pixels, one for each channel
  std::array<int64_t, 3> image{}; ///< c, H, W
};

/// Walks from the image of `forward` to its first layer. Without one `op` is null and `why` says
/// what is there instead.
LinearInput findLinearInput(mlir::func::FuncOp forward, std::string &why);

} // namespace ns::harden

#endif // NS_LIB_DIALECT_NS_TRANSFORMS_INPUTMAP_H
