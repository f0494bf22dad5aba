//===- Pgd.cpp - projected gradient ascent --------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "GradientAttack.h"

using namespace ns::runtime;

/// Runs `steps` calls of step(y, x, g, i) from the clean image or a random start, `restarts` times;
/// the last iterate counts.
template <class Step>
static Survivors ascend(AttackContext &context, const AttackSpec &spec, bool random,
                        int64_t restarts, Step step) {
  Survivors survivors(context.images.size(), 1);
  Ball ball(spec);
  int64_t steps = static_cast<int64_t>(spec.number("steps"));
  Progress progress(spec.text, context.images.size() * restarts, "images");
  AttackedBatch batch(context);
  std::vector<char> survives(context.loader.batch());
  forEachPiece(
      context.images, context.loader.batch(), [&](int64_t first, std::span<const int64_t> piece) {
        Survivors stands = context.rememberedSurvivors(piece.size(), [&] {
          Survivors all(piece.size(), 1);
          for (int64_t restart = 0; restart < restarts; ++restart) {
            batch.load(piece);
            if (random)
              batch.forEachImage([&](auto *y, auto *x, auto *, int64_t i) {
                randomStart(ball, y, x, batch.pixels(), startOf(context, piece[i], restart));
              });
            for (int64_t index = 0; index < steps; ++index) {
              batch.differentiate();
              batch.forEachImage([&](auto *y, auto *x, auto *g, int64_t i) {
                step(y, g, i, index);
                ball.project(y, x, batch.pixels());
              });
            }
            predictsLabel(context, piece, survives.data());
            batch.offer(piece, survives, [](size_t) { return true; });
            for (size_t i = 0; i < piece.size(); ++i)
              all[i] &= survives[i];
            progress.update(first * restarts + piece.size() * (restart + 1));
          }
          return all;
        });
        std::copy(stands.begin(), stands.end(), survivors.begin() + first);
        progress.update((first + piece.size()) * restarts);
      });
  return survivors;
}

Survivors ns::runtime::attackPgd(AttackContext &context, const AttackSpec &spec) {
  Ball ball(spec);
  int64_t n = context.session.slot("image").rowCount();
  return ascend(
      context, spec, spec.words.at("start") == "random",
      static_cast<int64_t>(spec.number("restarts")),
      [&](auto *y, auto *g, int64_t, int64_t) { ball.ascend(y, g, n, spec.number("alpha")); });
}

Survivors ns::runtime::attackMim(AttackContext &context, const AttackSpec &spec) {
  Ball ball(spec);
  int64_t n = context.session.slot("image").rowCount();
  double decay = spec.number("decay");
  std::vector<std::vector<double>> momenta(context.loader.batch(), std::vector<double>(n));
  return ascend(context, spec, /*random=*/false, /*restarts=*/1,
                [&](auto *y, auto *g, int64_t i, int64_t index) {
                  std::vector<double> &momentum = momenta[i];
                  if (index == 0)
                    momentum.assign(n, 0);
                  double mean = 0;
                  for (int64_t k = 0; k < n; ++k)
                    mean += std::abs(static_cast<double>(g[k]));
                  mean = std::max(mean / static_cast<double>(n), 1e-30);
                  for (int64_t k = 0; k < n; ++k)
                    momentum[k] = decay * momentum[k] + g[k] / mean;
                  ball.ascend(y, momentum.data(), n, spec.number("alpha"));
                });
}
