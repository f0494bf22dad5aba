//===- TestSupport.h - what the runtime's tests share -----------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_TEST_UNIT_RUNTIME_TESTSUPPORT_H
#define NS_TEST_UNIT_RUNTIME_TESTSUPPORT_H

#include "ns/Checkpoint/SafeTensors.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/FileIO.h"
#include "ns/Runtime/Loops.h"
#include "ns/Runtime/Options.h"
#include "ns/Runtime/Session.h"

#include <gtest/gtest.h>
#include <png.h>

#include "ns/Runtime/Image.h"

#include <filesystem>

namespace ns::runtime::test {

/// A folder that goes away with the test.
class TempFolder {
public:
  TempFolder() {
    std::string name = ::testing::TempDir() + "nsrt-XXXXXX";
    path = mkdtemp(name.data());
  }
  ~TempFolder() { std::filesystem::remove_all(path); }
  std::string operator/(const std::string &name) const { return path + "/" + name; }
  std::string path;
};

inline std::string fake(const std::string &mode) {
  return std::string(FAKE_FOLDER) + "/fake-" + mode + ".so";
}

/// Weights of the linear model, random by `seed`.
inline void writeWeights(const std::string &path, uint64_t seed = 1) {
  std::vector<float> weight(5 * 48), bias(5);
  Rng rng(seed, Stream::Split);
  for (size_t i = 0; i < weight.size(); ++i)
    weight[i] = rng.normal(i);
  for (size_t i = 0; i < bias.size(); ++i)
    bias[i] = rng.normal(1000 + i);
  ns::checkpoint::SafeTensorsWriter writer;
  writer.add("head.weight", {weight.data(), Dtype::F32, {5, 48}});
  writer.add("head.bias", {bias.data(), Dtype::F32, {5}});
  writer.write(path);
}

inline void writePng(const std::string &path, const Image &image) {
  png_image png = {};
  png.version = PNG_IMAGE_VERSION;
  png.width = image.width;
  png.height = image.height;
  png.format = PNG_FORMAT_RGB;
  ASSERT_TRUE(png_image_write_to_file(&png, path.c_str(), 0, image.pixels.data(), 0, nullptr));
}

/// An ImageFolder of `perClass` random 4 x 4 images in each of 5 classes, in train/ and val/.
/// Images of class k are brighter in a pattern of its own, so there is something to learn.
inline void writeImages(const std::string &root, int perClass) {
  for (const char *split : {"train", "val"})
    for (int label = 0; label < 5; ++label) {
      std::string folder = root + "/" + split + "/class" + std::to_string(label);
      std::filesystem::create_directories(folder);
      for (int i = 0; i < perClass; ++i) {
        Image image(4, 4);
        Rng rng(label * 1000 + i, Stream::Split, split[0]);
        for (size_t k = 0; k < image.pixels.size(); ++k)
          image.pixels[k] =
              static_cast<uint8_t>(rng.nextBelow(128) + (k % 5 == size_t(label) ? 127 : 0));
        writePng(folder + "/" + std::to_string(i) + ".png", image);
      }
    }
}

/// Weights and images, and a run of one mode on them through the command line's parser.
struct Workspace {
  explicit Workspace(int perClass = 12) {
    writeWeights(folder / "linear.safetensors");
    writeImages(folder.path, perClass);
  }
  /// Runs a mode into folder/output; returns the exit status.
  int run(const std::string &mode, const std::string &output, std::vector<std::string> flags) {
    Session session(fake(mode));
    flags.insert(flags.begin(), {"--data-dir", folder.path, "--output", folder / output});
    auto options = parseCommandLine(session.metadata(), mode, flags);
    if (!options)
      return kOk;
    session.loadWeights(options->common.weights.empty() ? folder / "linear.safetensors"
                                                        : options->common.weights);
    makeDirectory(options->common.output);
    return mode == "synth"      ? runSynth(session, *options)
           : mode == "finetune" ? runFinetune(session, *options)
                                : runEvaluate(session, *options);
  }
  TempFolder folder;
};

/// The text of the Error that fn throws; fails where it throws none.
template <class Fn> std::string errorOf(Fn fn) {
  try {
    fn();
  } catch (const Error &error) {
    return error.what();
  }
  ADD_FAILURE() << "expected an Error";
  return "";
}

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

} // namespace ns::runtime::test

#endif // NS_TEST_UNIT_RUNTIME_TESTSUPPORT_H
