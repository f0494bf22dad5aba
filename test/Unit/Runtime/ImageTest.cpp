//===- ImageTest.cpp - decoding and transforms ----------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestSupport.h"

#include <fstream>
#include <turbojpeg.h>

using namespace ns::runtime;
using namespace ns::runtime::test;

static Image gradient(int width, int height) {
  Image image(width, height);
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c)
        image.at(x, y)[c] = static_cast<uint8_t>((x * 7 + y * 13 + c * 50) % 256);
  return image;
}

static std::vector<uint8_t> jpegOf(const Image &image) {
  tjhandle encoder = tjInitCompress();
  unsigned char *data = nullptr;
  unsigned long size = 0;
  tjCompress2(encoder, image.pixels.data(), image.width, 0, image.height, TJPF_RGB, &data, &size,
              TJSAMP_444, 95, 0);
  std::vector<uint8_t> bytes(data, data + size);
  tjFree(data);
  tjDestroy(encoder);
  return bytes;
}

TEST(Codec, PngIsExactAndJpegIsClose) {
  TempFolder folder;
  Image image(16, 12);
  for (size_t i = 0; i < image.pixels.size(); ++i)
    image.pixels[i] = static_cast<uint8_t>(i / 3);
  writePng(folder / "x.png", image);
  EXPECT_EQ(decodeImage("x", readFile(folder / "x.png")).pixels, image.pixels);
  Image back = decodeImage("x", jpegOf(image));
  ASSERT_EQ(back.width, 16);
  for (size_t i = 0; i < back.pixels.size(); ++i)
    EXPECT_NEAR(back.pixels[i], image.pixels[i], 12);
}

TEST(Codec, DamagedFilesAreErrorsThatNameThem) {
  TempFolder folder;
  writePng(folder / "x.png", gradient(20, 20));
  for (std::vector<uint8_t> whole : {readFile(folder / "x.png"), jpegOf(gradient(20, 20))})
    for (size_t keep = 0; keep + 20 < whole.size(); keep += 11) {
      std::vector<uint8_t> cut(whole.begin(), whole.begin() + keep);
      SCOPED_TRACE(std::to_string(keep) + " of " + std::to_string(whole.size()));
      EXPECT_HAS(errorOf([&] { decodeImage("the-file", cut); }), "the-file");
    }
  EXPECT_HAS(errorOf([] { decodeImage("gif", {'G', 'I', 'F', '8', '9', 'a', 0, 0, 0}); }),
             "JPEG or PNG");
}

TEST(Codec, FlippedBitsNeverCrash) {
  TempFolder folder;
  writePng(folder / "x.png", gradient(20, 20));
  for (std::vector<uint8_t> whole : {readFile(folder / "x.png"), jpegOf(gradient(20, 20))})
    for (size_t i = 0; i < whole.size(); i += 3) {
      std::vector<uint8_t> bent = whole;
      bent[i] ^= 1 << i % 8;
      try {
        decodeImage("bent", bent);
      } catch (const Error &) {
      }
    }
}

TEST(Resize, ConstantsStayAndSizesAreAsAsked) {
  Image flat(13, 9);
  std::fill(flat.pixels.begin(), flat.pixels.end(), 77);
  for (Filter filter :
       {Filter::Box, Filter::Bilinear, Filter::Hamming, Filter::Bicubic, Filter::Lanczos})
    for (auto [w, h] : {std::pair(5, 4), {40, 3}, {1, 1}}) {
      Image result = resizeImage(flat, w, h, filter);
      ASSERT_EQ(result.pixels.size(), size_t(3) * w * h);
      for (uint8_t p : result.pixels)
        EXPECT_EQ(p, 77);
    }
  EXPECT_HAS(errorOf([] { parseFilter("nearest-exact"); }), "nearest-exact");
}

TEST(Transforms, EvaluationTakesTheCentre) {
  Preprocessing to{4, 4, 0.5, Filter::Bilinear};
  Image right = gradient(4, 4);
  EXPECT_EQ(evalTransform(right, to).pixels, right.pixels);
  Image wide = gradient(16, 8); // the shorter side is 8 = 4 / 0.5 already: only cropped
  EXPECT_EQ(evalTransform(wide, to).pixels, cropImage(wide, 6, 2, 4, 4).pixels);
  EXPECT_THROW(evalTransform(Image(1, 1 << 28), to), Error);
}

TEST(Transforms, TrainingDependsOnTheDrawOnly) {
  Preprocessing to{8, 8, 1, Filter::Bicubic};
  Image image = gradient(30, 20);
  Rng a(1, Stream::Augment, 5), b(1, Stream::Augment, 5), c(1, Stream::Augment, 6);
  Image first = trainTransform(image, to, a);
  EXPECT_EQ(first.pixels, trainTransform(image, to, b).pixels);
  EXPECT_NE(first.pixels, trainTransform(image, to, c).pixels);
  for (int i = 0; i < 200; ++i) {
    Rng rng(2, Stream::Augment, i);
    Image thin(1 + i % 40, 1 + i * 7 % 40);
    EXPECT_EQ(trainTransform(thin, to, rng).pixels.size(), 192u);
  }
}
