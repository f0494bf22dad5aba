//===- Codec.cpp - decoding of JPEG and PNG -------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Error.h"
#include "ns/Runtime/Image.h"

#include <csetjmp>
#include <cstring>
#include <memory>
#include <png.h>
#include <turbojpeg.h>

using namespace ns::runtime;

/// More pixels than this is a decompression bomb, not a photograph (Pillow warns at half of it).
static constexpr uint64_t kMaxPixels = 178'956'970;

static void checkSize(const std::string &name, uint64_t width, uint64_t height) {
  if (width == 0 || height == 0 || width > kMaxPixels / height)
    fail(name, ": expected an image of at most ", kMaxPixels, " pixels, found ", width, " x ",
         height);
}

/// Adobe's CMYK is stored inverted; Pillow's conversion of it.
static Image fromInvertedCmyk(int width, int height, const std::vector<uint8_t> &cmyk) {
  Image image(width, height);
  for (size_t i = 0, n = size_t(width) * height; i < n; ++i) {
    int key = cmyk[4 * i + 3];
    for (int c = 0; c < 3; ++c) {
      int product = (255 - cmyk[4 * i + c]) * key + 128;
      image.pixels[3 * i + c] = static_cast<uint8_t>(key - (((product >> 8) + product) >> 8));
    }
  }
  return image;
}

static Image decodeJpeg(const std::string &name, const std::vector<uint8_t> &bytes) {
  std::unique_ptr<void, int (*)(void *)> decoder(tjInitDecompress(), tjDestroy);
  int width = 0, height = 0, subsampling = 0, colors = 0;
  if (!decoder ||
      tjDecompressHeader3(decoder.get(), bytes.data(), bytes.size(), &width, &height, &subsampling,
                          &colors) ||
      width < 1)
    fail(name, ": damaged JPEG: ", tjGetErrorStr2(decoder.get()));
  checkSize(name, width, height);
  bool cmyk = colors == TJCS_CMYK || colors == TJCS_YCCK;
  Image image(width, height);
  std::vector<uint8_t> four(cmyk ? size_t(4) * width * height : 0);
  int failed = tjDecompress2(decoder.get(), bytes.data(), bytes.size(),
                             cmyk ? four.data() : image.pixels.data(), width, 0, height,
                             cmyk ? TJPF_CMYK : TJPF_RGB, TJFLAG_ACCURATEDCT);
  // libjpeg goes on after a warning; only missing data makes the picture unusable.
  if (failed && (tjGetErrorCode(decoder.get()) != TJERR_WARNING ||
                 std::strstr(tjGetErrorStr2(decoder.get()), "remature end")))
    fail(name, ": damaged JPEG: ", tjGetErrorStr2(decoder.get()));
  return cmyk ? fromInvertedCmyk(width, height, four) : image;
}

namespace {

/// What libpng's callbacks need. Errors leave by longjmp, so nothing with a destructor may be made
/// in between.
struct PngSource {
  const uint8_t *at, *end;
  char message[128] = "";
};

void pngError(png_structp png, png_const_charp text) {
  auto *source = static_cast<PngSource *>(png_get_error_ptr(png));
  std::strncpy(source->message, text, sizeof source->message - 1);
  std::longjmp(*png_set_longjmp_fn(png, std::longjmp, sizeof(jmp_buf)), 1);
}

void pngRead(png_structp png, png_bytep out, size_t count) {
  auto *source = static_cast<PngSource *>(png_get_io_ptr(png));
  if (count > static_cast<size_t>(source->end - source->at))
    png_error(png, "the file ends too early");
  std::memcpy(out, source->at, count);
  source->at += count;
}

/// Header of a PNG and the transformations to 8-bit RGB. False after an error.
bool pngStart(png_structp png, png_infop info, png_uint_32 &width, png_uint_32 &height) {
  if (setjmp(png_jmpbuf(png)))
    return false;
  png_read_info(png, info);
  width = png_get_image_width(png, info);
  height = png_get_image_height(png, info);
  png_set_expand(png);
  png_set_strip_16(png);
  png_set_strip_alpha(png);
  png_set_gray_to_rgb(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  if (png_get_rowbytes(png, info) != size_t(3) * width)
    png_error(png, "unexpected row size");
  return true;
}

bool pngRows(png_structp png, png_bytepp rows) {
  if (setjmp(png_jmpbuf(png)))
    return false;
  png_read_image(png, rows);
  png_read_end(png, nullptr);
  return true;
}

} // namespace

static Image decodePng(const std::string &name, const std::vector<uint8_t> &bytes) {
  PngSource source{bytes.data(), bytes.data() + bytes.size()};
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source, pngError,
                                           [](png_structp, png_const_charp) {});
  png_infop info = png ? png_create_info_struct(png) : nullptr;
  struct Destroy {
    png_structp png;
    png_infop info;
    ~Destroy() { png_destroy_read_struct(&png, &info, nullptr); }
  } destroy{png, info};
  if (!info)
    fail(name, ": no memory for the PNG reader");
  png_set_read_fn(png, &source, pngRead);
  png_uint_32 width = 0, height = 0;
  if (!pngStart(png, info, width, height))
    fail(name, ": damaged PNG: ", source.message);
  checkSize(name, width, height);
  Image image(width, height);
  std::vector<png_bytep> rows(height);
  for (png_uint_32 y = 0; y < height; ++y)
    rows[y] = image.at(0, y);
  if (!pngRows(png, rows.data()))
    fail(name, ": damaged PNG: ", source.message);
  return image;
}

Image ns::runtime::decodeImage(const std::string &name, const std::vector<uint8_t> &bytes) {
  static const uint8_t kPng[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  if (bytes.size() > 3 && bytes[0] == 0xff && bytes[1] == 0xd8)
    return decodeJpeg(name, bytes);
  if (bytes.size() > 8 && std::memcmp(bytes.data(), kPng, 8) == 0)
    return decodePng(name, bytes);
  fail(name, ": expected a JPEG or PNG image, found ",
       bytes.empty() ? "an empty file" : "something else");
}
