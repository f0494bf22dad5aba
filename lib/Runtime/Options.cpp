//===- Options.cpp - command lines of the executables ---------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Backend.h"
#include "ns/Runtime/Options.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/Host.h"
#include "ns/Runtime/Report.h"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <cmath>
#include <filesystem>
#include <functional>
#include <iostream>

using namespace ns::runtime;
using nlohmann::json;

namespace {

/// Flat YAML, one "flag: value" a line, values as JSON writes them or bare words: what args.yaml
/// holds.
class YamlConfig : public CLI::Config {
  std::string to_config(const CLI::App *, bool, bool, std::string) const override { return ""; }

  std::vector<CLI::ConfigItem> from_config(std::istream &input) const override {
    std::vector<CLI::ConfigItem> items;
    int number = 0;
    for (std::string line; std::getline(input, line);) {
      ++number;
      line.erase(line.find_last_not_of(" \t\r") + 1);
      if (line.empty() || line[0] == '#')
        continue;
      size_t colon = line.find(": ");
      if (colon == std::string::npos)
        throw CLI::FileError("--config: line " + std::to_string(number) +
                             ": expected 'flag: value', found '" + line + "'");
      std::string text = line.substr(colon + 2);
      json value = json::parse(text, nullptr, false);
      CLI::ConfigItem item;
      item.name = line.substr(0, colon);
      if (value.is_discarded())
        item.inputs = {text};
      else if (value.is_array())
        for (const json &element : value)
          item.inputs.push_back(element.is_string() ? element.get<std::string>() : element.dump());
      else
        item.inputs = {value.is_string() ? value.get<std::string>() : value.dump()};
      // An empty value means the flag was not given.
      if (!item.inputs.empty() && !item.inputs[0].empty())
        items.push_back(std::move(item));
    }
    return items;
  }
};

/// Registers flags with CLI11 and remembers how to print their values.
class Flags {
public:
  Flags(CLI::App &app) : app(app) {}

