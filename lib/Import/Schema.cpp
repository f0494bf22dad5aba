//===- Schema.cpp - JSON structs of the export schema, version 8 -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Schema.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace llvm;

// json::Array and ObjectMapper find these by argument-dependent look-up.
namespace ns::pt2 {
namespace schema {

static bool fromJSON(const json::Value &value, SymInt &out, json::Path path) {
  json::ObjectMapper map(value, path);
  if (!map)
    return false;
  const json::Object *object = value.getAsObject();
  if (const json::Object *expression = object->getObject("as_expr")) {
    if (std::optional<StringRef> text = expression->getString("expr_str")) {
      out.text = text->str();
      return true;
    }
    path.field("as_expr").report("expected an object with expr_str");
    return false;
  }
  return map.map("as_int", out.value);
}

static bool fromJSON(const json::Value &value, TensorMetaRecord &out, json::Path path) {
  json::ObjectMapper map(value, path);
  return map && map.map("dtype", out.dtype) && map.map("sizes", out.sizes) &&
         map.map("strides", out.strides) && map.map("storage_offset", out.storage_offset);
}

/// The only member of a tagged union, such as {"as_int": 1}.
static const json::Object::value_type *onlyMember(const json::Value &value, json::Path path) {
  const json::Object *object = value.getAsObject();
  if (object && object->size() == 1)
    return &*object->begin();
  path.report("expected an object with one member");
  return nullptr;
}

static std::string nameIn(const json::Value &value) {
  const json::Object *object = value.getAsObject();
  return object ? object->getString("name").value_or("").str() : "";
}

static bool fromJSON(const json::Value &value, InputSpec &out, json::Path path) {
  const json::Object::value_type *member = onlyMember(value, path);
  const json::Object *body = member ? member->second.getAsObject() : nullptr;
  if (!body)
    return path.report("expected an input of the graph"), false;
  out.kind = member->first.str();
  const json::Value *arg = body->get("arg");
  if (out.kind == "user_input" || out.kind == "user_output") {
    const json::Object *tagged = arg ? arg->getAsObject() : nullptr;
    const json::Value *tensor = tagged ? tagged->get("as_tensor") : nullptr;
    out.value = tensor ? nameIn(*tensor) : "";
    return true;
  }
  out.value = arg ? nameIn(*arg) : "";
  for (StringRef key : {"parameter_name", "buffer_name", "tensor_constant_name"})
    if (std::optional<StringRef> name = body->getString(key))
      out.fqn = name->str();
  return true;
}

static bool fromJSON(const json::Value &value, OutputSpec &out, json::Path path) {
  InputSpec spec;
  if (!fromJSON(value, spec, path))
    return false;
  out = {spec.kind, spec.value};
  return true;
}

static bool readInts(const json::Value &value, std::vector<int64_t> &ints, json::Path path) {
  if (const json::Object *symbolic =
          value.getAsObject()) { // SymInt arguments: {"as_int": 3} or {"as_name": "s"}
    ints.push_back(symbolic->getInteger("as_int").value_or(Argument::kSymbolic));
    return true;
  }
  int64_t number;
  if (!json::fromJSON(value, number, path))
    return false;
  ints.push_back(number);
  return true;
}

template <typename Function>
static bool forEach(const json::Value &value, json::Path path, Function function) {
  const json::Array *array = value.getAsArray();
  if (!array)
    return function(value, path);
  for (size_t i = 0; i < array->size(); ++i)
    if (!function((*array)[i], path.index(i)))
      return false;
  return true;
}

} // namespace schema

static bool fromJSON(const json::Value &value, Argument &out, json::Path path) {
  using Kind = Argument::Kind;
  const json::Object::value_type *member = schema::onlyMember(value, path);
  if (!member)
    return false;
  StringRef tag = member->first;
  const json::Value &body = member->second;
  json::Path at = path.field(tag);
  if (tag == "as_tensor" || tag == "as_tensors") {
    out.kind = Kind::Tensors;
    return schema::forEach(body, at, [&](const json::Value &item, json::Path) {
      out.names.push_back(schema::nameIn(item));
      return true;
    });
  }
  if (tag == "as_optional_tensors") { // of an index; one with gaps stays `Other`
    out.kind = Kind::Tensors;
    return schema::forEach(body, at, [&](const json::Value &item, json::Path p) {
      const json::Object::value_type *tensor = schema::onlyMember(item, p);
      if (tensor && StringRef(tensor->first) == "as_tensor")
        out.names.push_back(schema::nameIn(tensor->second));
      else
        out.kind = Kind::Other;
      return tensor != nullptr;
    });
  }
  if (tag == "as_int" || tag == "as_ints" || tag == "as_sym_int" || tag == "as_sym_ints") {
    out.kind = Kind::Ints;
    return schema::forEach(body, at, [&](const json::Value &item, json::Path p) {
      return schema::readInts(item, out.ints, p);
    });
  }
  if (tag == "as_float" || tag == "as_floats") {
    out.kind = Kind::Floats;
    return schema::forEach(body, at, [&](const json::Value &item, json::Path p) {
      return json::fromJSON(item, out.floats.emplace_back(), p);
    });
  }
  if (tag == "as_bool") {
    out.kind = Kind::Bool;
    return json::fromJSON(body, out.flag, at);
  }
  if (tag == "as_string") {
    out.kind = Kind::String;
    return json::fromJSON(body, out.text, at);
  }
  out.kind = tag == "as_none" ? Kind::None : Kind::Other;
  return true;
}

static bool fromJSON(const json::Value &value, NamedArgument &out, json::Path path) {
  json::ObjectMapper map(value, path);
  return map && map.map("name", out.name) && map.map("arg", out.value);
}

/// `nn_module_stack` is `key,name,class;key,name,class;...`, innermost last.
static std::string layerIn(const json::Object &node) {
  const json::Object *metadata = node.getObject("metadata");
  StringRef stack = metadata ? metadata->getString("nn_module_stack").value_or("") : "";
  SmallVector<StringRef> fields;
  stack.rsplit(';').second.split(fields, ',');
  if (!stack.contains(';'))
    fields.clear(), stack.split(fields, ',');
  return fields.size() > 2 ? fields[1].str() : "";
}

static bool fromJSON(const json::Value &value, Node &out, json::Path path) {
  json::ObjectMapper map(value, path);
  std::vector<Argument> outputs;
  if (!map || !map.map("target", out.target) || !map.map("inputs", out.inputs) ||
      !map.map("outputs", outputs))
    return false;
  for (const Argument &output : outputs)
    if (output.kind == Argument::Kind::Tensors)
      llvm::append_range(out.outputs, output.names);
  out.layer = layerIn(*value.getAsObject());
  out.name = value.getAsObject()->getString("name").value_or("").str();
  if (out.name.empty())
    out.name = out.outputs.empty() ? out.target : out.outputs.front();
  return true;
}

namespace schema {

static bool fromJSON(const json::Value &value, Graph &out, json::Path path) {
  json::ObjectMapper map(value, path);
  return map && map.map("nodes", out.nodes) && map.map("tensor_values", out.tensor_values);
}

static bool fromJSON(const json::Value &value, Signature &out, json::Path path) {
  json::ObjectMapper map(value, path);
  return map && map.map("input_specs", out.input_specs) &&
         map.map("output_specs", out.output_specs);
}

static bool fromJSON(const json::Value &value, Payload &out, json::Path path) {
  json::ObjectMapper map(value, path);
  return map && map.map("path_name", out.path_name) && map.map("use_pickle", out.use_pickle) &&
         map.map("is_param", out.is_param) && map.map("tensor_meta", out.tensor_meta);
}

Expected<json::Value> parseJson(StringRef text, StringRef entry) {
  constexpr unsigned kMaxDepth = 100; // exports have 12
  unsigned depth = 0;
  bool inString = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inString) {
      i += c == '\\';
      inString = c != '"';
    } else if (c == '"') {
      inString = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth)
        return createStringError("entry '" + entry + "': JSON nested deeper than " +
                                 Twine(kMaxDepth) + " levels");
    } else if ((c == ']' || c == '}') && depth > 0) {
      --depth;
    }
  }
  Expected<json::Value> value = json::parse(text);
  if (!value)
    return createStringError("entry '" + entry + "': " + toString(value.takeError()));
  return value;
}

