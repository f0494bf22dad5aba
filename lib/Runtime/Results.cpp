//===- Results.cpp - results.json and outcomes.csv ------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Results.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/FileIO.h"
#include "ns/Runtime/Report.h"
#include "ns/Runtime/Rng.h"

#include <algorithm>
#include <cctype>

using namespace ns::runtime;
namespace numerics = ns::numerics;
using nlohmann::json;

static constexpr int kResamples = 2000;

ImageList::ImageList(const Dataset &data, std::span<const int64_t> chosen)
    : data(data), chosen(chosen) {
  std::string text;
  for (int64_t index : chosen)
    text += data.name(index) + "\t" + std::to_string(data.label(index)) + "\n";
  hash = xxh3Hex(text.data(), text.size());
}

Results::Results(std::string folder, json header, IntervalOptions intervals)
    : folder(std::move(folder)), intervals(intervals), root(std::move(header)) {
  root["measurements"] = json::array();
  root["image_sets"] = json::object();
  root["interval_method"] =
      intervals.bootstrap ? str("bootstrap, ", kResamples, " resamples") : "wilson";
}

void Results::describe(const ImageList &images, json source) {
  source["n"] = images.chosen.size();
  root["image_sets"][images.hash] = std::move(source);
}

void Results::add(const std::string &kind, double value, int64_t n, numerics::Interval interval,
                  json parameters) {
  root["measurements"].push_back({{"kind", kind},
                                  {"value", value},
                                  {"n", n},
                                  {"interval", {interval.low, interval.high}},
                                  {"parameters", std::move(parameters)}});
}

/// Percentiles of the means of resamples; value(i) is image i's.
template <class Fn> static numerics::Interval bootstrap(int64_t n, uint64_t seed, Fn value) {
  std::vector<double> means;
  for (int resample = 0; n > 0 && resample < kResamples; ++resample) {
    Rng rng(seed, Stream::Bootstrap, resample);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i)
      sum += value(rng.nextBelow(n));
    means.push_back(sum / static_cast<double>(n));
  }
  return numerics::percentiles95(std::move(means));
}

double Results::addMean(const std::string &kind, std::span<const double> values, json parameters) {
  numerics::MeanEstimate estimate = numerics::meanEstimate(values);
  auto n = static_cast<int64_t>(values.size());
  add(kind, estimate.mean, n,
      intervals.bootstrap ? bootstrap(n, intervals.seed, [&](int64_t i) { return values[i]; })
                          : estimate.interval,
      std::move(parameters));
  return estimate.mean;
}

/// The first image is the most significant bit of the first byte.
static std::string bitmap(const std::vector<char> &outcomes) {
  std::string hex;
  for (size_t at = 0; at < outcomes.size(); at += 4) {
    int digit = 0;
    for (size_t k = 0; k < 4; ++k)
      digit = 2 * digit + (at + k < outcomes.size() && outcomes[at + k]);
    hex += "0123456789abcdef"[digit];
  }
  return hex.size() % 2 ? hex + "0" : hex;
}

double Results::addShare(const std::string &kind, const std::string &column,
                         const ImageList &images, const std::vector<char> &outcomes,
                         json parameters) {
  int64_t n = static_cast<int64_t>(outcomes.size()),
          yes = std::count_if(outcomes.begin(), outcomes.end(), [](char o) { return o != 0; });
  double value = n ? static_cast<double>(yes) / static_cast<double>(n) : 0;
  add(kind, value, n,
      intervals.bootstrap
          ? bootstrap(n, intervals.seed, [&](int64_t i) { return outcomes[i] ? 1.0 : 0.0; })
          : numerics::wilson(yes, n),
      std::move(parameters));
  json &added = root["measurements"].back();
  added["column"] = column;
  added["images"] = images.hash;
  added["outcomes"] = bitmap(outcomes);
  return value;
}

double Results::addOwnShare(const std::string &kind, const std::string &column,
                            const ImageList &images, const std::vector<char> &outcomes,
                            json parameters) {
  columns.emplace_back(column, outcomes);
  return addShare(kind, column, images, outcomes, std::move(parameters));
}

void Results::setPredictions(const ImageList &images, std::span<const int32_t> classes) {
  own = &images;
  predictions.assign(classes.begin(), classes.end());
}

static std::vector<char> unpack(const std::string &hex, int64_t n) {
  std::vector<char> outcomes;
  for (char c : hex)
    for (int bit = 3; bit >= 0; --bit)
      outcomes.push_back((c <= '9' ? c - '0' : (c | 32) - 'a' + 10) >> bit & 1);
  outcomes.resize(n);
  return outcomes;
}

namespace {
/// What another evaluation says of one column.
struct Column {
  std::string hex;
  int64_t n;
};
using Columns = std::map<std::pair<std::string, std::string>, Column>; ///< by images and column
} // namespace

