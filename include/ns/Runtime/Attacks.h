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

#include "nlohmann/json.hpp"

#include <vector>

namespace ns::runtime {

/// What every attack needs. Pixels stay in [0, 1]; eps is in pixels; the model's normalisation is
/// inside.
struct AttackContext {
  Session &session;
  BatchLoader &loader;
  std::span<const int64_t> images; ///< to attack: those the model gets right
  uint64_t seed;
  /// What an attack tells beside who stands: distances, results of its parts, warnings ("flags").
  nlohmann::json details = nlohmann::json::object();
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
/// Auto-PGD in the Linf or L2 ball (Croce and Hein 2020, as in AutoAttack) on cross-entropy
/// (apgd-ce), the difference of logits ratio (apgd-dlr), or its targeted form for each of the
/// `targets` likeliest wrong classes (apgd-t): an image falls with any iterate; restarts and
/// further targets attack what stands.
Survivors attackApgd(AttackContext &context, const AttackSpec &spec);
/// Carlini and Wagner 2017, L2: Adam on ||x' - x||^2 + c max(z_y - max z_other, -kappa) in the
/// space of atanh, with a fixed c or a search for each image; an image falls at any distance, and
/// `details` has the distances.
Survivors attackCw(AttackContext &context, const AttackSpec &spec);
/// Fast adaptive boundary attack on each of the `targets` likeliest wrong classes, Linf or L2
/// (Croce and Hein 2020, as FAB-T of AutoAttack): an image falls where the nearest point found is
/// within eps.
Survivors attackFab(AttackContext &context, const AttackSpec &spec);
/// AutoAttack's standard set (Croce and Hein 2020): apgd-ce, apgd-t, fab-t, square, each on what
/// the former left; `details` has the shares after each and the health flags.
Survivors attackAuto(AttackContext &context, const AttackSpec &spec);
/// Square attack, Linf (Andriushchenko et al. 2020, as in AutoAttack): random search on the margin,
/// no gradient.
Survivors attackSquare(AttackContext &context, const AttackSpec &spec);

/// The attack that the specification names.
Survivors attack(AttackContext &context, const AttackSpec &spec);

/// How many wrong classes the attack aims at: `targets`, or all there are. Throws UsageError where
/// the model has too few classes for the loss.
int64_t numTargetClasses(Session &session, const AttackSpec &spec);

/// Runs the forward entry on what the image slot holds; row i: does it predict the class of
/// images[i]?
void predictsLabel(AttackContext &context, std::span<const int64_t> images, char *out);

} // namespace ns::runtime

#endif // NS_RUNTIME_ATTACKS_H
