//===- Error.h - user errors of the runtime ---------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_ERROR_H
#define NS_RUNTIME_ERROR_H

#include <sstream>
#include <stdexcept>
#include <string>

namespace ns::runtime {

/// Exit statuses of the executables (design.md 6).
enum ExitStatus { kOk = 0, kUserError = 1, kUsageError = 2, kNotConverged = 3, kTerminated = 143 };

/// Something the user can mend. The text names the file, the entry, what was expected and what was
/// found.
class Error : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

/// A wrong command line: exit status 2.
class UsageError : public Error {
public:
  using Error::Error;
};

/// The parts, printed one after the other.
template <class... Parts> std::string str(const Parts &...parts) {
  std::ostringstream os;
  (os << ... << parts);
  return os.str();
}

template <class... Parts> [[noreturn]] void fail(const Parts &...parts) {
  throw Error(str(parts...));
}

/// "[2, 3]": a shape as Python prints it.
template <class Shape> std::string shapeText(const Shape &shape) {
  std::string text = "[";
  for (auto dim : shape)
    text += (text.size() > 1 ? ", " : "") + std::to_string(dim);
  return text + "]";
}

} // namespace ns::runtime

#endif // NS_RUNTIME_ERROR_H
