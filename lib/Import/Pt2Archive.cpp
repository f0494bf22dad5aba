//===- Pt2Archive.cpp - a torch.export archive as plain structs -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Import/Pt2Archive.h"

#include "Schema.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace llvm;
using namespace ns::pt2;

unsigned ns::pt2::elementSize(ScalarType type) {
  switch (type) {
  case ScalarType::U8:
  case ScalarType::I8:
  case ScalarType::Bool:
    return 1;
  case ScalarType::I16:
  case ScalarType::F16:
  case ScalarType::BF16:
    return 2;
  case ScalarType::I32:
  case ScalarType::F32:
    return 4;
  case ScalarType::I64:
  case ScalarType::F64:
    return 8;
  }
  return 0;
}

std::string ns::pt2::nameOf(ScalarType type) {
  switch (type) {
  case ScalarType::U8:
    return "U8";
  case ScalarType::I8:
    return "I8";
  case ScalarType::I16:
    return "I16";
  case ScalarType::I32:
    return "I32";
  case ScalarType::I64:
    return "I64";
  case ScalarType::F16:
    return "F16";
  case ScalarType::F32:
    return "F32";
  case ScalarType::F64:
    return "F64";
  case ScalarType::Bool:
    return "BOOL";
  case ScalarType::BF16:
    return "BF16";
  }
  return "type " + std::to_string(static_cast<int64_t>(type));
}

const Argument *Node::find(StringRef argument) const {
  for (const NamedArgument &input : inputs)
    if (input.name == argument && input.value.kind != Argument::Kind::None)
      return &input.value;
  return nullptr;
}

bool Weight::isContiguous() const {
  int64_t expected = 1;
  for (auto [size, stride] : llvm::reverse(llvm::zip_equal(sizes, strides))) {
    if (size != 1 && stride != expected)
      return false;
    expected *= size;
  }
  return true;
}

uint64_t Weight::sizeInBytes() const {
  uint64_t count = elementSize(type);
  for (int64_t size : sizes)
    count *= size;
  return count;
}

namespace {
/// Builds a Program out of one archive.
class Reader {
public:
  Reader(const ZipArchive &zip, Program &program) : zip(zip), program(program) {}
  Error run();

private:
  Expected<StringRef> text(const Twine &entry) const;
  Error checkLayout() const;
  Error readPayloads(StringRef folder);
  Error addWeight(const std::string &name);
  Expected<ZipArchive::Entry> recordOf(const schema::Payload &payload, StringRef folder);
  Error readSignature(const schema::Signature &signature);
  Error readValues(const std::map<std::string, schema::TensorMetaRecord> &values);
  Error checkWeightValues() const;
  Error readRecord();
  void findTies();

  const ZipArchive &zip;
  Program &program;
  std::map<std::string, std::pair<schema::Payload, StringRef>>
      payloads; ///< with their folder, by name
  StringMap<size_t> weightOfName;
  StringMap<ZipArchive::Entry> records; ///< checked once, though shared
};
} // namespace

Expected<StringRef> Reader::text(const Twine &entry) const {
  Expected<ZipArchive::Entry> found = zip.read((zip.root() + "/" + entry).str());
  if (!found)
    return found.takeError();
  return found->bytes;
}

Error Reader::checkLayout() const {
  constexpr StringLiteral kAgain = ": re-export the model with PyTorch 2.13";
  if (zip.contains("serialized_exported_program.json"))
    return createStringError("an export in PyTorch's older archive layout" + kAgain);
  if (zip.contains((zip.root() + "/data.pkl").str()))
    return createStringError(
        "expected an export, found a PyTorch checkpoint: export the model with python -m "
        "nullspace.export SOURCE --checkpoint FILE");
  std::pair<StringRef, StringRef> expected[] = {
      {"archive_format", "pt2"}, {"archive_version", "0"}, {"byteorder", "little"}};
  for (auto [entry, value] : expected) {
    Expected<StringRef> found = text(entry);
    if (!found)
      return createStringError("expected a torch.export archive: " + toString(found.takeError()));
    if (*found != value)
      return createStringError("entry '" + entry + "': expected '" + value + "', found '" +
                               found->take_front(32) + "'" + kAgain);
  }
  return Error::success();
}

