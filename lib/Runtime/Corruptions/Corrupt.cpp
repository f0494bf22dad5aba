//===- Corrupt.cpp - an image, corrupted ----------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Kinds.h"

#include "ns/Runtime/Error.h"
#include "ns/Runtime/FileIO.h"

#include <algorithm>
#include <filesystem>

using namespace ns::runtime;
using namespace ns::runtime::corruptions;
namespace fs = std::filesystem;

FrostTextures::FrostTextures(const std::string &folder) : procedural(folder.empty()) {
  if (procedural) {
    for (uint64_t i = 0; i < 5; ++i) {
      Rng rng(0, Stream::Corruption, (uint64_t(1) << 55) + i);
      textures.push_back(proceduralFrost(512, 512, rng));
    }
    return;
  }
  std::vector<fs::path> all, published;
  std::error_code error;
  for (const fs::directory_entry &entry : fs::directory_iterator(folder, error)) {
    std::string extension = entry.path().extension().string(), stem = entry.path().stem().string();
    std::transform(extension.begin(), extension.end(), extension.begin(), ::tolower);
    if (extension != ".png" && extension != ".jpg" && extension != ".jpeg")
      continue;
    all.push_back(entry.path());
    if (stem.size() == 6 && stem.starts_with("frost") && stem[5] >= '1' && stem[5] <= '5')
      published.push_back(entry.path());
  }
  if (error)
    fail("--frost-dir ", folder, ": ", error.message());
  std::vector<fs::path> &used = published.size() == 5 ? published : all;
  if (used.empty())
    fail("--frost-dir ", folder, ": expected JPEG or PNG images, such as frost1.png, found none");
  std::sort(used.begin(), used.end());
  for (const fs::path &path : used)
    textures.push_back(decodeImage(path.string(), readFile(path.string())));
}

uint64_t ns::runtime::corruptionDraw(const std::string &imageName, const Corruption &corruption) {
  uint64_t hash = 14695981039346656037u; // FNV-1a: fixed for ever, unlike std::hash
  for (const std::string &part : {imageName, corruption.kind, std::to_string(corruption.severity)})
    for (size_t i = 0; i <= part.size(); ++i) // with the closing zero
      hash = (hash ^ static_cast<uint8_t>(part.c_str()[i])) * 1099511628211u;
  return hash >> 9; // below 2^55
}

Image ns::runtime::jpegRoundTrip(const Image &image, int quality) {
  return decodeImage("JPEG in memory", encodeJpeg(image, quality));
}

Image ns::runtime::corruptImage(const Image &image, const Corruption &corruption, uint64_t seed,
                                uint64_t draw, const FrostTextures &textures) {
  if (image.width < 16 || image.height < 16)
    fail("corruptions need images of at least 16 x 16 pixels, found ", image.width, " x ",
         image.height);
  CorruptionTable table = corruptionTable(image.width, image.height);
  Parameters p = parameters(corruption, table);
  Rng rng(seed, Stream::Corruption, draw);
  const std::string &kind = corruption.kind;
  if (kind == "pixelate")
    return pixelate(image, p);
  if (kind == "jpeg_compression")
    return jpegRoundTrip(image, static_cast<int>(p[0]));
  if (kind == "shot_noise")
    return shotNoise(image, p, rng).toImage();
  Planes x(image);
  Planes out = kind == "gaussian_noise"      ? gaussianNoise(x, p, rng)
               : kind == "impulse_noise"     ? impulseNoise(x, p, rng)
               : kind == "speckle_noise"     ? speckleNoise(x, p, rng)
               : kind == "gaussian_blur"     ? gaussianBlur(x, p)
               : kind == "defocus_blur"      ? defocusBlur(x, p)
               : kind == "glass_blur"        ? glassBlur(x, p, rng)
               : kind == "motion_blur"       ? motionBlurred(x, p, rng)
               : kind == "zoom_blur"         ? zoomBlur(x, p)
               : kind == "snow"              ? snow(x, p, rng)
               : kind == "frost"             ? frost(x, p, rng, table, textures)
               : kind == "fog"               ? fog(x, p, rng)
               : kind == "brightness"        ? brightness(x, p)
               : kind == "contrast"          ? contrast(x, p)
               : kind == "saturate"          ? saturate(x, p)
               : kind == "elastic_transform" ? elasticTransform(x, p, rng)
                                             : spatter(x, p, rng);
  return out.toImage();
}
