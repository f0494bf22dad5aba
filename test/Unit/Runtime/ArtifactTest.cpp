//===- ArtifactTest.cpp - loading of artefacts ----------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestSupport.h"

#include <dlfcn.h>
#include <fstream>

using namespace ns::runtime;
using namespace ns::runtime::test;

static std::string replaced(std::string text, const std::string &from, const std::string &to) {
  size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Artifact, OpensASharedObject) {
  Artifact artifact = Artifact::open(fake("library"));
  EXPECT_EQ(artifact.metadata().emit, "library");
  EXPECT_EQ(artifact.metadata().batch, 4);
  EXPECT_NE(artifact.entry("forward"), nullptr);
  EXPECT_EQ(artifact.entry("backward"), nullptr);
}

TEST(Artifact, OlderAbisAreServedAndNewerOnesRefused) {
  Session session(fake("abi2"));
  for (int64_t i = 0; i < 5; ++i)
    session.param("head.bias").set(i, i);
  session.run("forward");
  EXPECT_EQ(session.slot("logits").get(3), 3);
  EXPECT_HAS(errorOf([] { Artifact::open(fake("abi9")); }), "expected ABI version 3, found another");
}

TEST(Artifact, OneForAGpuNeedsItsCodeAndADriver) {
  EXPECT_HAS(errorOf([] { Artifact::open(fake("empty-gpu")); }),
             "compiled for cuda, but without code for a device");
  ::setenv("NSRT_CUDA_LIBRARY", "/nowhere/libcuda.so.1", 1);
  Session session(fake("gpu")); // what it says of itself needs none
  EXPECT_EQ(session.metadata().device.archs, std::vector<std::string>{"sm_90"});
  EXPECT_HAS(errorOf([&] { session.run("forward"); }), "/nowhere/libcuda.so.1");
  ::unsetenv("NSRT_CUDA_LIBRARY");
}

/// An executable of one mode: a driver, the artefact, its size and the magic.
static void writeExecutable(const std::string &path, const std::string &mode) {
  std::vector<uint8_t> object = readFile(fake(mode));
  std::ofstream out(path, std::ios::binary);
  out << "any driver";
  out.write(reinterpret_cast<char *>(object.data()), object.size());
  uint64_t size = object.size();
  out.write(reinterpret_cast<char *>(&size), 8) << "NSRTEXE1";
}

TEST(Artifact, OpensTheTailOfAnExecutable) {
  TempFolder folder;
  writeExecutable(folder / "exe", "synth");
  EXPECT_TRUE(Artifact::isAppendedTo(folder / "exe"));
  EXPECT_FALSE(Artifact::isAppendedTo(fake("synth")));
  EXPECT_EQ(Artifact::open(folder / "exe").metadata().emit, "synth");
}

TEST(Artifact, TwoExecutablesAtOnceAreTwo) {
  TempFolder folder;
  writeExecutable(folder / "first", "synth");
  writeExecutable(folder / "second", "evaluate");
  Artifact first = Artifact::open(folder / "first"), second = Artifact::open(folder / "second");
  EXPECT_EQ(first.metadata().emit, "synth");
  EXPECT_EQ(second.metadata().emit, "evaluate");
}

TEST(Artifact, DamagedTailIsAnError) {
  TempFolder folder;
  std::ofstream(folder / "exe", std::ios::binary)
      << "driver" << std::string(8, '\x7f') << "NSRTEXE1";
  EXPECT_HAS(errorOf([&] { Artifact::open(folder / "exe"); }), "damaged");
}

TEST(Artifact, TruncatedSharedObjectsAreErrors) {
  TempFolder folder;
  std::vector<uint8_t> object = readFile(fake("synth"));
  for (size_t keep :
       {size_t(0), size_t(3), size_t(63), size_t(200), object.size() / 4, object.size() / 2}) {
    std::ofstream(folder / "cut.so", std::ios::binary)
        .write(reinterpret_cast<char *>(object.data()), keep);
    EXPECT_THROW(Artifact::open(folder / "cut.so"), Error) << keep;
  }
}

TEST(Artifact, MissingCpuFeaturesAreNamed) {
  std::string error = errorOf([] { Artifact::open(fake("alien")); });
  EXPECT_HAS(error, "this CPU lacks: warp9");
}

TEST(Artifact, OtherLibrariesAreErrors) {
  Dl_info info;
  ASSERT_NE(dladdr(reinterpret_cast<void *>(&png_get_libpng_ver), &info), 0);
  EXPECT_HAS(errorOf([&] { Artifact::open(info.dli_fname); }), "nsrt_artifact_query");
  EXPECT_HAS(errorOf([] { Artifact::open("/nowhere/x.so"); }), "/nowhere/x.so");
  EXPECT_HAS(errorOf([] { Artifact::open("/tmp"); }), "regular file");
}

