//===- OnnxTest.cpp - ONNX models whole, odd and hostile -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Import/Onnx.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/raw_ostream.h"
#include "gtest/gtest.h"

#include <unistd.h>

using namespace llvm;
using namespace ns;

namespace {
//===----------------------------------------------------------------------===//
// Writing protobuf
//===----------------------------------------------------------------------===//

std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7)
    out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
  return out;
}

std::string number(unsigned field, int64_t value) {
  return varint(field * 8) + varint(static_cast<uint64_t>(value));
}

std::string bytes(unsigned field, StringRef content) {
  return varint(field * 8 + 2) + varint(content.size()) + content.str();
}

std::string real(unsigned field, float value) {
  std::string out = varint(field * 8 + 5);
  out.append(reinterpret_cast<const char *>(&value), 4);
  return out;
}

struct NodeText {
  std::string op;
  std::vector<std::string> inputs, outputs;
  std::string more = {}; ///< attributes and metadata
};

std::string intAttribute(StringRef name, int64_t value) {
  return bytes(5, bytes(1, name) + number(3, value) + number(20, 2));
}

std::string metadata(unsigned field, StringRef key, StringRef value) {
  return bytes(field, bytes(1, key) + bytes(2, value));
}

std::string nodeText(const NodeText &node) {
  std::string out;
  for (const std::string &input : node.inputs)
    out += bytes(1, input);
  for (const std::string &output : node.outputs)
    out += bytes(2, output);
  return out + bytes(3, "n_" + node.outputs[0]) + bytes(4, node.op) + node.more;
}

template <typename T>
std::string tensorText(StringRef name, int type, std::vector<int64_t> dims, std::vector<T> data) {
  std::string out;
  for (int64_t dim : dims)
    out += number(1, dim);
  return out + number(2, type) + bytes(8, name) +
         bytes(9, StringRef(reinterpret_cast<const char *>(data.data()), data.size() * sizeof(T)));
}

std::string floats(StringRef name, std::vector<int64_t> dims, float first = 1) {
  size_t count = 1;
  for (int64_t dim : dims)
    count *= dim;
  std::vector<float> data;
  for (size_t i = 0; i < count; ++i)
    data.push_back(first + static_cast<float>(i));
  return tensorText<float>(name, 1, dims, data);
}

std::string ints(StringRef name, std::vector<int64_t> data) {
  return tensorText<int64_t>(name, 7, {static_cast<int64_t>(data.size())}, data);
}

std::string value(StringRef name, std::vector<int64_t> dims) {
  std::string shape;
  for (int64_t dim : dims)
    shape += bytes(1, dim < 0 ? bytes(2, "batch") : number(1, dim));
  return bytes(1, name) + bytes(2, bytes(1, number(1, 1) + bytes(2, shape)));
}

/// A model from x (batch x 3 x 4 x 4) to "logits".
std::string modelText(const std::vector<NodeText> &nodes, const std::vector<std::string> &tensors,
                      const std::string &more = "", int64_t opset = 23) {
  std::string graph;
  for (const NodeText &node : nodes)
    graph += bytes(1, nodeText(node));
  for (const std::string &tensor : tensors)
    graph += bytes(5, tensor);
  graph += bytes(11, value("x", {-1, 3, 4, 4})) + bytes(12, value("logits", {-1, 5})) + more;
  return number(1, 10) + bytes(2, "test") + bytes(7, graph) + bytes(8, number(2, opset));
}

/// Flatten and a linear layer.
const std::vector<NodeText> kLinear = {{"Flatten", {"x"}, {"flat"}},
                                       {"MatMul", {"flat", "w"}, {"product"}},
                                       {"Add", {"product", "b"}, {"logits"}}};

/// A model with its program; the program points into the model.
struct Translated {
  std::string text;
  std::unique_ptr<onnx::Model> model = std::make_unique<onnx::Model>();
  pt2::Program program;
  std::string error;
};

