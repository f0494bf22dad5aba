//===- Pgd.cpp - projected gradient ascent --------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// FGSM, BIM, PGD and MIM are one ascent: of one step or more, from the image or a random start,
// along the gradient or its momentum. The steps are entries of the artefact (docs/abi.md).
//
//===----------------------------------------------------------------------===//

#include "GradientAttack.h"

using namespace ns::runtime;

/// Climbs cross-entropy, `restarts` times; the last iterate counts. `random`: from a random point
/// of the ball.
static Survivors ascend(AttackContext &context, const AttackSpec &spec, const Ascent &ascent,
                        bool random = false, int64_t restarts = 1) {
  Survivors survivors(context.images.size(), 1);
  Ball ball(spec);
  Progress progress(spec.text, context.images.size() * restarts, "images");
  AttackedBatch batch(context);
  std::vector<char> survives(context.loader.batch());
  auto attackPiece = [&](int64_t first, std::span<const int64_t> piece) {
    Survivors all(piece.size(), 1);
    batch.load(piece);
    for (int64_t restart = 0; restart < restarts; ++restart) {
      if (restart > 0)
        batch.restart();
      if (random)
        batch.forEachImage([&](auto *y, auto *x, int64_t i) {
          randomStart(ball, y, x, batch.pixels(), startOf(context, piece[i], restart));
        });
      batch.climb("value_and_grad", ascent);
      predictsLabel(context, piece, survives.data());
      batch.offer(piece, survives, [](size_t) { return true; });
      for (size_t i = 0; i < piece.size(); ++i)
        all[i] &= survives[i];
      progress.update(first * restarts + piece.size() * (restart + 1));
    }
    return all;
  };
  forEachPiece(
      context.images, context.loader.batch(), [&](int64_t first, std::span<const int64_t> piece) {
        Survivors stands =
            context.rememberedSurvivors(piece.size(), [&] { return attackPiece(first, piece); });
        std::copy(stands.begin(), stands.end(), survivors.begin() + first);
        progress.update((first + piece.size()) * restarts);
      });
  return survivors;
}

/// What alpha, eps and steps of a specification say.
static Ascent ascentOf(const AttackSpec &spec) {
  return {.stepSize = spec.number("alpha"),
          .eps = spec.number("eps"),
          .steps = static_cast<int64_t>(spec.number("steps"))};
}

Survivors ns::runtime::attackFgsm(AttackContext &context, const AttackSpec &spec) {
  double eps = spec.number("eps");
  return ascend(context, spec, {.stepSize = eps, .eps = eps, .steps = 1});
}

Survivors ns::runtime::attackPgd(AttackContext &context, const AttackSpec &spec) {
  Ascent ascent = ascentOf(spec);
  if (Ball(spec).l2)
    ascent.update = "attack_update_l2";
  return ascend(context, spec, ascent, spec.words.at("start") == "random",
                static_cast<int64_t>(spec.number("restarts")));
}

Survivors ns::runtime::attackMim(AttackContext &context, const AttackSpec &spec) {
  Ascent ascent = ascentOf(spec);
  ascent.update = "attack_update_momentum";
  ascent.decay = spec.number("decay");
  return ascend(context, spec, ascent);
}
