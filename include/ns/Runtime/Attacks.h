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
#include "ns/Runtime/Journal.h"
#include "ns/Runtime/Options.h"
#include "ns/Runtime/Progress.h"

#include "nlohmann/json.hpp"

#include <vector>

namespace ns::runtime {

/// One entry for each image: 1 where the model still predicts its class. Entry i does not depend on
/// the other images.
using Survivors = std::vector<char>;

/// Takes the images that an attack makes.
class AdversarialSink {
public:
  virtual ~AdversarialSink() = default;
  /// Image `image` attacked: pixels y, x when clean, of one image, channels first. Of several
  /// offers the first that fools the model counts, else the last.
  virtual void offer(int64_t image, std::vector<double> y, std::vector<double> x, bool fools) = 0;
  /// What was offered is kept when this returns.
  virtual void flush() = 0;
};

/// What every attack needs. Pixels stay in [0, 1]; eps is in pixels; the model's normalisation is
/// inside.
struct AttackContext {
  Session &session;
  BatchLoader &loader;
  std::span<const int64_t> images; ///< to attack: those the model gets right
  uint64_t seed;
  /// What an attack tells beside who stands: distances, results of its parts, warnings ("flags").
  nlohmann::json details = nlohmann::json::object();
  Tape *tape = nullptr;            ///< of an evaluation that can be resumed
  AdversarialSink *sink = nullptr; ///< of one that keeps the images

  /// fn(), one piece of the attack's work as JSON: not done again where an earlier run did it. The
  /// pieces and their order must not depend on anything but options and earlier results.
  template <class Fn> nlohmann::json remembered(Fn fn) {
    if (tape)
      if (std::optional<nlohmann::json> record = tape->next())
        return *record;
    nlohmann::json record = fn();
    if (sink)
      sink->flush();
    if (tape)
      tape->append(record);
    return record;
  }
  /// The same, of a piece that tells who of `count` images stands. Throws Error where the journal's
  /// is another.
  template <class Fn> Survivors rememberedSurvivors(size_t count, Fn fn) {
    return parseSurvivors(remembered([&] { return survivorsText(fn()); }), count);
  }
  static std::string survivorsText(const Survivors &survivors);
  static Survivors parseSurvivors(const nlohmann::json &text, size_t count);

  template <class T> void offer(int64_t image, const T *y, const T *x, int64_t n, bool fools) {
    if (sink)
      sink->offer(image, {y, y + n}, {x, x + n}, fools);
  }
};

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
/// Patch-Fool (Fu et al. 2022): Adam on the pixels of one patch or a few, up cross-entropy and the
/// attention that the patch receives; the dense, sparse and mild forms. Throws UsageError where the
/// model lacks the attention that is asked for.
Survivors attackPatchFool(AttackContext &context, const AttackSpec &spec);
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
