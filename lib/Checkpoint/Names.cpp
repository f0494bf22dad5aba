//===- Names.cpp - one name for a layer, whoever named it -----------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// A name is a place (`encoder.layer.3`), a layer at that place (`attention.output.dense`) and a
// parameter of the layer (`weight`). Two tables translate places and layers; what they do not know
// stays. Words are what stands between the dots; `#` in a rule is any number.
//
//===----------------------------------------------------------------------===//

#include "Names.h"

#include <algorithm>
#include <map>
#include <string_view>

using namespace ns::checkpoint;

using Words = std::vector<std::string>;

namespace {
/// `from` at the start of the words becomes `to`; `$0` and `$1` in it are the numbers, `$0-` is one
/// less.
struct Rule {
  std::string_view from, to;
};
struct LayerRule {
  std::string_view from, to;
  int part = 0, parts = 1;
};
} // namespace

/// Before the first dot; which architecture's class this is follows from the rest.
static constexpr std::string_view kModels[] = {
    "vit", "deit", "dinov2", "dinov2_with_registers", "swin", "convnext", "resnet"};

/// Where a layer is. The first rule that fits is taken: longer ones come first.
static constexpr Rule kPlaces[] = {
    // blocks of stages: Swin, ConvNeXt, ResNet
    {"encoder.layers.#.blocks.#", "stages.$0.blocks.$1"},
    {"encoder.stages.#.layers.#", "stages.$0.blocks.$1"},
    {"layers.#.blocks.#", "stages.$0.blocks.$1"},
    {"stages.#.blocks.#", "stages.$0.blocks.$1"},
    {"encoder.stages.#.downsampling_layer", "stages.$0.downsample"},
    {"encoder.layers.#.downsample", "stages.$0.downsample"},
    {"layers.#.downsample", "stages.$0.downsample"},
    {"stages.#.downsample", "stages.$0.downsample"},
    {"downsample_layers.0.0", "patch_embed.proj"},
    {"downsample_layers.0.1", "patch_embed.norm"},
    {"downsample_layers.#", "stages.$0.downsample"},
    {"stages.#.#", "stages.$0.blocks.$1"},
    {"layer#.#", "stages.$0-.blocks.$1"},
    // blocks of plain transformers
    {"encoder.layers.encoder_layer_#", "blocks.$0"},
    {"encoder.layer.#", "blocks.$0"},
    {"layers.#", "blocks.$0"},
    {"blocks.#", "blocks.$0"},
    // around the blocks
    {"embeddings.cls_token", "cls_token"},
    {"embeddings.distillation_token", "dist_token"},
    {"embeddings.register_tokens", "reg_token"},
    {"embeddings.position_embeddings", "pos_embed"},
    {"embeddings.patch_embeddings.projection", "patch_embed.proj"},
    {"embeddings.patch_embeddings", "patch_embed.proj"},
    {"embeddings.layernorm", "patch_embed.norm"},
    {"embeddings.norm", "patch_embed.norm"},
    {"embedder.embedder.convolution", "conv1"},
    {"embedder.embedder.normalization", "bn1"},
    {"class_token", "cls_token"},
    {"register_tokens", "reg_token"},
    {"encoder.pos_embedding", "pos_embed"},
    {"conv_proj", "patch_embed.proj"},
    {"stem.0", "patch_embed.proj"},
    {"stem.1", "patch_embed.norm"},
    {"encoder.ln", "norm"},
    {"layernorm", "norm"},
    {"head.norm", "norm"},
    {"classifier.0", "norm"},
    {"heads.head", "head"},
    {"head.fc", "head"},
    {"fc", "head"},
    {"cls_classifier", "head"},
    {"distillation_classifier", "head_dist"},
    {"classifier.1", "head"},
    {"classifier.2", "head"},
    {"classifier", "head"},
};

