//===- OnnxTranslator.h - state of translating one model -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// OnnxTranslate.cpp holds the walk over the nodes, OnnxWeights.cpp what initializers become,
// OnnxViews.cpp the ops that only move elements, OnnxTables.cpp those that pick them by index or
// put them together, OnnxLayers.cpp the others, OnnxPatterns.cpp the groups of ops that one PyTorch
// call was taken apart into.
//
// Groups are recognised at their last op, among the calls made so far; what they replace is then
// read by nothing and dropped at the end.
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_IMPORT_ONNXTRANSLATOR_H
#define NS_LIB_IMPORT_ONNXTRANSLATOR_H

#include "OnnxConstant.h"
#include "OnnxNames.h"
#include "ns/Import/Onnx.h"

#include "llvm/ADT/StringSet.h"

namespace ns::onnx {

/// Which parameter an operand is, if it is one: its place among the arguments of the PyTorch call
/// (-1: the only parameter of it) where that is `target`, and the member of the layer's module.
struct Role {
  llvm::StringRef target;
  int argument = -1;
  llvm::StringRef member;
};

class Translator {
public:
  Translator(Model &model, pt2::Program &program)
      : model(model), program(program), signature(model.signature) {}
  llvm::Error run();

private:
  /// A value of the graph.
  struct Value {
    std::string name; ///< in the program; empty for what is no computed tensor
    std::optional<llvm::SmallVector<int64_t>> shape;
    std::shared_ptr<const Constant> constant; ///< where known at import
    const Tensor *weight = nullptr;           ///< where it is one
    bool transposed = false;                  ///< of the weight, a matrix
    bool outside = false;           ///< depends on what could not be translated; the cause is noted
    std::vector<std::string> parts; ///< of a sequence
    std::string nanOf;              ///< the value whose NaNs this marks
  };
  using Handler = llvm::Error (Translator::*)(const Node &);
  static const llvm::StringMap<Handler> &handlers();

  // OnnxTranslate.cpp
  llvm::Error addInputs();
  llvm::Error translateNode(const Node &node);
  llvm::Expected<bool> fold(const Node &node);
  bool followsOutside(const Node &node) const;
  llvm::Error checkValues(const Node &node);
  llvm::Error finish();
  void dropUnread();
  llvm::Error define(llvm::StringRef name, Value value);
  /// Notes that no PyTorch call stands for `node`; its results are then `outside`.
  llvm::Error outside(const Node &node, const llvm::Twine &reason = "");
  llvm::Error malformed(const Node &node, const llvm::Twine &what) const;
  std::optional<int64_t> extentOf(const Dimension &dimension) const;

  const Value *operand(const Node &node, size_t index) const;
  const Constant *constant(const Node &node, size_t index) const;
  /// A list of integers from an operand or, in older opsets, an attribute; nothing where it is
  /// absent. `known` becomes false where it is there and not constant.
  std::optional<llvm::SmallVector<int64_t>> list(const Node &node, size_t index,
                                                 llvm::StringRef attribute, bool &known) const;
  static int64_t integer(const Node &node, llvm::StringRef attribute, int64_t otherwise);
  static double number(const Node &node, llvm::StringRef attribute, double otherwise);
  /// A dimension counted from the front; nothing when it is out of range.
  static std::optional<int64_t> dimension(int64_t dim, size_t rank);

  /// Adds the call `aten.<target>` that computes the node's result.
  llvm::Error emit(const Node &node, llvm::StringRef target, std::vector<pt2::NamedArgument> inputs,
                   llvm::ArrayRef<int64_t> shape);
  /// Adds a call with a result of its own, and returns the result's name.
  std::string emitInner(const Node &node, llvm::StringRef target,
                        std::vector<pt2::NamedArgument> inputs, llvm::ArrayRef<int64_t> shape);
  void add(const Node &node, llvm::StringRef target, std::vector<pt2::NamedArgument> inputs,
           llvm::ArrayRef<std::string> outputs);
  void setShape(llvm::StringRef name, llvm::ArrayRef<int64_t> shape);
  static pt2::NamedArgument tensor(llvm::StringRef name, std::string value);
  static pt2::NamedArgument tensors(llvm::StringRef name, std::vector<std::string> values);
  static pt2::NamedArgument integers(llvm::StringRef name, llvm::ArrayRef<int64_t> values);
  static pt2::NamedArgument real(llvm::StringRef name, double value);
  static pt2::NamedArgument flag(llvm::StringRef name, bool value);
  static pt2::NamedArgument text(llvm::StringRef name, llvm::StringRef value);
  /// The call that computes a value of the program, if it is `aten.<target>`.
  const pt2::Node *made(llvm::StringRef value, llvm::StringRef target) const;

