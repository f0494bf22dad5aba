//===- CApi.cpp - C interface of libnsrt for other languages --------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Corruptions.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/Runtime.h"
#include "ns/Runtime/Session.h"

#include <algorithm>

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

int nsrt_set_threads(nsrt_session *session, int count) {
  return guarded([&] { session->session.host().setThreads(count); });
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
