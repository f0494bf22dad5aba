//===- ImageNetSubsets.h - classes of ImageNet-A and ImageNet-R -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_RUNTIME_IMAGENETSUBSETS_H
#define NS_LIB_RUNTIME_IMAGENETSUBSETS_H

#include <cstdint>
#include <string>
#include <vector>

namespace ns::runtime {

constexpr int64_t kImageNetClasses = 1000;

/// Which of ImageNet's 1,000 classes the set `imagenet-a` or `imagenet-r` has images of, 200 each;
/// among these alone a model decides there. Empty for other sets, and for models of another number
/// of classes.
std::vector<char> subsetOfImageNet(const std::string &name, int64_t classes);

} // namespace ns::runtime

#endif // NS_LIB_RUNTIME_IMAGENETSUBSETS_H