TEST(Metadata, EveryDefectIsNamed) {
  std::string good = Artifact::open(fake("library")).metadata().json;
  auto error = [&](const std::string &from, const std::string &to) {
    return errorOf([&] { parseMetadata("x", replaced(good, from, to)); });
  };
  EXPECT_HAS(error("{\"format\"", "[\"format\""), "not a JSON object");
  EXPECT_HAS(error("\"format\":1", "\"format\":2"), "format 1, found 2");
  EXPECT_HAS(error("\"batch\":4", "\"batch\":0"), "batch");
  EXPECT_HAS(error("\"batch\":4", "\"batch\":\"4\""), "'batch'");
  EXPECT_HAS(error("\"f32\",\"batch\"", "\"f8\",\"batch\""), "precision");
  EXPECT_HAS(error("\"params\":1024", "\"params\":100"), "head.weight");
  EXPECT_HAS(error("\"io\":4352", "\"io\":1000"), "slot");
  EXPECT_HAS(error("[5,48]", "[5,-48]"), "shape");
  EXPECT_HAS(error("[5,48]", "[4611686018427387904,48]"), "shape");
  EXPECT_HAS(error("\"io\",\"offset\"", "\"work\",\"offset\""), "region");
  EXPECT_HAS(error("\"crop_pct\":0.5", "\"crop_pct\":0"), "crop_pct");
  EXPECT_HAS(error("\"image\":[3,4,4]", "\"image\":[3,4]"), "image");
}

TEST(Session, ReadsSlotsAndRunsEntries) {
  TempFolder folder;
  writeWeights(folder / "w.safetensors");
  Session session(fake("library"));
  session.loadWeights(folder / "w.safetensors");
  session.slot("image").set(7, 1);
  session.run("forward");
  for (int k = 0; k < 5; ++k) {
    EXPECT_FLOAT_EQ(session.slot("logits").get(k), session.param("head.weight").get(k * 48 + 7) +
                                                       session.param("head.bias").get(k));
    EXPECT_FLOAT_EQ(session.slot("logits").get(5 + k), session.param("head.bias").get(k));
  }
  EXPECT_HAS(errorOf([&] { session.run("backward"); }), "backward");
  EXPECT_HAS(errorOf([&] { session.slot("nothing"); }), "nothing");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(session.slot("noise").data) % 64, 0u);
}

TEST(Session, TouchingWorkChangesNoResult) {
  TempFolder folder;
  writeWeights(folder / "w.safetensors");
  Session session(fake("synth"));
  session.loadWeights(folder / "w.safetensors");
  auto logits = [&] {
    for (int64_t i = 0; i < session.slot("image").count(); ++i)
      session.slot("image").set(i, 0.01 * i);
    session.run("forward");
    std::vector<double> values;
    for (int64_t i = 0; i < session.slot("logits").count(); ++i)
      values.push_back(session.slot("logits").get(i));
    return values;
  };
  std::vector<double> before = logits();
  EXPECT_NE(before.front(), 0);
  session.touchWork();
  EXPECT_EQ(logits(), before);
}

TEST(Session, WeightsSurviveSavingAndLoading) {
  TempFolder folder;
  writeWeights(folder / "w.safetensors");
  Session session(fake("library")), second(fake("library"));
  session.loadWeights(folder / "w.safetensors");
  session.saveWeights(folder / "again.safetensors");
  second.loadWeights(folder / "again.safetensors");
  for (int i = 0; i < 240; ++i)
    EXPECT_EQ(session.param("head.weight").get(i), second.param("head.weight").get(i));
}

TEST(Session, AllMismatchesOfWeightsInOneError) {
  TempFolder folder;
  float data[64] = {};
  ns::checkpoint::SafeTensorsWriter writer;
  writer.add("head.weight", {data, Dtype::F32, {5, 4}});
  writer.add("surplus", {data, Dtype::F32, {2}});
  writer.write(folder / "w.safetensors");
  Session session(fake("library"));
  std::string error = errorOf([&] { session.loadWeights(folder / "w.safetensors"); });
  EXPECT_HAS(error, "w.safetensors");
  EXPECT_HAS(error, "missing: 'head.bias' [5]");
  EXPECT_HAS(error, "'head.weight': expected shape [5, 48], found [5, 4]");
  EXPECT_HAS(error, "'surplus'");
}

TEST(Session, AnotherFileThanCompiledAgainstMustBeNamed) {
  Session session(fake("library"));
  EXPECT_HAS(errorOf([&] { session.loadWeights(); }), "linear.safetensors");
  // Beside the artefact there is one of that name, of other content.
  writeWeights(std::string(FAKE_FOLDER) + "/linear.safetensors");
  EXPECT_HAS(errorOf([&] { session.loadWeights(); }), "not the weights this was compiled against");
  std::filesystem::remove(std::string(FAKE_FOLDER) + "/linear.safetensors");
}
