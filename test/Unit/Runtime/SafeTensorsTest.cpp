//===- SafeTensorsTest.cpp - the safetensors format -----------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestSupport.h"

#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>

using namespace ns::runtime;
using namespace ns::runtime::test;

/// Writes a file with this header and so many bytes of data.
static void writeRaw(const std::string &path, const std::string &header, size_t dataBytes,
                     int64_t length = -1) {
  std::ofstream out(path, std::ios::binary);
  uint64_t n = length < 0 ? header.size() : length;
  out.write(reinterpret_cast<char *>(&n), 8) << header << std::string(dataBytes, '\0');
}

static std::string openError(const std::string &header, size_t dataBytes, int64_t length = -1) {
  TempFolder folder;
  writeRaw(folder / "x.safetensors", header, dataBytes, length);
  std::string error =
      errorOf([&] { ns::checkpoint::SafeTensorsReader reader(folder / "x.safetensors"); });
  EXPECT_HAS(error, "x.safetensors");
  return error;
}

TEST(SafeTensors, WritesWhatItReads) {
  TempFolder folder;
  float a[6] = {1, 2, 3, 4, 5, 6};
  double b[2] = {0.1, -1e300};
  ns::checkpoint::SafeTensorsWriter writer;
  writer.add("a", {a, Dtype::F32, {2, 3}});
  writer.add("b", {b, Dtype::F64, {2}});
  writer.add("empty", {b, Dtype::F32, {0, 3}});
  writer.setMetadata({{"key", "va\"lue"}});
  writer.write(folder / "x.safetensors");
  ns::checkpoint::SafeTensorsReader reader(folder / "x.safetensors");
  EXPECT_EQ(reader.metadata().at("key"), "va\"lue");
  float back[6], narrow[2];
  double wide[6];
  reader.read(*reader.find("a"), {back, Dtype::F32, {2, 3}});
  EXPECT_EQ(std::memcmp(a, back, sizeof a), 0);
  reader.read(*reader.find("a"), {wide, Dtype::F64, {2, 3}});
  EXPECT_EQ(wide[5], 6);
  reader.read(*reader.find("b"), {narrow, Dtype::F32, {2}});
  EXPECT_EQ(narrow[0], 0.1f);
  EXPECT_EQ(reader.find("c"), nullptr);
  EXPECT_EQ(reader.headerHash().size(), 32u);
}

TEST(SafeTensors, HashIsXxh3InCanonicalOrder) {
  // xxhsum -H128 of an empty input.
  EXPECT_EQ(xxh3Hex("", 0), "99aa06d3014798d86001c324468d497f");
}

TEST(SafeTensors, ConvertsHalfAndBFloat) {
  TempFolder folder;
  std::ofstream out(folder / "x.safetensors", std::ios::binary);
  std::string header =
      R"({"h":{"dtype":"F16","shape":[5],"data_offsets":[0,10]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[10,14]}})";
  uint64_t n = header.size();
  uint16_t data[7] = {0x3c00, 0xc100, 0x0001, 0x7c00, 0x7e00, 0x3f80, 0xc049};
  out.write(reinterpret_cast<char *>(&n), 8) << header;
  out.write(reinterpret_cast<char *>(data), sizeof data).flush();
  ns::checkpoint::SafeTensorsReader reader(folder / "x.safetensors");
  float half[5], brain[2];
  reader.read(*reader.find("h"), {half, Dtype::F32, {5}});
  reader.read(*reader.find("b"), {brain, Dtype::F32, {2}});
  EXPECT_EQ(half[0], 1.0f);
  EXPECT_EQ(half[1], -2.5f);
  EXPECT_EQ(half[2], std::ldexp(1.0f, -24));
  EXPECT_TRUE(std::isinf(half[3]) && std::isnan(half[4]));
  EXPECT_EQ(brain[0], 1.0f);
  EXPECT_EQ(brain[1], -3.140625f);
}