Expected<ZipArchive::Entry> Reader::recordOf(const schema::Payload &payload, StringRef folder) {
  std::string entry = (zip.root() + "/data/" + folder + "/" + payload.path_name).str();
  auto known = records.find(entry);
  if (known != records.end())
    return known->second;
  Expected<ZipArchive::Entry> record = zip.read(entry);
  if (record)
    records[entry] = *record;
  return record;
}

/// Appends the weight called `name`, which must be in `payloads`, to the program, unless it is
/// there.
Error Reader::addWeight(const std::string &name) {
  if (!weightOfName.try_emplace(name, program.weights.size()).second)
    return Error::success();
  const auto &[payload, folder] = payloads.find(name)->second;
  auto bad = [&](const Twine &what) { return createStringError("weight '" + name + "': " + what); };
  if (payload.use_pickle || !payload.tensor_meta)
    return bad("expected raw bytes, found a pickled object (a tensor subclass?)");
  Weight weight;
  weight.name = name;
  weight.kind = folder == "constants" ? Weight::Kind::Constant
                : payload.is_param    ? Weight::Kind::Parameter
                                      : Weight::Kind::Buffer;
  weight.type = static_cast<ScalarType>(payload.tensor_meta->dtype);
  int64_t width = elementSize(weight.type);
  if (!width)
    return bad("unknown element " + nameOf(weight.type));
  if (name.empty() || name == "__metadata__" || StringRef(name).contains('\0'))
    return bad("a name that safetensors files cannot hold");
  Expected<ZipArchive::Entry> record = recordOf(payload, folder);
  if (!record)
    return bad(toString(record.takeError()));
  weight.record = *record;
  const schema::TensorMetaRecord &meta = *payload.tensor_meta;
  if (meta.sizes.size() != meta.strides.size() || meta.sizes.size() > 8)
    return bad(Twine(meta.sizes.size()) + " extents and " + Twine(meta.strides.size()) +
               " strides");
  int64_t last = meta.storage_offset.value, available = record->bytes.size() / width;
  bool valid = meta.storage_offset.text.empty() && last >= 0;
  for (auto [size, stride] : llvm::zip_equal(meta.sizes, meta.strides)) {
    int64_t span = 0;
    valid &= size.text.empty() && stride.text.empty() && size.value >= 1 && stride.value >= 0 &&
             !MulOverflow(size.value - 1, stride.value, span) && !AddOverflow(last, span, last);
    weight.sizes.push_back(size.value);
    weight.strides.push_back(stride.value);
  }
  std::optional<int64_t> count = countElements(weight.sizes);
  if (!valid || !count || last >= available || *count > available)
    return bad("its extents, strides and offset reach beyond entry '" + payload.path_name +
               "' of " + Twine(record->bytes.size()) + " bytes");
  weight.firstElement = meta.storage_offset.value;
  program.weights.push_back(std::move(weight));
  return Error::success();
}

Error Reader::readPayloads(StringRef folder) {
  std::string entry = ("data/" + folder + "/model_" + folder + "_config.json").str();
  Expected<StringRef> json = text(entry);
  if (!json)
    return json.takeError();
  Expected<std::map<std::string, schema::Payload>> found = schema::readPayloads(*json, entry);
  if (!found)
    return found.takeError();
  for (auto &[name, payload] : *found)
    if (!payloads.try_emplace(name, std::move(payload), folder).second)
      return createStringError("weight '" + name + "' is there twice");
  return Error::success();
}

Error Reader::readSignature(const schema::Signature &signature) {
  for (const schema::InputSpec &input : signature.input_specs) {
    if (input.value.empty())
      return createStringError("the graph has an input of kind '" + input.kind +
                               "': expected one image tensor and weights");
    if (input.kind == "user_input") {
      if (!program.imageName.empty())
        return createStringError("expected one input, the image, found '" + program.imageName +
                                 "' and '" + input.value + "'");
      program.imageName = input.value;
      continue;
    }
    if (!payloads.contains(input.fqn))
      return createStringError("the graph reads '" + input.fqn + "', a " + input.kind +
                               " that the archive has no weight for");
    if (Error error = addWeight(input.fqn))
      return error;
    if (!program.weightOfValue.try_emplace(input.value, weightOfName[input.fqn]).second)
      return createStringError("two inputs of the graph are called '" + input.value + "'");
  }
  for (const schema::OutputSpec &output : signature.output_specs) {
    if (output.kind != "user_output" && output.kind != "user_input")
      return createStringError("the graph has an output of kind '" + output.kind +
                               "': expected the logits only; export the model in eval mode");
    if (!program.logitsName.empty() || output.value.empty())
      return createStringError("expected one result, the logits, found " +
                               Twine(signature.output_specs.size()));
    program.logitsName = output.value;
  }
  if (program.imageName.empty() || program.logitsName.empty())
    return createStringError("expected a graph from one image tensor to one tensor of logits");
  return Error::success();
}

