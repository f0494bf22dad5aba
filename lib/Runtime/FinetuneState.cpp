//===- FinetuneState.cpp - what a finetuning run resumes from -------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "FinetuneState.h"
#include "ns/Checkpoint/SafeTensors.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/Report.h"

#include <set>
#include <sstream>

using namespace ns::runtime;

static constexpr const char *kMoments[][2] = {{"params.m", "exp_avg/"},
                                              {"params.v", "exp_avg_sq/"}};

/// The part of a flat moment that belongs to one parameter.
static TensorView momentOf(const Session &session, const char *slot, const ParamInfo &param) {
  TensorView flat = session.slot(slot);
  return {static_cast<char *>(flat.data) + param.offset, flat.dtype, param.shape};
}

/// Name of an entry -> where it lies in memory: parameters, then both moments of the trainable
/// ones.
static std::vector<std::pair<std::string, TensorView>> stateTensors(const Session &session) {
  std::vector<std::pair<std::string, TensorView>> tensors;
  for (const ParamInfo &param : session.metadata().params)
    tensors.emplace_back("param/" + param.name, session.param(param));
  for (auto [slot, prefix] : kMoments)
    for (const ParamInfo &param : session.metadata().params)
      if (param.trainable)
        tensors.emplace_back(prefix + param.name, momentOf(session, slot, param));
  return tensors;
}

void ns::runtime::saveFinetuneState(const std::string &path, const Session &session,
                                    const FinetunePosition &position, const std::string &argsYaml) {
  ns::checkpoint::SafeTensorsWriter writer;
  for (auto &[name, tensor] : stateTensors(session))
    writer.add(name, tensor);
  writer.setMetadata({{"format", "nullspace-finetune-state"},
                      {"step", std::to_string(position.step)},
                      {"best_round", std::to_string(position.bestRound)},
                      {"best_accuracy", numberText(position.bestAccuracy)},
                      {"seconds", numberText(position.seconds)},
                      {"options", argsYaml}});
  writer.write(path);
}

/// Flags that may differ between the parts of one run.
static const std::set<std::string> kFree = {"data-dir", "output", "resume", "threads", "class-map",
                                            "weights",  "verify", "noise",  "no-ema"};

static std::map<std::string, std::string> shapingFlags(const std::string &yaml) {
  std::map<std::string, std::string> flags;
  std::istringstream lines(yaml);
  for (std::string line; std::getline(lines, line);)
    if (size_t colon = line.find(": ");
        colon != std::string::npos && !kFree.count(line.substr(0, colon)))
      flags[line.substr(0, colon)] = line.substr(colon + 2);
  return flags;
}

static void compareOptions(const std::string &path, const std::string &then,
                           const std::string &now) {
  auto before = shapingFlags(then), after = shapingFlags(now);
  std::string differences;
  for (auto &[flag, value] : after)
    if (before[flag] != value)
      differences += str("\n  --", flag, ": expected ",
                         before[flag].empty() ? "none" : before[flag], ", found ", value);
  if (!differences.empty())
    fail(path, ": the run to resume had other flags:", differences);
}

FinetunePosition ns::runtime::loadFinetuneState(const std::string &path, Session &session,
                                                const std::string &argsYaml) {
  ns::checkpoint::SafeTensorsReader file(path);
  auto value = [&](const char *key) {
    auto it = file.metadata().find(key);
    if (it == file.metadata().end())
      fail(path, ": expected the state of a finetuning run, found no '", key, "' in its metadata");
    return it->second;
  };
  auto number = [&](const char *key) {
    std::string text = value(key);
    char *end;
    double x = std::strtod(text.c_str(), &end);
    if (end == text.c_str() || *end)
      fail(path, ": metadata '", key, "': expected a number, found '", text, "'");
    return x;
  };
  compareOptions(path, value("options"), argsYaml);
  FinetunePosition position{static_cast<int64_t>(number("step")),
                            static_cast<int64_t>(number("best_round")), number("best_accuracy"),
                            number("seconds")};
  std::string problems;
  auto tensors = stateTensors(session);
  for (auto &[name, tensor] : tensors) {
    const ns::checkpoint::Tensor *entry = file.find(name);
    if (!entry || entry->shape != tensor.shape)
      problems += str("\n  '", name, "': expected shape ", shapeText(tensor.shape), ", found ",
                      entry ? shapeText(entry->shape) : "none");
  }
  if (!problems.empty())
    fail(path, ": entries do not fit the model:", problems);
  for (auto &[name, tensor] : tensors)
    file.read(*file.find(name), tensor);
  session.changedParams();
  for (auto [slot, prefix] : kMoments)
    session.changed(slot);
  return position;
}
