//===- FitTest.cpp - names of one scheme for tensors of another -----------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The schemes of the papers' own repositories, which no Python package here brings; those of timm,
// torchvision and transformers are tested against these in test/e2e/test_checkpoints.py.
//
//===----------------------------------------------------------------------===//

#include "ns/Checkpoint/Checkpoint.h"
#include "ns/Checkpoint/SafeTensors.h"
#include "ns/Runtime/Error.h"

#include <gtest/gtest.h>

#include <filesystem>

using namespace ns::checkpoint;

namespace {
using Shape = std::vector<int64_t>;

/// A file of tensors that count on: the first element of tensor i is 100 i, the next one more.
class Fit : public testing::Test {
protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "fit-XXXXXX";
    folder = mkdtemp(name.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  void write(const std::vector<std::pair<std::string, Shape>> &tensors) {
    SafeTensorsWriter writer;
    std::vector<std::vector<float>> values;
    for (const auto &[name, shape] : tensors) {
      ns::runtime::TensorView view{nullptr, ns::runtime::Dtype::F32, shape};
      std::vector<float> data(view.count());
      for (size_t i = 0; i < data.size(); ++i)
        data[i] = 100 * values.size() + i;
      view.data = data.data();
      values.push_back(std::move(data));
      writer.add(name, view);
    }
    writer.write(folder + "/w.safetensors");
  }
  /// The elements of one wanted tensor among `others`.
  std::vector<float> read(const Wanted &tensor, std::vector<Wanted> others = {}) {
    Checkpoint file = Checkpoint::open(folder + "/w.safetensors");
    others.insert(others.begin(), tensor);
    std::vector<float> values;
    std::vector<Pieces> pieces = fit(file, others, "m", /*mayHaveMore=*/true);
    for (const Tensor &piece : pieces[0]) {
      values.resize(values.size() + piece.count());
      copyElements(piece, Type::F32, values.data() + values.size() - piece.count());
    }
    return values;
  }
  std::string problem(const std::vector<Wanted> &wanted) {
    try {
      fit(Checkpoint::open(folder + "/w.safetensors"), wanted, "m");
    } catch (const ns::runtime::Error &error) {
      return error.what();
    }
    return "";
  }

  std::string folder;
};
} // namespace

// The authors of Swin put a stage's downsampling layer at its end, timm at the next one's start.
TEST_F(Fit, SwinOfItsAuthors) {
  write({{"layers.0.downsample.reduction.weight", {2}},
         {"layers.1.downsample.reduction.weight", {2}},
         {"layers.0.blocks.0.attn.relative_position_index", {2}},
         {"head.weight", {2}}});
  Wanted first{"layers.1.downsample.reduction.weight", {2}},
      second{"layers.2.downsample.reduction.weight", {2}}, head{"head.fc.weight", {2}};
  EXPECT_EQ(read(first, {second, head}), (std::vector<float>{0, 1}));
  EXPECT_EQ(read(second, {first, head}), (std::vector<float>{100, 101}));
  EXPECT_EQ(problem({first, second, head}), "");
}

TEST_F(Fit, ConvNeXtOfItsAuthors) {
  write({{"downsample_layers.0.0.weight", {2}},
         {"downsample_layers.0.1.bias", {2}},
         {"downsample_layers.1.1.weight", {2}},
         {"stages.1.2.pwconv1.weight", {2, 1}},
         {"stages.1.2.gamma", {2}},
         {"norm.weight", {2}}});
  Wanted stem{"stem.0.weight", {2}}, gamma{"stages.1.blocks.2.gamma", {2, 1, 1}};
  EXPECT_EQ(problem({stem,
                     gamma,
                     {"stem.1.bias", {2}},
                     {"stages.1.downsample.1.weight", {2}},
                     {"stages.1.blocks.2.mlp.fc1.weight", {2, 1, 1, 1}},
                     {"head.norm.weight", {2}}}),
            "");
  EXPECT_EQ(read(gamma, {stem}), (std::vector<float>{400, 401}));
}

TEST_F(Fit, PartsJoinAndSplit) {
  write({{"blocks.0.attn.qkv.weight", {6, 1}},
         {"blocks.0.mlp.w12.weight", {4}},
         {"blocks.0.mlp.w3.weight", {1}}});
  Wanted key{"encoder.layer.0.attention.attention.key.weight", {2, 1}},
      up{"encoder.layer.0.mlp.up_proj.weight", {2}};
  EXPECT_EQ(read(key, {up}), (std::vector<float>{2, 3}));
  EXPECT_EQ(read(up, {key}), (std::vector<float>{102, 103}));
  write({{"encoder.layer.0.attention.attention.value.bias", {2}},
         {"encoder.layer.0.attention.attention.query.bias", {2}},
         {"encoder.layer.0.attention.attention.key.bias", {2}}});
  EXPECT_EQ(read({"encoder.layers.encoder_layer_0.self_attention.in_proj_bias", {6}}),
            (std::vector<float>{100, 101, 200, 201, 0, 1}));
}

// A packed projection whose rows are no multiple of three is not cut.
TEST_F(Fit, PartsOfOtherShapesAreListed) {
  write({{"blocks.0.attn.qkv.weight", {7, 1}}, {"norm.weight", {2}}});
  std::string text = problem({{"vit.layers.0.attention.q_proj.weight", {2, 1}},
                              {"vit.layers.0.attention.k_proj.weight", {2, 1}},
                              {"vit.layernorm.weight", {2}}});
  EXPECT_NE(text.find("2 entries do not fit the model m"), std::string::npos) << text;
  EXPECT_NE(text.find("'vit.layers.0.attention.k_proj.weight': expected shape [2, 1], found [7, 1] "
                      "in 'blocks.0.attn.qkv.weight'"),
            std::string::npos)
      << text;
}

// Two names with one translation keep their own, so that neither is taken for the other.
TEST_F(Fit, AmbiguousNamesAreNotTranslated) {
  write({{"head.fc.weight", {2}}, {"fc.weight", {2}}});
  EXPECT_NE(problem({{"head.weight", {2}}}).find("missing: 'head.weight'"), std::string::npos);
}

TEST_F(Fit, OptionalTensorsMayBeMissingButNotMisshapen) {
  write({{"a", {2}}, {"b", {3}}});
  EXPECT_EQ(problem({{"a", {2}}, {"b", {3}}, {"mask", {1}, /*isOptional=*/true}}), "");
  EXPECT_NE(problem({{"a", {2}}, {"b", {2}, /*isOptional=*/true}}).find("'b': expected shape [2]"),
            std::string::npos);
}

TEST_F(Fit, LongAndOddNamesAreHarmless) {
  write({{std::string(500, '.'), {1}},
         {"layers.99999999999.blocks.-1.x", {1}},
         {"features..", {1}},
         {"features.3.", {1}},
         {"layer.0", {1}},
         {".", {1}}});
  EXPECT_NE(problem({{"blocks.0.norm1.weight", {1}}}).find("7 entries do not fit"),
            std::string::npos);
}