Error Reader::readValues(const std::map<std::string, schema::TensorMetaRecord> &values) {
  std::string symbol;
  for (const auto &[name, record] : values) {
    TensorMeta meta;
    meta.type = static_cast<ScalarType>(record.dtype);
    for (const schema::SymInt &size : record.sizes) {
      std::optional<int64_t> extent = schema::evaluate(size, symbol);
      if (!extent)
        return createStringError("value '" + name + "': extent '" +
                                 StringRef(size.text).take_front(80) +
                                 "': expected only the batch to be dynamic; export with "
                                 "dynamic_shapes=({0: Dim('batch')},)");
      meta.sizes.push_back(*extent);
      if (!size.text.empty())
        meta.symbol = symbol;
    }
    // Ops outside the family have empty results; those are then reported with their layer.
    if (llvm::is_contained(meta.sizes, 0))
      continue;
    if (!countElements(meta.sizes) || meta.sizes.size() > 8)
      return createStringError("value '" + name +
                               "': expected at most 8 extents of at least 1 each");
    program.values[name] = std::move(meta);
  }
  return Error::success();
}

/// The graph's idea of each weight must be the weight.
Error Reader::checkWeightValues() const {
  for (const auto &entry : program.weightOfValue) {
    const Weight &weight = program.weights[entry.second];
    auto meta = program.values.find(entry.first());
    if (meta == program.values.end() || meta->second.sizes != weight.sizes ||
        meta->second.type != weight.type)
      return createStringError("weight '" + weight.name +
                               "': the graph expects another shape or element type");
  }
  return Error::success();
}

Error Reader::readRecord() {
  std::string entry = (zip.root() + "/extra/nullspace.json").str();
  if (!zip.contains(entry))
    return Error::success();
  Expected<ZipArchive::Entry> found = zip.read(entry);
  if (!found)
    return found.takeError();
  Expected<json::Value> value = schema::parseJson(found->bytes, entry);
  if (!value)
    return value.takeError();
  if (!value->getAsObject())
    return createStringError("entry '" + entry + "': expected an object");
  program.record = std::move(*value->getAsObject());
  return Error::success();
}

void Reader::findTies() {
  using Key =
      std::tuple<const char *, int64_t, int64_t, std::vector<int64_t>, std::vector<int64_t>>;
  std::map<Key, size_t> first;
  for (auto [i, w] : enumerate(program.weights)) {
    Key key{w.record.bytes.data(),
            static_cast<int64_t>(w.type),
            w.firstElement,
            {w.sizes.begin(), w.sizes.end()},
            {w.strides.begin(), w.strides.end()}};
    w.canonical = first.try_emplace(std::move(key), i).first->second;
  }
}

Error Reader::run() {
  if (Error error = checkLayout())
    return error;
  program.stem = zip.root().str();
  Expected<StringRef> json = text("models/model.json");
  if (!json)
    return json.takeError();
  Expected<schema::ExportedProgram> model = schema::readModel(*json, "models/model.json");
  if (!model)
    return model.takeError();
  if (model->schemaMajor != 8)
    return createStringError("expected export schema 8, found " + Twine(model->schemaMajor) +
                             ": re-export the model with PyTorch 2.13");
  for (StringRef folder : {"weights", "constants"})
    if (Error error = readPayloads(folder))
      return error;
  if (Error error = readSignature(model->signature))
    return error;
  for (const auto &entry : payloads) // what the graph does not read still belongs to the model
    if (Error error = addWeight(entry.first))
      return error;
  findTies();
  if (Error error = readValues(model->graph.tensor_values))
    return error;
  if (Error error = checkWeightValues())
    return error;
  program.nodes = std::move(model->graph.nodes);
  return readRecord();
}

Expected<Program> Program::read(MemoryBufferRef buffer) {
  Expected<ZipArchive> zip = ZipArchive::open(buffer);
  if (!zip)
    return zip.takeError();
  Program program;
  if (Error error = Reader(*zip, program).run())
    return error;
  return program;
}