  // OnnxWeights.cpp
  bool isParameter(const Tensor &tensor) const; ///< in PyTorch, as far as the file says
  llvm::Error addInitializer(const Tensor &tensor);
  /// The program's value for an operand; empty, and the cause noted, where it has none.
  std::string use(const Node &node, size_t index, Role role = {});
  /// A weight as the program has it, under the parameter's own name. A matrix may be asked for
  /// transposed.
  std::string useWeight(const Node &node, const Tensor &tensor, Role role, bool transposed);
  /// The bias of zeros that the call in PyTorch has and the node no longer; empty where it has
  /// none.
  std::string droppedBias(const Node &node, Role role, int64_t size);
  /// A constant that the graph computes, as a weight that does not change.
  std::string useConstant(const Node &node, llvm::StringRef name, const Constant &constant);
  std::string convolutionName(const Node &node) const;
  std::string parameterName(const Node &node, const Tensor &tensor, Role role) const;
  std::string addWeight(pt2::Weight weight, const Tensor *source, bool transposed);
  void orderWeights(const llvm::StringSet<> &read);

  // OnnxViews.cpp
  llvm::Error alias(const Node &node, const Value &value);
  llvm::Error reshapeTo(const Node &node, llvm::ArrayRef<int64_t> shape);
  llvm::Error identity(const Node &node);
  llvm::Error cast(const Node &node);
  llvm::Error shapeOf(const Node &node);
  llvm::Error reshape(const Node &node);
  llvm::Error flatten(const Node &node);
  llvm::Error squeeze(const Node &node);
  llvm::Error unsqueeze(const Node &node);
  llvm::Error transpose(const Node &node);
  llvm::Error slice(const Node &node);
  llvm::Error split(const Node &node);
  llvm::Error splitToSequence(const Node &node);
  llvm::Error sequenceAt(const Node &node);
  llvm::Error expand(const Node &node);
  llvm::Error pad(const Node &node);
  llvm::Error where(const Node &node);
  llvm::Error isNaN(const Node &node);
  /// The pieces of a tensor along `dim`, as values called `names`.
  llvm::Error splitInto(const Node &node, llvm::ArrayRef<std::string> names, int64_t dim,
                        llvm::ArrayRef<int64_t> sizes);

  // OnnxTables.cpp
  llvm::Error gather(const Node &node);
  llvm::Error gatherND(const Node &node);
  /// as_strided, which comes as a table of indices, where it is a reshape; false where not.
  llvm::Expected<bool> asStrided(const Node &node);
  llvm::Error rowsOf(const Node &node, llvm::ArrayRef<int64_t> indices);
  llvm::Error concat(const Node &node);
  llvm::Error stackOrRoll(const Node &node, llvm::ArrayRef<std::string> parts, int64_t dim,
                          llvm::ArrayRef<int64_t> shape);

  // OnnxLayers.cpp
  llvm::Error matMul(const Node &node);
  llvm::Error gemm(const Node &node);
  llvm::Error convolution(const Node &node);
  llvm::Error pool(const Node &node);
  llvm::Error globalAverage(const Node &node);
  llvm::Error mean(const Node &node);
  llvm::Error layerNorm(const Node &node);
  llvm::Error batchNorm(const Node &node);
  llvm::Error attention(const Node &node);
  llvm::Error gelu(const Node &node);
  llvm::Error softmax(const Node &node);
  llvm::Error unary(const Node &node);
  llvm::Error binary(const Node &node);
  llvm::Error linear(const Node &node, std::string input, std::string weight, std::string bias,
                     llvm::ArrayRef<int64_t> shape);
  /// Kernel, stride, padding and dilation of a window, and the extents that it gives; nothing, and
  /// the cause noted, where PyTorch has no such window.
  struct Window {
    llvm::SmallVector<int64_t> kernel, strides, pads, dilations, extents;
  };
  std::optional<Window> windowOf(const Node &node, llvm::ArrayRef<int64_t> input,
                                 llvm::ArrayRef<int64_t> kernel);

  // OnnxPatterns.cpp
  /// A product taken apart: a number, and tensors.
  struct Product {
    double factor = 1;
    llvm::SmallVector<std::string, 2> tensors;
  };
  Product factorsOf(llvm::StringRef value, unsigned depth = 0) const;
  /// The tensor that `value` adds `number` to.
  std::string addedTo(llvm::StringRef value, double number) const;
  bool isCube(llvm::ArrayRef<std::string> factors, llvm::StringRef of) const;
  /// The last product of a GELU or of x * sigmoid(x); null target where it is none.
  std::pair<llvm::StringRef, llvm::StringRef> activationOf(const Product &product,
                                                           std::string &input) const;
  /// softmax(scale * query * key^T) * value.
  struct Attention {
    std::string query, transposedKey;
    double scale = 1;
  };
  std::optional<Attention> attentionOf(llvm::StringRef probabilities) const;

  Model &model;
  pt2::Program &program;
  Signature signature;
  llvm::StringRef batch; ///< what the file calls it
  llvm::StringMap<Value> values;
  llvm::StringMap<const ValueInfo *> claims; ///< what the file says of values
  llvm::StringMap<size_t> producers;         ///< value of the program -> its call
  int64_t constantElements = 0;
  unsigned problems = 0;

  /// The initializer that a weight of the program comes from.
  struct Source {
    const Tensor *tensor;
    bool transposed;
  };
  std::vector<Source> sources;
  llvm::StringMap<size_t> weightOfName;
};

} // namespace ns::onnx

#endif // NS_LIB_IMPORT_ONNXTRANSLATOR_H