Translated translate(std::string text, StringRef folder = "") {
  Translated result;
  result.text = std::move(text);
  if (Error error = onnx::Model::read({result.text, "test.onnx"}, folder).moveInto(*result.model)) {
    result.error = toString(std::move(error));
    return result;
  }
  if (Error error = onnx::translate(*result.model).moveInto(result.program))
    result.error = toString(std::move(error));
  return result;
}

#define EXPECT_ERROR(result, part)                                                                 \
  EXPECT_TRUE(StringRef((result).error).contains(part)) << (result).error

const pt2::Weight *weight(const pt2::Program &program, StringRef name) {
  for (const pt2::Weight &weight : program.weights)
    if (weight.name == name)
      return &weight;
  return nullptr;
}

std::string targets(const pt2::Program &program) {
  std::string out;
  for (const pt2::Node &node : program.nodes)
    out += (out.empty() ? "" : " ") + node.target;
  return out;
}

//===----------------------------------------------------------------------===//
// Programs
//===----------------------------------------------------------------------===//

TEST(Onnx, MatMulAndAddAreALinearLayer) {
  Translated found = translate(modelText(kLinear, {floats("w", {48, 5}), floats("b", {5})}));
  ASSERT_EQ(found.error, "");
  EXPECT_EQ(targets(found.program), "torch.ops.aten.reshape.default torch.ops.aten.linear.default");
  EXPECT_EQ(found.program.imageName, "x");
  EXPECT_EQ(found.program.logitsName, "logits");
  EXPECT_EQ(found.program.values["x"].sizes[0], pt2::kProbeBatch);
  EXPECT_EQ(found.program.values["x"].symbol, "batch");
  const pt2::Weight *w = weight(found.program, "w");
  ASSERT_TRUE(w);
  EXPECT_EQ(ArrayRef(w->sizes), ArrayRef<int64_t>({5, 48})); // as PyTorch has it
  EXPECT_EQ(ArrayRef(w->strides), ArrayRef<int64_t>({1, 5}));
  EXPECT_EQ(found.program.nodes.back().inputs.size(), 3u);
}

TEST(Onnx, ShapesAreComputedWithTheBatch) {
  Translated found =
      translate(modelText({{"Shape", {"x"}, {"shape"}},
                           {"Gather", {"shape", "zero"}, {"batch"}, intAttribute("axis", 0)},
                           {"Concat", {"batch", "rest"}, {"wanted"}, intAttribute("axis", 0)},
                           {"Reshape", {"x", "wanted"}, {"flat"}},
                           {"Gemm", {"flat", "w"}, {"logits"}, intAttribute("transB", 1)}},
                          {floats("w", {5, 48}), ints("zero", {0}), ints("rest", {-1})}));
  ASSERT_EQ(found.error, "");
  EXPECT_EQ(targets(found.program), "torch.ops.aten.reshape.default torch.ops.aten.linear.default");
  EXPECT_EQ(ArrayRef(found.program.values["flat"].sizes),
            ArrayRef<int64_t>({pt2::kProbeBatch, 48}));
  EXPECT_EQ(found.program.weights.size(), 1u);
}

