//===- OnnxModel.cpp - an ONNX file as plain structs -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Import/OnnxModel.h"

#include "OnnxFiles.h"
#include "OnnxWire.h"

#include "llvm/ADT/StringExtras.h"

#include <charconv>

using namespace llvm;
using namespace ns;
using namespace ns::onnx;
using ns::onnx::wire::Field;
using ns::onnx::wire::Message;
using pt2::ScalarType;

namespace {
/// Graphs beyond this many nodes, or initializers, or values are refused: each costs more memory
/// than the two bytes that one may take in the file.
constexpr size_t kMaxMembers = 1 << 16;
constexpr size_t kMaxRank = 8;

/// Tensor.data_location.
constexpr int64_t kExternal = 1;
} // namespace

std::optional<ScalarType> ns::onnx::scalarType(int64_t dataType) {
  switch (dataType) {
  case 1:
    return ScalarType::F32;
  case 2:
    return ScalarType::U8;
  case 3:
    return ScalarType::I8;
  case 5:
    return ScalarType::I16;
  case 6:
    return ScalarType::I32;
  case 7:
    return ScalarType::I64;
  case 9:
    return ScalarType::Bool;
  case 10:
    return ScalarType::F16;
  case 11:
    return ScalarType::F64;
  case 16:
    return ScalarType::BF16;
  }
  return std::nullopt;
}

int64_t Tensor::count() const {
  if (llvm::is_contained(dims, 0))
    return 0;
  int64_t count = 1;
  for (int64_t extent : dims)
    count *= extent;
  return count;
}

const Attribute *Node::find(StringRef attribute) const {
  for (const Attribute &candidate : attributes)
    if (candidate.name == attribute)
      return &candidate;
  return nullptr;
}

/// The double that is written as `value` is at float32's precision: 1e-6,
/// not 9.999999974752427e-07, for what PyTorch computes with is the double that was rounded to the
/// file's float.
static double shortestDecimal(float value) {
  char text[32];
  double result = value;
  auto written = std::to_chars(text, text + sizeof(text), value);
  if (written.ec == std::errc())
    std::from_chars(text, written.ptr, result);
  return result;
}

static Error inside(const Twine &where, Error error) {
  return error ? createStringError(where + ": " + toString(std::move(error))) : std::move(error);
}

/// Reads the message in `field` with `read(bytes, target)`.
template <typename T>
static Error readInto(const Field &field, T &target, Error (*read)(Message, T &)) {
  Message message;
  if (Error error = field.read(message))
    return error;
  return read(message, target);
}

/// The same for one more element of a list.
template <typename T>
static Error readElement(const Field &field, std::vector<T> &list, const char *what,
                         Error (*read)(Message, T &)) {
  if (list.size() == kMaxMembers)
    return createStringError("expected at most " + Twine(kMaxMembers) + " " + what + "s");
  if (Error error = field.take(1, sizeof(T)))
    return error;
  return inside(what + (" " + Twine(list.size())), readInto(field, list.emplace_back(), read));
}

//===----------------------------------------------------------------------===//
// Tensors and attributes
//===----------------------------------------------------------------------===//

namespace {
/// StringStringEntryProto.
struct Entry {
  StringRef key, value;
};
} // namespace

static Error readEntry(Message message, Entry &entry) {
  return wire::readMessage(message, [&](const Field &field) -> Error {
    switch (field.number) {
    case 1:
      return field.read(entry.key);
    case 2:
      return field.read(entry.value);
    }
    return Error::success();
  });
}

static Error readExternal(const Field &field, Tensor &tensor) {
  Entry entry;
  if (Error error = readInto(field, entry, readEntry))
    return error;
  bool bad = false;
  if (entry.key == "location")
    tensor.location = entry.value;
  else if (entry.key == "offset")
    bad = entry.value.getAsInteger(10, tensor.offset);
  else if (entry.key == "length")
    bad = entry.value.getAsInteger(10, tensor.length);
  if (bad || tensor.offset < 0 || tensor.length < -1)
    return createStringError("external data: " + entry.key + " '" + entry.value.take_front(40) +
                             "'");
  return Error::success();
}

