//===- Noise.h - the noise of an artefact: start, files, stop test --*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_NOISE_H
#define NS_RUNTIME_NOISE_H

#include "ns/Numerics/Statistics.h"
#include "ns/Runtime/BatchLoader.h"
#include "ns/Runtime/Options.h"

#include <map>
#include <string>
#include <vector>

namespace ns::runtime {

/// The artefact's noise; throws Error where it was compiled without one.
const NoiseInfo &noiseOf(const Session &session);

/// Scales to ||v|| = norm; a zero tensor stays.
void scaleNoise(const TensorView &noise, double norm);

/// Reads the tensor `noise` of a file into the artefact's noise slot.
void loadNoise(const std::string &path, Session &session);
void saveNoise(const std::string &path, const Session &session,
               std::map<std::string, std::string> provenance);

/// Sets the start of a synthesis: the draw of (seed, round), with the norm or bound that `lim` asks
/// for. `images` measure the site where lim is auto.
void startNoise(Session &session, BatchLoader &loader, const SynthesisOptions &options,
                uint64_t seed, uint64_t round, std::span<const int64_t> images);

/// Mean norm of the site's tensor over some images.
double meanSiteNorm(Session &session, BatchLoader &loader, std::span<const int64_t> images);

/// Clean logits of a list of images, computed once for each and kept in the precision of slots.
class LogitCache {
public:
  /// `entry` computes them: forward, or clean_logits, in the arithmetic of the synthesis steps where
  /// that is another one (docs/abi.md).
  LogitCache(Session &session, size_t images, std::string entry = "forward");
  /// Fills the slot clean_logits for the images at these positions of the list, which the image
  /// slot holds now.
  void provide(std::span<const int64_t> positions);
  /// After the weights changed.
  void clear() { std::fill(known.begin(), known.end(), 0); }

private:
  Session &session;
  std::string entry;
  TensorView fresh; ///< what the entry writes
  int64_t rowBytes;
  std::vector<char> rows, known;
};

/// Mean over images of sum_k (p_k(u+v) - p_k(u))^2 with its 95 % normal interval (method.md 3).
struct StopValue {
  numerics::MeanEstimate estimate;
  int64_t images = 0;
  /// Means of ||z(u+v) - z(u)||^2 and ||z(u+v) - z(u)|| of the logits z: the losses of the two
  /// objectives.
  double logitSquare = 0, logitNorm = 0;
};

/// The stop test on its own images.
class StopTest {
public:
  StopTest(Session &session, BatchLoader &loader, std::vector<int64_t> images);
  bool empty() const { return images.empty(); }
  std::span<const int64_t> list() const { return images; }
  StopValue measure();
  void clear() { logits.clear(); }

private:
  Session &session;
  BatchLoader &loader;
  std::vector<int64_t> images, positions;
  LogitCache logits;
};

} // namespace ns::runtime

#endif // NS_RUNTIME_NOISE_H
