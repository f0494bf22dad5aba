//===- AttackTest.cpp - attacks on a linear model -------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestSupport.h"
#include "ns/Runtime/Attacks.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include <map>
#include <numeric>

using namespace ns::runtime;
using namespace ns::runtime::test;
using nlohmann::json;

namespace {

/// A session, all validation images it predicts right, and the attacks on them.
struct Target {
  Target()
      : session(fake("evaluate")), data(openDataset(work.folder.path, "val", "", 5)),
        loader(session, *data) {
    // Weights that know the classes: class k lives in pixels i with i % 5 == k, in the interleaved
    // order of writeImages.
    work.run("finetune", "w",
             {"--arm", "none", "--rounds", "1", "--steps-per-round", "200", "--lr", "0.05",
              "--batch-size", "8", "--aug", "none"});
    session.loadWeights(work.folder / "w/last.safetensors");
    std::vector<char> right(1);
    for (int64_t i = 0; i < data->size(); ++i) {
      AttackContext context{session, loader, {}, 3};
      loader.load(std::span(&i, 1));
      predictsLabel(context, std::span(&i, 1), right.data());
      if (right[0])
        images.push_back(i);
    }
  }
  Survivors run(const std::string &text, std::span<const int64_t> some) {
    AttackContext context{session, loader, some, 3};
    return attack(context, parseAttack(text));
  }
  double rate(const std::string &text) {
    Survivors survivors = run(text, images);
    return std::accumulate(survivors.begin(), survivors.end(), 0.0) / survivors.size();
  }
  Workspace work;
  Session session;
  std::unique_ptr<Dataset> data;
  BatchLoader loader;
  std::vector<int64_t> images;
};

Target &target() {
  static Target target;
  return target;
}

} // namespace

TEST(Attacks, NothingHappensAtEpsZero) {
  ASSERT_GT(target().images.size(), 40u);
  for (const char *text :
       {"fgsm:eps=0", "bim:eps=0,steps=3", "mim:eps=0,steps=3", "apgd-ce:eps=0,steps=3",
        "pgd:eps=0,steps=3", "pgd:eps=0,norm=l2,steps=3", "square:eps=0,queries=20"})
    EXPECT_EQ(target().rate(text), 1) << text;
}

TEST(Attacks, LargeEpsFoolsEverything) {
  for (const char *text : {"fgsm:eps=0.9", "bim:eps=0.9,alpha=0.3", "mim:eps=0.9,alpha=0.3",
                           "apgd-ce:eps=0.9,steps=10", "apgd-ce:eps=20,steps=10,norm=l2",
                           "pgd:eps=0.9,alpha=0.3", "pgd:eps=20,alpha=5,norm=l2"})
    EXPECT_LT(target().rate(text), 0.2) << text;
}

// On a linear model with two classes in play, PGD with enough steps is at least as strong as FGSM,
// and both beat a search without gradients.
TEST(Attacks, StrengthIsOrdered) {
  double fgsm = target().rate("fgsm:eps=0.15"),
         pgd = target().rate("pgd:eps=0.15,alpha=0.05,steps=20"),
         square = target().rate("square:eps=0.15,queries=300");
  EXPECT_LE(pgd, fgsm + 0.05);
  EXPECT_LE(pgd, square + 0.02);
  EXPECT_LT(square, 1);
  EXPECT_GT(fgsm, 0);
  EXPECT_LE(target().rate("pgd:eps=0.15,alpha=0.05,steps=20,restarts=3"), pgd);
  EXPECT_LE(square, target().rate("square:eps=0.15,queries=10"));
}

// What happens to an image depends on nothing but the image and the seed.
TEST(Attacks, ImagesDoNotInfluenceEachOther) {
  std::span<const int64_t> all = target().images, some = all.subspan(3, 7);
  for (const char *text : {"fgsm:eps=0.1", "pgd:eps=0.1,alpha=0.02", "pgd:eps=1,alpha=0.3,norm=l2",
                           "square:eps=0.15,queries=60"}) {
    Survivors whole = target().run(text, all), part = target().run(text, some);
    EXPECT_EQ(part, Survivors(whole.begin() + 3, whole.begin() + 10)) << text;
  }
}

TEST(Evaluate, WritesEveryMeasurementWithItsInterval) {
  Target &t = target();
  t.work.run("synth", "n",
             {"--steps", "60", "--lim", "auto", "--train-fraction", "0.5", "--stop-samples", "20"});
  EXPECT_EQ(t.work.run("evaluate", "e",
                       {"--weights", t.work.folder / "w/last.safetensors", "--noise",
                        t.work.folder / "n/noise.safetensors", "--attack", "fgsm:eps=16/255",
                        "--attack", "square:queries=10", "--save-logits", t.work.folder / "l.npy"}),
            kOk);
  json results = json::parse(readText(t.work.folder / "e/results.json"));
  std::map<std::string, int> kinds;
  for (const json &m : results["measurements"]) {
    ++kinds[m["kind"]];
    EXPECT_EQ(m["n"], 60);
    EXPECT_LE(m["interval"][0], m["value"]);
    EXPECT_GE(m["interval"][1], m["value"]);
  }
  std::map<std::string, int> expected = {
      {"clean", 1},          {"fgsm", 1},          {"square", 1},          {"noise_same_argmax", 3},
      {"noise_logit_sq", 3}, {"noise_prob_sq", 3}, {"noise_conf_diff", 3}, {"noise_mcnemar_p", 1}};
  EXPECT_EQ(kinds, expected);
  EXPECT_EQ(std::filesystem::file_size(t.work.folder / "l.npy"), 128 + 60 * 5 * 4u);
  std::string outcomes = readText(t.work.folder / "e/outcomes.csv");
  EXPECT_EQ(std::count(outcomes.begin(), outcomes.end(), '\n'), 61);
  EXPECT_HAS(outcomes, "image,label,prediction,clean,same_argmax_learned");
}
