//===- Evaluate.h - parts of an evaluation ----------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_RUNTIME_EVALUATE_H
#define NS_LIB_RUNTIME_EVALUATE_H

#include "Results.h"

#include "ns/Runtime/BatchLoader.h"
#include "ns/Runtime/Options.h"
#include "ns/Runtime/Progress.h"

namespace ns::runtime {

/// What the parts of one evaluation share.
struct EvaluationContext {
  Session &session;
  BatchLoader &loader;
  std::span<const int64_t> chosen; ///< the images
  const Options &options;
  Results &results;
  double cleanAccuracy; ///< on them, in [0, 1]
};

/// Accuracy under every corruption of the options, streamed; mean error, mCE and relative mCE where
/// all 15 kinds are there at all severities. Throws Error and Stopped.
void measureCorruptions(EvaluationContext &context);

} // namespace ns::runtime

#endif // NS_LIB_RUNTIME_EVALUATE_H
