//===- AttackSpec.cpp - attacks as the command line names them ------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Attacks.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/Options.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <sstream>

using namespace ns::runtime;

namespace {
struct Kind {
  std::map<std::string, double> numbers;                 ///< defaults
  std::map<std::string, std::vector<std::string>> words; ///< choices, the first is the default
};
} // namespace

static Kind with(Kind kind, const char *key, double value) {
  kind.numbers[key] = value;
  return kind;
}

static const std::map<std::string, Kind> &kinds() {
  static const Kind apgd = {{{"eps", 8. / 255}, {"steps", 100}, {"restarts", 1}, {"rho", 0.75}},
                            {{"norm", {"linf", "l2"}}, {"start", {"random", "clean"}}}};
  static const std::map<std::string, Kind> table = {
      {"fgsm", {{{"eps", 4. / 255}}, {}}},
      {"bim",
       {{{"eps", 8. / 255}, {"alpha", 2. / 255}, {"steps", 10}, {"restarts", 1}},
        {{"norm", {"linf", "l2"}}, {"start", {"clean"}}}}},
      {"pgd",
       {{{"eps", 8. / 255}, {"alpha", 2. / 255}, {"steps", 10}, {"restarts", 1}},
        {{"norm", {"linf", "l2"}}, {"start", {"random", "clean"}}}}},
      {"mim", {{{"eps", 8. / 255}, {"alpha", 2. / 255}, {"steps", 10}, {"decay", 1}}, {}}},
      {"apgd-ce", apgd},
      {"apgd-dlr", apgd},
      {"apgd-t", with(apgd, "targets", 9)},
      {"cw", {{{"c", 1}, {"kappa", 0}, {"steps", 50}, {"lr", 0.01}, {"search", 0}}, {}}},
      {"fab-t",
       {{{"eps", 8. / 255},
         {"steps", 100},
         {"targets", 9},
         {"alpha-max", 0.1},
         {"eta", 1.05},
         {"beta", 0.9}},
        {{"norm", {"linf", "l2"}}}}},
      {"autoattack", {{{"eps", 8. / 255}, {"steps", 100}, {"targets", 9}, {"queries", 5000}}, {}}},
      {"patchfool",
       {{{"num_patch", 1},
         {"sparse_pixel_num", 0},
         {"learnable_mask_stop", 200},
         {"atten_loss_weight", 0.002},
         {"atten_select", 4},
         {"mild_l_2", 0},
         {"mild_l_inf", 0},
         {"train_attack_iters", 250},
         {"attack_learning_rate", 0.22},
         {"step_size", 10},
         {"gamma", 0.95},
         {"patch_size", 0}},
        {{"patch_select", {"Attn", "Saliency", "Rand"}},
         {"attack_mode", {"Attention", "CE_loss"}},
         {"random_sparse_pixel", {"no", "yes"}},
         {"pcgrad", {"reference", "exact"}},
         {"iterate", {"best", "last"}}}}},
      {"square", {{{"eps", 8. / 255}, {"queries", 5000}, {"p", 0.8}}, {}}}};
  return table;
}

std::optional<double> ns::runtime::parseFraction(const std::string &text) {
  char *end = nullptr;
  double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str())
    return std::nullopt;
  if (*end == '/') {
    const char *second = end + 1;
    double divisor = std::strtod(second, &end);
    if (end == second || divisor == 0)
      return std::nullopt;
    value /= divisor;
  }
  if (*end || !std::isfinite(value))
    return std::nullopt;
  return value;
}

static double parseNumber(const std::string &attack, const std::string &key,
                          const std::string &text) {
  double value = parseFraction(text).value_or(-1);
  if (value < 0)
    throw UsageError("--attack " + attack + ": expected a number or a fraction for " + key +
                     ", found '" + text + "'");
  static const std::set<std::string> counts = {
      "steps", "restarts", "queries", "targets", "num_patch", "train_attack_iters", "step_size"};
  static const std::set<std::string> countsFromZero = {
      "search", "sparse_pixel_num", "learnable_mask_stop", "atten_select", "patch_size"};
  static const std::set<std::string> shares = {"p", "rho", "alpha-max", "beta", "gamma"};
  static const std::set<std::string> positive = {"c", "lr", "eta", "attack_learning_rate"};
  bool whole = counts.count(key) || countsFromZero.count(key);
  if ((whole && (value < counts.count(key) || value > 1e9 || value != std::floor(value))) ||
      (shares.count(key) && (value <= 0 || value > 1)) || (positive.count(key) && value <= 0) ||
      (key == "mild_l_inf" && value > 1))
    throw UsageError("--attack " + attack + ": " + key + " = " + text + " is out of range");
  return value;
}