/// Reads member `key` of an object, which lies in `entry`, into `out`.
template <typename T>
static Error readMember(const json::Object &object, StringRef key, StringRef entry, T &out) {
  json::Path::Root root(key);
  const json::Value *value = object.get(key);
  if (!value)
    return createStringError("entry '" + entry + "': expected a member '" + key + "'");
  if (!fromJSON(*value, out, root))
    return createStringError("entry '" + entry + "': " + toString(root.getError()));
  return Error::success();
}

Expected<ExportedProgram> readModel(StringRef text, StringRef entry) {
  Expected<json::Value> value = parseJson(text, entry);
  if (!value)
    return value.takeError();
  const json::Object *top = value->getAsObject();
  const json::Object *version = top ? top->getObject("schema_version") : nullptr;
  const json::Object *module = top ? top->getObject("graph_module") : nullptr;
  std::optional<int64_t> major = version ? version->getInteger("major") : std::nullopt;
  if (!major || !module)
    return createStringError(
        "entry '" + entry + "': expected an exported program with schema_version and graph_module");
  ExportedProgram result;
  result.schemaMajor = *major;
  if (*major != 8) // the rest may be anything
    return result;
  if (Error error = readMember(*module, "graph", entry, result.graph))
    return error;
  if (Error error = readMember(*module, "signature", entry, result.signature))
    return error;
  return result;
}

