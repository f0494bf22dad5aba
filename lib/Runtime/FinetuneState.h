//===- FinetuneState.h - what a finetuning run resumes from -----*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_RUNTIME_FINETUNESTATE_H
#define NS_LIB_RUNTIME_FINETUNESTATE_H

#include "ns/Runtime/Session.h"

#include <map>
#include <string>

namespace ns::runtime {

/// Where a run is: after `step` steps in all (of every round), with the best round so far.
struct FinetunePosition {
  int64_t step = 0;
  int64_t bestRound = 0; ///< 1-based; 0: none yet
  double bestAccuracy = -1;
  double seconds = 0;
};

/// Writes parameters, optimizer moments and position as one file, so that they never disagree.
void saveFinetuneState(const std::string &path, const Session &session,
                       const FinetunePosition &position, const std::string &argsYaml);

/// Restores them. Throws Error where the file does not fit, or the flags that shape the run differ;
/// each is listed.
FinetunePosition loadFinetuneState(const std::string &path, Session &session,
                                   const std::string &argsYaml);

} // namespace ns::runtime

#endif // NS_LIB_RUNTIME_FINETUNESTATE_H