TEST(SafeTensors, HostileHeadersAreErrors) {
  EXPECT_HAS(openError("{}", 0, 1 << 30), "length");
  EXPECT_HAS(openError("{}", 0, INT64_MAX), "length");
  EXPECT_HAS(openError("{", 0), "not JSON");
  EXPECT_HAS(openError("[]", 0), "object");
  EXPECT_HAS(openError(R"({"a":1})", 0), "'a'");
  EXPECT_HAS(openError(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4), "outside");
  EXPECT_HAS(openError(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8), "outside");
  EXPECT_HAS(openError(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8),
             "expected 12 bytes");
  EXPECT_HAS(openError(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8),
             "found -2 in 'shape'");
  EXPECT_HAS(
      openError(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,0]}})",
                0),
      "overflows");
  EXPECT_HAS(openError(R"({"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}})", 8), "dtype");
  EXPECT_HAS(
      openError(
          R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
          8),
      "twice");
  EXPECT_HAS(
      openError(
          R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
          12),
      "overlaps");
  EXPECT_HAS(openError(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8), "hole");
  EXPECT_HAS(openError(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 9),
             "after them");
  EXPECT_HAS(openError(R"({"__metadata__":{"k":1}})", 0), "__metadata__");
  EXPECT_HAS(openError(std::string(200000, '['), 0), "to be a JSON object, found an array");
  EXPECT_HAS(openError(R"({"a":)" + std::string(200000, '['), 0), "found an array");
  EXPECT_HAS(openError(R"({"a":{"dtype":"F32","shape":[[2]],"data_offsets":[0,8]}})", 8),
             "found an array in 'shape'");
  EXPECT_HAS(openError(R"({"a":{"b":{}}})", 0), "found an object");
}

TEST(SafeTensors, EveryTruncationIsAnError) {
  TempFolder folder;
  writeWeights(folder / "w.safetensors");
  std::vector<uint8_t> whole = readFile(folder / "w.safetensors");
  for (size_t keep = 0; keep < whole.size(); keep += 13) {
    std::ofstream(folder / "cut", std::ios::binary)
        .write(reinterpret_cast<char *>(whole.data()), keep);
    EXPECT_THROW(ns::checkpoint::SafeTensorsReader reader(folder / "cut"), Error) << keep;
  }
}

TEST(SafeTensors, FlippedBitsNeverCrash) {
  TempFolder folder;
  writeWeights(folder / "w.safetensors");
  std::vector<uint8_t> whole = readFile(folder / "w.safetensors");
  for (int i = 0; i < 400; ++i) {
    std::vector<uint8_t> bent = whole;
    bent[i % 160] ^= 1 << (i / 160 + i % 8) % 8;
    std::ofstream(folder / "bent", std::ios::binary)
        .write(reinterpret_cast<char *>(bent.data()), bent.size());
    try {
      Session session(fake("library"));
      session.loadWeights(folder / "bent");
    } catch (const Error &) {
    }
  }
}

TEST(FileIO, AFailedWriteLeavesWhatWasThere) {
  TempFolder folder;
  writeTextFile(folder / "x", "before");
  {
    AtomicFile file(folder / "x");
    file.write("half");
  }
  EXPECT_EQ(readText(folder / "x"), "before");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path), {}), 1);
  EXPECT_HAS(errorOf([] { writeTextFile("/nowhere/x", ""); }), "/nowhere/x");
  EXPECT_HAS(errorOf([&] { makeDirectory(folder / "x/y"); }), "x/y");
}

TEST(FileIO, AFullDiskIsAnError) {
  if (!std::filesystem::exists("/dev/full"))
    GTEST_SKIP() << "no /dev/full";
  TempFolder folder;
  std::filesystem::create_symlink("/dev/full", folder / ("x.tmp." + std::to_string(getpid())));
  EXPECT_HAS(errorOf([&] { writeTextFile(folder / "x", "text"); }), "No space left");
  EXPECT_FALSE(std::filesystem::exists(folder / "x"));
  // Named itself, a device is written in place: the link to it is still one.
  std::filesystem::create_symlink("/dev/full", folder / "full");
  EXPECT_HAS(errorOf([&] { writeTextFile(folder / "full", "text"); }), "No space left");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "full"));
}

TEST(FileIO, ALinkStaysOne) {
  TempFolder folder;
  writeTextFile(folder / "x", "before");
  std::filesystem::create_symlink("x", folder / "link");
  writeTextFile(folder / "link", "after");
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(readText(folder / "x"), "after");
}

TEST(FileIO, APipeIsWrittenInPlace) {
  TempFolder folder;
  const std::string path = folder / "pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const int reader = ::open(path.c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_GE(reader, 0);
  writeTextFile(path, "text");
  char text[8] = {};
  EXPECT_EQ(::read(reader, text, sizeof text), 4);
  ::close(reader);
  EXPECT_STREQ(text, "text");
  EXPECT_TRUE(std::filesystem::is_fifo(path));
}