  template <class T> CLI::Option *add(const std::string &name, T &value, const std::string &help) {
    values.emplace_back(name, [&value] { return json(value); });
    CLI::Option *option = app.add_option("--" + name, value, help);
    if constexpr (!std::is_same_v<T, std::vector<std::string>>)
      option->take_last(); // as argparse does it
    if constexpr (std::is_arithmetic_v<T>)
      option->type_name("NUMBER")->capture_default_str();
    else
      option->type_name("TEXT")->capture_default_str();
    return option;
  }
  /// A flag of this run alone: not in args.yaml.
  CLI::Option *addOnce(const std::string &name, bool &value, const std::string &help) {
    return app.add_flag("--" + name, value, help);
  }
  CLI::Option *addFlag(const std::string &name, bool &value, const std::string &help) {
    values.emplace_back(name, [&value] { return json(value); });
    return app.add_flag("--" + name, value, help);
  }
  CLI::Option *addChoice(const std::string &name, std::string &value,
                         std::vector<std::string> choices, const std::string &help) {
    return add(name, value, help)->check(CLI::IsMember(choices))->type_name("");
  }
  /// A finite number in [low, high].
  template <class T>
  CLI::Option *addNumber(const std::string &name, T &value, double low, double high,
                         const std::string &help) {
    return add(name, value, help)->check([=](const std::string &text) -> std::string {
      double x;
      if (!CLI::detail::lexical_cast(text, x) || !(x >= low && x <= high))
        return str("expected a number in [", low, ", ", high, "], found '", text, "'");
      return "";
    });
  }
  /// A distance between pixels of [0, 1], as a number or a fraction such as 8/255.
  CLI::Option *addPixels(const std::string &name, double &value, const std::string &help) {
    return add(name, value, help)
        ->type_name("NUMBER|N/255")
        ->transform(CLI::Validator(
            [](std::string &text) -> std::string {
              std::optional<double> x = parseFraction(text);
              if (!x || !(*x >= 0 && *x <= 1))
                return "expected a number or a fraction in [0, 1], found '" + text + "'";
              text = numberText(*x);
              return "";
            },
            ""));
  }
  std::string yaml() const {
    std::string text;
    for (auto &[name, value] : values)
      text += name + ": " + value().dump() + "\n";
    return text;
  }

private:
  CLI::App &app;
  std::vector<std::pair<std::string, std::function<json()>>> values;
};

constexpr double kMany = 9007199254740992.0; // 2^53: integers are exact up to here

void addCommon(Flags &flags, CommonOptions &options) {
  flags.add("data-dir", options.dataDir,
            "Folder with train/ and val/ (a folder for each class), or an .npz with "
            "x_train y_train x_val y_val (uint8 NHWC, integer labels)");
  flags.add("output", options.output, "Folder for the results; made if it is not there");
  flags.add(
      "weights", options.weights,
      "Weights instead of those compiled against: .safetensors, a PyTorch checkpoint, .npz, or "
      "a folder of transformers");
  flags.addFlag("no-ema", options.noEma,
                "Take a checkpoint's weights as trained, not their running average");
  flags.add("class-map", options.classMap,
            "File with the class (folder) names, one a line, in the model's order");
  flags.addNumber("seed", options.seed, 0, kMany, "Seed of every random number");
  flags.addNumber("threads", options.threads, 0, 1024, "Threads; 0: all cores");
  flags.addNumber(
      "max-samples", options.maxSamples, 0, kMany,
      "Use at most so many images: the first of an .npz, evenly spaced ones of folders; 0: all");
  flags.addFlag("verify", options.verify,
                "Compare the whole weights file with the hash compiled in");
}

/// What a synthesis minimises, and where it starts.
void addLoss(Flags &flags, SynthesisOptions &o) {
  flags.addChoice("objective", o.objective, {"logit_l2sq", "logit_l2"},
                  "Distance of the logits to minimise");
  flags.addChoice("reg", o.reg, {"none", "log_norm", "fixed_norm"},
                  "Regulariser of the noise's norm");
  flags.addNumber("lambda", o.lambda, 0, 1e30, "Weight of --reg log_norm: - lambda log ||v||");
  flags.addNumber("norm", o.norm, 0, 1e30, "Norm that --reg fixed_norm holds; 0: the start's");
  flags.add("lim", o.lim,
            "Start U(-lim, lim) or N(0, lim); auto: the start's norm is the mean norm of the "
            "site's tensor");
  flags.add("init", o.init, "Start: uniform, normal, zero, or a noise file");
}

/// When a synthesis stops, and which images it takes.
void addStopTest(Flags &flags, SynthesisOptions &o) {
  flags.addNumber("eps", o.eps, 0, 1e30,
                  "Stop when the mean squared difference of probabilities is below");
  flags.addNumber("eval-every", o.evalEvery, 1, kMany, "Steps between stop tests");
  flags.addNumber("train-fraction", o.trainFraction, 1e-9, 1,
                  "Share of the training images to synthesise on");
  flags.addNumber("stop-samples", o.stopSamples, 0, kMany,
                  "Training images outside that share for the stop test; 0: no stop test");
  flags.addFlag("no-shuffle", o.noShuffle, "Take images in file order");
}

void addSynthesis(Flags &flags, SynthesisOptions &o) {
  flags.addNumber("steps", o.steps, 0, kMany, "Steps at most; 0: as many as --rounds visit");
  flags.addNumber("rounds", o.rounds, 1, 1e9, "Rounds over the synthesis subset");
  flags.addNumber("batch-size", o.batchSize, 1, 1e9,
                  "Images of one step; gradients of the compiled batches add up");
  addLoss(flags, o);
  flags.addNumber("lr", o.lr, 0, 1e30, "Learning rate of AdamW, cosine to 0");
  flags.addNumber("weight-decay", o.weightDecay, 0, 1e30, "Weight decay of AdamW");
  addStopTest(flags, o);
  flags.addChoice("recipe", o.recipe, {"", "paper"},
                  "paper: the published procedure, which tests each step on its own batch and "
                  "decays the noise");
}

/// The synthesis inside finetuning: the same options under names that do not clash.
void addInnerSynthesis(Flags &flags, SynthesisOptions &o) {
  flags.addNumber("noise-lr", o.lr, 0, 1e30, "Learning rate of the noise");
  flags.addNumber("noise-steps", o.steps, 0, kMany,
                  "Synthesis steps of a round at most; 0: as many as --noise-rounds visit");
  flags.addNumber("noise-rounds", o.rounds, 1, 1e9, "Rounds of synthesis over its subset");
  flags.addNumber("noise-batch-size", o.batchSize, 1, 1e9, "Images of one synthesis step");
  addLoss(flags, o);
  addStopTest(flags, o);
}

void addFinetune(Flags &flags, FinetuneOptions &o) {
  flags.addChoice("arm", o.arm, {"nullspace", "none", "gaussian", "madry", "trades"},
                  "What is added to plain finetuning, or done in its place");
  flags.addNumber("rounds", o.rounds, 1, 1e9,
                  "Rounds: a fresh noise, then --steps-per-round steps");
  flags.addNumber("steps-per-round", o.stepsPerRound, 1, kMany, "Steps of a round");
  flags.addNumber("batch-size", o.batchSize, 1, 1e9,
                  "Images of one step; gradients of the compiled batches add up");
  flags.addNumber("lr", o.lr, 0, 1e30, "Learning rate of AdamW, cosine to --min-lr by step");
  flags.addNumber("min-lr", o.minLr, 0, 1e30, "Last learning rate");
  flags.addNumber("weight-decay", o.weightDecay, 0, 1e30, "Weight decay of AdamW (matrices only)");
  flags.addChoice("aug", o.aug, {"none", "basic"}, "basic: random resized crop and flip");
  flags.add("noise", o.noise, "A noise file to use in every round instead of synthesising");
  flags.addNumber("noise-norm", o.noiseNorm, 0, 1e30,
                  "Norm of arm gaussian; 0: shrunk by 0.8 until the stop test passes");
  flags.addNumber("holdout-samples", o.holdoutSamples, 0, kMany,
                  "Training images kept aside to choose the best round");
  flags.addPixels("attack-eps", o.attackEps,
                  "Arms madry, trades: how far an attacked pixel may be from its image's (Linf)");
  flags.addNumber("attack-steps", o.attackSteps, 1, kMany, "Steps of that attack (PGD)");
  flags.addPixels("attack-step-size", o.attackStepSize, "Size of its steps");
  flags.addNumber("beta", o.beta, 1e-30, 1e30,
                  "Arm trades: weight of the divergence of the attacked predictions");
  flags.addFlag("resume", o.resume, "Go on from what is in --output");
}

/// A flag that may be given many times, each time with one value.
void addList(Flags &flags, const std::string &name, std::vector<std::string> &values,
             const std::string &type, const std::string &what) {
  flags.add(name, values, what)
      ->type_name(type)
      ->type_size(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->expected(1, 1 << 20)
      ->allow_extra_args(false);
}

void addEvaluate(Flags &flags, EvaluateOptions &o) {
  flags.addChoice("split", o.split, {"val", "train"}, "Which images");
  flags.add(
      "noise", o.noise,
      "Measure invariance under this noise, the same permuted, and gaussian noise of its norm");
  addList(flags, "attack", o.attackTexts, "KIND[:KEY=VALUE,...]",
          "Repeatable: fgsm:eps=4/255 | bim:eps=8/255,alpha=2/255,steps=10 | "
          "pgd:eps=8/255,alpha=2/255,steps=10,restarts=1,norm=linf,start=random | "
          "mim:eps=8/255,alpha=2/255,steps=10,decay=1 | "
          "apgd-ce:eps=8/255,steps=100,restarts=1,norm=linf | apgd-dlr | apgd-t:targets=9 | "
          "cw:c=1,kappa=0,steps=50,lr=0.01,search=0 | fab-t:eps=8/255,steps=100,targets=9 | "
          "autoattack:eps=8/255,steps=100,targets=9,queries=5000 | "
          "square:eps=8/255,queries=5000,p=0.8 | "
          "patchfool:num_patch=1,patch_select=Attn,attack_mode=Attention,train_attack_iters=250");
  addList(flags, "corruption", o.corruptionTexts, "KIND[:SEVERITY]",
          "Repeatable: a kind of ImageNet-C such as glass_blur:3, noise, blur, weather, digital, "
          "extra, or all (the 15 common kinds); without a severity all five");
  flags.addNumber("corruption-jpeg", o.corruptionJpeg, 0, 100,
                  "JPEG quality at which corrupted images are stored before they are read (the "
                  "published ImageNet-C: 85); 0: not");
  flags.add("frost-dir", o.frostDir, "Folder with frost1.png and so on; default: procedural frost");
  flags.add("save-corrupted", o.saveCorrupted,
            "Write the corrupted images to this folder, KIND/SEVERITY/CLASS");
  flags.add("save-adversarial", o.saveAdversarial,
            "Write each attack's images to this folder, as 8-bit PNG with a manifest.json");
  addList(flags, "transfer", o.transfer, "DIR",
          "Repeatable: adversarial images of another model, as --save-adversarial writes them, or "
          "class folders such as DamageNet's");
  addList(flags, "shifted", o.shiftedTexts, "NAME:DIR",
          "Repeatable: another test set: imagenet-a:DIR, imagenet-r:DIR (only their classes "
          "compete), imagenet-v2:DIR, imagenet-c:DIR, cifar-10-c:DIR, or any NAME with class "
          "folders");
  flags.add("seeds", o.seedsText,
            "Several seeds, such as 0,1,2, for what is random in attacks and corruptions; default: "
            "--seed");
  flags.addChoice("interval", o.interval, {"wilson", "bootstrap"},
                  "95 % intervals: Wilson's score for shares and normal for means, or percentiles "
                  "of resampled images");
  flags.add("compare", o.compare,
            "Folder of another evaluation of the same images: McNemar's test against it");
  flags.addOnce("restart", o.restart,
                "Measure all anew; default: go on where an interrupted run in --output ended");
  flags.add("save-logits", o.saveLogits, "Write the clean logits to this .npy file");
}

/// The published code's settings where the user gave none (peers.md 1.7).
void applyRecipe(const CLI::App &app, SynthesisOptions &o) {
  auto unset = [&](const char *name) { return app.get_option(name)->count() == 0; };
  if (unset("--objective"))
    o.objective = "logit_l2";
  if (unset("--weight-decay"))
    o.weightDecay = 0.01;
  if (unset("--lim"))
    o.lim = "3";
  if (unset("--init"))
    o.init = "uniform";
}

/// What the artefact says about the start of the noise, where the user says nothing.
void resolveNoise(const Metadata &meta, SynthesisOptions &o) {
  if (meta.noises.empty())
    return;
  const NoiseInfo &noise = meta.noises[0];
  if (o.init.empty())
    o.init = noise.init;
  if (o.lim.empty())
    o.lim = noise.lim == 0 ? "auto" : json(noise.lim).dump();
  char *end = nullptr;
  double value = o.lim == "auto" ? 1 : std::strtod(o.lim.c_str(), &end);
  if (o.lim != "auto" && (end == o.lim.c_str() || *end || !(value >= 0 && value < 1e30)))
    throw UsageError("--lim: expected a number or auto, found '" + o.lim + "'");
}

/// The GPU of this machine, for --info.
json hostFacts() {
  GpuFacts gpu = findGpu();
  if (!gpu.problem.empty())
    return {{"gpu", nullptr}, {"problem", gpu.problem}};
  return {{"gpu", gpu.name}, {"arch", gpu.arch}, {"cuda", gpu.driver}};
}

std::string absolute(const std::string &path) {
  return path.empty() ? path : std::filesystem::absolute(path).lexically_normal().string();
}

/// "0,1,2".
std::vector<uint64_t> parseSeeds(const std::string &text) {
  std::vector<uint64_t> seeds;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    bool digits = !part.empty() && part.size() < 16 &&
                  part.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || std::find(seeds.begin(), seeds.end(), std::stoull(part)) != seeds.end())
      throw UsageError("--seeds: expected different whole numbers such as 0,1,2, found '" + text +
                       "'");
    seeds.push_back(std::stoull(part));
  }
  return seeds;
}

