//===- OnnxModel.h - an ONNX file as plain structs -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Member by member what onnx.proto3 calls them, as far as the importer reads them. All text and all
// tensor data are views of the file.
//
//===----------------------------------------------------------------------===//

#ifndef NS_IMPORT_ONNXMODEL_H
#define NS_IMPORT_ONNXMODEL_H

#include "ns/Import/Pt2Archive.h"

#include "llvm/Support/MemoryBuffer.h"

#include <memory>

namespace ns::onnx {

/// The element type that TensorProto.DataType numbers; nothing for one that the importer has no use
/// for (strings, complex numbers, 8-bit floats).
std::optional<pt2::ScalarType> scalarType(int64_t dataType);

/// TensorProto. Elements are in `bytes` (row-major, little endian), or in `numbers` where a writer
/// chose the typed fields for integers.
struct Tensor {
  llvm::StringRef name;
  int64_t dataType = 0;
  llvm::SmallVector<int64_t, 4> dims;
  llvm::StringRef bytes;
  std::vector<int64_t> numbers;
  /// The file beside the model that holds the elements; empty where the model itself does. -1: the
  /// rest of the file.
  llvm::StringRef location;
  int64_t offset = 0, length = -1;

  /// Product of `dims`, which the reader has checked.
  int64_t count() const;
};

/// AttributeProto.
struct Attribute {
  llvm::StringRef name, text;
  double number = 0; ///< the shortest decimal that is the file's float32
  int64_t integer = 0;
  std::vector<double> numbers;
  std::vector<int64_t> integers;
  std::unique_ptr<Tensor> tensor;
  /// AttributeProto.AttributeType.
  enum Type { Undefined = 0, Float = 1, Int = 2, String = 3, TensorType = 4, Floats = 6, Ints = 7 };
  int64_t type = Undefined;
};

/// NodeProto.
struct Node {
  llvm::StringRef name, opType, domain;
  llvm::SmallVector<llvm::StringRef, 4> inputs; ///< empty: left out
  llvm::SmallVector<llvm::StringRef, 1> outputs;
  std::vector<Attribute> attributes;
  llvm::StringRef scopes; ///< what torch.onnx says of the modules it was called in
  llvm::StringRef call;   ///< and of the call in PyTorch that it comes from

  Node() = default;
  Node(Node &&) = default; // not copied: attributes own tensors
  const Attribute *find(llvm::StringRef attribute) const;
};

/// A dimension of ValueInfoProto: a number, or a name.
struct Dimension {
  int64_t value = -1;
  llvm::StringRef name;
};

/// ValueInfoProto of a tensor. Without `dims` the rank is not known.
struct ValueInfo {
  llvm::StringRef name;
  int64_t dataType = 0;
  std::optional<llvm::SmallVector<Dimension, 4>> dims;
};

/// ModelProto and its GraphProto.
struct Model {
  llvm::StringRef producer;
  int64_t opset = 0; ///< of the domain ai.onnx
  std::vector<Node> nodes;
  std::vector<Tensor> initializers;
  std::vector<ValueInfo> inputs, outputs, values;
  llvm::StringRef signature; ///< what torch.onnx says of the program's inputs and weights
  /// What tensors lie in beside the model's own bytes: other files, mapped.
  std::vector<std::unique_ptr<llvm::MemoryBuffer>> data;

  /// Reads a model. Tensors keep pointing into `buffer` and into files of `folder`, which are
  /// mapped; without a folder a tensor outside the model is an error. Checks wire format, text,
  /// extents and sizes; allocates in proportion to the graph, never to sizes that the file merely
  /// claims. Errors say where in the file, what was expected and what was found.
  static llvm::Expected<Model> read(llvm::MemoryBufferRef buffer, llvm::StringRef folder);
};

} // namespace ns::onnx

#endif // NS_IMPORT_ONNXMODEL_H
