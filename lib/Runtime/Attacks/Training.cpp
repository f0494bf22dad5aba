//===- Training.cpp - attacks inside adversarial training -----------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Training.h"

using namespace ns::runtime;

/// Standard deviation of the start of TRADES: at the clean image itself its gradient is 0.
static constexpr double kTradesStart = 1e-3;

TrainingAttack::TrainingAttack(Session &session, BatchLoader &loader,
                               const FinetuneOptions &options, uint64_t seed)
    : options(options), trades(options.arm == "trades"),
      context{session, loader, /*images=*/{}, seed}, batch(context),
      ball(/*l2=*/false, options.attackEps) {}

void TrainingAttack::keepCleanLogits() {
  // In the arithmetic of the steps where that is another one (docs/abi.md).
  if (context.session.has("clean_logits"))
    return context.session.start("clean_logits");
  context.session.start("forward");
  context.session.copy("logits", "clean_logits");
}

void TrainingAttack::perturb(int64_t count, uint64_t firstDraw) {
  batch.begin(count);
  if (trades) {
    keepCleanLogits();
    context.session.slot("beta").set(0, options.beta);
  }
  int64_t n = batch.pixels();
  batch.forEachImage([&](auto *y, auto *x, int64_t i) {
    Rng rng(context.seed, Stream::TrainingAttack, firstDraw + i);
    if (!trades)
      return randomStart(ball, y, x, n, rng);
    using T = std::remove_pointer_t<decltype(y)>;
    for (int64_t k = 0; k < n; ++k)
      y[k] = std::clamp(static_cast<T>(x[k] + kTradesStart * rng.normal(k)), T(0), T(1));
  });
  batch.climb(
      trades ? "trades_grad" : "value_and_grad",
      {.stepSize = options.attackStepSize, .eps = options.attackEps, .steps = options.attackSteps});
}
