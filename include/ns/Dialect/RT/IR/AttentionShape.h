//===- AttentionShape.h - extents of an attention op ------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_RT_IR_ATTENTIONSHAPE_H
#define NS_DIALECT_RT_IR_ATTENTIONSHAPE_H

#include "ns/Dialect/RT/IR/RT.h"

namespace ns::rt {

/// Extents and parts of an `rt.attention` or its gradient. With windows, each one is as an image of
/// its own: its tokens lie together.
struct AttentionShape {
  /// Where q, k or v lies: which input, from which channel, and channels in a row of that input.
  struct Part {
    unsigned input;
    int64_t channel, pitch;
  };

  int64_t images, heads, queries, keys, width, dim, windows = 1; ///< images: of the batch
  Part parts[3];                                                 ///< q, k, v
  double scale;
  mlir::ValueRange inputs, biases; ///< as in the op
  mlir::Value scoreBias, mask;     ///< or null

  explicit AttentionShape(mlir::Operation *op);

  /// Why a GPU's library (cuDNN) does not compute it in bf16; empty where it does: heads of at most
  /// 128 channels, a multiple of 8, more than one query and key, and nothing added to the scores.
  std::string whyNotCall() const;
};

/// What the scores of an attention or its gradient depend on: equal for both.
std::vector<const void *> scoresKey(mlir::Operation *attention);

} // namespace ns::rt

#endif // NS_DIALECT_RT_IR_ATTENTIONSHAPE_H