/// The measurements with a bitmap.
static Columns columnsOf(const std::string &path, const json &file) {
  Columns found;
  try {
    for (const json &m : file.at("measurements"))
      if (m.contains("outcomes")) {
        Column column{m["outcomes"].get<std::string>(), m.at("n").get<int64_t>()};
        bool fits = column.n >= 0 && column.hex.size() == 2 * size_t((column.n + 7) / 8) &&
                    std::all_of(column.hex.begin(), column.hex.end(),
                                [](unsigned char c) { return std::isxdigit(c); });
        if (!fits)
          fail(path, ": outcomes of '", m.at("column").get<std::string>(), "': expected ", column.n,
               " bits in hex digits, found ", column.hex.size(), " digits");
        found[{m.at("images").get<std::string>(), m.at("column").get<std::string>()}] = column;
      }
  } catch (const json::exception &e) {
    fail(path, ": expected the results.json of an evaluation: ", e.what());
  }
  return found;
}

static json readComparison(const std::string &path) {
  json file = json::parse(readText(path), nullptr, false);
  if (!file.is_object())
    fail(path, ": expected the results.json of an evaluation, found no JSON object");
  if (columnsOf(path, file).empty())
    fail(path, ": expected measurements with the outcomes of images, found none");
  return file;
}

static std::string comparisonFile(const std::string &other) {
  return other.ends_with(".json") ? other : other + "/results.json";
}

void ns::runtime::requireComparison(const std::string &other) {
  readComparison(comparisonFile(other));
}

void Results::compareWith(const std::string &other) {
  std::string path = comparisonFile(other);
  json file = readComparison(path);
  Columns theirs = columnsOf(path, file), ours = columnsOf(folder + "/results.json", root);
  json weights = file.value("weights", json()), hash = file.value("weights_xxh3", json());
  int64_t tested = 0;
  json measured = root["measurements"];
  for (const json &m : measured) {
    if (!m.contains("outcomes"))
      continue;
    std::pair<std::string, std::string> key{m["images"], m["column"]};
    auto it = theirs.find(key);
    if (it == theirs.end())
      continue;
    std::vector<char> mine = unpack(ours.at(key).hex, m["n"]),
                      their = unpack(it->second.hex, m["n"]);
    int64_t onlyThis = 0, onlyOther = 0;
    for (size_t i = 0; i < mine.size(); ++i) {
      onlyThis += mine[i] && !their[i];
      onlyOther += !mine[i] && their[i];
    }
    numerics::PairedTest test = numerics::mcNemar(onlyThis, onlyOther);
    double n = m["n"].get<double>();
    add("mcnemar", test.p, m["n"], {test.p, test.p},
        {{"of", m["column"]},
         {"test", test.exact ? "exact" : "chi_square"},
         {"only_this", onlyThis},
         {"only_other", onlyOther},
         {"difference", n ? static_cast<double>(onlyThis - onlyOther) / n : 0.0},
         {"other", {{"file", path}, {"weights", weights}, {"weights_xxh3", hash}}}});
    std::printf("%-28s %+.4f against %s, p %.3g\n", m["column"].get<std::string>().c_str(),
                n ? static_cast<double>(onlyThis - onlyOther) / n : 0.0, other.c_str(), test.p);
    ++tested;
  }
  if (tested == 0)
    fail("--compare ", path,
         ": expected a measurement of the same images, found other images or other attacks");
}

static std::string quoted(const std::string &name) {
  return name.find(',') == std::string::npos ? name : "\"" + name + "\"";
}

void Results::write() const {
  writeTextFile(folder + "/results.json", root.dump(2) + "\n");
  if (!own)
    return;
  std::string header = "image,label,prediction";
  for (auto &[name, outcomes] : columns)
    header += "," + quoted(name);
  CsvFile table(folder + "/outcomes.csv", header);
  for (size_t i = 0; i < own->chosen.size(); ++i) {
    int64_t index = own->chosen[i];
    std::vector<std::string> row = {own->data.name(index), std::to_string(own->data.label(index)),
                                    std::to_string(predictions[i])};
    for (auto &[name, outcomes] : columns)
      row.push_back(outcomes[i] ? "1" : "0");
    table.row(row);
  }
  table.flush();
}

void ns::runtime::writeOutcomes(const std::string &file, const ImageList &images,
                                std::span<const int32_t> predictions,
                                const std::vector<char> &correct) {
  CsvFile table(file, "image,label,prediction,correct");
  for (size_t i = 0; i < correct.size(); ++i) {
    int64_t index = images.chosen[i];
    table.row({images.data.name(index), std::to_string(images.data.label(index)),
               std::to_string(predictions[i]), correct[i] ? "1" : "0"});
  }
  table.flush();
}

std::string ns::runtime::fileNameOf(const std::string &text) {
  std::string name = text;
  for (char &c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '-' && c != '=' &&
        c != ',')
      c = c == ':' ? '-' : '_';
  return name.empty() || name[0] == '.' ? "_" + name : name;
}
