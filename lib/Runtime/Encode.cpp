//===- Encode.cpp - images to JPEG and PNG --------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Error.h"
#include "ns/Runtime/Image.h"

#include <cstring>
#include <memory>
#include <png.h>
#include <turbojpeg.h>

using namespace ns::runtime;

std::vector<uint8_t> ns::runtime::encodeJpeg(const Image &image, int quality) {
  std::unique_ptr<void, int (*)(void *)> encoder(tjInitCompress(), tjDestroy);
  unsigned char *bytes = nullptr;
  unsigned long size = 0;
  int failed =
      !encoder || tjCompress2(encoder.get(), image.pixels.data(), image.width, 0, image.height,
                              TJPF_RGB, &bytes, &size, TJSAMP_420, quality, TJFLAG_ACCURATEDCT);
  std::unique_ptr<unsigned char, void (*)(unsigned char *)> owner(bytes, tjFree);
  if (failed)
    fail("JPEG encoder: ", tjGetErrorStr2(encoder.get()));
  return {bytes, bytes + size};
}

std::vector<uint8_t> ns::runtime::encodePng(const Image &image) {
  png_image description;
  std::memset(&description, 0, sizeof description);
  description.version = PNG_IMAGE_VERSION;
  description.width = image.width;
  description.height = image.height;
  description.format = PNG_FORMAT_RGB;
  std::vector<uint8_t> bytes(PNG_IMAGE_PNG_SIZE_MAX(description));
  png_alloc_size_t size = bytes.size();
  if (!png_image_write_to_memory(&description, bytes.data(), &size, 0, image.pixels.data(), 0,
                                 nullptr))
    fail("PNG encoder: ", description.message);
  bytes.resize(size);
  return bytes;
}
