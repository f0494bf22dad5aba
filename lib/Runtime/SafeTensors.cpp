//===- SafeTensors.cpp - the safetensors format ---------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/SafeTensors.h"
#include "ns/Runtime/Error.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

using namespace ns::runtime;
using nlohmann::json;

/// What the reference reader accepts at most.
static constexpr uint64_t kMaxHeader = 100'000'000;

double ns::runtime::normOf(const TensorView &view) {
  return visitFloat(view, [&](auto *x) {
    double sum = 0;
    for (int64_t i = 0, n = view.count(); i < n; ++i)
      sum += static_cast<double>(x[i]) * x[i];
    return std::sqrt(sum);
  });
}

static uint64_t elementSize(const std::string &dtype) {
  static const std::map<std::string, uint64_t> sizes = {
      {"F64", 8}, {"F32", 4}, {"F16", 2},  {"BF16", 2},    {"I64", 8},
      {"U64", 8}, {"I32", 4}, {"U32", 4},  {"I16", 2},     {"U16", 2},
      {"I8", 1},  {"U8", 1},  {"BOOL", 1}, {"F8_E4M3", 1}, {"F8_E5M2", 1}};
  auto it = sizes.find(dtype);
  return it == sizes.end() ? 0 : it->second;
}

SafeTensorsReader::SafeTensorsReader(std::string path) : file(std::move(path)) {
  uint8_t raw[8];
  if (file.size() < 8)
    fail(file.path(), ": expected a safetensors file, found ", file.size(), " bytes");
  file.readAt(0, raw, 8);
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i)
    length = length << 8 | raw[i];
  if (length > kMaxHeader || length > file.size() - 8)
    fail(file.path(), ": expected a safetensors header of at most ",
         std::min(kMaxHeader, file.size() - 8), " bytes, found a length of ", length);
  std::string text(8 + length, '\0');
  file.readAt(0, text.data(), text.size());
  hash = xxh3Hex(text.data(), text.size());
  parseHeader(text.substr(8), 8 + length);
}

/// Reads one entry of the header into `info`.
static void parseEntry(const std::string &path, const json &value, uint64_t dataBegin,
                       uint64_t dataSize, TensorInfo &info) {
  auto bad = [&](auto... what) { fail(path, ": tensor '", info.name, "': ", what...); };
  if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string() ||
      !value.contains("shape") || !value["shape"].is_array() || !value.contains("data_offsets") ||
      !value["data_offsets"].is_array() || value["data_offsets"].size() != 2)
    bad("expected dtype, shape and data_offsets [begin, end]");
  info.dtype = value["dtype"];
  uint64_t size = elementSize(info.dtype);
  if (size == 0)
    bad("unknown dtype '", info.dtype, "'");
  for (const json &dim : value["shape"]) {
    if (!dim.is_number_unsigned())
      bad("expected non-negative dimensions, found ", value["shape"].dump());
    uint64_t extent = dim;
    info.shape.push_back(static_cast<int64_t>(extent));
    if (extent > INT64_MAX || __builtin_mul_overflow(size, extent, &size))
      bad("the shape ", value["shape"].dump(), " overflows");
  }
  for (const json &offset : value["data_offsets"])
    if (!offset.is_number_unsigned())
      bad("expected non-negative data_offsets, found ", value["data_offsets"].dump());
  uint64_t begin = value["data_offsets"][0], end = value["data_offsets"][1];
  if (begin > end || end > dataSize)
    bad("data_offsets ", value["data_offsets"].dump(), " lie outside the ", dataSize,
        " bytes of data");
  if (end - begin != size)
    bad("expected ", size, " bytes for shape ", value["shape"].dump(), " of ", info.dtype,
        ", found ", end - begin);
  info.begin = dataBegin + begin;
  info.end = dataBegin + end;
}

