//===- SafeTensors.cpp - the safetensors format ---------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Checkpoint/SafeTensors.h"
#include "Bytes.h"
#include "Formats.h"
#include "ns/Runtime/Error.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

using namespace ns::checkpoint;
using namespace ns::runtime;
using nlohmann::json;

/// A third of what the reference reader accepts: headers take a hundred bytes for each tensor.
static constexpr uint64_t kMaxHeader = 32 << 20;
static constexpr size_t kMaxRank = 16, kMaxMetadata = 10'000;

namespace {
/// Reads the header as it is parsed, so that a hostile one stops at its first odd token and never
/// becomes a document in memory.
class HeaderParser : public nlohmann::json_sax<json> {
public:
  /// One entry as the header states it; offsets count from the end of the header.
  struct Entry {
    std::string name, dtype;
    std::vector<uint64_t> shape, offsets;
    bool hasShape = false;
  };
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;
  std::string problem;

  bool start_object(std::size_t) override {
    if (depth > 1 || (depth == 1 && member.empty() && !inEntry))
      return odd("an object");
    if (depth++ == 0)
      return true;
    if (inMetadata)
      return true;
    if (entries.size() == kMaxTensors)
      return stop(str("expected at most ", kMaxTensors, " tensors, found more"));
    entries.push_back({});
    entries.back().name = member;
    return inEntry = true;
  }
  bool end_object() override {
    --depth;
    inMetadata = inEntry = false;
    return true;
  }
  bool key(string_t &text) override {
    if (text.size() > kMaxName)
      return stop(str("expected names of at most ", kMaxName, " bytes, found '",
                      text.substr(0, 200), "...' of ", text.size()));
    member = text;
    if (depth != 1)
      return true;
    if (!seen.insert(text).second)
      return stop("tensor '" + text + "' appears twice in the header");
    inMetadata = text == "__metadata__";
    return true;
  }
  bool string(string_t &text) override {
    if (depth == 2 && inMetadata) {
      metadata[member] = text;
      return metadata.size() <= kMaxMetadata ||
             stop(str("expected at most ", kMaxMetadata, " entries of __metadata__"));
    }
    if (depth != 2 || list || member != "dtype")
      return odd("a string");
    entries.back().dtype = text;
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth != 2 || inMetadata || list || (member != "shape" && member != "data_offsets"))
      return odd("an array");
    bool isShape = member == "shape";
    list = isShape ? &entries.back().shape : &entries.back().offsets;
    list->clear();
    entries.back().hasShape |= isShape;
    return true;
  }
  bool end_array() override {
    list = nullptr;
    return true;
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (!list || list->size() == kMaxRank)
      return odd("a number");
    list->push_back(value);
    return true;
  }
  bool null() override { return odd("null"); }
  bool boolean(bool) override { return odd("a boolean"); }
  bool number_integer(number_integer_t value) override { return odd(std::to_string(value)); }
  bool number_float(number_float_t, const string_t &text) override { return odd(text); }
  bool binary(binary_t &) override { return odd("bytes"); }
  bool parse_error(std::size_t, const std::string &, const json::exception &e) override {
    return stop(std::string("the safetensors header is not JSON: ") + e.what());
  }

private:
  bool stop(std::string what) {
    problem = std::move(what);
    return false;
  }
  bool odd(const std::string &found) {
    if (depth == 0)
      return stop("expected the safetensors header to be a JSON object, found " + found);
    if (inMetadata)
      return stop("expected __metadata__ to be an object of strings, found " + found);
    std::string name = inEntry ? entries.back().name : member;
    return stop("tensor '" + name +
                "': expected dtype (a string), shape and data_offsets (non-negative integers), "
                "found " +
                found + " in '" + member + "'");
  }

  int depth = 0;
  bool inMetadata = false, inEntry = false;
  std::string member;
  std::vector<uint64_t> *list = nullptr;
  std::set<std::string> seen;
};
} // namespace

