//===- Report.cpp - tables and results on disk ----------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Report.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/FileIO.h"

#include <charconv>
#include <cmath>

using namespace ns::runtime;

std::string ns::runtime::numberText(double value) {
  if (std::isnan(value))
    return "";
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

std::string ns::runtime::shortText(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6g", value);
  return text;
}

void CsvFile::row(const std::vector<std::string> &cells) {
  for (size_t i = 0; i < cells.size(); ++i) {
    bool quoted = cells[i].find_first_of(",\"\n") != std::string::npos;
    text += i ? "," : "";
    if (!quoted) {
      text += cells[i];
      continue;
    }
    text += '"';
    for (char c : cells[i])
      text += c == '"' ? "\"\"" : std::string(1, c);
    text += '"';
  }
  text += "\n";
  if (clock.seconds() - lastWrite > 1)
    flush();
}

void CsvFile::flush() {
  writeTextFile(path, text);
  lastWrite = clock.seconds();
}

void CsvFile::keepRows(const std::string &earlier, int64_t rows) {
  std::istringstream lines(earlier);
  std::string line;
  std::getline(lines, line); // the header
  while (rows-- > 0 && std::getline(lines, line))
    text += line + "\n";
}

std::string ns::runtime::npyHeader(Dtype dtype, const std::vector<int64_t> &shape) {
  std::string dims;
  for (int64_t dim : shape)
    dims += std::to_string(dim) + ", ";
  std::string header = str("{'descr': '", dtype == Dtype::F64 ? "<f8" : "<f4",
                           "', 'fortran_order': False, 'shape': (", dims, "), }");
  header.append(63 - (header.size() + 10) % 64, ' ');
  header += '\n';
  std::string start("\x93NUMPY\1\0", 8);
  start += static_cast<char>(header.size());
  start += static_cast<char>(header.size() >> 8);
  return start + header;
}
