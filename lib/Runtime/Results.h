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
#include "ns/Runtime/Dataset.h"

#include <nlohmann/json.hpp>

#include <span>

namespace ns::runtime {

/// The images of some measurements, told from others by a hash of their names and labels.
struct ImageList {
  const Dataset &data;
  std::span<const int64_t> chosen;
  std::string hash;

  ImageList(const Dataset &data, std::span<const int64_t> chosen);
};

/// How the intervals of results.json are made.
struct IntervalOptions {
  bool bootstrap =
      false; ///< percentiles of resampled means; else Wilson's, and the normal one of means
  uint64_t seed = 0;
};

/// Collects measurements, and for each image what came out, for results.json and outcomes.csv.
class Results {
public:
  Results(std::string folder, nlohmann::json header, IntervalOptions intervals);

  /// Says where images of a list come from, under `image_sets`.
  void describe(const ImageList &images, nlohmann::json source);

  void add(const std::string &kind, double value, int64_t n, numerics::Interval interval,
           nlohmann::json parameters);
  /// The mean of one value for each image.
  double addMean(const std::string &kind, std::span<const double> values,
                 nlohmann::json parameters);
  /// A share of yes among one outcome for each image of the list; `column` names it.
  double addShare(const std::string &kind, const std::string &column, const ImageList &images,
                  const std::vector<char> &outcomes, nlohmann::json parameters);
  /// The same of images of the evaluation's own data set: also a column of outcomes.csv.
  double addOwnShare(const std::string &kind, const std::string &column, const ImageList &images,
                     const std::vector<char> &outcomes, nlohmann::json parameters);
  /// What outcomes.csv begins with: images, labels, predictions.
  void setPredictions(const ImageList &images, std::span<const int32_t> predictions);

  /// Tests each measurement that `other`, the results.json of another evaluation, has of the same
  /// images, by McNemar. Throws Error where there is none.
  void compareWith(const std::string &other);

  void write() const;

private:
  std::string folder;
  IntervalOptions intervals;
  nlohmann::json root;
  const ImageList *own = nullptr;
  std::vector<int32_t> predictions;
  std::vector<std::pair<std::string, std::vector<char>>> columns;
};

/// Throws Error where `other` cannot be read by Results::compareWith: before hours of work.
void requireComparison(const std::string &other);

/// One outcome for each image of a list that is not the evaluation's own, as `file`: image, label,
/// prediction, correct.
void writeOutcomes(const std::string &file, const ImageList &images,
                   std::span<const int32_t> predictions, const std::vector<char> &correct);

/// `text` with what a file system may not like replaced.
std::string fileNameOf(const std::string &text);

} // namespace ns::runtime

#endif // NS_LIB_RUNTIME_RESULTS_H