SafeTensorsReader::SafeTensorsReader(std::string path) : file(std::move(path)) {
  char raw[8];
  if (file.size() < 8)
    fail(file.path(), ": expected a safetensors file, found ", file.size(), " bytes");
  file.readAt(0, raw, 8);
  uint64_t length = littleEndian(raw, 8);
  if (length > kMaxHeader || length > file.size() - 8)
    fail(file.path(), ": expected a safetensors header of at most ",
         std::min(kMaxHeader, file.size() - 8), " bytes, found a length of ", length);
  std::string text(8 + length, '\0');
  file.readAt(0, text.data(), text.size());
  hash = xxh3Hex(text.data(), text.size());
  parseHeader(text, 8 + length);
}

/// Checks one entry of the header against the `dataSize` bytes of data after it.
static Tensor checkEntry(const InputFile &file, const HeaderParser::Entry &entry,
                         uint64_t dataBegin) {
  auto bad = [&](auto... what) { fail(file.path(), ": tensor '", entry.name, "': ", what...); };
  if (entry.dtype.empty() || !entry.hasShape || entry.offsets.size() != 2)
    bad("expected dtype, shape and data_offsets [begin, end]");
  std::optional<Type> type = typeNamed(entry.dtype);
  if (!type)
    bad("unknown dtype '", entry.dtype, "'");
  Tensor tensor;
  tensor.name = entry.name;
  tensor.type = *type;
  // Strides are products of later extents, so an extent of 0 must not hide an overflow before it.
  uint64_t size = sizeOf(*type), bound = size;
  for (uint64_t extent : entry.shape) {
    tensor.shape.push_back(static_cast<int64_t>(extent));
    if (__builtin_mul_overflow(bound, std::max<uint64_t>(extent, 1), &bound) || bound > INT64_MAX)
      bad("the shape ", shapeText(entry.shape), " overflows");
    size *= extent;
  }
  tensor.strides = denseStrides(tensor.shape);
  uint64_t begin = entry.offsets[0], end = entry.offsets[1], dataSize = file.size() - dataBegin;
  if (begin > end || end > dataSize)
    bad("data_offsets ", shapeText(entry.offsets), " lie outside the ", dataSize, " bytes of data");
  if (end - begin != size)
    bad("expected ", size, " bytes for shape ", shapeText(entry.shape), " of ", entry.dtype,
        ", found ", end - begin);
  tensor.file = &file;
  tensor.offset = dataBegin + begin;
  return tensor;
}

void SafeTensorsReader::parseHeader(const std::string &text, uint64_t dataBegin) {
  HeaderParser parser;
  if (!json::sax_parse(text.begin() + 8, text.end(), &parser))
    fail(path(), ": ", parser.problem);
  extra = std::move(parser.metadata);
  for (const HeaderParser::Entry &entry : parser.entries)
    entries.push_back(checkEntry(file, entry, dataBegin));
  auto endOf = [](const Tensor &t) { return t.offset + t.count() * sizeOf(t.type); };
  std::stable_sort(entries.begin(), entries.end(), [&](const Tensor &a, const Tensor &b) {
    return std::pair(a.offset, endOf(a)) < std::pair(b.offset, endOf(b));
  });
  uint64_t at = dataBegin;
  for (const Tensor &entry : entries) {
    if (entry.offset != at)
      fail(path(), ": tensor '", entry.name,
           entry.offset < at ? "' overlaps the one before it" : "' leaves a hole before it");
    at = endOf(entry);
  }
  if (at != file.size())
    fail(path(), ": expected the tensors to fill the file, found ", file.size() - at,
         " bytes after them");
  const char *base = file.view().data();
  for (Tensor &entry : entries)
    entry.data = base + entry.offset;
}

const Tensor *SafeTensorsReader::find(const std::string &name) const {
  for (const Tensor &entry : entries)
    if (entry.name == name)
      return &entry;
  return nullptr;
}

void SafeTensorsReader::read(const Tensor &tensor, const TensorView &out) const {
  if (tensor.count() != out.count())
    fail(path(), ": tensor '", tensor.name, "': expected shape ", shapeText(out.shape), ", found ",
         shapeText(tensor.shape));
  if (out.dtype == Dtype::I32 || !isFloat(tensor.type))
    fail(path(), ": tensor '", tensor.name, "': expected F64, F32, F16 or BF16, found ",
         nameOf(tensor.type));
  copyElements(tensor, out.dtype == Dtype::F64 ? Type::F64 : Type::F32, out.data);
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
