//===- CApi.cpp - C interface of libnsrt for other languages --------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Attacks.h"
#include "ns/Runtime/Corruptions.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/Runtime.h"
#include "ns/Runtime/Session.h"

#include <algorithm>
#include <numeric>

using namespace ns::runtime;

struct nsrt_session {
  Session session;
};

static thread_local std::string lastError;

/// Runs fn and turns what it throws into a status and a text.
template <class Fn> static int guarded(Fn fn) noexcept {
  try {
    fn();
    return kOk;
  } catch (const std::exception &e) {
    lastError = e.what();
  } catch (...) {
    lastError = "unknown failure";
  }
  return kUserError;
}

namespace {

/// Labelled images in the caller's memory, all of the model's size.
class ArrayDataset final : public Dataset {
public:
  ArrayDataset(const Metadata &metadata, const uint8_t *pixels, const int32_t *labels,
               int64_t count)
      : width(metadata.model.width), height(metadata.model.height), count(count), pixels(pixels),
        labels(labels) {
    for (int64_t i = 0; i < count; ++i)
      if (labels[i] < 0 || labels[i] >= metadata.model.classes)
        fail("label ", labels[i], " of image ", i, ": expected 0 to ", metadata.model.classes - 1);
  }
  int64_t size() const override { return count; }
  int32_t label(int64_t index) const override { return labels[index]; }
  Image image(int64_t index) const override {
    Image image(width, height);
    std::copy_n(pixels + index * image.pixels.size(), image.pixels.size(), image.pixels.begin());
    return image;
  }
  std::string name(int64_t index) const override { return std::to_string(index); }
  bool sortedByClass() const override { return false; }

private:
  int width, height;
  int64_t count;
  const uint8_t *pixels;
  const int32_t *labels;
};

} // namespace

extern "C" {

int nsrt_open(const char *path, nsrt_session **out) {
  *out = nullptr;
  return guarded([&] { *out = new nsrt_session{Session(path)}; });
}

void nsrt_close(nsrt_session *session) { delete session; }

const char *nsrt_last_error(void) { return lastError.c_str(); }

int nsrt_load_weights(nsrt_session *session, const char *path, int ema) {
  return guarded([&] { session->session.loadWeights(path ? path : "", {.ema = ema != 0}); });
}

int nsrt_save_weights(nsrt_session *session, const char *path) {
  return guarded([&] { session->session.saveWeights(path); });
}

const char *nsrt_metadata(const nsrt_session *session) {
  return session->session.metadata().json.c_str();
}

static void give(const TensorView &view, void **data, uint64_t *bytes) {
  *data = view.data;
  *bytes = view.bytes();
}

int nsrt_slot(nsrt_session *session, const char *name, void **data, uint64_t *bytes) {
  return guarded([&] { give(session->session.slot(name), data, bytes); });
}

int nsrt_param(nsrt_session *session, const char *name, void **data, uint64_t *bytes) {
  return guarded([&] { give(session->session.param(name), data, bytes); });
}

int nsrt_run(nsrt_session *session, const char *entry) {
  return guarded([&] { session->session.run(entry); });
}

int nsrt_start(nsrt_session *session, const char *entry) {
  return guarded([&] { session->session.start(entry); });
}

int nsrt_changed(nsrt_session *session, const char *name) {
  return guarded([&] { session->session.changed(name); });
}

int nsrt_set_threads(nsrt_session *session, int count) {
  return guarded([&] { session->session.host().setThreads(count); });
}

int nsrt_profile_start(nsrt_session *session) {
  return guarded([&] { session->session.startProfile(); });
}

int nsrt_profile_end(nsrt_session *session, const char *path) {
  return guarded([&] {
    if (!session->session.profile())
      fail("no profile was started");
    session->session.profile()->writeTrace(path);
    session->session.endProfile();
  });
}

int nsrt_attack(nsrt_session *session, const char *attack_text, const uint8_t *images,
                const int32_t *labels, int64_t count, uint64_t seed, uint8_t *stands) {
  return guarded([&] {
    AttackSpec spec = parseAttack(attack_text);
    ArrayDataset data(session->session.metadata(), images, labels, count);
    BatchLoader loader(session->session, data);
    std::vector<int64_t> indices(count);
    std::iota(indices.begin(), indices.end(), 0);
    AttackContext context{session->session, loader, indices, seed};
    QuietProgress quiet;
    Survivors survivors = attack(context, spec);
    std::copy(survivors.begin(), survivors.end(), stands);
  });
}

int nsrt_corrupt(uint8_t *pixels, int width, int height, const char *kind, int severity,
                 uint64_t seed, const char *name, const char *frost_dir) {
  return guarded([&] {
    static const FrostTextures procedural;
    Image image(width, height);
    std::copy_n(pixels, image.pixels.size(), image.pixels.begin());
    Corruption corruption{kind, severity};
    Image out = corruptImage(image, corruption, seed, corruptionDraw(name, corruption),
                             frost_dir ? FrostTextures(frost_dir) : procedural);
    std::copy(out.pixels.begin(), out.pixels.end(), pixels);
  });
}

} // extern "C"
