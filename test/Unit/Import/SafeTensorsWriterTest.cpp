//===- SafeTensorsWriterTest.cpp - the file's layout -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Import/SafeTensorsWriter.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/xxhash.h"
#include "gtest/gtest.h"

using namespace llvm;
using namespace ns::pt2;

namespace {
Weight makeWeight(StringRef name, ScalarType type, ArrayRef<int64_t> sizes,
                  ArrayRef<int64_t> strides, ZipArchive::Entry record) {
  Weight weight;
  weight.name = name.str();
  weight.type = type;
  weight.sizes.assign(sizes.begin(), sizes.end());
  weight.strides.assign(strides.begin(), strides.end());
  weight.record = record;
  return weight;
}

/// An archive of 8 junk bytes and the floats 0 to 5, a transposed view of them, a flag, and a tied
/// copy.
struct Fixture {
  std::string archive = std::string(8, '?');
  std::vector<Weight> weights;

  Fixture() {
    for (float f : {0.f, 1.f, 2.f, 3.f, 4.f, 5.f})
      archive.append(reinterpret_cast<const char *>(&f), 4);
    archive += '\1';
    StringRef bytes(archive);
    ZipArchive::Entry floats{bytes.substr(8, 24), 8, 0}, flag{bytes.substr(32, 1), 32, 0};
    weights = {makeWeight("flag", ScalarType::Bool, {}, {}, flag),
               makeWeight("plain", ScalarType::F32, {2, 3}, {3, 1}, floats),
               makeWeight("turned", ScalarType::F32, {3, 2}, {1, 3}, floats),
               makeWeight("tied", ScalarType::F32, {2, 3}, {3, 1}, floats),
               makeWeight("tail", ScalarType::F32, {2}, {1}, floats)};
    weights[4].firstElement = 4;
    for (size_t i = 0; i < weights.size(); ++i)
      weights[i].canonical = i;
    weights[3].canonical = 1;
  }
};
} // namespace

TEST(SafeTensorsWriter, HeaderListsWideElementsFirstAndAlignsTheData) {
  Fixture fixture;
  std::string header = safeTensorsHeader(fixture.weights);
  EXPECT_EQ(header.size() % 64, 0u);
  EXPECT_EQ(support::endian::read64le(header.data()), header.size() - 8);
  EXPECT_EQ(
      StringRef(header).substr(8).rtrim(),
      R"({"__metadata__":{"format":"pt","tied:tied":"plain"},"plain":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("turned":{"dtype":"F32","shape":[3,2],"data_offsets":[24,48]},"tail":{"dtype":"F32","shape":[2],"data_offsets":[48,56]},)"
      R"("flag":{"dtype":"BOOL","shape":[],"data_offsets":[56,57]}})");
}

TEST(SafeTensorsWriter, CopiesWholeStridedAndOffsetTensors) {
  Fixture fixture;
  Expected<sys::fs::TempFile> archive = sys::fs::TempFile::create("archive-%%%%%%"),
                              output = sys::fs::TempFile::create("weights-%%%%%%");
  ASSERT_TRUE(archive && output);
  raw_fd_ostream(archive->FD, false) << fixture.archive;
  Expected<WeightsFile> file = writeSafeTensors(fixture.weights, archive->FD, output->FD);
  ASSERT_TRUE(!!file) << toString(file.takeError());
  std::unique_ptr<MemoryBuffer> written =
      cantFail(errorOrToExpected(MemoryBuffer::getFile(output->TmpName)));
  StringRef bytes = written->getBuffer();
  std::string header = safeTensorsHeader(fixture.weights);
  EXPECT_EQ(file->size, static_cast<int64_t>(bytes.size()));
  ASSERT_EQ(bytes.size(), header.size() + 57);
  EXPECT_EQ(bytes.take_front(header.size()), header);
  std::vector<float> floats(14);
  memcpy(floats.data(), bytes.data() + header.size(), 56);
  EXPECT_EQ(floats, (std::vector<float>{0, 1, 2, 3, 4, 5, 0, 3, 1, 4, 2, 5, 4, 5}));
  EXPECT_EQ(bytes.back(), '\1');
  XXH128_hash_t hash = xxh3_128bits(arrayRefFromStringRef(bytes));
  EXPECT_EQ(file->content, utohexstr(hash.high64, true, 16) + utohexstr(hash.low64, true, 16));
  EXPECT_EQ(file->header.size(), 32u);
  cantFail(archive->discard());
  cantFail(output->discard());
}

/// More rows than are turned at a time, mapped at an odd byte, and one zero repeated.
TEST(SafeTensorsWriter, TurnsMatricesWithoutAnArchive) {
  constexpr int64_t kRows = 35, kColumns = 3;
  std::string stored = "?";
  for (float f = 0; f < kRows * kColumns + 1; ++f)
    stored.append(reinterpret_cast<const char *>(&f), 4);
  ZipArchive::Entry floats{StringRef(stored).drop_front(), 1, 0};
  std::vector<Weight> weights = {
      makeWeight("turned", ScalarType::F32, {kRows, kColumns}, {1, kRows}, floats),
      makeWeight("zeros", ScalarType::F32, {4}, {0}, floats)};
  weights[0].firstElement = 1;
  weights[1].canonical = 1;
  Expected<sys::fs::TempFile> output = sys::fs::TempFile::create("weights-%%%%%%");
  ASSERT_TRUE(!!output);
  Expected<WeightsFile> file = writeSafeTensors(weights, /*archive=*/-1, output->FD);
  ASSERT_TRUE(!!file) << toString(file.takeError());
  std::unique_ptr<MemoryBuffer> written =
      cantFail(errorOrToExpected(MemoryBuffer::getFile(output->TmpName)));
  StringRef bytes = written->getBuffer().drop_front(safeTensorsHeader(weights).size());
  std::vector<float> found(kRows * kColumns + 4), expected;
  ASSERT_EQ(bytes.size(), found.size() * 4);
  memcpy(found.data(), bytes.data(), bytes.size());
  for (int64_t i = 0; i < kRows; ++i)
    for (int64_t j = 0; j < kColumns; ++j)
      expected.push_back(static_cast<float>(1 + i + j * kRows));
  expected.resize(found.size(), 0);
  EXPECT_EQ(found, expected);
  cantFail(output->discard());
}

TEST(SafeTensorsWriter, SaysWhatTheSystemSaid) {
  Fixture fixture;
  int full = -1;
  ASSERT_FALSE(sys::fs::openFileForWrite("/dev/full", full, sys::fs::CD_OpenExisting));
  Expected<WeightsFile> file = writeSafeTensors(fixture.weights, full, full);
  ASSERT_FALSE(!!file);
  EXPECT_EQ(toString(file.takeError()), "cannot be written: No space left on device");
}
