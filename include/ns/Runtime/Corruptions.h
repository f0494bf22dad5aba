//===- Corruptions.h - common corruptions of images ----------- -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The 15 kinds of ImageNet-C and its 4 extra ones, at severities 1 to 5 (Hendrycks and Dietterich,
// ICLR 2019), by the formulas and parameters of the published generator. Not its random numbers:
// those come from a counter, so that an image is corrupted in the same way whoever asks.
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_CORRUPTIONS_H
#define NS_RUNTIME_CORRUPTIONS_H

#include "ns/Runtime/Image.h"

#include <span>

namespace ns::runtime {

/// Parameters depend on the size of the images: those of ImageNet-C (224), Tiny-ImageNet-C (64) and
/// CIFAR-10-C (32).
enum class CorruptionTable { ImageNet, TinyImageNet, Cifar };
/// The table for images of this many pixels a side: up to 47 Cifar, up to 127 TinyImageNet.
CorruptionTable corruptionTable(int width, int height);
/// "imagenet-c" and so on, for reports.
const char *nameOf(CorruptionTable table);

/// One kind at one severity.
struct Corruption {
  std::string kind; ///< as in corruptionKinds()
  int severity = 1; ///< 1 to 5
};

/// All 19 names, the 15 common ones first, in the order of the published tables.
std::span<const std::string> corruptionKinds();
constexpr int kCommonCorruptions = 15;

/// `kind:severity`, `kind` (all severities), `all` (the 15 at all severities), `all:3`, `extra`,
/// `noise`, `blur`, `weather` or `digital` (groups of the 15). Throws UsageError.
std::vector<Corruption> parseCorruption(const std::string &text);

/// Pictures of frost that the kind `frost` lays over images.
class FrostTextures {
public:
  /// The images of a folder: frost1 to frost5 where those are there (the published set, of which
  /// the generator uses five), else all. An empty path: procedural textures. Throws Error.
  explicit FrostTextures(const std::string &folder = "");

  size_t size() const { return textures.size(); }
  const Image &texture(size_t i) const { return textures[i]; }
  bool isProcedural() const { return procedural; }

private:
  std::vector<Image> textures;
  bool procedural;
};

/// The corrupted image, 8 bits. `image` has the model's size, at least 16 x 16. The result depends
/// on the arguments alone: `draw` names the image (corruptionDraw). Any thread.
Image corruptImage(const Image &image, const Corruption &corruption, uint64_t seed, uint64_t draw,
                   const FrostTextures &frost);

/// A number for an image and a corruption, for `corruptImage`, from the name that the dataset gives
/// it.
uint64_t corruptionDraw(const std::string &imageName, const Corruption &corruption);

/// Encoded as JPEG (4:2:0) at a quality of 1 to 100, and decoded again: the published ImageNet-C is
/// stored at 85.
Image jpegRoundTrip(const Image &image, int quality);

/// Error rates of AlexNet in [0, 1], by which mCE is normalised (Hendrycks and Dietterich, section
/// 4): of one of the 15 kinds at one severity.
double alexNetError(const std::string &kind, int severity);
constexpr double kAlexNetCleanError = 0.4348;

} // namespace ns::runtime

#endif // NS_RUNTIME_CORRUPTIONS_H