/// Takes apart what evaluate's flags say in words.
void resolveEvaluate(const CommonOptions &common, EvaluateOptions &o) {
  for (const std::string &text : o.attackTexts)
    o.attacks.push_back(parseAttack(text));
  for (const std::string &text : o.corruptionTexts)
    for (Corruption &corruption : parseCorruption(text))
      o.corruptions.push_back(std::move(corruption));
  o.seeds = parseSeeds(o.seedsText);
  if (o.seeds.empty())
    o.seeds = {common.seed};
  for (std::string &folder : o.transfer)
    folder = absolute(folder);
  for (std::string &text : o.shiftedTexts) {
    size_t colon = text.find(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == text.size())
      throw UsageError(
          "--shifted: expected NAME:DIR, such as imagenet-a:/data/imagenet-a, found '" + text +
          "'");
    ShiftedSet set{text.substr(0, colon), absolute(text.substr(colon + 1))};
    if (std::any_of(o.shifted.begin(), o.shifted.end(),
                    [&](const ShiftedSet &other) { return other.name == set.name; }))
      throw UsageError("--shifted: expected each name once, found '" + set.name + "' twice");
    text = set.name + ":" + set.folder;
    o.shifted.push_back(std::move(set));
  }
}

} // namespace

std::optional<Options> ns::runtime::parseCommandLine(const Metadata &meta,
                                                     const std::string &program,
                                                     std::vector<std::string> arguments) {
  CLI::App app("A Nullspace executable (" + meta.emit + ") of " + meta.model.name, program);
  Options options;
  bool info = false;
  Flags flags(app);
  app.get_formatter()->column_width(34);
  app.add_flag("--info", info, "Print what was compiled in, as JSON, and stop");
  // Not among the flags of args.yaml: a profile changes no result.
  app.add_option("--profile", options.common.profile,
                 "Write a trace of the run to this file, for ui.perfetto.dev, and print where the "
                 "time went")
      ->type_name("FILE.json");
  app.config_formatter(std::make_shared<YamlConfig>());
  app.set_config("--config", "", "Flags from a file, such as args.yaml of a former run")
      ->type_name("FILE");
  addCommon(flags, options.common);
  if (meta.emit == "synth")
    addSynthesis(flags, options.synthesis);
  else if (meta.emit == "finetune") {
    addFinetune(flags, options.finetune);
    addInnerSynthesis(flags, options.synthesis);
  } else if (meta.emit == "evaluate")
    addEvaluate(flags, options.evaluate);
  try {
    std::reverse(arguments.begin(), arguments.end()); // CLI11 takes them from the back
    app.parse(arguments);
  } catch (const CLI::CallForHelp &) {
    std::cout << app.help();
    return std::nullopt;
  } catch (const CLI::Error &e) {
    throw UsageError(e.what());
  }
  if (info) {
    json facts = json::parse(meta.json);
    for (json &entry : facts["entries"])
      entry.erase("ops"); // thousands of lines
    if (meta.onDevice())
      facts["host"] = hostFacts();
    else if (meta.precision == "bf16")
      facts["bf16_products"] = hasBf16() ? "native" : "emulated";
    std::cout << facts.dump(2) << "\n";
    return std::nullopt;
  }
  if (meta.emit == "library")
    throw UsageError(
        "compiled with --emit=library: load it with nullspace.runtime; only --info works here");
  for (auto [name, value] :
       {std::pair("--data-dir", &options.common.dataDir), {"--output", &options.common.output}})
    if (value->empty())
      throw UsageError(str(name, " is required"));
  if (options.synthesis.recipe == "paper")
    applyRecipe(app, options.synthesis);
  resolveNoise(meta, options.synthesis);
  if (meta.emit == "finetune" && meta.trainsBatchNorm &&
      options.finetune.batchSize % meta.batch != 0)
    throw UsageError(str("--batch-size: expected a multiple of ", meta.batch,
                         ", the compiled batch, of which batch norms take the statistics; found ",
                         options.finetune.batchSize));
  resolveEvaluate(options.common, options.evaluate);
  for (std::string *path :
       {&options.common.dataDir, &options.common.output, &options.common.weights,
        &options.common.classMap, &options.finetune.noise, &options.evaluate.noise,
        &options.evaluate.frostDir, &options.evaluate.saveCorrupted,
        &options.evaluate.saveAdversarial, &options.evaluate.compare, &options.common.profile})
    *path = absolute(*path);
  options.argsYaml = flags.yaml();
  return options;
}
