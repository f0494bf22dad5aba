//===- SynthesisTest.cpp - synthesis on a linear model --------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Synthesis.h"
#include "TestSupport.h"

#include <cmath>
#include <csignal>

using namespace ns::runtime;
using namespace ns::runtime::test;

static int lines(const std::string &path) {
  std::string text = readText(path);
  return static_cast<int>(std::count(text.begin(), text.end(), '\n'));
}

TEST(Synthesis, ConvergesOnALinearModel) {
  Workspace work;
  EXPECT_EQ(work.run("synth", "a",
                     {"--train-fraction", "0.5", "--lim", "auto", "--steps", "200", "--eval-every",
                      "10", "--batch-size", "6"}),
            kOk);
  ns::checkpoint::SafeTensorsReader noise(work.folder / "a/noise.safetensors");
  EXPECT_EQ(noise.metadata().at("converged"), "yes");
  EXPECT_LT(std::stod(noise.metadata().at("stop_value")), 0.03);
  EXPECT_EQ(noise.metadata().at("site"), "tokens");
  EXPECT_EQ(noise.find("noise")->shape, (std::vector<int64_t>{1, 48}));
  EXPECT_EQ(lines(work.folder / "a/summary.csv") - 1, std::stoi(noise.metadata().at("steps")));
}

TEST(Synthesis, AutoStartsAtTheSitesNorm) {
  Workspace work;
  work.run("synth", "a", {"--train-fraction", "0.5", "--lim", "auto", "--steps", "1", "--lr", "0"});
  ns::checkpoint::SafeTensorsReader noise(work.folder / "a/noise.safetensors");
  double norm = std::stod(noise.metadata().at("norm"));
  EXPECT_GT(norm, 1);
  EXPECT_LT(norm, std::sqrt(48.0)); // pixels are at most 1
}

TEST(Synthesis, NotConvergedIsStatus3WithFiles) {
  Workspace work;
  EXPECT_EQ(work.run("synth", "a", {"--steps", "3", "--lr", "0", "--lim", "5"}), kNotConverged);
  EXPECT_EQ(ns::checkpoint::SafeTensorsReader(work.folder / "a/noise.safetensors")
                .metadata()
                .at("converged"),
            "no");
}

TEST(Synthesis, SameSeedSameBitsWhateverTheThreads) {
  Workspace work;
  std::vector<std::vector<uint8_t>> found;
  for (const char *threads : {"1", "2"}) {
    Session session(fake("synth"));
    session.host().setThreads(std::stoi(threads));
    work.run("synth", "out", {"--stop-samples", "0", "--steps", "20", "--train-fraction", "0.4"});
    ns::checkpoint::SafeTensorsReader reader(work.folder / "out/noise.safetensors");
    std::vector<uint8_t> noise(192);
    reader.read(*reader.find("noise"), {noise.data(), Dtype::F32, {1, 48}});
    found.push_back(noise);
  }
  EXPECT_EQ(found[0], found[1]);
}

TEST(Synthesis, AccumulationEqualsOneBatch) {
  // One step of 8 images in two compiled batches of 4 against two runs of 4 whose gradients are
  // averaged by hand.
  Workspace work;
  Session session(fake("synth"));
  session.loadWeights(work.folder / "linear.safetensors");
  auto data = openDataset(work.folder.path, "train", "", 5);
  BatchLoader loader(session, *data);
  SynthesisOptions options;
  options.lim = "1", options.init = "uniform", options.batchSize = 8, options.steps = 1,
  options.lr = 0;
  options.noShuffle = true, options.trainFraction = 8.0 / 60, options.stopSamples = 0;
  TrainSplit split = splitTraining(selectImages(*data, 0), options, 0, 1);
  ASSERT_EQ(split.subset.size(), 8u);
  Synthesizer synthesizer(session, loader, options, split, 1);
  double loss = 0;
  synthesizer.run(0, "test", [&](const Synthesizer::Step &step) { loss = step.loss; });
  std::vector<double> whole(48), parts(48);
  for (int i = 0; i < 48; ++i)
    whole[i] = session.slot("noise.grad").get(i);
  double partLoss = 0;
  for (int half = 0; half < 2; ++half) {
    loader.load(std::span(split.subset).subspan(4 * half, 4), 1.0 / 8);
    session.run("forward");
    for (int i = 0; i < 20; ++i)
      session.slot("clean_logits").set(i, session.slot("logits").get(i));
    session.slot("accumulate").set(0, 0);
    session.run("synth_step");
    partLoss += session.slot("loss").get(0);
    for (int i = 0; i < 48; ++i)
      parts[i] += session.slot("noise.grad").get(i);
  }
  EXPECT_NEAR(loss, partLoss, 1e-4 * loss);
  for (int i = 0; i < 48; ++i)
    EXPECT_NEAR(whole[i], parts[i], 1e-3 * std::fabs(whole[i]) + 1e-4);
}