TEST(Onnx, MergedWeightsPartByTheirParameters) {
  const std::string call = "%l : call_function[target=torch.ops.aten.linear.default](args = (%x, "
                           "%p_NAME_weight, %p_NAME_bias), kwargs = {})";
  auto called = [&](std::string name) {
    std::string text = call;
    while (text.find("NAME") != std::string::npos)
      text.replace(text.find("NAME"), 4, name);
    return metadata(9, "pkg.torch.onnx.fx_node", text) +
           metadata(9, "pkg.torch.onnx.name_scopes", "['', '" + name + "', 'linear']");
  };
  std::string signature;
  for (std::string name : {"a", "b"})
    for (std::string member : {"weight", "bias"})
      signature +=
          "p_" + name + "_" + member + ": PARAMETER target='" + name + "." + member + "'\n";
  signature += "p_c: PARAMETER target='c'\n"; // not in the file at all
  Translated found = translate(
      modelText({{"Flatten", {"x"}, {"flat"}},
                 {"Gemm", {"flat", "val_1"}, {"first"}, called("a")},
                 {"Gemm", {"first", "val_2", "zeros"}, {"logits"}, called("b")}},
                {floats("val_1", {48, 5}), floats("val_2", {5, 5}), floats("zeros", {5})},
                metadata(16, "pkg.torch.export.ExportedProgram.graph_signature", signature)));
  ASSERT_EQ(found.error, "");
  std::vector<std::string> names;
  for (const pt2::Weight &w : found.program.weights)
    names.push_back(w.name);
  EXPECT_EQ(names, (std::vector<std::string>{"a.weight", "a.bias", "b.weight", "b.bias"}));
  const pt2::Weight *dropped = weight(found.program, "a.bias"); // zeros, which the file lacks
  ASSERT_TRUE(dropped);
  EXPECT_EQ(ArrayRef(dropped->strides), ArrayRef<int64_t>({0}));
  EXPECT_EQ(dropped->record.bytes.count('\0'), dropped->record.bytes.size());
  EXPECT_EQ(found.program.nodes.back().layer, "b");
}

TEST(Onnx, OpsThatNothingStandsForAreKept) {
  Translated found = translate(modelText({{"Flatten", {"x"}, {"flat"}},
                                          {"Elu", {"flat"}, {"e"}},
                                          {"Loop", {"e"}, {"l"}, bytes(7, "com.vendor")},
                                          {"Gemm", {"l", "w"}, {"logits"}}},
                                         {floats("w", {48, 5})}));
  ASSERT_EQ(found.error, "");
  EXPECT_EQ(targets(found.program), "onnx.Elu onnx.com.vendor.Loop");
}

TEST(Onnx, Float32AttributesAreTheirDecimals) {
  std::string eps = bytes(5, bytes(1, "epsilon") + real(2, 1e-6f) + number(20, 1));
  Translated found =
      translate(modelText({{"LayerNormalization", {"x", "w"}, {"n"}, eps},
                           {"ReduceMean", {"n", "axes"}, {"m"}, intAttribute("keepdims", 0)},
                           {"Gemm", {"m", "v"}, {"logits"}}},
                          {floats("w", {4}), ints("axes", {2, 3}), floats("v", {3, 5})}));
  ASSERT_EQ(found.error, "");
  EXPECT_EQ(found.program.nodes.front().find("eps")->floats.front(), 1e-6);
}

//===----------------------------------------------------------------------===//
// Hostile files
//===----------------------------------------------------------------------===//

TEST(Onnx, DamagedWireFormat) {
  const std::string good = modelText(kLinear, {floats("w", {48, 5}), floats("b", {5})});
  for (size_t size = 0; size < good.size(); ++size) // every prefix: an error, or a smaller model
    translate(good.substr(0, size));
  EXPECT_ERROR(translate(""), "expected an IR version, a graph and an opset");
  EXPECT_ERROR(translate(std::string(11, '\xff')), "no field starts there");
  EXPECT_ERROR(translate(varint(8) + std::string(10, '\xff')), "longer than 64 bits");
  EXPECT_ERROR(translate(varint(7 * 8 + 2) + varint(uint64_t(1) << 62)), "expected 4611686018");
  EXPECT_ERROR(translate(varint(7 * 8 + 3)), "wire type 3");
  EXPECT_ERROR(translate(good + bytes(7, "")), "the graph is there twice");
  EXPECT_ERROR(translate(number(7, 3) + good), "field 7: expected bytes, found wire type 0");
  EXPECT_ERROR(translate(modelText({{"Relu", {"\xff\xfe"}, {"y"}}}, {})), "text that is not UTF-8");
}

