//===- Fgsm.cpp - fast gradient sign method -------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Attacks.h"

#include <algorithm>

using namespace ns::runtime;

void ns::runtime::predictsLabel(AttackContext &context, std::span<const int64_t> images,
                                char *out) {
  context.session.run("forward");
  TensorView logits = context.session.slot("logits");
  int64_t classes = logits.rowCount();
  for (size_t i = 0; i < images.size(); ++i)
    out[i] = argmax(logits, i * classes, classes) == context.loader.dataset().label(images[i]);
}

static Survivors attackPiece(AttackContext &context, double eps, std::span<const int64_t> piece) {
  TensorView image = context.session.slot("image"), grad = context.session.slot("image_grad");
  Survivors stands(piece.size());
  context.loader.load(piece);
  context.session.run("value_and_grad");
  visitFloat(image, [&](auto *y) {
    using T = std::remove_pointer_t<decltype(y)>;
    const T *g = static_cast<const T *>(grad.data);
    std::vector<T> x(y, y + image.count());
    for (int64_t i = 0, n = image.count(); i < n; ++i)
      y[i] = std::clamp(x[i] + static_cast<T>(eps) * static_cast<T>((g[i] > 0) - (g[i] < 0)), T(0),
                        T(1));
    predictsLabel(context, piece, stands.data());
    int64_t n = image.rowCount();
    for (size_t i = 0; i < piece.size(); ++i)
      context.offer(piece[i], y + i * n, x.data() + i * n, n, !stands[i]);
  });
  return stands;
}

Survivors ns::runtime::attackFgsm(AttackContext &context, const AttackSpec &spec) {
  Survivors survivors(context.images.size());
  Progress progress(spec.text, context.images.size(), "images");
  forEachPiece(context.images, context.loader.batch(),
               [&](int64_t first, std::span<const int64_t> piece) {
                 Survivors stands = context.rememberedSurvivors(
                     piece.size(), [&] { return attackPiece(context, spec.number("eps"), piece); });
                 std::copy(stands.begin(), stands.end(), survivors.begin() + first);
                 progress.update(first + piece.size());
                 if (int status = stopRequested())
                   throw Stopped{status};
               });
  return survivors;
}
