//===- FlaxNames.cpp - Google's vision transformers under timm's names ----===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The rules of timm's `load_pretrained`. A kernel is input x output (dense), height x width x input
// x output (convolution), input x heads x d (query, key, value) or heads x d x output (out); all
// become views, no element moves.
//
//===----------------------------------------------------------------------===//

#include "Formats.h"
#include "ns/Runtime/Error.h"

#include <algorithm>

using namespace ns::checkpoint;
using ns::runtime::fail;
using ns::runtime::shapeText;
using ns::runtime::str;

/// Joins two neighbouring dimensions of a dense array.
static void merge(Tensor &tensor, size_t dim) {
  tensor.shape[dim] *= tensor.shape[dim + 1];
  tensor.strides[dim] = tensor.strides[dim + 1];
  tensor.shape.erase(tensor.shape.begin() + dim + 1);
  tensor.strides.erase(tensor.strides.begin() + dim + 1);
}

static void expectRank(const Tensor &tensor, size_t rank) {
  if (tensor.shape.size() != rank)
    fail("array '", tensor.name, "': expected ", rank, " dimensions, found shape ",
         shapeText(tensor.shape));
}

/// A layer's array under PyTorch's name and in its layout. `part` is kernel, scale or bias.
static Tensor turned(Tensor tensor, const std::string &layer, std::string_view part,
                     bool isProjection, bool isOut) {
  // Fortran-ordered arrays are not dense in the order that merging dimensions needs.
  if (!tensor.isContiguous())
    fail("array '", tensor.name, "': expected C order, found fortran_order");
  if (part == "kernel" && isProjection) { // input x heads x d
    expectRank(tensor, 3);
    merge(tensor, 1);
    tensor = tensor.permuted({1, 0});
  } else if (part == "kernel" && isOut) { // heads x d x output
    expectRank(tensor, 3);
    merge(tensor, 0);
    tensor = tensor.permuted({1, 0});
  } else if (part == "kernel" && tensor.shape.size() == 4) {
    tensor = tensor.permuted({3, 2, 0, 1});
  } else if (part == "kernel") {
    expectRank(tensor, 2);
    tensor = tensor.permuted({1, 0});
  } else if (isProjection && tensor.shape.size() == 2) { // heads x d
    merge(tensor, 0);
  }
  tensor.name = layer + (part == "bias" ? ".bias" : ".weight");
  return tensor;
}

/// timm's name of a layer inside a block; empty for an unknown one. The numbers differ between the
/// published checkpoints and big_vision's.
static std::string layerOfBlock(std::string_view name) {
  if (name.starts_with("LayerNorm_"))
    return name == "LayerNorm_0" ? "norm1" : "norm2";
  bool isAttention = name.starts_with("MultiHeadDotProductAttention_");
  std::string_view rest = name.substr(std::min(name.size(), name.find('/') + 1));
  if (isAttention && (rest == "query" || rest == "key" || rest == "value"))
    return str("attn.", rest);
  if (isAttention && rest == "out")
    return "attn.proj";
  if (name.starts_with("MlpBlock_") && (rest == "Dense_0" || rest == "Dense_1"))
    return rest == "Dense_0" ? "mlp.fc1" : "mlp.fc2";
  return "";
}

namespace {
class FlaxRenamer {
public:
  FlaxRenamer(std::string_view prefix, std::vector<Tensor> &out) : prefix(prefix), out(out) {}
  void add(const Tensor &tensor);

private:
  bool addBlockArray(const Tensor &tensor, std::string_view name);
  bool addOther(const Tensor &tensor, std::string_view name);

  std::string_view prefix;
  std::vector<Tensor> &out;
};
} // namespace

/// `name` without `prefix` where it has that; nothing elsewhere.
static bool consume(std::string_view &name, std::string_view prefix) {
  if (!name.starts_with(prefix))
    return false;
  name.remove_prefix(prefix.size());
  return true;
}

bool FlaxRenamer::addBlockArray(const Tensor &tensor, std::string_view name) {
  if (!consume(name, "Transformer/encoderblock"))
    return false;
  std::string number;
  if (consume(name, "_"))
    while (!name.empty() && name[0] >= '0' && name[0] <= '9' && number.size() < 6) {
      number += name[0];
      name.remove_prefix(1);
    }
  size_t slash = consume(name, "/") ? name.rfind('/') : std::string_view::npos;
  if (slash == std::string_view::npos)
    return false;
  std::string_view part = name.substr(slash + 1);
  std::string layer = layerOfBlock(name.substr(0, slash));
  if (layer.empty() || (part != "kernel" && part != "bias" && part != "scale"))
    return false;
  bool isOut = layer == "attn.proj", isProjection = layer.starts_with("attn.") && !isOut;
  if (!number.empty()) {
    out.push_back(turned(tensor, "blocks." + number + "." + layer, part, isProjection, isOut));
    return true;
  }
  // All blocks in one array, the block first.
  constexpr size_t kMaxBlocks = 1000, kMaxArrays = 100'000;
  if (tensor.shape.size() < 2 || tensor.shape[0] > int64_t(kMaxBlocks) || out.size() > kMaxArrays)
    fail("array '", tensor.name, "': expected one entry for each block, found shape ",
         shapeText(tensor.shape));
  for (int64_t i = 0; i < tensor.shape[0]; ++i) {
    Tensor block = tensor.rows(i, 1);
    block.shape.erase(block.shape.begin());
    block.strides.erase(block.strides.begin());
    out.push_back(turned(block, str("blocks.", i, ".", layer), part, isProjection, isOut));
  }
  return true;
}

bool FlaxRenamer::addOther(const Tensor &tensor, std::string_view name) {
  static constexpr std::pair<std::string_view, const char *> kWhole[] = {
      {"cls", "cls_token"},
      {"pos_embedding", "pos_embed"},
      {"Transformer/posembed_input/pos_embedding", "pos_embed"}};
  for (auto [flax, timm] : kWhole)
    if (name == flax) {
      out.push_back(tensor);
      out.back().name = timm;
      return true;
    }
  static constexpr std::pair<std::string_view, const char *> kLayers[] = {
      {"embedding/", "patch_embed.proj"},
      {"Transformer/encoder_norm/", "norm"},
      {"pre_logits/", "pre_logits.fc"},
      {"head/", "head"}};
  for (auto [flax, timm] : kLayers)
    if (name == std::string(flax) + "kernel" || name == std::string(flax) + "bias" ||
        name == std::string(flax) + "scale") {
      out.push_back(turned(tensor, timm, name.substr(flax.size()), false, false));
      return true;
    }
  return false;
}

void FlaxRenamer::add(const Tensor &tensor) {
  std::string_view name = tensor.name;
  if (!consume(name, prefix) || (!addBlockArray(tensor, name) && !addOther(tensor, name)))
    out.push_back(tensor);
}

std::vector<Tensor> ns::checkpoint::renameFlax(std::vector<Tensor> arrays) {
  for (const char *prefix : {"", "opt/target/", "params/", "params/img/"}) {
    std::string embedding = str(prefix, "embedding/kernel");
    if (std::none_of(arrays.begin(), arrays.end(),
                     [&](const Tensor &t) { return t.name == embedding; }))
      continue;
    std::vector<Tensor> renamed;
    FlaxRenamer renamer(prefix, renamed);
    for (const Tensor &tensor : arrays)
      renamer.add(tensor);
    return renamed;
  }
  return arrays;
}
