//===- Adversarial.h - adversarial images on disk ---------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_RUNTIME_ADVERSARIAL_H
#define NS_LIB_RUNTIME_ADVERSARIAL_H

#include "Evaluate.h"

#include "ns/Runtime/Attacks.h"

namespace ns::runtime {

/// An adversarial image of a manifest.
struct ManifestEntry {
  std::string file;                           ///< below the manifest's folder
  std::string source;                         ///< its original's name in the data set
  int32_t label = 0, before = -1, after = -1; ///< classes: true, predicted clean and attacked
  double linf = 0, l2 = 0;                    ///< from its original, pixels in [0, 1]
  bool fools = false;
};

/// manifest.json of one attack's images.
struct Manifest {
  static constexpr const char *kFile = "manifest.json";
  std::string folder;
  std::string attack, model, weights, weightsHash, imagesHash, files, section;
  nlohmann::json parameters;
  int64_t classes = 0;
  std::vector<ManifestEntry> images;

  void write() const;
  /// Throws Error where the file is no manifest, or says what cannot be.
  static Manifest read(const std::string &folder);
  /// The images as a data set.
  std::unique_ptr<Dataset> open() const;
};

/// The bound that 8-bit images of an attack must keep, in levels of a channel.
struct Bound {
  enum { None, Linf, L2 } norm = None;
  double levels = 0;

  explicit Bound(double eps = 0) : norm(eps > 0 ? Linf : None), levels(255 * eps) {}
  explicit Bound(const AttackSpec &spec);
  /// In levels; a thousandth of one is rounding of the parameters.
  bool allows(double linf, double l2) const;
};

/// The pixels y rounded to 8 bits without leaving the bound around x: towards x where the nearest
/// level lies outside. x and y: channels first, in [0, 1]; one channel becomes grey.
Image roundWithin(const Bound &bound, const std::vector<double> &y, const std::vector<double> &x,
                  int width, int height);

/// Distance of two images in levels: the largest difference, and the root of the sum of squares.
/// `channels` 1 counts grey images once.
std::pair<double, double> distanceOf(const Image &a, const Image &b, int64_t channels);

/// DIR/ATTACK of --save-adversarial while the attack runs: CLASS/NAME.png, and at the end the
/// manifest. Images of a piece are written before the journal has the piece.
class AdversarialFolder : public AdversarialSink {
public:
  /// `fresh`: begins anew; else the folder must be the one that `section` of the journal began.
  AdversarialFolder(EvaluationContext &context, std::string folder, const AttackSpec &spec,
                    std::string section, bool fresh);

  void offer(int64_t image, std::vector<double> y, std::vector<double> x, bool fools) override;
  void flush() override;

  /// Measures the images as they are on disk, writes the manifest and returns what results.json
  /// tells of them.
  nlohmann::json finish(const std::vector<int64_t> &targets, nlohmann::json parameters);

private:
  struct Offered {
    Image image;
    bool fools;
  };
  std::string marker() const { return folder + "/.unfinished"; }
  std::string fileOf(int64_t image) const;
  void write(int64_t image, const Image &picture) const;
  void measure(Manifest &manifest, const std::vector<int64_t> &targets) const;

  EvaluationContext &context;
  std::string folder;
  const AttackSpec &spec;
  std::string section;
  Bound bound;
  std::map<int64_t, Offered> pending;
};

/// Where images of a data set go below a folder: CLASS/NAME without its ending. Throws Error where
/// two of the chosen would have the same place.
std::string placeOf(const Dataset &data, int64_t index);
void requireDifferentPlaces(const ImageList &images);

} // namespace ns::runtime

#endif // NS_LIB_RUNTIME_ADVERSARIAL_H