void SafeTensorsReader::parseHeader(const std::string &text, uint64_t dataBegin) {
  std::set<std::string> seen;
  std::string duplicate;
  auto note = [&](int depth, json::parse_event_t event, json &value) {
    if (event == json::parse_event_t::key && depth == 1 &&
        !seen.insert(value.get<std::string>()).second)
      duplicate = value.get<std::string>();
    return true;
  };
  json header;
  try {
    header = json::parse(text, note);
  } catch (const json::exception &e) {
    fail(path(), ": the safetensors header is not JSON: ", e.what());
  }
  if (!header.is_object())
    fail(path(), ": expected the safetensors header to be a JSON object");
  if (!duplicate.empty())
    fail(path(), ": tensor '", duplicate, "' appears twice in the header");
  for (auto &[name, value] : header.items()) {
    if (name != "__metadata__") {
      entries.push_back({name, {}, {}, 0, 0});
      parseEntry(path(), value, dataBegin, file.size() - dataBegin, entries.back());
      continue;
    }
    if (!value.is_object())
      fail(path(), ": expected __metadata__ to be an object of strings");
    for (auto &[key, item] : value.items()) {
      if (!item.is_string())
        fail(path(), ": expected __metadata__ entry '", key, "' to be a string");
      extra[key] = item;
    }
  }
  std::stable_sort(entries.begin(), entries.end(), [](const TensorInfo &a, const TensorInfo &b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t at = dataBegin;
  for (const TensorInfo &entry : entries) {
    if (entry.begin != at)
      fail(path(), ": tensor '", entry.name,
           entry.begin < at ? "' overlaps the one before it" : "' leaves a hole before it");
    at = entry.end;
  }
  if (at != file.size())
    fail(path(), ": expected the tensors to fill the file, found ", file.size() - at,
         " bytes after them");
}

const TensorInfo *SafeTensorsReader::find(const std::string &name) const {
  for (const TensorInfo &entry : entries)
    if (entry.name == name)
      return &entry;
  return nullptr;
}

static float fromHalf(uint16_t bits) {
  int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  float value = exponent == 0    ? std::ldexp(static_cast<float>(mantissa), -24)
                : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                 : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  return bits & 0x8000 ? -value : value;
}

static float fromBFloat(uint16_t bits) {
  uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}

/// Reads count elements of type From in pieces and stores convert(x).
template <class From, class To, class Convert>
static void readConverted(const InputFile &file, uint64_t begin, int64_t count, To *out,
                          Convert convert) {
  constexpr int64_t kPiece = 1 << 18;
  std::vector<From> piece(std::min(count, kPiece));
  for (int64_t at = 0; at < count; at += kPiece) {
    int64_t n = std::min(kPiece, count - at);
    file.readAt(begin + at * sizeof(From), piece.data(), n * sizeof(From));
    for (int64_t i = 0; i < n; ++i)
      out[at + i] = static_cast<To>(convert(piece[i]));
  }
}

void SafeTensorsReader::read(const TensorInfo &tensor, const TensorView &out) const {
  int64_t count = out.count();
  if (static_cast<uint64_t>(count) * elementSize(tensor.dtype) != tensor.end - tensor.begin)
    fail(path(), ": tensor '", tensor.name, "': expected shape ", shapeText(out.shape), ", found ",
         shapeText(tensor.shape));
  auto same = [](auto x) { return x; };
  if ((tensor.dtype == "F32" && out.dtype == Dtype::F32) ||
      (tensor.dtype == "F64" && out.dtype == Dtype::F64))
    return file.readAt(tensor.begin, out.data, out.bytes());
  visitFloat(out, [&](auto *to) {
    if (tensor.dtype == "F32")
      readConverted<float>(file, tensor.begin, count, to, same);
    else if (tensor.dtype == "F64")
      readConverted<double>(file, tensor.begin, count, to, same);
    else if (tensor.dtype == "F16")
      readConverted<uint16_t>(file, tensor.begin, count, to, fromHalf);
    else if (tensor.dtype == "BF16")
      readConverted<uint16_t>(file, tensor.begin, count, to, fromBFloat);
    else
      fail(path(), ": tensor '", tensor.name, "': expected F64, F32, F16 or BF16, found ",
           tensor.dtype);
  });
}

void SafeTensorsWriter::write(const std::string &path) const {
  json header = json::object();
  if (!extra.empty())
    header["__metadata__"] = extra;
  uint64_t at = 0;
  for (const auto &[name, tensor] : entries) {
    const char *dtype = tensor.dtype == Dtype::F32   ? "F32"
                        : tensor.dtype == Dtype::F64 ? "F64"
                                                     : "I32";
    uint64_t end = at + tensor.bytes();
    header[name] = {{"dtype", dtype}, {"shape", tensor.shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = header.dump(-1, ' ', false, json::error_handler_t::replace);
  text.append((8 - text.size() % 8) % 8, ' '); // data aligned to 8, as the reference writer does
  uint8_t length[8];
  for (int i = 0; i < 8; ++i)
    length[i] = static_cast<uint8_t>(text.size() >> (8 * i));
  AtomicFile file(path);
  file.write(length, 8);
  file.write(text);
  for (const auto &[name, tensor] : entries)
    file.write(tensor.data, tensor.bytes());
  file.commit();
}
