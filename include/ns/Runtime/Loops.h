//===- Loops.h - what the executables do ------------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_LOOPS_H
#define NS_RUNTIME_LOOPS_H

#include "ns/Runtime/Options.h"
#include "ns/Runtime/Session.h"

namespace ns::runtime {

/// Each runs one mode to its end, writes its files into options.common.output and returns the exit
/// status. Throws Error for the user's mistakes and Stopped after a signal.
int runSynth(Session &session, const Options &options);
int runFinetune(Session &session, const Options &options);
int runEvaluate(Session &session, const Options &options);

} // namespace ns::runtime

#endif // NS_RUNTIME_LOOPS_H
