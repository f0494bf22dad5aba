//===- Results.h - results.json and outcomes.csv ----------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_RUNTIME_RESULTS_H
#define NS_LIB_RUNTIME_RESULTS_H

#include "ns/Numerics/Statistics.h"
#include "ns/Runtime/FileIO.h"
#include "ns/Runtime/Report.h"

#include <nlohmann/json.hpp>

namespace ns::runtime {

/// Collects measurements, and for each image what came out, for results.json and outcomes.csv.
class Results {
public:
  Results(std::string folder, nlohmann::json header)
      : folder(std::move(folder)), root(std::move(header)) {
    root["measurements"] = nlohmann::json::array();
  }

  void add(const std::string &kind, double value, int64_t n, numerics::Interval interval,
           nlohmann::json parameters) {
    root["measurements"].push_back({{"kind", kind},
                                    {"value", value},
                                    {"n", n},
                                    {"interval", {interval.low, interval.high}},
                                    {"parameters", std::move(parameters)}});
  }
  /// A share of yes among one outcome for each image, with Wilson's interval; also a column of
  /// outcomes.csv.
  double addShare(const std::string &kind, const std::string &column,
                  const std::vector<char> &outcomes, nlohmann::json parameters) {
    int64_t yes = 0, n = static_cast<int64_t>(outcomes.size());
    for (char outcome : outcomes)
      yes += outcome;
    double value = n ? static_cast<double>(yes) / n : 0;
    add(kind, value, n, numerics::wilson(yes, n), std::move(parameters));
    std::vector<std::string> cells;
    for (char outcome : outcomes)
      cells.push_back(outcome ? "1" : "0");
    addColumn(column, std::move(cells));
    return value;
  }
  void addColumn(std::string name, std::vector<std::string> cells) {
    columns.emplace_back(std::move(name), std::move(cells));
  }

  void write() const {
    writeTextFile(folder + "/results.json", root.dump(2) + "\n");
    std::string header;
    for (auto &[name, cells] : columns)
      header += (header.empty() ? "" : ",") +
                (name.find(',') == std::string::npos ? name : "\"" + name + "\"");
    CsvFile table(folder + "/outcomes.csv", header);
    for (size_t i = 0; !columns.empty() && i < columns[0].second.size(); ++i) {
      std::vector<std::string> row;
      for (auto &[name, cells] : columns)
        row.push_back(cells[i]);
      table.row(row);
    }
    table.flush();
  }

private:
  std::string folder;
  nlohmann::json root;
  std::vector<std::pair<std::string, std::vector<std::string>>> columns;
};

} // namespace ns::runtime

#endif // NS_LIB_RUNTIME_RESULTS_H
