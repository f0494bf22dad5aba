//===- Main.cpp - the command line of every executable --------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Error.h"
#include "ns/Runtime/FileIO.h"
#include "ns/Runtime/Loops.h"
#include "ns/Runtime/Progress.h"
#include "ns/Runtime/Runtime.h"

#include <cstdio>
#include <filesystem>
#include <new>

using namespace ns::runtime;

/// What every mode does before its loop.
static void prepare(Session &session, const Options &options) {
  session.host().setThreads(options.common.threads);
  session.loadWeights(options.common.weights,
                      {.verify = options.common.verify, .ema = !options.common.noEma});
  makeDirectory(options.common.output);
  writeTextFile(options.common.output + "/args.yaml",
                str("# ", session.metadata().emit, " of ", session.metadata().model.name,
                    ", weights ", session.weightsHash(), "\n", options.argsYaml));
}

static int runMode(Session &session, const Options &options) {
  const std::string &mode = session.metadata().emit;
  prepare(session, options);
  if (mode == "synth") { // each step takes all of it
    session.touchWork();
    return runSynth(session, options);
  }
  return mode == "finetune" ? runFinetune(session, options) : runEvaluate(session, options);
}

/// Runs the mode under a profile, which is written however the mode ends.
static int runProfiled(Session &session, const Options &options) {
  const std::string &file = options.common.profile;
  session.startProfile();
  session.profile()->writeTrace(file); // says now that the place cannot be written
  auto finish = [&] {
    session.profile()->writeTrace(file);
    std::printf("%strace: %s (for ui.perfetto.dev)\n", session.profile()->table().c_str(),
                file.c_str());
  };
  try {
    int status = runMode(session, options);
    finish();
    return status;
  } catch (const Stopped &) {
    finish();
    throw;
  }
}

static int runExecutable(int argc, char **argv) {
  std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  int first = 1;
  if (!Artifact::isAppendedTo(self)) {
    if (argc < 2 || argv[1][0] == '-')
      throw UsageError("no artefact at the end of " + self +
                       " (cut short?): give the path of a compiled one as first argument");
    self = argv[first++];
  }
  Session session(self);
  auto options = parseCommandLine(session.metadata(), argv[0], {argv + first, argv + argc});
  if (!options)
    return kOk;
  installSignalHandlers();
  const std::string &mode = session.metadata().emit;
  if (mode != "synth" && mode != "finetune" && mode != "evaluate")
    fail(self, ": expected an artefact for synth, finetune or evaluate, found '", mode, "'");
  return options->common.profile.empty() ? runMode(session, *options)
                                         : runProfiled(session, *options);
}

extern "C" int nsrt_main(int argc, char **argv) {
  try {
    return runExecutable(argc, argv);
  } catch (const UsageError &e) {
    std::fprintf(stderr, "error: %s\nrun with --help for the flags\n", e.what());
    return kUsageError;
  } catch (const Stopped &stop) {
    std::fprintf(stderr, "stopped by a signal; what was done is saved\n");
    return stop.status;
  } catch (const std::bad_alloc &) {
    std::fprintf(stderr, "error: out of memory\n");
  } catch (const std::exception &e) {
    std::fprintf(stderr, "error: %s\n", e.what());
  }
  return kUserError;
}
