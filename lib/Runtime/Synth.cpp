//===- Synth.cpp - the synth executable -----------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Error.h"
#include "ns/Runtime/Loops.h"
#include "ns/Runtime/Synthesis.h"

#include <cstdio>

using namespace ns::runtime;

int ns::runtime::runSynth(Session &session, const Options &options) {
  const SynthesisOptions &synthesis = options.synthesis;
  auto data = openDataset(options.common.dataDir, "train", options.common.classMap,
                          session.metadata().model.classes);
  BatchLoader loader(session, *data);
  TrainSplit split = splitTraining(selectImages(*data, options.common.maxSamples), synthesis, 0,
                                   options.common.seed);
  Synthesizer synthesizer(session, loader, synthesis, split, options.common.seed);

  CsvFile summary(options.common.output + "/summary.csv", "step,loss,prob_mse,norm,lr,seconds");
  SynthesisResult result = synthesizer.run(0, "synthesis", [&](const Synthesizer::Step &step) {
    summary.row({std::to_string(step.step), numberText(step.loss), numberText(step.probMse),
                 numberText(step.norm), numberText(step.lr), numberText(step.seconds)});
  });
  summary.flush();
  auto provenance = result.provenance(synthesis, options.common.seed);
  provenance["options"] = options.argsYaml;
  std::string file = options.common.output + "/noise.safetensors";
  saveNoise(file, session, std::move(provenance));

  if (result.nanStep)
    fail("the loss of step ", result.nanStep, " is not finite; the noise before it is in ", file,
         "; try a smaller --lr or --lim");
  std::printf("noise of norm %.6g (start %.6g) after %lld steps, %.1f s\n", result.norm,
              result.startNorm, static_cast<long long>(result.steps), result.seconds);
  if (result.tested)
    std::printf("prob_mse %.6g [%.6g, %.6g] on %lld images, eps %g: %s\n",
                result.stop.estimate.mean, result.stop.estimate.interval.low,
                result.stop.estimate.interval.high, static_cast<long long>(result.stop.images),
                synthesis.eps, result.converged ? "converged" : "not converged");
  if (result.losses)
    std::printf("loss on these images: %.6g in FP8, %.6g in float32\n", result.losses->fp8,
                result.losses->float32);
  if (result.status)
    throw Stopped{result.status};
  if (result.tested && !result.converged)
    std::fprintf(stderr,
                 "warning: eps was not met; try more --rounds or --steps, or a smaller start "
                 "(--lim auto starts at the site's own norm)\n");
  if (result.losses && !result.converged && result.losses->float32 > 2 * result.losses->fp8)
    std::fprintf(stderr, "warning: the noise fits the rounding of FP8 rather than the model: try "
                         "an executable of --precision=bf16\n");
  return result.tested && !result.converged ? kNotConverged : kOk;
}
