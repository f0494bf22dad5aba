//===- Names.h - one name for a layer, whoever named it ---------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The same network has parameters of other names in timm, in transformers (whose files keep older
// names than its modules), in torchvision and in the papers' repositories. Each name is translated
// to a common one, so that two sides agree when their translations do, and no pair of libraries
// needs a table of its own:
//
//   timm          blocks.3.attn.qkv.weight blocks.3.attn.qkv.weight transformers
//   vit.encoder.layer.3.attention.attention.key.weight          blocks.3.attn.qkv.weight, part 1 of
//   3 torchvision   encoder.layers.encoder_layer_3.self_attention.in_proj_weight
//   blocks.3.attn.qkv.weight
//
// Parts follow one another along dimension 0.
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_CHECKPOINT_NAMES_H
#define NS_LIB_CHECKPOINT_NAMES_H

#include <string>
#include <tuple>
#include <vector>

namespace ns::checkpoint {

struct CommonName {
  std::string name;
  int part = 0, parts = 1;
  bool operator<(const CommonName &other) const {
    return std::tie(name, part, parts) < std::tie(other.name, other.part, other.parts);
  }
};

/// The common name of each of a model's names. Names that no rule knows, and those whose
/// translation another one has, stay as they are.
std::vector<CommonName> translate(const std::vector<std::string> &names);

/// Buffers that a library stores though they follow from the architecture, and parameters that a
/// classifier does not read: nothing is lost where a model has none of them.
bool isDispensable(const std::string &name);

} // namespace ns::checkpoint

#endif // NS_LIB_CHECKPOINT_NAMES_H
