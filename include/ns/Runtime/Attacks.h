//===- Attacks.h - attacks on the pixels ------------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_ATTACKS_H
#define NS_RUNTIME_ATTACKS_H

#include "ns/Runtime/BatchLoader.h"
#include "ns/Runtime/Options.h"
#include "ns/Runtime/Progress.h"

#include <vector>

namespace ns::runtime {

/// What every attack needs. Pixels stay in [0, 1]; eps is in pixels; the model's normalisation is
/// inside.
struct AttackContext {
  Session &session;
  BatchLoader &loader;
  std::span<const int64_t> images; ///< to attack: those the model gets right
  uint64_t seed;
};

/// One entry for each image: 1 where the model still predicts its class. Entry i does not depend on
/// the other images.
using Survivors = std::vector<char>;

/// x + eps sign(dCE/dx), clamped (Goodfellow et al. 2015); sign(0) = 0.
Survivors attackFgsm(AttackContext &context, const AttackSpec &spec);
/// Projected gradient ascent on CE in the Linf or L2 ball, from a random start (Madry et al. 2018)
/// or from the image (BIM: Kurakin et al. 2017); the last iterate of each restart counts, and one
/// failure is a failure.
Survivors attackPgd(AttackContext &context, const AttackSpec &spec);
/// Momentum iterative method, Linf (Dong et al. 2018): the sign of a decaying sum of gradients,
/// each divided by its mean absolute value; the last iterate counts.
Survivors attackMim(AttackContext &context, const AttackSpec &spec);
/// Auto-PGD on cross-entropy in the Linf or L2 ball (Croce and Hein 2020, as in AutoAttack): an
/// image falls with any iterate; restarts attack what stands.
Survivors attackApgd(AttackContext &context, const AttackSpec &spec);
/// Square attack, Linf (Andriushchenko et al. 2020, as in AutoAttack): random search on the margin,
/// no gradient.
Survivors attackSquare(AttackContext &context, const AttackSpec &spec);

/// The attack that the specification names.
Survivors attack(AttackContext &context, const AttackSpec &spec);

/// Runs the forward entry on what the image slot holds; row i: does it predict the class of
/// images[i]?
void predictsLabel(AttackContext &context, std::span<const int64_t> images, char *out);

} // namespace ns::runtime

#endif // NS_RUNTIME_ATTACKS_H
