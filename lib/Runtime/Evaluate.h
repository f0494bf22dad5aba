//===- Evaluate.h - parts of an evaluation ----------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_RUNTIME_EVALUATE_H
#define NS_LIB_RUNTIME_EVALUATE_H

#include "Results.h"

#include "ns/Runtime/BatchLoader.h"
#include "ns/Runtime/Journal.h"
#include "ns/Runtime/Options.h"
#include "ns/Runtime/Progress.h"

#include <functional>

namespace ns::runtime {

/// What the parts of one evaluation share.
struct EvaluationContext {
  Session &session;
  const Options &options;
  Results &results;
  Journal &journal;
  BatchLoader &loader;              ///< of the images below
  const ImageList &images;          ///< the evaluation's own
  std::vector<int32_t> predictions; ///< of the clean images
  double cleanAccuracy = 0;         ///< on them, in [0, 1]

  const Dataset &data() const { return images.data; }
  int64_t classes() const { return session.metadata().model.classes; }
};

/// One pass of the entry `forward` over images.
struct ForwardPass {
  std::string title; ///< for the progress
  Tape tape;
  const ImageList &images;
  std::function<void(std::span<const int64_t>)> load; ///< a piece into the slots
  std::function<void(std::span<const int64_t>)> read =
      nullptr;                             ///< after each piece, if there is something to take
  const std::vector<char> *mask = nullptr; ///< the classes that may win; null: all
};
/// The class predicted for each image. Pieces that the tape has are not run again. Throws Error
/// (also for NaN in the logits) and Stopped.
std::vector<int32_t> predict(Session &session, ForwardPass pass);

/// Which predictions are the labels.
std::vector<char> correctOf(const ImageList &images, std::span<const int32_t> predictions);

/// Share of logits argmaxes that each noise (learned, permuted, gaussian) keeps, and how far it
/// moves them. Throws Error and Stopped.
void measureNoise(EvaluationContext &context);

/// Accuracy under every corruption of the options, streamed; mean error, mCE and relative mCE where
/// all 15 kinds are there at all severities. Throws Error and Stopped.
void measureCorruptions(EvaluationContext &context);

/// Every --shifted set, every --transfer folder. Throws Error and Stopped.
void measureShifted(EvaluationContext &context);
void measureTransfer(EvaluationContext &context);

/// The names of the model's classes, as folders have them: of --class-map, else of --data-dir's
/// folders; empty where it has none.
std::vector<std::string> classNames(const EvaluationContext &context);

/// Errors of the 15 common kinds at all severities, gathered for mean error and mCE.
class CorruptionErrors {
public:
  void add(const Corruption &corruption, double error) {
    errors[corruption.kind][corruption.severity].push_back(error);
  }
  /// Adds mean error, and for the table of ImageNet-C mCE and relative mCE, once all are there
  /// (Hendrycks and Dietterich, section 4.1); several errors of one kind and severity (of seeds)
  /// count by their mean.
  void summarise(EvaluationContext &context, CorruptionTable table, int64_t n,
                 const nlohmann::json &set) const;

private:
  std::map<std::string, std::map<int, std::vector<double>>> errors;
};

/// Adds a measurement of kind `seeds` where one was made with several: mean, smallest and largest.
void addSeeds(EvaluationContext &context, const std::string &of, std::span<const double> values);

} // namespace ns::runtime

#endif // NS_LIB_RUNTIME_EVALUATE_H
