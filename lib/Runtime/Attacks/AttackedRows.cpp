//===- AttackedRows.cpp - images that take turns in the batch -------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AttackedRows.h"

#include "ns/Runtime/Error.h"

using namespace ns::runtime;

Attempts::Attempts(AttackContext &context, int64_t runs)
    : context(context), runs(runs), survivors(context.images.size(), 1),
      isOver(context.images.size() * runs), leftOfImage(context.images.size(), runs),
      distances(context.images.size()) {
  numLeft = total();
  replay();
}

void Attempts::replay() {
  while (context.tape && numLeft > 0) {
    std::optional<nlohmann::json> found = context.tape->next();
    if (!found)
      return;
    const nlohmann::json &entry = *found;
    bool fits = entry.is_array() && entry.size() == 3 && entry[0].is_number_unsigned() &&
                entry[0].get<uint64_t>() < isOver.size() && entry[1].is_number_unsigned() &&
                entry[2].is_number();
    auto index = fits ? entry[0].get<int64_t>() : 0;
    Attempt attempt{fits ? index % images() : 0, fits ? index / images() : 0};
    if (!fits || isOver[index] || !survivors[attempt.position])
      fail("the journal's piece of an attack: expected the outcome of one of ", total(),
           " attempts, found ", entry.dump(), "; begin anew with --restart");
    record(attempt, entry[1] == 1, entry[2].get<double>());
  }
}

void Attempts::record(const Attempt &attempt, bool stands, double distance) {
  int64_t &left = leftOfImage[attempt.position], over = stands ? 1 : left;
  isOver[indexOf(attempt)] = 1;
  left -= over;
  numLeft -= over;
  if (stands)
    return;
  survivors[attempt.position] = 0;
  distances[attempt.position] = distance;
}

std::deque<Attempt> Attempts::take(int64_t count) {
  std::deque<Attempt> taken;
  for (; next < total() && static_cast<int64_t>(taken.size()) < count; ++next)
    if (!isOver[next] && survivors[next % images()])
      taken.push_back({next % images(), next / images()});
  return taken;
}

std::vector<double> Attempts::fallenDistances() const {
  std::vector<double> found;
  for (int64_t i = 0; i < images(); ++i)
    if (!survivors[i])
      found.push_back(distances[i]);
  return found;
}

void LikelyClasses::look(Session &session, int64_t count, int64_t last) {
  session.run("forward");
  TensorView logits = session.slot("logits");
  int64_t classes = logits.rowCount();
  ranked.assign(count, std::vector<int32_t>(classes));
  for (int64_t k = 0; k < count; ++k) {
    std::vector<int32_t> &order = ranked[k];
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + last, order.end(), [&](int32_t a, int32_t b) {
      double x = logits.get(k * classes + a), y = logits.get(k * classes + b);
      return x > y || (x == y && a > b); // as a stable ascending sort, from its end
    });
  }
}
