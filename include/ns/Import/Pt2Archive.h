//===- Pt2Archive.h - a torch.export archive as plain structs -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_IMPORT_PT2ARCHIVE_H
#define NS_IMPORT_PT2ARCHIVE_H

#include "ns/Checkpoint/Tensor.h"
#include "ns/Import/IndexMap.h"
#include "ns/Import/ZipArchive.h"

#include "llvm/ADT/StringMap.h"
#include "llvm/Support/JSON.h"

namespace ns::pt2 {

/// Element types, by their numbers in the export schema (torch/_export/serde/schema.yaml,
/// ScalarType).
enum class ScalarType : int64_t { U8 = 1, I8, I16, I32, I64, F16, F32, F64, Bool = 12, BF16 = 13 };

/// Bytes of one element; 0 for a number that is no known type.
unsigned elementSize(ScalarType type);
/// The type's name in safetensors files, such as "F32"; "type 9" for an unknown one.
std::string nameOf(ScalarType type);

/// The shape that the archive claims for a value of the graph. A dynamic extent is given at
/// `kProbeBatch` and `symbol` is the name of the dimension it is computed from.
struct TensorMeta {
  ScalarType type = ScalarType::F32;
  llvm::SmallVector<int64_t> sizes;
  std::string symbol;
};

/// An argument of a node: `names` of tensors, or numbers. Symbolic integers are `kSymbolic`.
struct Argument {
  enum class Kind { None, Tensors, Ints, Floats, Bool, String, Other };
  static constexpr int64_t kSymbolic = std::numeric_limits<int64_t>::min();

  Kind kind = Kind::None;
  std::vector<std::string> names;
  std::vector<int64_t> ints;
  std::vector<double> floats;
  std::string text;
  bool flag = false;
};

struct NamedArgument {
  std::string name;
  Argument value;
};

/// One call of the graph.
struct Node {
  std::string name, target;
  std::string layer; ///< innermost module's fully qualified name; empty in the model's own forward
  std::vector<NamedArgument> inputs;
  std::vector<std::string> outputs; ///< tensors only, lists flattened

  /// The argument, or null where the call leaves it at its default or passes None.
  const Argument *find(llvm::StringRef argument) const;
};

/// A parameter, buffer or constant: where its elements lie in the archive.
struct Weight {
  enum class Kind { Parameter, Buffer, Constant };

  std::string name; ///< fully qualified
  Kind kind = Kind::Parameter;
  ScalarType type = ScalarType::F32;
  llvm::SmallVector<int64_t> sizes, strides;
  ZipArchive::Entry record; ///< the storage, which other weights may share
  int64_t firstElement = 0;
  /// Index of the first weight with the same elements (tied parameters); its own index otherwise.
  size_t canonical = 0;
  /// Where not empty: the elements are these tensors of a checkpoint, one after the other, instead.
  std::vector<checkpoint::Tensor> replacement;
  /// A constant of the export, such as an index, that the network does not read since it became
  /// attributes of ops. Such weights are not written.
  bool isFolded = false;
  /// The elements are in memory (`Program::computed`), not in the archive.
  bool inMemory = false;

  bool isContiguous() const;
  uint64_t sizeInBytes() const;
};

/// A program that `torch.export.save` wrote: schema version 8 in archive layout version 0.
struct Program {
  std::string stem;
  std::string imageName, logitsName;
  std::vector<Weight> weights; ///< in the order of the graph's inputs, then those it does not read
  llvm::StringMap<size_t> weightOfValue; ///< graph value -> index in `weights`
  llvm::StringMap<TensorMeta> values;    ///< of every tensor of the graph
  std::vector<Node> nodes;               ///< in order of execution
  /// Elements of weights that no file holds.
  std::vector<std::unique_ptr<const std::vector<float>>> computed;
  std::optional<llvm::json::Object> record; ///< nullspace.json, where the export has one

  /// Reads a program. Checks versions, CRCs, names, types and extents, so that what is returned is
  /// consistent in itself; allocates in proportion to the graph, never to sizes that the file
  /// merely claims. Weights keep pointing into `buffer`.
  static llvm::Expected<Program> read(llvm::MemoryBufferRef buffer);
};

} // namespace ns::pt2

#endif // NS_IMPORT_PT2ARCHIVE_H