/// What a tensor's elements were found in, beside its fields.
static Error checkElements(Tensor &tensor, bool external) {
  if (llvm::any_of(tensor.dims, [](int64_t extent) { return extent < 0; }))
    return createStringError("a negative extent");
  const bool empty = llvm::is_contained(tensor.dims, 0);
  std::optional<int64_t> count = empty ? 0 : pt2::countElements(tensor.dims);
  if (!count)
    return createStringError("more elements than any memory holds");
  std::optional<ScalarType> type = scalarType(tensor.dataType);
  if (external) {
    if (tensor.location.empty() || !tensor.bytes.empty() || !tensor.numbers.empty())
      return createStringError("expected the name of the file that holds its data, and no others");
    return Error::success();
  }
  tensor.location = "";
  if (!type) // reported where something reads it
    return Error::success();
  const int64_t width = pt2::elementSize(*type);
  const bool floats = type == ScalarType::F32 || type == ScalarType::F64;
  if (!tensor.numbers.empty()) {
    if (floats || !tensor.bytes.empty() || static_cast<int64_t>(tensor.numbers.size()) != *count)
      return createStringError("expected " + Twine(*count) + " elements, found " +
                               Twine(tensor.numbers.size()) + " in its typed data and " +
                               Twine(tensor.bytes.size()) + " bytes");
  } else if (*count > static_cast<int64_t>(tensor.bytes.size()) / width ||
             *count * width != static_cast<int64_t>(tensor.bytes.size())) {
    return createStringError("expected " + Twine(*count) + " elements of " + Twine(width) +
                             " bytes, found " + Twine(tensor.bytes.size()) + " bytes");
  }
  return Error::success();
}

static Error readTensor(Message message, Tensor &tensor) {
  int64_t dataLocation = 0;
  Error error = wire::readMessage(message, [&](const Field &field) -> Error {
    switch (field.number) {
    case 1:
      return field.append(tensor.dims, kMaxRank);
    case 2:
      return field.read(tensor.dataType);
    case 3:
      return createStringError("a tensor in segments");
    case 4:  // packed floats are raw ones
    case 9:  // raw_data
    case 10: // packed doubles
      if (!tensor.bytes.empty())
        return createStringError("its elements are there twice");
      return field.readBytes(tensor.bytes);
    case 5:
    case 7:
      return field.append(tensor.numbers);
    case 8:
      return field.read(tensor.name);
    case 13:
      return readExternal(field, tensor);
    case 14:
      return field.read(dataLocation);
    }
    return Error::success();
  });
  if (!error)
    error = checkElements(tensor, dataLocation == kExternal);
  return inside("tensor '" + tensor.name + "'", std::move(error));
}

static Error readAttribute(Message message, Attribute &attribute) {
  std::vector<float> floats;
  SmallVector<int64_t> integers;
  float number = 0;
  Error error = wire::readMessage(message, [&](const Field &field) -> Error {
    switch (field.number) {
    case 1:
      return field.read(attribute.name);
    case 2:
      return field.read(number);
    case 3:
      return field.read(attribute.integer);
    case 4:
      return field.read(attribute.text);
    case 5:
      if (attribute.tensor)
        return createStringError("two tensors");
      if (Error error = field.take(1, sizeof(Tensor)))
        return error;
      attribute.tensor = std::make_unique<Tensor>();
      return readInto(field, *attribute.tensor, readTensor);
    case 7:
      return field.append(floats);
    case 8:
      return field.append(integers);
    case 20:
      return field.read(attribute.type);
    }
    return Error::success();
  });
  attribute.number = shortestDecimal(number);
  for (float value : floats)
    attribute.numbers.push_back(shortestDecimal(value));
  attribute.integers.assign(integers.begin(), integers.end());
  return inside("attribute '" + attribute.name + "'", std::move(error));
}

//===----------------------------------------------------------------------===//
// Nodes and values
//===----------------------------------------------------------------------===//

static Error readName(const Field &field, SmallVectorImpl<StringRef> &names) {
  if (names.size() == kMaxMembers)
    return createStringError("expected at most " + Twine(kMaxMembers) + " names");
  if (Error error = field.take(1, sizeof(StringRef)))
    return error;
  return field.read(names.emplace_back());
}

static Error readNode(Message message, Node &node) {
  return wire::readMessage(message, [&](const Field &field) -> Error {
    switch (field.number) {
    case 1:
      return readName(field, node.inputs);
    case 2:
      return readName(field, node.outputs);
    case 3:
      return field.read(node.name);
    case 4:
      return field.read(node.opType);
    case 5:
      return readElement(field, node.attributes, "attribute", readAttribute);
    case 7:
      return field.read(node.domain);
    case 9: {
      Entry entry;
      if (Error error = readInto(field, entry, readEntry))
        return error;
      if (entry.key == "pkg.torch.onnx.name_scopes")
        node.scopes = entry.value;
      else if (entry.key == "pkg.torch.onnx.fx_node")
        node.call = entry.value;
    }
    }
    return Error::success();
  });
}

