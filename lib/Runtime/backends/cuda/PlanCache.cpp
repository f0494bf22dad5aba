//===- PlanCache.cpp - chosen algorithms of products, remembered ----------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "PlanCache.h"
#include "ns/Runtime/Error.h"

#include <nlohmann/json.hpp>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace ns::runtime;
using namespace ns::runtime::cuda;
using json = nlohmann::json;

namespace fs = std::filesystem;

static constexpr int kFormat = 1;

/// FNV-1a, 64 bits: a name for a file, no more.
static std::string hashOf(const std::string &text) {
  uint64_t hash = 1469598103934665603u;
  for (unsigned char c : text)
    hash = (hash ^ c) * 1099511628211u;
  char hex[17];
  std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(hash));
  return hex;
}

static std::string cacheFolder() {
  if (const char *cache = std::getenv("XDG_CACHE_HOME"); cache && *cache == '/')
    return str(cache, "/nullspace");
  const char *home = std::getenv("HOME");
  return home && *home ? str(home, "/.cache/nullspace") : "";
}

PlanCache::PlanCache(std::string machine) : machine(std::move(machine)) {
  std::string folder = cacheFolder();
  if (folder.empty())
    return;
  file = folder + "/products-" + hashOf(this->machine) + ".json";
  choices = read();
}

static ProductChoice parseChoice(const json &value) {
  ProductChoice choice;
  const json &words = value.at("algo");
  if (!words.is_array() || words.size() != std::size(choice.algo.data))
    throw std::runtime_error("an algorithm of another length");
  for (size_t i = 0; i < words.size(); ++i)
    choice.algo.data[i] = words[i].get<uint64_t>();
  choice.workspace = value.at("workspace").get<uint64_t>();
  choice.microseconds = value.at("microseconds").get<double>();
  return choice;
}

std::map<std::string, ProductChoice> PlanCache::read() const {
  std::ifstream in(file);
  if (!in)
    return {};
  std::map<std::string, ProductChoice> found;
  try {
    json root = json::parse(in);
    if (root.at("format") != kFormat || root.at("machine") != machine)
      throw std::runtime_error("expected format 1 for " + machine);
    for (const auto &[product, choice] : root.at("products").items())
      found[product] = parseChoice(choice);
  } catch (const std::exception &error) {
    std::fprintf(stderr, "note: %s: not read: %s; products are timed again\n", file.c_str(),
                 error.what());
    return {};
  }
  return found;
}

std::optional<ProductChoice> PlanCache::find(const std::string &product) const {
  auto it = choices.find(product);
  return it == choices.end() ? std::nullopt : std::optional(it->second);
}

void PlanCache::add(const std::string &product, const ProductChoice &choice) {
  choices[product] = choice;
  changed = true;
}

void PlanCache::save() {
  if (!changed || file.empty())
    return;
  changed = false;
  auto all = read();
  for (const auto &[product, choice] : choices)
    all[product] = choice;
  json products = json::object();
  for (const auto &[product, choice] : all)
    products[product] = {{"algo", choice.algo.data},
                         {"workspace", choice.workspace},
                         {"microseconds", choice.microseconds}};
  json root = {{"format", kFormat}, {"machine", machine}, {"products", products}};
  std::error_code code;
  fs::create_directories(fs::path(file).parent_path(), code);
  std::string draft = str(file, ".", ::getpid());
  std::ofstream out(draft);
  out << root.dump(1) << '\n';
  out.close();
  if (out)
    fs::rename(draft, file, code);
  if (!out || code)
    std::fprintf(stderr, "note: %s: cannot be written; the next run times its products again\n",
                 file.c_str());
}
