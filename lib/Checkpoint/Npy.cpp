//===- Npy.cpp - NumPy's array format, and archives of it -----------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Checkpoint/Npy.h"
#include "Bytes.h"
#include "Formats.h"
#include "ns/Runtime/Error.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>

using namespace ns::checkpoint;
using ns::runtime::fail;
using ns::runtime::shapeText;

int64_t NpyHeader::count() const {
  int64_t product = 1;
  for (int64_t extent : shape)
    product *= extent;
  return product;
}

/// The value of 'key' in the header's Python dictionary, between the two characters.
static std::string headerValue(std::string_view header, const std::string &key, const char *open,
                               const char *close) {
  size_t at = header.find("'" + key + "'");
  at = at == std::string_view::npos ? at : header.find(':', at);
  at = at == std::string_view::npos ? at : header.find_first_of(open, at);
  size_t end = at == std::string_view::npos ? at : header.find_first_of(close, at + 1);
  return end == std::string_view::npos ? "" : std::string(header.substr(at + 1, end - at - 1));
}

static std::vector<int64_t> parseShape(const std::string &text) {
  std::vector<int64_t> shape;
  std::istringstream dims(text);
  int64_t count = 1;
  for (std::string dim; std::getline(dims, dim, ',');) {
    if (dim.find_first_not_of(' ') == std::string::npos)
      continue;
    char *end;
    int64_t extent = std::strtoll(dim.c_str(), &end, 10);
    if (*end || extent < 0 || shape.size() == 16 ||
        __builtin_mul_overflow(count, std::max<int64_t>(extent, 1), &count))
      fail("impossible shape (", text.substr(0, 80), ") in its NumPy header");
    shape.push_back(extent);
  }
  return shape;
}

NpyHeader ns::checkpoint::parseNpy(std::string_view bytes, std::optional<uint64_t> size) {
  constexpr uint64_t kMaxHeader = 1 << 16; // NumPy itself reads no longer ones
  if (bytes.size() < 12 || !bytes.starts_with("\x93NUMPY") || bytes[6] < 1 || bytes[6] > 3)
    fail("expected a NumPy array");
  int width = bytes[6] == 1 ? 2 : 4;
  uint64_t length = littleEndian(&bytes[8], width);
  if (length > bytes.size() - 8 - width || length > kMaxHeader)
    fail("its NumPy header of ", length, " bytes is too long");
  NpyHeader array;
  array.begin = 8 + width + length;
  std::string_view header = bytes.substr(8 + width, length);
  array.type = headerValue(header, "descr", "'\"", "'\"");
  array.isFortran = header.find("'fortran_order': True") != std::string_view::npos;
  if (!array.isFortran && header.find("'fortran_order': False") == std::string_view::npos)
    fail("its NumPy header states no order of the elements");
  array.shape = parseShape(headerValue(header, "shape", "(", ")"));
  static constexpr std::string_view kKinds = "fiubV", kSizes = "1248";
  if (array.type.size() != 3 || array.type[0] == '>' ||
      kKinds.find(array.type[1]) == std::string_view::npos ||
      kSizes.find(array.type[2]) == std::string_view::npos)
    fail("expected a little-endian numeric array, found '", array.type.substr(0, 80), "' of shape ",
         shapeText(array.shape));
  uint64_t found = size.value_or(bytes.size()) - array.begin;
  if (static_cast<__int128>(array.count()) * array.itemSize() != static_cast<__int128>(found))
    fail("expected ", array.count(), " elements of ", array.itemSize(), " bytes, found ", found,
         " bytes");
  return array;
}

/// The element type of weights; two bytes of no kind are bfloat16, which NumPy has no name for.
static std::optional<Type> typeOf(const NpyHeader &header) {
  static constexpr std::pair<std::string_view, Type> kNames[] = {
      {"f8", Type::F64}, {"f4", Type::F32}, {"f2", Type::F16}, {"V2", Type::BF16},
      {"i8", Type::I64}, {"i4", Type::I32}, {"i2", Type::I16}, {"i1", Type::I8},
      {"u8", Type::U64}, {"u4", Type::U32}, {"u2", Type::U16}, {"u1", Type::U8},
      {"b1", Type::Bool}};
  for (auto [known, type] : kNames)
    if (known == std::string_view(header.type).substr(1))
      return type;
  return std::nullopt;
}

static Tensor makeTensor(std::string_view entry, std::string_view bytes,
                         const ns::runtime::InputFile &file) {
  NpyHeader header = parseNpy(bytes);
  std::optional<Type> type = typeOf(header);
  if (!type)
    fail("unknown element type '", header.type, "'");
  Tensor tensor;
  tensor.name = entry.substr(0, std::min(entry.size() - 4, kMaxName + 1));
  tensor.type = *type;
  tensor.shape = header.shape;
  tensor.strides = denseStrides(tensor.shape);
  if (header.isFortran) {
    std::vector<int64_t> reversed(tensor.shape.rbegin(), tensor.shape.rend());
    tensor.strides = denseStrides(reversed);
    std::reverse(tensor.strides.begin(), tensor.strides.end());
  }
  tensor.data = bytes.data() + header.begin;
  tensor.file = &file;
  tensor.offset = tensor.data - file.view().data();
  return tensor;
}

std::vector<Tensor> ns::checkpoint::readNpz(const ZipArchive &zip,
                                            const ns::runtime::InputFile &file) {
  std::vector<Tensor> arrays;
  for (const auto &[name, entry] : zip.entries()) {
    if (!name.ends_with(".npy"))
      fail("entry '", name.substr(0, 200), "': expected NumPy arrays only");
    if (entry.deflated)
      fail("entry '", name.substr(0, 200),
           "' is compressed: re-save it with numpy.savez, not savez_compressed");
    if (std::string problem = zip.checkStored(name); !problem.empty())
      fail(problem);
    try {
      addTensor(arrays, makeTensor(name, entry.packed, file));
    } catch (const ns::runtime::Error &error) {
      fail("entry '", name.substr(0, 200), "': ", error.what());
    }
  }
  return renameFlax(std::move(arrays));
}