TEST(Onnx, TensorsThatLie) {
  auto withTensor = [&](std::string tensor) {
    return translate(modelText(kLinear, {tensor, floats("b", {5})}));
  };
  const std::string head = number(2, 1) + bytes(8, "w");
  EXPECT_ERROR(withTensor(number(1, -48) + number(1, 5) + head), "a negative extent");
  EXPECT_ERROR(withTensor(number(1, int64_t(1) << 40) + number(1, int64_t(1) << 40) + head),
               "more elements than any memory holds");
  EXPECT_ERROR(withTensor(number(1, int64_t(1) << 40) + head), "expected 1099511627776 elements");
  EXPECT_ERROR(withTensor(number(1, 48) + number(1, 5) + head + bytes(9, "1234")),
               "tensor 'w': expected 240 elements of 4 bytes, found 4 bytes");
  EXPECT_ERROR(withTensor(floats("w", {48, 5}) + bytes(9, "more")), "there twice");
  std::string dims;
  for (int i = 0; i < 9; ++i)
    dims += number(1, 1);
  EXPECT_ERROR(withTensor(dims + head), "expected at most 8 integers");
  std::string packed; // a megabyte of integers would be eight in memory
  for (int i = 0; i < 70000; ++i)
    packed += '\1';
  EXPECT_ERROR(withTensor(number(1, 70000) + number(2, 7) + bytes(8, "w") + bytes(7, packed)),
               "expected at most 65536 integers");
}

TEST(Onnx, GraphsThatContradictThemselves) {
  auto linear = [&](std::vector<NodeText> nodes, std::vector<std::string> more = {}) {
    more.push_back(floats("w", {48, 5}));
    return translate(modelText(nodes, more));
  };
  EXPECT_ERROR(linear({{"Relu", {"b"}, {"a"}}, {"Relu", {"a"}, {"b"}}}), // a cycle
               "node 'n_a' (Relu): reads 'b', which no earlier node computes");
  EXPECT_ERROR(linear({{"Relu", {"x"}, {"a"}}, {"Relu", {"x"}, {"a"}}}), "is computed twice");
  EXPECT_ERROR(linear({{"Relu", {"x"}, {"x"}}}), "is computed twice");
  EXPECT_ERROR(linear({{"Relu", {"x"}, {"y"}}}), "returns 'logits', which no node computes");
  EXPECT_ERROR(linear({{"MatMul", {"x", "w"}, {"logits"}}}), "do not fit each other");
  EXPECT_ERROR(linear({{"Reshape", {"x", "s"}, {"logits"}}}, {ints("s", {7, 7})}),
               "another number of elements");
  EXPECT_ERROR(linear({{"Reshape", {"x", "s"}, {"logits"}}}, {ints("s", {INT64_MAX, 3})}),
               "an extent of 3");
  EXPECT_ERROR(linear({{"Reshape", {"x", "s"}, {"logits"}}}, {ints("s", {-5})}), "an extent of -5");
  EXPECT_ERROR(linear({{"Transpose", {"x"}, {"logits"}, intAttribute("perm", 1)}}),
               "expected a permutation of 4 dimensions");
  EXPECT_ERROR(linear({{"Squeeze", {"x", "s"}, {"logits"}}}, {ints("s", {INT64_MIN})}),
               "which is not 1");
  EXPECT_ERROR(linear({{"Flatten", {"x"}, {"flat"}}, {"Gemm", {"flat", "w"}, {"logits"}}},
                      {floats("w", {3})}),
               "value 'w' is computed twice");
  EXPECT_ERROR(translate(modelText(kLinear, {floats("w", {48, 5}), floats("b", {5})},
                                   bytes(13, value("flat", {-1, 49})))),
               "its result 'flat' is ?x48 by its operands, and something else by the file");
  EXPECT_ERROR(translate(modelText(kLinear, {floats("w", {48, 5}), floats("b", {5})}, "", 9)),
               "expected an opset from 13 to");
  EXPECT_ERROR(translate(modelText(kLinear, {}, bytes(11, value("y", {-1, 3})))),
               "expected one input, the image, found 'x' and 'y'");
}

