//===- Training.h - attacks inside adversarial training ---------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_RUNTIME_ATTACKS_TRAINING_H
#define NS_LIB_RUNTIME_ATTACKS_TRAINING_H

#include "GradientAttack.h"

namespace ns::runtime {

/// The inner maximisation of arms madry and trades: projected gradient ascent in the Linf ball,
/// with the session's weights of now, on the images that a loader left in the slots.
class TrainingAttack {
public:
  TrainingAttack(Session &session, BatchLoader &loader, const FinetuneOptions &options,
                 uint64_t seed);

  /// Attacks the first `count` images of slot `image`; image i draws the random numbers of
  /// firstDraw + i. After it `image` holds the adversarial images, `clean_image` those that were
  /// there. Throws Stopped.
  void perturb(int64_t count, uint64_t firstDraw);

private:
  /// Slot `clean_logits` from what slot `image` holds.
  void keepCleanLogits();

  const FinetuneOptions &options;
  bool trades;
  AttackContext context;
  AttackedBatch batch;
  Ball ball;
};

} // namespace ns::runtime

#endif // NS_LIB_RUNTIME_ATTACKS_TRAINING_H
