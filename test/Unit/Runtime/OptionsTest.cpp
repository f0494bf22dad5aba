//===- OptionsTest.cpp - command lines ------------------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestSupport.h"

#include <fstream>

using namespace ns::runtime;
using namespace ns::runtime::test;

static Options parse(const std::string &mode, std::vector<std::string> flags) {
  Metadata metadata = Artifact::open(fake(mode)).metadata();
  flags.insert(flags.begin(), {"--data-dir", "/d", "--output", "/o"});
  return *parseCommandLine(metadata, mode, flags);
}

TEST(Options, DefaultsAreTheMethods) {
  SynthesisOptions o = parse("synth", {}).synthesis;
  EXPECT_EQ(o.lim, "3.0");
  EXPECT_EQ(o.init, "uniform");
  EXPECT_EQ(o.lr, 0.1);
  EXPECT_EQ(o.eps, 0.03);
  EXPECT_EQ(o.rounds, 3);
  EXPECT_EQ(o.batchSize, 128);
  EXPECT_EQ(o.weightDecay, 0);
  FinetuneOptions f = parse("finetune", {}).finetune;
  EXPECT_EQ(f.rounds * f.stepsPerRound, 800);
  EXPECT_EQ(f.lr, 1e-5);
  EXPECT_EQ(f.weightDecay, 0.05);
}

TEST(Options, PaperRecipeGivesWayToFlags) {
  SynthesisOptions o = parse("synth", {"--recipe=paper"}).synthesis;
  EXPECT_EQ(o.objective, "logit_l2");
  EXPECT_EQ(o.weightDecay, 0.01);
  EXPECT_EQ(parse("synth", {"--recipe=paper", "--weight-decay", "0"}).synthesis.weightDecay, 0);
}

TEST(Options, BatchNormsInTrainingNeedWholeBatches) {
  Metadata metadata = Artifact::open(fake("finetune")).metadata();
  auto parseSize = [&](const char *size) {
    parseCommandLine(metadata, "finetune",
                     {"--data-dir", "/d", "--output", "/o", "--batch-size", size});
  };
  EXPECT_NO_THROW(parseSize("6"));
  metadata.trainsBatchNorm = true;
  EXPECT_NO_THROW(parseSize("8"));
  EXPECT_THROW(parseSize("6"), UsageError);
  EXPECT_HAS(errorOf([&] { parseSize("6"); }),
             "--batch-size: expected a multiple of 4, the compiled batch");
}

TEST(Options, ArgsYamlReproducesTheRun) {
  TempFolder folder;
  Options first =
      parse("evaluate", {"--attack", "fgsm:eps=1/255", "--attack=pgd", "--seed", "7", "--verify"});
  std::ofstream(folder / "args.yaml") << "# comment\n" << first.argsYaml;
  Metadata metadata = Artifact::open(fake("evaluate")).metadata();
  Options second = *parseCommandLine(metadata, "evaluate", {"--config", folder / "args.yaml"});
  EXPECT_EQ(first.argsYaml, second.argsYaml);
  EXPECT_EQ(second.evaluate.attacks.size(), 2u);
  EXPECT_EQ(second.common.seed, 7u);
  Options third =
      *parseCommandLine(metadata, "evaluate", {"--config", folder / "args.yaml", "--seed", "8"});
  EXPECT_EQ(third.common.seed, 8u);
}

TEST(Options, BadUsageIsAUsageError) {
  const std::vector<std::vector<std::string>> bad = {
      {"--nonsense"},        {"--steps", "x"}, {"--steps", "-1"},         {"--steps", "1.5"},
      {"--lr", "nan"},       {"--eps"},        {"--lim", "wide"},         {"--lim", "3x"},
      {"--reg", "l3"},       {"positional"},   {"--train-fraction", "0"}, {"--train-fraction", "2"},
      {"--batch-size", "0"}, {"--seed", "-3"}, {"--config", "/nowhere"}};
  for (auto flags : bad)
    EXPECT_THROW(parse("synth", flags), UsageError) << flags[0];
  EXPECT_THROW(parse("finetune", {"--arm", "mixup"}), UsageError);
  EXPECT_THROW(parse("evaluate", {"--steps", "3"}), UsageError);
  Metadata metadata = Artifact::open(fake("synth")).metadata();
  EXPECT_THROW(parseCommandLine(metadata, "synth", {"--output", "/o"}), UsageError);
}

TEST(Options, AttacksAreCheckedKeyByKey) {
  AttackSpec spec = parseAttack("pgd:eps=8/255,alpha=0.01,steps=20,norm=l2");
  EXPECT_EQ(spec.number("eps"), 8.0 / 255);
  EXPECT_EQ(spec.number("steps"), 20);
  EXPECT_EQ(spec.number("restarts"), 1);
  EXPECT_EQ(spec.words["norm"], "l2");
  for (const char *text : {"", "carlini", "fgsm:eps", "fgsm:eps=", "fgsm:eps=x", "fgsm:eps=1/0",
                           "fgsm:steps=3", "pgd:norm=l1", "pgd:steps=1.5", "pgd:steps=0",
                           "square:p=2", "fgsm:eps=-1", "fgsm:eps=nan", "fgsm:eps=1/255/3"})
    EXPECT_THROW(parseAttack(text), UsageError) << text;
}
