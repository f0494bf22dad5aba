//===- FinetuneTest.cpp - finetuning of a linear model --------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestSupport.h"

#include <cmath>
#include <fstream>

using namespace ns::runtime;
using namespace ns::runtime::test;
namespace fs = std::filesystem;

static const std::vector<std::string> kShort = {"--rounds",
                                                "4",
                                                "--steps-per-round",
                                                "5",
                                                "--batch-size",
                                                "6",
                                                "--lr",
                                                "0.05",
                                                "--noise-steps",
                                                "20",
                                                "--lim",
                                                "auto",
                                                "--train-fraction",
                                                "0.3"};

static std::vector<std::string> with(std::vector<std::string> flags) {
  flags.insert(flags.begin(), kShort.begin(), kShort.end()); // the last of a flag wins
  return flags;
}

/// A column of a CSV file.
static std::vector<std::string> column(const std::string &path, const std::string &name) {
  std::ifstream in(path);
  std::string line, cell;
  std::getline(in, line);
  std::istringstream header(line);
  int index = 0;
  while (std::getline(header, cell, ',') && cell != name)
    ++index;
  std::vector<std::string> cells;
  while (std::getline(in, line)) {
    std::istringstream row(line);
    for (int i = 0; i <= index; ++i)
      cell.clear(), std::getline(row, cell, ',');
    cells.push_back(cell);
  }
  return cells;
}

TEST(Finetune, EveryArmLearns) {
  for (const char *arm : {"none", "nullspace", "gaussian"}) {
    Workspace work;
    EXPECT_EQ(work.run("finetune", "out", with({"--arm", arm, "--aug", "none"})), kOk);
    auto losses = column(work.folder / "out/summary.csv", "loss");
    ASSERT_EQ(losses.size(), 20u);
    EXPECT_LT(std::stod(losses[19]), std::stod(losses[0])) << arm;
    for (const char *file : {"last", "best", "optimizer"})
      EXPECT_TRUE(fs::exists(work.folder / (std::string("out/") + file + ".safetensors"))) << file;
    EXPECT_EQ(fs::exists(work.folder / "out/noise/round-004.safetensors"),
              std::string(arm) != "none");
    EXPECT_EQ(work.run("evaluate", "eval", {"--weights", work.folder / "out/last.safetensors"}),
              kOk);
  }
}

TEST(Finetune, ResumeIsExact) {
  Workspace work;
  work.run("finetune", "whole", with({}));
  // A run that fails at round 3: its noise folder takes no file any more.
  fs::create_directories(work.folder / "broken/noise/round-003.safetensors/x");
  EXPECT_THROW(work.run("finetune", "broken", with({})), Error);
  fs::remove_all(work.folder / "broken/noise/round-003.safetensors");
  EXPECT_EQ(work.run("finetune", "broken", with({"--resume"})), kOk);
  for (const char *file : {"last.safetensors", "noise/round-004.safetensors", "best.safetensors"})
    EXPECT_EQ(readFile(work.folder / (std::string("whole/") + file)),
              readFile(work.folder / (std::string("broken/") + file)))
        << file;
  EXPECT_EQ(column(work.folder / "whole/summary.csv", "loss"),
            column(work.folder / "broken/summary.csv", "loss"));
}

TEST(Finetune, ResumeRefusesOtherFlagsAndDamage) {
  Workspace work;
  EXPECT_THROW(work.run("finetune", "out", with({"--resume"})), Error);
  work.run("finetune", "out", with({}));
  std::string error =
      errorOf([&] { work.run("finetune", "out", with({"--resume", "--aug", "none"})); });
  EXPECT_HAS(error, "--aug: expected \"basic\", found \"none\"");
  fs::resize_file(work.folder / "out/optimizer.safetensors", 700);
  EXPECT_HAS(errorOf([&] { work.run("finetune", "out", with({"--resume"})); }),
             "optimizer.safetensors");
}

TEST(Finetune, FixedNoiseAndNormMatchedGaussian) {
  Workspace work;
  work.run("synth", "s", {"--steps", "5", "--stop-samples", "0", "--train-fraction", "0.3"});
  EXPECT_EQ(work.run("finetune", "fixed", with({"--noise", work.folder / "s/noise.safetensors"})),
            kOk);
  EXPECT_FALSE(fs::exists(work.folder / "fixed/noise/round-001.safetensors"));
  EXPECT_EQ(work.run("finetune", "g", with({"--arm", "gaussian", "--noise-norm", "1.5"})), kOk);
  EXPECT_NEAR(
      std::stod(ns::checkpoint::SafeTensorsReader(work.folder / "g/noise/round-001.safetensors")
                    .metadata()
                    .at("norm")),
      1.5, 1e-4);
}

TEST(Finetune, NotFiniteLossKeepsTheLastWeightsAndSaysWhen) {
  Workspace work;
  std::string error = errorOf([&] {
    work.run("finetune", "out", with({"--arm", "none", "--lr", "1e30", "--weight-decay", "0"}));
  });
  EXPECT_HAS(error, "is not finite");
  ns::checkpoint::SafeTensorsReader reader(work.folder / "out/last.safetensors");
  EXPECT_NE(reader.find("head.weight"), nullptr);
}
