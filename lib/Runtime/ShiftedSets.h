//===- ShiftedSets.h - layouts of published test sets -----------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_RUNTIME_SHIFTEDSETS_H
#define NS_LIB_RUNTIME_SHIFTEDSETS_H

#include "ns/Runtime/Corruptions.h"
#include "ns/Runtime/Dataset.h"
#include "ns/Runtime/FileIO.h"

#include <map>

namespace ns::runtime {

/// CIFAR-10-C and its like: KIND.npy of uint8 images (5 n) x H x W x 3, the severities one after
/// the other, and labels.npy of n or 5 n whole numbers. Images are read one at a time.
class CorruptionArrays {
public:
  /// Throws Error where labels.npy is missing or wrong.
  CorruptionArrays(const std::string &folder, int64_t classes);

  static bool isAt(const std::string &folder);
  /// The kinds that are there, the published ones first and in their order.
  const std::vector<std::string> &kinds() const { return names; }
  /// The images of one severity. Throws Error where the array is of another type or shape.
  std::unique_ptr<Dataset> open(const Corruption &corruption) const;

private:
  std::string folder;
  std::vector<std::string> names;
  std::vector<int32_t> labels;
};

/// A folder laid out as ImageNet-C: KIND/SEVERITY/CLASS/image, also as its archives unpack
/// (blur/defocus_blur/...).
class CorruptionTree {
public:
  explicit CorruptionTree(const std::string &folder);

  const std::vector<std::string> &kinds() const { return names; }
  /// Empty where that severity is not there.
  std::string folderOf(const Corruption &corruption) const;

private:
  std::vector<std::string> names;
  std::map<std::string, std::string> folders; ///< by kind
};

} // namespace ns::runtime

#endif // NS_LIB_RUNTIME_SHIFTEDSETS_H
