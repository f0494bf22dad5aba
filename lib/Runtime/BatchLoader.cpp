//===- BatchLoader.cpp - images from disk into the slots of an artefact ---===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/BatchLoader.h"
#include "ns/Runtime/Error.h"

#include <cstring>

using namespace ns::runtime;

BatchLoader::BatchLoader(Session &session, const Dataset &data) : session(session), data(data) {
  const auto &model = session.metadata().model;
  if (model.width == 0)
    fail(session.path(),
         ": compiled from a module without nn.model, which says how images are prepared");
  to = {static_cast<int>(model.width), static_cast<int>(model.height), model.cropPct,
        parseFilter(model.interpolation)};
}

template <class T> static void storePixels(const Image &image, T *out, int64_t channels) {
  int64_t pixels = int64_t(image.width) * image.height;
  T scaled[256];
  for (int i = 0; i < 256; ++i)
    scaled[i] = static_cast<T>(i) / static_cast<T>(255);
  const uint8_t *in = image.pixels.data();
  for (int64_t i = 0; i < pixels; ++i, in += 3)
    if (channels == 3)
      for (int c = 0; c < 3; ++c)
        out[c * pixels + i] = scaled[in[c]];
    else
      out[i] = scaled[(in[0] * 19595 + in[1] * 38470 + in[2] * 7471 + 0x8000) >> 16];
}

void ns::runtime::storeImage(const Image &image, const TensorView &batch, int64_t row) {
  visitFloat(batch,
             [&](auto *out) { storePixels(image, out + row * batch.rowCount(), batch.shape[1]); });
}

template <class Transform>
void BatchLoader::fill(std::span<const int64_t> indices, double weight, Transform transform) {
  Stretch stretch(session.profile(), "load images", session.host().threads());
  TensorView images = session.overwrite("image");
  int64_t count = static_cast<int64_t>(indices.size()),
          row = images.rowCount() * sizeOf(images.dtype);
  session.host().parallelFor(batch(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (i >= count) {
        std::memset(static_cast<char *>(images.data) + i * row, 0, row);
        continue;
      }
      Image image = transform(data.image(indices[i]), i);
      if (image.width != to.width || image.height != to.height)
        fail(data.name(indices[i]), ": expected ", to.width, " x ", to.height,
             " pixels after the transform");
      storeImage(image, images, i);
    }
  });
  if (session.hasSlot("labels"))
    for (int64_t i = 0; i < batch(); ++i)
      session.slot("labels").set(i, i < count ? data.label(indices[i]) : 0);
  if (session.hasSlot("weights"))
    for (int64_t i = 0; i < batch(); ++i)
      session.slot("weights").set(i, i < count ? weight : 0);
}

void BatchLoader::load(std::span<const int64_t> indices, double weight) {
  fill(indices, weight, [&](const Image &image, int64_t) { return evalTransform(image, to); });
}

void BatchLoader::loadAugmented(std::span<const int64_t> indices, double weight, uint64_t seed,
                                uint64_t firstDraw) {
  fill(indices, weight, [&](const Image &image, int64_t i) {
    Rng rng(seed, Stream::Augment, firstDraw + i);
    return trainTransform(image, to, rng);
  });
}

void BatchLoader::loadCorrupted(
    std::span<const int64_t> indices, const Corruption &corruption, uint64_t seed,
    const FrostTextures &frost, int jpeg,
    const std::function<void(int64_t, const std::vector<uint8_t> &)> &keep) {
  fill(indices, 1, [&](const Image &image, int64_t i) {
    Image result = corruptImage(evalTransform(image, to), corruption, seed,
                                corruptionDraw(data.name(indices[i]), corruption), frost);
    if (jpeg) {
      std::vector<uint8_t> file = encodeJpeg(result, jpeg);
      if (keep)
        keep(indices[i], file);
      return decodeImage("JPEG in memory", file);
    }
    if (keep)
      keep(indices[i], encodePng(result));
    return result;
  });
}

int64_t ns::runtime::argmax(const TensorView &view, int64_t offset, int64_t count) {
  int64_t best = 0;
  for (int64_t i = 1; i < count; ++i)
    if (view.get(offset + i) > view.get(offset + best))
      best = i;
  return best;
}