static Error readDimension(Message message, Dimension &dimension) {
  return wire::readMessage(message, [&](const Field &field) -> Error {
    switch (field.number) {
    case 1:
      return field.read(dimension.value);
    case 2:
      return field.read(dimension.name);
    }
    return Error::success();
  });
}

static Error readShape(Message message, SmallVector<Dimension, 4> &dims) {
  return wire::readMessage(message, [&](const Field &field) -> Error {
    if (field.number != 1)
      return Error::success();
    if (dims.size() == kMaxRank)
      return createStringError("expected at most " + Twine(kMaxRank) + " dimensions");
    return readInto(field, dims.emplace_back(), readDimension);
  });
}

static Error readTensorType(Message message, ValueInfo &value) {
  return wire::readMessage(message, [&](const Field &field) -> Error {
    switch (field.number) {
    case 1:
      return field.read(value.dataType);
    case 2:
      value.dims.emplace();
      return readInto(field, *value.dims, readShape);
    }
    return Error::success();
  });
}

static Error readType(Message message, ValueInfo &value) {
  return wire::readMessage(message, [&](const Field &field) -> Error {
    return field.number == 1 ? readInto(field, value, readTensorType) : Error::success();
  });
}

static Error readValue(Message message, ValueInfo &value) {
  Error error = wire::readMessage(message, [&](const Field &field) -> Error {
    switch (field.number) {
    case 1:
      return field.read(value.name);
    case 2:
      return readInto(field, value, readType);
    }
    return Error::success();
  });
  return inside("'" + value.name + "'", std::move(error));
}

//===----------------------------------------------------------------------===//
// The model
//===----------------------------------------------------------------------===//

static Error readGraph(Message message, Model &model) {
  return wire::readMessage(message, [&](const Field &field) -> Error {
    switch (field.number) {
    case 1:
      return readElement(field, model.nodes, "node", readNode);
    case 5:
      return readElement(field, model.initializers, "initializer", readTensor);
    case 11:
      return readElement(field, model.inputs, "input", readValue);
    case 12:
      return readElement(field, model.outputs, "output", readValue);
    case 13:
      return readElement(field, model.values, "value", readValue);
    case 15:
      return createStringError("it has sparse initializers");
    case 16: {
      Entry entry;
      if (Error error = readInto(field, entry, readEntry))
        return error;
      if (entry.key == "pkg.torch.export.ExportedProgram.graph_signature")
        model.signature = entry.value;
    }
    }
    return Error::success();
  });
}

static Error readOpset(Message message, Model &model) {
  StringRef domain;
  int64_t version = 0;
  if (Error error = wire::readMessage(message, [&](const Field &field) -> Error {
        return field.number == 1   ? field.read(domain)
               : field.number == 2 ? field.read(version)
                                   : Error::success();
      }))
    return error;
  if (domain.empty() || domain == "ai.onnx")
    model.opset = version;
  return Error::success();
}

static Error readModel(Message message, Model &model) {
  bool graph = false;
  int64_t irVersion = 0;
  Error error = wire::readMessage(message, [&](const Field &field) -> Error {
    switch (field.number) {
    case 1:
      return field.read(irVersion);
    case 2:
      return field.read(model.producer);
    case 7:
      if (std::exchange(graph, true))
        return createStringError("the graph is there twice");
      return inside("graph", readInto(field, model, readGraph));
    case 8:
      return inside("opset", readInto(field, model, readOpset));
    }
    return Error::success();
  });
  if (error)
    return error;
  if (irVersion < 1 || !graph || model.opset < 1)
    return createStringError("expected an IR version, a graph and an opset, found" +
                             Twine(irVersion < 1 ? " no version," : "") +
                             (graph ? "" : " no graph,") + (model.opset < 1 ? " no opset," : "") +
                             " in a file of another kind, or one cut short");
  return Error::success();
}

Expected<Model> Model::read(MemoryBufferRef buffer, StringRef folder) {
  Model model;
  uint64_t memory = wire::kMaxMemory;
  if (Error error = inside("ONNX model", readModel({buffer.getBuffer(), &memory}, model)))
    return error;
  DataFiles files(folder, model.data);
  for (Tensor &tensor : model.initializers)
    if (Error error = files.attach(tensor))
      return error;
  for (Node &node : model.nodes)
    for (Attribute &attribute : node.attributes)
      if (attribute.tensor)
        if (Error error = files.attach(*attribute.tensor))
          return error;
  return model;
}
