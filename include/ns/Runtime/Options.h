//===- Options.h - command lines of the executables -------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_OPTIONS_H
#define NS_RUNTIME_OPTIONS_H

#include "ns/Runtime/Artifact.h"
#include "ns/Runtime/Corruptions.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace ns::runtime {

/// Flags every executable has.
struct CommonOptions {
  std::string dataDir, output, weights, classMap;
  std::string profile; ///< file for a trace; empty: no profile
  uint64_t seed = 42;
  int threads = 0;
  int64_t maxSamples = 0; ///< 0: all
  bool verify = false, noEma = false;
};

/// How a noise is made (method.md 3); defaults are the method's.
struct SynthesisOptions {
  int64_t steps = 0; ///< 0: rounds over the subset
  int64_t rounds = 3;
  int64_t batchSize = 128;
  std::string objective = "logit_l2sq", reg = "none";
  double lambda = 0.1;
  double norm = 0;  ///< of fixed_norm; 0: the start's
  std::string lim;  ///< a number or auto; from the artefact unless given
  std::string init; ///< uniform, normal, zero or a file; from the artefact unless given
  double lr = 0.1, weightDecay = 0, eps = 0.03;
  int64_t evalEvery = 50, stopSamples = 512;
  double trainFraction = 0.1;
  bool noShuffle = false;
  std::string recipe; ///< empty, or "paper"
};

/// Method.md 4.
struct FinetuneOptions {
  std::string arm = "nullspace";
  int64_t rounds = 20, stepsPerRound = 40, batchSize = 128;
  double lr = 1e-5, minLr = 1e-6, weightDecay = 0.05;
  std::string aug = "basic";
  std::string noise;    ///< a file: fixed noise in every round
  double noiseNorm = 0; ///< of arm gaussian; 0: shrink until the stop test passes
  int64_t holdoutSamples = 512;
  /// Of arms madry and trades, in pixels of [0, 1]: the Linf ball, its steps, their size.
  double attackEps = 8. / 255, attackStepSize = 2. / 255;
  int64_t attackSteps = 10;
  double beta = 1; ///< of arm trades: weight of the divergence
  bool resume = false;
};

/// "fgsm:eps=4/255", taken apart.
struct AttackSpec {
  std::string text, kind;
  std::map<std::string, double> numbers;
  std::map<std::string, std::string> words;
  double number(const std::string &key) const { return numbers.at(key); }
};

/// A test set beside the evaluation's own.
struct ShiftedSet {
  std::string name, folder;
};

/// Method.md 5.
struct EvaluateOptions {
  std::string split = "val", noise, saveLogits;
  std::vector<std::string> attackTexts;
  std::vector<AttackSpec> attacks;
  std::vector<std::string> corruptionTexts;
  std::vector<Corruption> corruptions;
  int corruptionJpeg = 0;                ///< quality at which corrupted images are stored; 0: not
  std::string frostDir;                  ///< empty: procedural frost
  std::string saveCorrupted;             ///< folder to write the corrupted images to; empty: none
  std::string saveAdversarial;           ///< folder to write the attacks' images to; empty: none
  std::vector<std::string> transfer;     ///< folders of other models' adversarial images
  std::vector<std::string> shiftedTexts; ///< NAME:DIR
  std::vector<ShiftedSet> shifted;
  std::string seedsText;       ///< "0,1,2"
  std::vector<uint64_t> seeds; ///< at least one
  std::string interval = "wilson", compare;
  bool restart = false;
};

struct Options {
  CommonOptions common;
  SynthesisOptions synthesis;
  FinetuneOptions finetune;
  EvaluateOptions evaluate;
  std::string argsYaml; ///< the resolved flags; --config reads it back
};

/// "0.1" or "8/255", a finite number; nothing where the text is neither.
std::optional<double> parseFraction(const std::string &text);

/// Fills in defaults, checks every key and value. Throws UsageError.
AttackSpec parseAttack(const std::string &text);

/// The command line of an executable with this artefact; arguments without the program's name.
/// Prints and returns nothing for --help and --info. Throws UsageError.
std::optional<Options> parseCommandLine(const Metadata &metadata, const std::string &program,
                                        std::vector<std::string> arguments);

} // namespace ns::runtime

#endif // NS_RUNTIME_OPTIONS_H
