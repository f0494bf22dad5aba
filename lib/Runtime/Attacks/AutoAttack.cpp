//===- AutoAttack.cpp - the standard set of AutoAttack --------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Croce and Hein, ICML 2020: four attacks, each on the images that the former ones left, and the
// checks of AutoAttack's code that tell when its figure must not be trusted.
//
//===----------------------------------------------------------------------===//

#include "GradientAttack.h"

using namespace ns::runtime;

/// More than this share lost to the black-box attack alone hints at masked gradients.
static constexpr double kSquareGain = 0.002;

/// What the outputs and gradients of the first images say against the model.
static std::vector<std::string> checkHealth(AttackContext &context) {
  std::vector<std::string> flags;
  std::span<const int64_t> first =
      context.images.first(std::min<size_t>(context.images.size(), context.loader.batch()));
  if (first.empty())
    return flags;
  context.loader.load(first);
  context.session.run("value_and_grad");
  TensorView logits = context.session.slot("logits"), gradient = context.session.slot("image_grad");
  int64_t classes = logits.rowCount(), count = first.size() * classes,
          pixels = gradient.rowCount(), zero = 0;
  std::vector<double> before;
  for (int64_t k = 0; k < count; ++k)
    before.push_back(logits.get(k));
  visitFloat(gradient, [&](auto *g) {
    for (size_t i = 0; i < first.size(); ++i, g += pixels)
      zero += std::all_of(g, g + pixels, [](auto d) { return d == 0; });
  });
  if (zero)
    flags.push_back("the gradient of " + std::to_string(zero) + " of " +
                    std::to_string(first.size()) +
                    " images is zero: white-box attacks see no slope");
  context.session.run("value_and_grad");
  for (int64_t k = 0; k < count; ++k)
    if (logits.get(k) != before[k] && !std::isnan(before[k])) {
      flags.push_back("two passes over the same images differ: the model is randomised");
      break;
    }
  bool softmax = true;
  for (size_t i = 0; i < first.size() && softmax; ++i) {
    double sum = 0;
    for (int64_t k = 0; k < classes; ++k) {
      softmax &= before[i * classes + k] >= 0;
      sum += before[i * classes + k];
    }
    softmax &= std::abs(sum - 1) < 1e-4;
  }
  if (softmax)
    flags.push_back("the outputs are probabilities, not logits: losses on them saturate");
  return flags;
}

namespace {
/// Runs one attack after the other on what stands.
class Standard {
public:
  Standard(AttackContext &context, const AttackSpec &spec)
      : context(context), spec(spec), survivors(context.images.size(), 1) {}

  Survivors run() {
    auto flags = context.remembered([&] { return nlohmann::json(checkHealth(context)); })
                     .get<std::vector<std::string>>();
    double whiteBox = 1, all = 1;
    for (const char *kind : {"apgd-ce", "apgd-t", "fab-t", "square"}) {
      whiteBox = all;
      all = runOne(kind);
      context.details["standing_after"][kind] = all;
    }
    if (whiteBox - all > kSquareGain)
      flags.push_back("square alone fooled another " + std::to_string(100 * (whiteBox - all)) +
                      " % of the images: gradients may be masked");
    context.details["flags"] = flags;
    return survivors;
  }

private:
  /// The share that stands after it.
  double runOne(const std::string &kind) {
    AttackSpec part = parseAttack(kind);
    part.text = spec.kind + ": " + kind;
    for (auto &[key, value] : spec.numbers)
      if (part.numbers.count(key))
        part.numbers[key] = value;
    std::vector<int64_t> images;
    std::vector<size_t> positions;
    for (size_t i = 0; i < survivors.size(); ++i)
      if (survivors[i]) {
        images.push_back(context.images[i]);
        positions.push_back(i);
      }
    AttackContext left{context.session, context.loader, images, context.seed};
    left.tape = context.tape;
    left.sink = context.sink;
    Survivors stands = attack(left, part);
    for (size_t i = 0; i < positions.size(); ++i)
      survivors[positions[i]] = stands[i];
    int64_t standing = std::accumulate(survivors.begin(), survivors.end(), int64_t(0));
    return survivors.empty() ? 1 : static_cast<double>(standing) / survivors.size();
  }

  AttackContext &context;
  const AttackSpec &spec;
  Survivors survivors;
};
} // namespace

Survivors ns::runtime::attackAuto(AttackContext &context, const AttackSpec &spec) {
  return Standard(context, spec).run();
}
