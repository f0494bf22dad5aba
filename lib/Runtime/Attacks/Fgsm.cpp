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

Survivors ns::runtime::attackFgsm(AttackContext &context, const AttackSpec &spec) {
  Survivors survivors(context.images.size());
  Progress progress(spec.text, context.images.size(), "images");
  TensorView image = context.session.slot("image"), grad = context.session.slot("image_grad");
  forEachPiece(
      context.images, context.loader.batch(), [&](int64_t first, std::span<const int64_t> piece) {
        context.loader.load(piece);
        context.session.run("value_and_grad");
        visitFloat(image, [&](auto *x) {
          using T = std::remove_pointer_t<decltype(x)>;
          const T *g = static_cast<const T *>(grad.data);
          T eps = static_cast<T>(spec.number("eps"));
          for (int64_t i = 0, n = image.count(); i < n; ++i)
            x[i] = std::clamp(x[i] + eps * static_cast<T>((g[i] > 0) - (g[i] < 0)), T(0), T(1));
        });
        predictsLabel(context, piece, &survivors[first]);
        progress.update(first + piece.size());
        if (int status = stopRequested())
          throw Stopped{status};
      });
  return survivors;
}