TEST(Synthesis, PartsOfTrainingAreDisjoint) {
  std::vector<int64_t> all(1000);
  for (int i = 0; i < 1000; ++i)
    all[i] = i;
  SynthesisOptions options;
  TrainSplit split = splitTraining(all, options, 50, 9);
  std::vector<int> hits(1000);
  for (auto *part : {&split.subset, &split.stop, &split.holdout})
    for (int64_t i : *part)
      ++hits[i];
  EXPECT_LE(*std::max_element(hits.begin(), hits.end()), 1);
  EXPECT_EQ(split.subset.size(), 100u);
  EXPECT_EQ(split.stop.size(), 512u);
  EXPECT_EQ(split.pool.size(), 950u);
  options.noShuffle = true;
  EXPECT_EQ(splitTraining(all, options, 0, 9).subset[7], 7);
}

TEST(Synthesis, CosineIsTorchs) {
  EXPECT_EQ(cosineRate(0.1, 0, 0, 10), 0.1);
  EXPECT_NEAR(cosineRate(0.1, 0, 5, 10), 0.05, 1e-15);
  EXPECT_NEAR(cosineRate(1e-5, 1e-6, 10, 10), 1e-6, 1e-20);
}

TEST(Synthesis, RegularisersAndStarts) {
  Workspace work;
  std::vector<std::string> common = {"--steps",          "5",  "--stop-samples", "0",
                                     "--train-fraction", "0.4"};
  auto normOfRun = [&](std::vector<std::string> flags) {
    flags.insert(flags.end(), common.begin(), common.end());
    EXPECT_EQ(work.run("synth", "r", flags), kOk);
    return std::stod(ns::checkpoint::SafeTensorsReader(work.folder / "r/noise.safetensors")
                         .metadata()
                         .at("norm"));
  };
  EXPECT_NEAR(normOfRun({"--reg", "fixed_norm", "--norm", "2.5"}), 2.5, 1e-4);
  double start = normOfRun({"--lr", "0"});
  EXPECT_NEAR(normOfRun({"--reg", "fixed_norm"}), start, 1e-4 * start);
  EXPECT_GT(normOfRun({"--reg", "log_norm", "--lambda", "1e6"}), normOfRun({}));
  normOfRun({"--init", "zero"});
  normOfRun({"--init", "normal", "--lim", "0.5"});
  EXPECT_GT(normOfRun({"--init", work.folder / "r/noise.safetensors", "--lr", "0"}), 0);
  EXPECT_EQ(work.run("synth", "p", {"--recipe=paper", "--train-fraction", "0.4"}), kNotConverged);
}

TEST(Synthesis, BadNoiseFilesAreErrors) {
  Workspace work;
  float data[48] = {};
  data[3] = NAN;
  for (auto [name, shape, part] :
       {std::tuple("noise", std::vector<int64_t>{48}, "expected shape [1, 48], found [48]"),
        {"other", {1, 48}, "expected a tensor 'noise'"},
        {"noise", {1, 48}, "NaN"}}) {
    ns::checkpoint::SafeTensorsWriter writer;
    writer.add(name, {data, Dtype::F32, shape});
    writer.write(work.folder / "n.safetensors");
    EXPECT_HAS(errorOf([&] { work.run("synth", "a", {"--init", work.folder / "n.safetensors"}); }),
               part);
  }
}

TEST(Synthesis, NotFiniteLossKeepsTheNoiseAndSaysWhen) {
  Workspace work;
  EXPECT_HAS(errorOf([&] {
               work.run("synth", "a", {"--lim", "1e25", "--steps", "5", "--stop-samples", "0"});
             }),
             "step 1 is not finite");
  EXPECT_TRUE(std::filesystem::exists(work.folder / "a/noise.safetensors"));
}
