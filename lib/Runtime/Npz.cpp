//===- Npz.cpp - images in one .npz archive -------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Dataset.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/FileIO.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <map>

using namespace ns::runtime;

namespace {

uint64_t little(const uint8_t *p, int bytes) {
  uint64_t value = 0;
  for (int i = bytes - 1; i >= 0; --i)
    value = value << 8 | p[i];
  return value;
}

struct Member {
  int method = 0;
  uint64_t packed = 0, size = 0, offset = 0;
  uint32_t crc = 0;
};

/// A zip archive's directory, zip64 included.
class Zip {
public:
  explicit Zip(const std::string &path) : file(path) {
    uint64_t at = findEnd();
    uint8_t end[22];
    file.readAt(at, end, 22);
    uint64_t count = little(end + 10, 2), size = little(end + 12, 4), offset = little(end + 16, 4);
    if (count == 0xffff || size == 0xffffffff || offset == 0xffffffff)
      readZip64End(at, count, size, offset);
    if (offset > file.size() || size > file.size() - offset)
      fail(path, ": damaged .npz: its directory lies outside the file");
    std::vector<uint8_t> directory(size);
    file.readAt(offset, directory.data(), size);
    readDirectory(directory, count);
  }

  const Member *find(const std::string &name) const {
    auto it = members.find(name);
    return it == members.end() ? nullptr : &it->second;
  }
  std::string names() const {
    std::string text;
    for (auto &[name, member] : members)
      text += (text.empty() ? "" : ", ") + name;
    return text.empty() ? "none" : text;
  }
  std::vector<uint8_t> extract(const std::string &name, const Member &member) const;

private:
  uint64_t findEnd() const {
    uint64_t window = std::min<uint64_t>(file.size(), 65557);
    std::vector<uint8_t> tail(window);
    file.readAt(file.size() - window, tail.data(), window);
    for (int64_t i = static_cast<int64_t>(window) - 22; i >= 0; --i)
      if (std::memcmp(&tail[i], "PK\5\6", 4) == 0)
        return file.size() - window + i;
    fail(file.path(), ": expected an .npz (zip) file, found no zip directory");
  }
  void readZip64End(uint64_t at, uint64_t &count, uint64_t &size, uint64_t &offset) const {
    uint8_t locator[20], end[56];
    if (at < 20)
      fail(file.path(), ": damaged .npz: no zip64 locator");
    file.readAt(at - 20, locator, 20);
    file.readAt(little(locator + 8, 8), end, 56);
    if (std::memcmp(locator, "PK\6\7", 4) || std::memcmp(end, "PK\6\6", 4))
      fail(file.path(), ": damaged .npz: no zip64 directory");
    count = little(end + 32, 8);
    size = little(end + 40, 8);
    offset = little(end + 48, 8);
  }
  void readDirectory(const std::vector<uint8_t> &directory, uint64_t count);
  /// Values that did not fit into 32 bits stand in the extra field, in this order.
  void readZip64Extra(const uint8_t *extra, uint64_t length, Member &member) const;