/// A layer in a block.
static constexpr LayerRule kLayers[] = {
    {"attention.attention.query", "attn.qkv", 0, 3},
    {"attention.attention.key", "attn.qkv", 1, 3},
    {"attention.attention.value", "attn.qkv", 2, 3},
    {"attention.self.query", "attn.qkv", 0, 3},
    {"attention.self.key", "attn.qkv", 1, 3},
    {"attention.self.value", "attn.qkv", 2, 3},
    {"attention.q_proj", "attn.qkv", 0, 3},
    {"attention.k_proj", "attn.qkv", 1, 3},
    {"attention.v_proj", "attn.qkv", 2, 3},
    {"attn.query", "attn.qkv", 0, 3},
    {"attn.key", "attn.qkv", 1, 3},
    {"attn.value", "attn.qkv", 2, 3},
    {"self_attention.in_proj_weight", "attn.qkv.weight"},
    {"self_attention.in_proj_bias", "attn.qkv.bias"},
    {"attention.output.dense", "attn.proj"},
    {"attention.o_proj", "attn.proj"},
    {"self_attention.out_proj", "attn.proj"},
    {"attention.self.relative_position_bias_table", "attn.relative_position_bias_table"},
    {"attention.relative_position_bias.relative_position_bias_table",
     "attn.relative_position_bias_table"},
    {"layernorm_before", "norm1"},
    {"layernorm_after", "norm2"},
    {"ln_1", "norm1"},
    {"ln_2", "norm2"},
    {"intermediate.dense", "mlp.fc1"},
    {"output.dense", "mlp.fc2"},
    {"mlp.linear_1", "mlp.fc1"},
    {"mlp.linear_2", "mlp.fc2"},
    {"mlp.0", "mlp.fc1"},
    {"mlp.3", "mlp.fc2"},
    {"mlp.w12", "mlp.fc1"},
    {"mlp.w3", "mlp.fc2"},
    {"mlp.weights_in", "mlp.fc1"},
    {"mlp.weights_out", "mlp.fc2"},
    {"mlp.gate_proj", "mlp.fc1", 0, 2},
    {"mlp.up_proj", "mlp.fc1", 1, 2},
    {"mlp.down_proj", "mlp.fc2"},
    {"layer_scale1.lambda1", "ls1.gamma"},
    {"layer_scale2.lambda1", "ls2.gamma"},
    {"gamma_1", "ls1.gamma"},
    {"gamma_2", "ls2.gamma"},
    // ConvNeXt
    {"dwconv", "conv_dw"},
    {"block.0", "conv_dw"},
    {"block.2", "norm"},
    {"block.3", "mlp.fc1"},
    {"block.5", "mlp.fc2"},
    {"pwconv1", "mlp.fc1"},
    {"pwconv2", "mlp.fc2"},
    {"layernorm", "norm"},
    {"layer_scale_parameter", "gamma"},
    {"layer_scale", "gamma"},
    // ResNet
    {"layer.0.convolution", "conv1"},
    {"layer.0.normalization", "bn1"},
    {"layer.1.convolution", "conv2"},
    {"layer.1.normalization", "bn2"},
    {"layer.2.convolution", "conv3"},
    {"layer.2.normalization", "bn3"},
    {"shortcut.convolution", "downsample.0"},
    {"shortcut.normalization", "downsample.1"},
};

static Words split(std::string_view text) {
  Words words;
  for (;;) {
    size_t dot = text.find('.');
    words.emplace_back(text.substr(0, dot));
    if (dot == std::string_view::npos)
      return words;
    text.remove_prefix(dot + 1);
  }
}

static std::string join(const Words &words) {
  std::string text;
  for (const std::string &word : words)
    text += (text.empty() ? "" : ".") + word;
  return text;
}

/// The number that `word` is where the rule's word is `#` or ends with it; -1 where it is none.
static int numberIn(std::string_view word, std::string_view pattern) {
  std::string_view prefix = pattern.substr(0, pattern.size() - 1);
  if (!word.starts_with(prefix))
    return -1;
  std::string_view digits = word.substr(prefix.size());
  if (digits.empty() || digits.size() > 5 ||
      digits.find_first_not_of("0123456789") != std::string_view::npos)
    return -1;
  return std::stoi(std::string(digits));
}

