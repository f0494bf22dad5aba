//===- BatchLoader.h - images from disk into the slots of an artefact --*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_BATCHLOADER_H
#define NS_RUNTIME_BATCHLOADER_H

#include "ns/Runtime/Corruptions.h"
#include "ns/Runtime/Dataset.h"
#include "ns/Runtime/Session.h"

#include <functional>
#include <span>

namespace ns::runtime {

/// Random crops and flips, or none.
enum class Augmentation { None, Basic };

/// Fills the slots `image`, `labels` and `weights` (the last two where the artefact has them) with
/// images of one dataset, pixels in [0, 1], channels first.
class BatchLoader {
public:
  BatchLoader(Session &session, const Dataset &data);

  /// Images per call of an entry.
  int64_t batch() const { return session.metadata().batch; }
  const Dataset &dataset() const { return data; }

  /// Loads at most batch() images; the rest of the batch becomes black, of class 0 and weight 0.
  /// `weight` goes to each real image. The result does not depend on the thread count.
  void load(std::span<const int64_t> indices, double weight = 1);

  /// The same with augmentation; image i draws the random numbers of (seed, firstDraw + i).
  void loadAugmented(std::span<const int64_t> indices, double weight, uint64_t seed,
                     uint64_t firstDraw);

  /// The same as `load` with every image corrupted after the resize. `jpeg`: quality at which each
  /// is encoded and decoded again; 0: not. `keep` gets the file of each image (JPEG, or PNG where
  /// `jpeg` is 0), in any thread.
  void loadCorrupted(
      std::span<const int64_t> indices, const Corruption &corruption, uint64_t seed,
      const FrostTextures &frost, int jpeg,
      const std::function<void(int64_t index, const std::vector<uint8_t> &file)> &keep = nullptr);

  /// One image as `load` prepares it.
  Image clean(int64_t index) const { return evalTransform(data.image(index), to); }

private:
  template <class Transform>
  void fill(std::span<const int64_t> indices, double weight, Transform transform);

  Session &session;
  const Dataset &data;
  Preprocessing to;
};

/// pixels / 255 into row `row` of a B,c,H,W tensor of the image's size; one channel is Pillow's
/// luma.
void storeImage(const Image &image, const TensorView &batch, int64_t row);

/// The loss of a step from those of its pieces.
inline double sumOf(std::span<Reading> losses) {
  double sum = 0;
  for (Reading &loss : losses)
    sum += loss.get();
  return sum;
}

/// Calls fn(first, piece) for consecutive pieces of at most `size` indices.
template <class Fn> void forEachPiece(std::span<const int64_t> indices, int64_t size, Fn fn) {
  for (int64_t at = 0, n = static_cast<int64_t>(indices.size()); at < n; at += size)
    fn(at, indices.subspan(at, std::min(size, n - at)));
}

/// Runs an entry on consecutive pieces of at most `size` indices: load(first, piece) fills its
/// inputs, read(first, piece) takes its outputs by `session.slot` or `later`. The next piece is
/// loaded while a device works on this one; `ahead()`, after the last, may load what comes next.
/// `isLoaded`: the first piece already is.
template <class Load, class Read, class Ahead>
void runPieces(Session &session, const std::string &entry, std::span<const int64_t> indices,
               int64_t size, Load load, Read read, Ahead ahead, bool isLoaded = false) {
  int64_t count = static_cast<int64_t>(indices.size());
  auto piece = [&](int64_t at) { return indices.subspan(at, std::min(size, count - at)); };
  for (int64_t at = 0; at < count; at += size) {
    if (at == 0 && !isLoaded)
      load(at, piece(at));
    session.start(entry);
    if (at + size < count) {
      load(at + size, piece(at + size));
      session.stage(entry);
    } else {
      ahead();
    }
    read(at, piece(at));
  }
}

template <class Load, class Read>
void runPieces(Session &session, const std::string &entry, std::span<const int64_t> indices,
               int64_t size, Load load, Read read) {
  runPieces(session, entry, indices, size, load, read, [] {});
}

/// Index of the largest (the first of equals) of `count` numbers from `offset`.
int64_t argmax(const TensorView &view, int64_t offset, int64_t count);

} // namespace ns::runtime

#endif // NS_RUNTIME_BATCHLOADER_H
