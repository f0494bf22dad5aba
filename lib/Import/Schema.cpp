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

static bool fromJSON(const json::Value &value, Payload &out, json::Path path) {
  json::ObjectMapper map(value, path);
  return map && map.map("path_name", out.path_name) && map.map("use_pickle", out.use_pickle) &&
         map.map("is_param", out.is_param) && map.map("tensor_meta", out.tensor_meta);
}

/// Longer ones than any model has: those of forty blocks have two.
static constexpr uint64_t kMaxText = 8 << 20;

static Error checkSize(StringRef text, StringRef entry) {
  if (text.size() <= kMaxText)
    return Error::success();
  return createStringError("entry '" + entry + "': expected at most " + Twine(kMaxText >> 20) +
                           " MiB of JSON, found " + Twine(text.size()) + " bytes");
}

/// Reads `text`, which is `what` of an entry, into `out`.
template <typename T>
static Error readPiece(StringRef text, const Twine &what, StringRef entry, T &out) {
  Expected<json::Value> value = parseJson(text, entry);
  if (!value)
    return value.takeError();
  std::string name = what.str();
  json::Path::Root root(name);
  if (!fromJSON(*value, out, root))
    return createStringError("entry '" + entry + "': " + toString(root.getError()));
  return Error::success();
}

/// Appends the elements of an array, one document each.
template <typename T>
static Error readList(StringRef text, StringRef what, StringRef entry, std::vector<T> &out) {
  return forEachElement(text, entry, [&](StringRef element) {
    return readPiece(element, what + "[" + Twine(out.size()) + "]", entry, out.emplace_back());
  });
}

/// Adds the members of an object, one document each.
template <typename T>
static Error readMap(StringRef text, StringRef what, StringRef entry,
                     std::map<std::string, T> &out) {
  return forEachMember(text, entry, [&](StringRef key, StringRef value) -> Error {
    std::string name; // with its escapes resolved
    if (Error error = readPiece(("\"" + key + "\"").str(), what, entry, name))
      return error;
    return readPiece(value, what + "." + key, entry, out[name]);
  });
}

/// The texts of members `keys` of an object.
static Expected<SmallVector<StringRef>> membersOf(StringRef text, ArrayRef<StringRef> keys,
                                                  StringRef entry) {
  SmallVector<StringRef> found(keys.size());
  if (Error error = forEachMember(text, entry, [&](StringRef key, StringRef value) {
        if (const StringRef *known = llvm::find(keys, key); known != keys.end())
          found[known - keys.begin()] = value;
        return Error::success();
      }))
    return error;
  for (auto [key, value] : llvm::zip_equal(keys, found))
    if (value.empty())
      return createStringError("entry '" + entry + "': expected a member '" + key + "'");
  return found;
}

Expected<ExportedProgram> readModel(StringRef text, StringRef entry) {
  if (Error error = checkSize(text, entry))
    return error;
  auto top = membersOf(text, {"schema_version", "graph_module"}, entry);
  if (!top)
    return top.takeError();
  Expected<json::Value> version = parseJson((*top)[0], entry);
  if (!version)
    return version.takeError();
  const json::Object *numbers = version->getAsObject();
  std::optional<int64_t> major = numbers ? numbers->getInteger("major") : std::nullopt;
  if (!major)
    return createStringError("entry '" + entry + "': expected a schema_version");
  ExportedProgram result;
  result.schemaMajor = *major;
  if (*major != 8) // the rest may be anything
    return result;
  auto module = membersOf((*top)[1], {"graph", "signature"}, entry);
  if (!module)
    return module.takeError();
  auto graph = membersOf((*module)[0], {"nodes", "tensor_values"}, entry);
  auto signature = membersOf((*module)[1], {"input_specs", "output_specs"}, entry);
  if (!graph || !signature)
    return joinErrors(graph.takeError(), signature.takeError());
  if (Error error = readList((*graph)[0], "nodes", entry, result.graph.nodes))
    return error;
  if (Error error = readMap((*graph)[1], "tensor_values", entry, result.graph.tensor_values))
    return error;
  if (Error error = readList((*signature)[0], "input_specs", entry, result.signature.input_specs))
    return error;
  if (Error error = readList((*signature)[1], "output_specs", entry, result.signature.output_specs))
    return error;
  return result;
}

Expected<std::map<std::string, Payload>> readPayloads(StringRef text, StringRef entry) {
  if (Error error = checkSize(text, entry))
    return error;
  auto top = membersOf(text, {"config"}, entry);
  if (!top)
    return top.takeError();
  std::map<std::string, Payload> result;
  if (Error error = readMap(top->front(), "config", entry, result))
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
