//===- Schema.h - JSON structs of the export schema, version 8 -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Member by member what torch/_export/serde/schema.yaml calls them, as far as the importer reads
// them.
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_IMPORT_SCHEMA_H
#define NS_LIB_IMPORT_SCHEMA_H

#include "JsonText.h"
#include "ns/Import/Pt2Archive.h"

namespace ns::pt2::schema {

/// An extent: a number, or an expression (`text`, sympy's srepr) in the batch.
struct SymInt {
  int64_t value = 0;
  std::string text;
};

struct TensorMetaRecord {
  int64_t dtype = 0;
  std::vector<SymInt> sizes, strides;
  SymInt storage_offset;
};

struct InputSpec {
  std::string kind; ///< parameter, buffer, tensor_constant, user_input, ...
  std::string value, fqn;
};

struct OutputSpec {
  std::string kind;
  std::string value;
};

struct Graph {
  std::vector<Node> nodes;
  std::map<std::string, TensorMetaRecord> tensor_values;
};

struct Signature {
  std::vector<InputSpec> input_specs;
  std::vector<OutputSpec> output_specs;
};

struct Payload {
  std::string path_name;
  bool is_param = false, use_pickle = false;
  std::optional<TensorMetaRecord> tensor_meta;
};

struct ExportedProgram {
  int64_t schemaMajor = 0;
  Graph graph;
  Signature signature;
};

/// Parses `text`, the entry called `entry`, into a struct of this file. Errors name the entry and
/// the place in it.
llvm::Expected<ExportedProgram> readModel(llvm::StringRef text, llvm::StringRef entry);
llvm::Expected<std::map<std::string, Payload>> readPayloads(llvm::StringRef text,
                                                            llvm::StringRef entry);

/// The value of an extent with the batch at `kProbeBatch`, and the name of its dimension in
/// `symbol`. Knows what exports have: `Symbol('s0', ...)`, `Integer(n)`, `Mul(...)` of them.
std::optional<int64_t> evaluate(const SymInt &extent, std::string &symbol);

} // namespace ns::pt2::schema

#endif // NS_LIB_IMPORT_SCHEMA_H
