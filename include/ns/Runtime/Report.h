//===- Report.h - tables and results on disk --------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_REPORT_H
#define NS_RUNTIME_REPORT_H

#include "ns/Runtime/Progress.h"
#include "ns/Runtime/Tensor.h"

#include <string>
#include <vector>

namespace ns::runtime {

/// The shortest text that reads back as the same number; "" for NaN (an empty cell).
std::string numberText(double value);
/// Six digits, for people.
std::string shortText(double value);

/// A CSV file, always whole on disk: rewritten at most once a second, and by flush().
class CsvFile {
public:
  CsvFile(std::string path, const std::string &header)
      : path(std::move(path)), text(header + "\n") {}
  void row(const std::vector<std::string> &cells);
  void flush();
  /// Keeps what an earlier run wrote: its rows, up to `rows` of them.
  void keepRows(const std::string &earlier, int64_t rows);

private:
  std::string path, text;
  Stopwatch clock;
  double lastWrite = -1e9;
};

/// What NumPy's .npy of a float tensor begins with; the elements follow.
std::string npyHeader(Dtype dtype, const std::vector<int64_t> &shape);

} // namespace ns::runtime

#endif // NS_RUNTIME_REPORT_H