Expected<std::map<std::string, Payload>> readPayloads(StringRef text, StringRef entry) {
  Expected<json::Value> value = parseJson(text, entry);
  if (!value)
    return value.takeError();
  std::map<std::string, Payload> result;
  const json::Object *top = value->getAsObject();
  if (!top)
    return createStringError("entry '" + entry + "': expected an object");
  if (Error error = readMember(*top, "config", entry, result))
    return error;
  return result;
}

/// Parses one term at the start of `text`, and consumes it.
static std::optional<int64_t> parseTerm(StringRef &text, std::string &symbol, unsigned depth) {
  if (text.consume_front("Symbol('")) {
    StringRef name = text.take_until([](char c) { return c == '\''; });
    size_t end = text.find(')');
    if (end == StringRef::npos || (!symbol.empty() && symbol != name))
      return std::nullopt;
    symbol = name.str();
    text = text.substr(end + 1);
    return kProbeBatch;
  }
  int64_t number = 1;
  if (text.consume_front("Integer("))
    return text.consumeInteger(10, number) || !text.consume_front(")") ? std::nullopt
                                                                       : std::optional(number);
  if (depth == 0 || !text.consume_front("Mul("))
    return std::nullopt;
  do {
    std::optional<int64_t> factor = parseTerm(text, symbol, depth - 1);
    if (!factor || MulOverflow(number, *factor, number))
      return std::nullopt;
  } while (text.consume_front(", "));
  return text.consume_front(")") ? std::optional(number) : std::nullopt;
}

std::optional<int64_t> evaluate(const SymInt &extent, std::string &symbol) {
  if (extent.text.empty())
    return extent.value;
  StringRef text = extent.text;
  std::optional<int64_t> value = parseTerm(text, symbol, 4);
  return text.empty() ? value : std::nullopt;
}

} // namespace schema
} // namespace ns::pt2