int64_t ns::runtime::numTargetClasses(Session &session, const AttackSpec &spec) {
  int64_t classes = session.slot("logits").rowCount(), least = spec.kind == "apgd-t" ? 4 : 2;
  if (classes < least)
    throw UsageError("--attack " + spec.text + ": expected a model of at least " +
                     std::to_string(least) + " classes, found " + std::to_string(classes));
  return std::min(static_cast<int64_t>(spec.number("targets")), classes - 1);
}

void ns::runtime::predictsLabel(AttackContext &context, std::span<const int64_t> images,
                                char *out) {
  context.session.run("forward");
  TensorView logits = context.session.slot("logits");
  int64_t classes = logits.rowCount();
  for (size_t i = 0; i < images.size(); ++i)
    out[i] = argmax(logits, i * classes, classes) == context.loader.dataset().label(images[i]);
}

std::string AttackContext::survivorsText(const Survivors &survivors) {
  std::string text;
  for (char stands : survivors)
    text += stands ? '1' : '0';
  return text;
}

Survivors AttackContext::parseSurvivors(const nlohmann::json &text, size_t count) {
  std::string digits = text.is_string() ? text.get<std::string>() : "";
  if (digits.size() != count)
    fail("the journal's piece of an attack: expected ", count, " images, found ", digits.size(),
         "; begin anew with --restart");
  Survivors survivors;
  for (char digit : digits)
    survivors.push_back(digit == '1');
  return survivors;
}

Survivors ns::runtime::attack(AttackContext &context, const AttackSpec &spec) {
  return spec.kind == "fgsm"             ? attackFgsm(context, spec)
         : spec.kind == "mim"            ? attackMim(context, spec)
         : spec.kind.starts_with("apgd") ? attackApgd(context, spec)
         : spec.kind == "cw"             ? attackCw(context, spec)
         : spec.kind == "fab-t"          ? attackFab(context, spec)
         : spec.kind == "autoattack"     ? attackAuto(context, spec)
         : spec.kind == "square"         ? attackSquare(context, spec)
         : spec.kind == "patchfool"      ? attackPatchFool(context, spec)
                                         : attackPgd(context, spec); // bim and pgd
}

AttackSpec ns::runtime::parseAttack(const std::string &text) {
  AttackSpec spec;
  spec.text = text;
  size_t colon = text.find(':');
  spec.kind = text.substr(0, colon);
  auto it = kinds().find(spec.kind);
  if (it == kinds().end()) {
    std::string known;
    for (auto &[name, kind] : kinds())
      known += " " + name;
    throw UsageError("--attack " + text + ": expected one of" + known + ", found '" + spec.kind +
                     "'");
  }
  spec.numbers = it->second.numbers;
  for (auto &[key, choices] : it->second.words)
    spec.words[key] = choices[0];
  std::istringstream parts(colon == std::string::npos ? "" : text.substr(colon + 1));
  for (std::string part; std::getline(parts, part, ',');) {
    size_t equals = part.find('=');
    std::string key = part.substr(0, equals),
                value = equals == std::string::npos ? "" : part.substr(equals + 1);
    if (spec.numbers.count(key)) {
      spec.numbers[key] = parseNumber(text, key, value);
      continue;
    }
    std::string known;
    for (auto &[name, number] : spec.numbers)
      known += " " + name;
    for (auto &[name, word] : spec.words)
      known += " " + name;
    if (!spec.words.count(key))
      throw UsageError("--attack " + text + ": expected one of" + known + ", found '" + key + "'");
    const auto &choices = it->second.words.at(key);
    if (std::find(choices.begin(), choices.end(), value) == choices.end()) {
      std::string known;
      for (const std::string &choice : choices)
        known += (known.empty() ? "" : " or ") + choice;
      throw UsageError("--attack " + text + ": expected " + key + "=" + known + ", found '" +
                       value + "'");
    }
    spec.words[key] = value;
  }
  return spec;
}
