//===- Noise.cpp - the noise of an artefact: start, files, stop test ------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Noise.h"
#include "ns/Checkpoint/SafeTensors.h"
#include "ns/Runtime/Error.h"

#include <cmath>
#include <cstring>
#include <numeric>

using namespace ns::runtime;

/// Images that measure the site's norm for --lim auto.
static constexpr size_t kNormImages = 128;

const NoiseInfo &ns::runtime::noiseOf(const Session &session) {
  if (session.metadata().noises.empty())
    fail(session.path(), ": compiled without a noise");
  return session.metadata().noises[0];
}

void ns::runtime::scaleNoise(const TensorView &noise, double norm) {
  double current = normOf(noise);
  if (current == 0)
    return;
  visitFloat(noise, [&](auto *v) {
    for (int64_t i = 0, n = noise.count(); i < n; ++i)
      v[i] = static_cast<std::remove_pointer_t<decltype(v)>>(v[i] * (norm / current));
  });
}

double ns::runtime::normOf(const TensorView &view) {
  return visitFloat(view, [&](auto *x) {
    double sum = 0;
    for (int64_t i = 0, n = view.count(); i < n; ++i)
      sum += static_cast<double>(x[i]) * x[i];
    return std::sqrt(sum);
  });
}

void ns::runtime::loadNoise(const std::string &path, Session &session) {
  TensorView noise = session.slot(noiseOf(session).name);
  ns::checkpoint::SafeTensorsReader file(path);
  const ns::checkpoint::Tensor *entry = file.find("noise");
  if (!entry)
    fail(path, ": expected a tensor 'noise' of shape ", shapeText(noise.shape), ", found none");
  if (entry->shape != noise.shape)
    fail(path, ": tensor 'noise': expected shape ", shapeText(noise.shape), ", found ",
         shapeText(entry->shape));
  auto site = file.metadata().find("site");
  if (site != file.metadata().end() && site->second != noiseOf(session).site)
    fail(path, ": expected a noise for the site '", noiseOf(session).site, "', found '",
         site->second, "'");
  file.read(*entry, noise);
  if (!std::isfinite(normOf(noise)))
    fail(path, ": tensor 'noise' holds NaN or infinity");
  session.changed(noiseOf(session).name);
}

void ns::runtime::saveNoise(const std::string &path, const Session &session,
                            std::map<std::string, std::string> provenance) {
  const NoiseInfo &info = noiseOf(session);
  provenance["site"] = info.site;
  provenance["model"] = session.metadata().model.name;
  provenance["weights_file"] = session.weightsFile();
  provenance["weights_xxh3"] = session.weightsHash();
  provenance["precision"] = session.metadata().precision;
  ns::checkpoint::SafeTensorsWriter writer;
  writer.add("noise", session.slot(info.name));
  writer.setMetadata(std::move(provenance));
  writer.write(path);
}

double ns::runtime::meanSiteNorm(Session &session, BatchLoader &loader,
                                 std::span<const int64_t> images) {
  double sum = 0;
  runPieces(
      session, "site_norm", images, loader.batch(),
      [&](int64_t, std::span<const int64_t> piece) { loader.load(piece); },
      [&](int64_t, std::span<const int64_t> piece) {
        TensorView norms = session.slot("site_norm");
        for (size_t i = 0; i < piece.size(); ++i)
          sum += norms.get(i);
      });
  return images.empty() ? 0 : sum / images.size();
}

void ns::runtime::startNoise(Session &session, BatchLoader &loader, const SynthesisOptions &options,
                             uint64_t seed, uint64_t round, std::span<const int64_t> images) {
  TensorView noise = session.slot(noiseOf(session).name);
  for (const char *moment : {".m", ".v"}) {
    TensorView state = session.slot(noiseOf(session).name + moment);
    std::memset(state.data, 0, state.bytes());
    session.changed(noiseOf(session).name + moment);
  }
  if (options.init == "zero") {
    std::memset(noise.data, 0, noise.bytes());
    return session.changed(noiseOf(session).name);
  }
  if (options.init != "uniform" && options.init != "normal")
    return loadNoise(options.init, session);
  bool automatic = options.lim == "auto";
  double lim = automatic ? 1 : std::stod(options.lim);
  Rng rng(seed, Stream::NoiseInit, round);
  for (int64_t i = 0; i < noise.count(); ++i)
    noise.set(i, lim * (options.init == "uniform" ? 2 * rng.uniform(i) - 1 : rng.normal(i)));
  if (automatic)
    scaleNoise(noise,
               meanSiteNorm(session, loader, images.first(std::min(images.size(), kNormImages))));
  session.changed(noiseOf(session).name);
}

LogitCache::LogitCache(Session &session, size_t images, std::string entry)
    : session(session), entry(std::move(entry)),
      fresh(session.slot(this->entry == "forward" ? "logits" : "clean_logits")),
      rowBytes(fresh.rowCount() * sizeOf(fresh.dtype)), rows(images * rowBytes), known(images) {}

void LogitCache::provide(std::span<const int64_t> positions) {
  bool missing = false;
  for (int64_t position : positions)
    missing |= !known[position];
  if (missing) {
    session.run(entry);
    const char *from = static_cast<const char *>(fresh.data);
    for (size_t i = 0; i < positions.size(); ++i)
      if (!known[positions[i]]) {
        std::memcpy(&rows[positions[i] * rowBytes], from + i * rowBytes, rowBytes);
        known[positions[i]] = 1;
      }
  }
  TensorView clean = session.slot("clean_logits");
  char *out = static_cast<char *>(clean.data);
  std::memset(out, 0, clean.bytes());
  for (size_t i = 0; i < positions.size(); ++i)
    std::memcpy(out + i * rowBytes, &rows[positions[i] * rowBytes], rowBytes);
}

StopTest::StopTest(Session &session, BatchLoader &loader, std::vector<int64_t> list)
    : session(session), loader(loader), images(std::move(list)), positions(images.size()),
      logits(session, images.size()) {
  std::iota(positions.begin(), positions.end(), int64_t(0));
}

StopValue StopTest::measure() {
  std::vector<double> values;
  double squareSum = 0, normSum = 0;
  runPieces(
      session, "stop_test", images, loader.batch(),
      [&](int64_t first, std::span<const int64_t> piece) {
        loader.load(piece);
        logits.provide(std::span(positions).subspan(first, piece.size()));
      },
      [&](int64_t, std::span<const int64_t> piece) {
        TensorView squares = session.slot("prob_sq"), logitSquares = session.slot("logit_sq");
        for (size_t i = 0; i < piece.size(); ++i) {
          values.push_back(squares.get(i));
          squareSum += logitSquares.get(i);
          normSum += std::sqrt(logitSquares.get(i));
        }
      });
  double count = static_cast<double>(values.size());
  return {numerics::meanEstimate(values), static_cast<int64_t>(values.size()), squareSum / count,
          normSum / count};
}