TEST(Onnx, ConstantsStaySmall) {
  // 2^12 times 2^16 elements would be 2 GiB.
  std::vector<NodeText> nodes;
  for (int i = 0; i < 4096; ++i)
    nodes.push_back({"Range", {"zero", "many", "one"}, {"r" + std::to_string(i)}});
  std::vector<std::string> tensors = {tensorText<int64_t>("zero", 7, {}, {0}),
                                      tensorText<int64_t>("one", 7, {}, {1}),
                                      tensorText<int64_t>("many", 7, {}, {1 << 16})};
  EXPECT_ERROR(translate(modelText(nodes, tensors)), "computes more than 4194304 constants");
}

//===----------------------------------------------------------------------===//
// Files beside the model
//===----------------------------------------------------------------------===//

std::string external(StringRef location, int64_t offset = 0, int64_t length = 960) {
  return number(1, 48) + number(1, 5) + number(2, 1) + bytes(8, "w") + number(14, 1) +
         metadata(13, "location", location) + metadata(13, "offset", std::to_string(offset)) +
         metadata(13, "length", std::to_string(length));
}

class OnnxData : public ::testing::Test {
protected:
  void SetUp() override {
    ASSERT_FALSE(sys::fs::createUniqueDirectory("onnx", folder));
    ASSERT_FALSE(sys::fs::create_directory(folder + "/sub"));
    write("w.data", std::string(64, 'x') + std::string(960, '\0'));
    write("sub/w.data", std::string(960, '\0'));
  }
  void TearDown() override { sys::fs::remove_directories(folder); }

  void write(StringRef name, StringRef content) {
    std::error_code code;
    raw_fd_ostream((folder + "/" + name).str(), code) << content;
    ASSERT_FALSE(code);
  }
  Translated load(std::string tensor) {
    return translate(modelText(kLinear, {tensor, floats("b", {5})}), folder);
  }

  SmallString<128> folder;
};

TEST_F(OnnxData, IsMapped) {
  Translated found = load(external("w.data", 64));
  ASSERT_EQ(found.error, "");
  EXPECT_EQ(weight(found.program, "w")->record.bytes.size(), 960u);
  EXPECT_EQ(weight(found.program, "w")->record.bytes.front(), '\0');
  EXPECT_EQ(load(external("sub/w.data")).error, "");
}

TEST_F(OnnxData, StaysInItsFolder) {
  const std::string absolute = (folder + "/w.data").str();
  for (StringRef name : {StringRef(absolute), StringRef("../w.data"), StringRef("sub/../w.data"),
                         StringRef("./w.data"), StringRef("sub//w.data"), StringRef("a\\w.data"),
                         StringRef("w.data\0z", 8)})
    EXPECT_ERROR(load(external(name)), "expected the name of a file beside the model");
  EXPECT_ERROR(load(external("")), "expected the name of the file that holds its data");
  ASSERT_EQ(symlink("w.data", (folder + "/link").str().c_str()), 0);
  EXPECT_ERROR(load(external("link")), "file 'link': a symbolic link");
  ASSERT_EQ(symlink("sub", (folder + "/way").str().c_str()), 0);
  EXPECT_NE(load(external("way/w.data")).error, "");
  EXPECT_ERROR(load(external("sub")), "expected an ordinary file");
  EXPECT_ERROR(load(external("none")), "file 'none': cannot be read");
  EXPECT_ERROR(translate(modelText(kLinear, {external("w.data", 64), floats("b", {5})})),
               "expected the name of a file beside the model");
}

TEST_F(OnnxData, LiesInItsFile) {
  EXPECT_ERROR(load(external("w.data", 65)),
               "expected 240 elements of 4 bytes at byte 65 of 'w.data', a file of 1024 bytes");
  EXPECT_ERROR(load(external("w.data", INT64_MAX)), "a file of 1024 bytes");
  EXPECT_ERROR(load(external("w.data", -1)), "external data: offset '-1'");
  EXPECT_ERROR(load(external("w.data", 0, 4)), "its length says 4 bytes");
  EXPECT_ERROR(load(external("w.data") + bytes(9, "1234")), "and no others");
}

} // namespace