  InputFile file;
  std::map<std::string, Member> members;
};

void Zip::readZip64Extra(const uint8_t *extra, uint64_t length, Member &member) const {
  while (length >= 4) {
    uint64_t id = little(extra, 2), size = little(extra + 2, 2);
    if (size > length - 4)
      break;
    const uint8_t *p = extra + 4, *end = p + size;
    if (id == 1)
      for (uint64_t *value : {&member.size, &member.packed, &member.offset})
        if (*value == 0xffffffff && end - p >= 8) {
          *value = little(p, 8);
          p += 8;
        }
    extra += 4 + size;
    length -= 4 + size;
  }
}

void Zip::readDirectory(const std::vector<uint8_t> &directory, uint64_t count) {
  const uint8_t *p = directory.data(), *end = p + directory.size();
  for (uint64_t i = 0; i < count; ++i) {
    if (end - p < 46 || std::memcmp(p, "PK\1\2", 4))
      fail(file.path(), ": damaged .npz: entry ", i, " of its directory");
    uint64_t name = little(p + 28, 2), extra = little(p + 30, 2), comment = little(p + 32, 2);
    if (static_cast<uint64_t>(end - p) < 46 + name + extra + comment)
      fail(file.path(), ": damaged .npz: entry ", i, " of its directory");
    Member member;
    member.method = static_cast<int>(little(p + 10, 2));
    member.crc = static_cast<uint32_t>(little(p + 16, 4));
    member.packed = little(p + 20, 4);
    member.size = little(p + 24, 4);
    member.offset = little(p + 42, 4);
    readZip64Extra(p + 46 + name, extra, member);
    members[std::string(reinterpret_cast<const char *>(p + 46), name)] = member;
    p += 46 + name + extra + comment;
  }
}

std::vector<uint8_t> Zip::extract(const std::string &name, const Member &member) const {
  auto damaged = [&](auto... what) { fail(file.path(), ": entry '", name, "': ", what...); };
  uint8_t local[30];
  if (member.offset > file.size() || file.size() - member.offset < 30)
    damaged("lies outside the file");
  file.readAt(member.offset, local, 30);
  uint64_t begin = member.offset + 30 + little(local + 26, 2) + little(local + 28, 2);
  if (std::memcmp(local, "PK\3\4", 4) || begin > file.size() || member.packed > file.size() - begin)
    damaged("lies outside the file");
  // Deflate packs at most about 1032 to 1: a larger promise is a lie.
  if (member.method == 0 ? member.size != member.packed : member.size / 1040 > member.packed)
    damaged("promises ", member.size, " bytes from ", member.packed);
  std::vector<uint8_t> packed(member.packed);
  file.readAt(begin, packed.data(), packed.size());
  if (member.method == 0)
    return packed;
  if (member.method != 8)
    damaged("expected a stored or deflated entry, found compression method ", member.method);
  std::vector<uint8_t> data(member.size);
  z_stream stream{};
  if (inflateInit2(&stream, -15) != Z_OK)
    damaged("no memory to unpack it");
  // zlib counts in 32 bits: feed it piece by piece.
  int status = Z_OK;
  uint64_t in = 0, out = 0;
  while (status == Z_OK) {
    constexpr uint64_t kPiece = 1 << 30;
    uint64_t give = std::min<uint64_t>(packed.size() - in, kPiece),
             room = std::min<uint64_t>(data.size() - out, kPiece);
    stream.next_in = packed.data() + in;
    stream.avail_in = static_cast<uInt>(give);
    stream.next_out = data.data() + out;
    stream.avail_out = static_cast<uInt>(room);
    status = inflate(&stream, Z_NO_FLUSH);
    in += give - stream.avail_in;
    out += room - stream.avail_out;
  }
  inflateEnd(&stream);
  if (status != Z_STREAM_END || out != data.size())
    damaged("its compressed data are damaged");
  return data;
}

/// An array of an .npy member: type code such as "|u1", shape, C order, and where its data begin.
struct Npy {
  std::string type;
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;
  size_t begin = 0;
  int64_t count() const {
    int64_t product = 1;
    for (int64_t dim : shape)
      product *= dim;
    return product;
  }
};

/// The value of 'key' in the header's Python dictionary, up to the closing character.
std::string headerValue(const std::string &header, const std::string &key, const char *open,
                        const char *close) {
  size_t at = header.find("'" + key + "'");
  at = at == std::string::npos ? at : header.find(':', at);
  at = at == std::string::npos ? at : header.find_first_of(open, at);
  size_t end = at == std::string::npos ? at : header.find_first_of(close, at + 1);
  return end == std::string::npos ? "" : header.substr(at + 1, end - at - 1);
}

Npy parseNpy(const std::string &name, std::vector<uint8_t> bytes) {
  auto bad = [&](auto... what) { fail(name, ": ", what...); };
  if (bytes.size() < 12 || std::memcmp(bytes.data(), "\x93NUMPY", 6) || bytes[6] < 1 ||
      bytes[6] > 3)
    bad("expected a NumPy array");
  int width = bytes[6] == 1 ? 2 : 4;
  uint64_t length = little(&bytes[8], width);
  Npy array;
  array.begin = 8 + width + length;
  if (length > bytes.size() - 8 - width)
    bad("its NumPy header runs past its end");
  std::string header(reinterpret_cast<char *>(&bytes[8 + width]), length);
  array.type = headerValue(header, "descr", "'\"", "'\"");
  if (header.find("'fortran_order': False") == std::string::npos)
    bad("expected C order, found fortran_order");
  std::istringstream dims(headerValue(header, "shape", "(", ")"));
  int64_t count = 1;
  for (std::string dim; std::getline(dims, dim, ',');) {
    if (dim.find_first_not_of(" ") == std::string::npos)
      continue;
    char *end;
    int64_t extent = std::strtoll(dim.c_str(), &end, 10);
    if (*end || extent < 0 || __builtin_mul_overflow(count, std::max<int64_t>(extent, 1), &count))
      bad("impossible shape in its NumPy header");
    array.shape.push_back(extent);
  }
  int itemSize = array.type.size() > 2 ? std::atoi(array.type.c_str() + 2) : 0;
  if (itemSize < 1 || itemSize > 16 || array.shape.empty() || array.type[0] == '>')
    bad("expected a little-endian numeric array, found '", array.type, "' of shape ",
        shapeText(array.shape));
  if (static_cast<__int128>(array.count()) * itemSize !=
      static_cast<__int128>(bytes.size() - array.begin))
    bad("expected ", array.count(), " elements of ", itemSize, " bytes, found ",
        bytes.size() - array.begin, " bytes");
  array.bytes = std::move(bytes);
  return array;
}

class NpzDataset : public Dataset {
public:
  NpzDataset(const std::string &path, const std::string &split, int64_t classes) : origin(path) {
    Zip zip(path);
    images = load(zip, "x_" + split);
    Npy ids = load(zip, "y_" + split);
    bool grey = images.shape.size() == 3 || (images.shape.size() == 4 && images.shape[3] == 1);
    channels = grey ? 1 : 3;
    if (images.type != "|u1" || (!grey && (images.shape.size() != 4 || images.shape[3] != 3)) ||
        images.count() == 0 || images.shape[1] > 65536 || images.shape[2] > 65536)
      fail(path, ": x_", split, ": expected uint8 images N x H x W x 3, found '", images.type,
           "' of shape ", shapeText(images.shape));
    char kind = ids.type[1];
    if ((kind != 'i' && kind != 'u') || ids.count() != images.shape[0] || ids.type[2] > '8')
      fail(path, ": y_", split, ": expected ", images.shape[0], " integer labels, found '",
           ids.type, "' of shape ", shapeText(ids.shape));
    readLabels(ids, split, classes);
  }