/// Whether `from` fits the start of `words`; its numbers are appended to `numbers`.
static bool fits(const Words &words, const Words &from, std::vector<int> &numbers) {
  if (words.size() < from.size())
    return false;
  for (size_t i = 0; i < from.size(); ++i) {
    if (!from[i].ends_with('#')) {
      if (words[i] != from[i])
        return false;
      continue;
    }
    numbers.push_back(numberIn(words[i], from[i]));
    if (numbers.back() < 0)
      return false;
  }
  return true;
}

/// `to` with its numbers filled in.
static Words fillIn(std::string_view to, const std::vector<int> &numbers) {
  Words words = split(to);
  for (std::string &word : words)
    if (word.starts_with('$'))
      word = std::to_string(numbers[word[1] - '0'] - (word.ends_with('-') ? 1 : 0));
  return words;
}

/// torchvision counts stem, stages and downsampling layers alike: features.0 is the stem, odd
/// numbers are stages, even ones lead to the next stage. Empty where these words are no such name.
static Words placeInFeatures(const Words &words, size_t &used) {
  if (words.size() < 3 || words[0] != "features")
    return {};
  int index = numberIn(words[1], "#");
  if (index == 0 && (words[2] == "0" || words[2] == "1" || words[2] == "2")) {
    used = 3;
    return {"patch_embed", words[2] == "0" ? "proj" : "norm"};
  }
  used = index % 2 ? 3 : 2;
  if (index > 0 && index % 2 && numberIn(words[2], "#") >= 0)
    return {"stages", std::to_string(index / 2), "blocks", words[2]};
  return index > 0 && index % 2 == 0 ? Words{"stages", std::to_string(index / 2), "downsample"}
                                     : Words{};
}

static Words placeOf(const Words &words, size_t &used) {
  if (Words place = placeInFeatures(words, used); !place.empty())
    return place;
  for (const Rule &rule : kPlaces) {
    std::vector<int> numbers;
    Words from = split(rule.from);
    if (fits(words, from, numbers)) {
      used = from.size();
      return fillIn(rule.to, numbers);
    }
  }
  used = 0;
  return {};
}

static CommonName translateOne(const std::string &name, bool downsampleEndsStage) {
  constexpr size_t kMaxName = 300; // longer ones are no one's
  if (name.size() > kMaxName)
    return {name};
  Words words = split(name);
  if (words.size() > 1 &&
      std::find(std::begin(kModels), std::end(kModels), words[0]) != std::end(kModels))
    words.erase(words.begin());
  size_t used = 0;
  Words place = placeOf(words, used);
  Words rest(words.begin() + used, words.end());
  if (place.size() == 3 && place[2] == "downsample" && downsampleEndsStage)
    place[1] = std::to_string(numberIn(place[1], "#") + 1);
  CommonName result;
  if (std::find(place.begin(), place.end(), "blocks") != place.end())
    for (const LayerRule &rule : kLayers) {
      std::vector<int> none;
      Words from = split(rule.from);
      if (!fits(rest, from, none))
        continue;
      rest.erase(rest.begin(), rest.begin() + from.size());
      Words to = split(rule.to);
      rest.insert(rest.begin(), to.begin(), to.end());
      result.part = rule.part;
      result.parts = rule.parts;
      break;
    }
  place.insert(place.end(), rest.begin(), rest.end());
  result.name = join(place);
  return result;
}

std::vector<CommonName> ns::checkpoint::translate(const std::vector<std::string> &names) {
  // Swin's authors and transformers count a downsampling layer to the stage before it, timm to the
  // stage after it: only with the former has stage 0 one.
  bool downsampleEndsStage = std::any_of(names.begin(), names.end(), [](const std::string &name) {
    return name.find("layers.0.downsample.") != std::string::npos;
  });
  std::vector<CommonName> result;
  std::map<CommonName, int> uses;
  for (const std::string &name : names) {
    result.push_back(translateOne(name, downsampleEndsStage));
    ++uses[result.back()];
  }
  for (size_t i = 0; i < names.size(); ++i)
    if (uses[result[i]] > 1)
      result[i] = CommonName{names[i]};
  return result;
}

bool ns::checkpoint::isDispensable(const std::string &name) {
  std::string_view last = std::string_view(name).substr(name.rfind('.') + 1);
  return last == "num_batches_tracked" || last == "relative_position_index" ||
         last == "attn_mask" || last == "mask_token";
}