  int64_t size() const override { return images.shape[0]; }
  int32_t label(int64_t index) const override { return labels[index]; }
  std::string name(int64_t index) const override { return std::to_string(index); }
  bool sortedByClass() const override { return false; }
  Image image(int64_t index) const override {
    Image image(static_cast<int>(images.shape[2]), static_cast<int>(images.shape[1]));
    size_t pixels = size_t(image.width) * image.height;
    const uint8_t *from = &images.bytes[images.begin + index * pixels * channels];
    if (channels == 3)
      std::memcpy(image.pixels.data(), from, pixels * 3);
    else
      for (size_t i = 0; i < pixels * 3; ++i)
        image.pixels[i] = from[i / 3];
    return image;
  }

private:
  Npy load(const Zip &zip, const std::string &name) const {
    const Member *member = zip.find(name + ".npy");
    if (!member)
      fail(origin, ": expected an array '", name, "', found ", zip.names());
    return parseNpy(origin + ": " + name, zip.extract(name, *member));
  }
  void readLabels(const Npy &ids, const std::string &split, int64_t classes) {
    int width = ids.type[2] - '0';
    labels.resize(ids.count());
    for (size_t i = 0; i < labels.size(); ++i) {
      uint64_t raw = little(&ids.bytes[ids.begin + i * width], width);
      int shift = 64 - 8 * width;
      int64_t value = ids.type[1] == 'i' ? static_cast<int64_t>(raw << shift) >> shift
                                         : static_cast<int64_t>(raw);
      if (value < 0 || value >= classes)
        fail(origin, ": y_", split, "[", i, "]: expected a class in 0 .. ", classes - 1, ", found ",
             value);
      labels[i] = static_cast<int32_t>(value);
    }
  }

  std::string origin;
  Npy images;
  std::vector<int32_t> labels;
  int channels = 3;
};

} // namespace

std::unique_ptr<Dataset> ns::runtime::openNpz(const std::string &path, const std::string &split,
                                              int64_t classes) {
  return std::make_unique<NpzDataset>(path, split, classes);
}
