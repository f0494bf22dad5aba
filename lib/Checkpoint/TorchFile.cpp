//===- TorchFile.cpp - state dicts that torch.save wrote ------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The archive has one folder: `data.pkl`, a pickle in which storages are persistent ids, and each
// storage as raw bytes in `data/<key>`. A tensor is a call of _rebuild_tensor_v2(storage, offset,
// shape, strides, ...).
//
//===----------------------------------------------------------------------===//

#include "Bytes.h"
#include "Formats.h"
#include "Pickle.h"
#include "ns/Runtime/Error.h"

#include <set>

using namespace ns::checkpoint;
using ns::runtime::fail;
using ns::runtime::str;

using Kind = Pickle::Kind;

static constexpr const char *kAgain =
    "; re-save it in PyTorch with torch.save(model.state_dict(), FILE)";

/// The type that a storage class ("FloatStorage") or a dtype ("uint16") of PyTorch stands for.
static std::optional<Type> typeOf(std::string_view name) {
  static constexpr std::pair<std::string_view, Type> kNames[] = {
      {"DoubleStorage", Type::F64}, {"FloatStorage", Type::F32},
      {"HalfStorage", Type::F16},   {"BFloat16Storage", Type::BF16},
      {"LongStorage", Type::I64},   {"IntStorage", Type::I32},
      {"ShortStorage", Type::I16},  {"CharStorage", Type::I8},
      {"ByteStorage", Type::U8},    {"BoolStorage", Type::Bool},
      {"uint16", Type::U16},        {"uint32", Type::U32},
      {"uint64", Type::U64},        {"float8_e4m3fn", Type::F8E4M3},
      {"float8_e5m2", Type::F8E5M2}};
  for (auto [known, type] : kNames)
    if (known == name)
      return type;
  return std::nullopt;
}

namespace {
class TorchReader {
public:
  TorchReader(const ZipArchive &zip, const ns::runtime::InputFile &file)
      : zip(zip), file(file), root(zip.root()), pickle(stream()) {}
  std::vector<Tensor> read(const OpenOptions &options);

private:
  std::string entryName(std::string_view name) const { return str(root, "/", name); }
  std::string_view stream() const;
  const Pickle::Value &chooseDict(const OpenOptions &options) const;
  std::optional<Tensor> makeTensor(std::string_view name, const Pickle::Value &value);
  std::string_view storage(std::string_view key, std::string_view tensor);
  bool readExtents(const Pickle::Value &tuple, std::vector<int64_t> &extents) const;

  const ZipArchive &zip;
  const ns::runtime::InputFile &file;
  std::string root;
  Pickle pickle;
  std::set<std::string, std::less<>> checked; ///< storages whose checksum is right
};
} // namespace

/// PyTorch can be told to write no checksums; they are 0 then.
static void checkEntry(const ZipArchive &zip, const std::string &name) {
  const ZipArchive::Entry *entry = zip.find(name);
  std::string problem = zip.checkStored(name);
  if (!problem.empty() && !(entry && entry->crc == 0 && !entry->deflated))
    fail(problem);
}

std::string_view TorchReader::stream() const {
  if (zip.find(entryName("constants.pkl")) || zip.find(entryName("code")))
    fail("a TorchScript archive", kAgain);
  if (const ZipArchive::Entry *order = zip.find(entryName("byteorder")))
    if (order->packed != "little")
      fail("entry 'byteorder': expected 'little', found '", order->packed.substr(0, 16), "'");
  checkEntry(zip, entryName("data.pkl"));
  return zip.find(entryName("data.pkl"))->packed;
}

const Pickle::Value &TorchReader::chooseDict(const OpenOptions &options) const {
  const Pickle::Value *dict = &pickle.top();
  for (const char *key : {"state_dict_ema", "model_ema", "state_dict", "model"}) {
    if (!options.ema && std::string_view(key).ends_with("ema"))
      continue;
    const Pickle::Value *inner = pickle.find(*dict, key);
    if (inner && inner->kind == Kind::Dict)
      return *inner;
    if (inner && inner->kind == Kind::Opaque)
      fail("'", key, "' is a pickled object of ", Pickle::nameOf(*inner),
           ", which only its own Python code can open", kAgain);
  }
  if (dict->kind == Kind::Opaque || dict->kind == Kind::Global)
    fail("expected a state dict, found a pickled object of ", Pickle::nameOf(*dict),
         " (nothing of it was run)", kAgain);
  if (dict->kind != Kind::Dict)
    fail("expected a state dict, found something else", kAgain);
  return *dict;
}

bool TorchReader::readExtents(const Pickle::Value &tuple, std::vector<int64_t> &extents) const {
  if (tuple.kind != Kind::Tuple || tuple.items.size() > 16)
    return false;
  for (ValueId id : tuple.items) {
    if (pickle.at(id).kind != Kind::Int || pickle.at(id).number < 0)
      return false;
    extents.push_back(pickle.at(id).number);
  }
  return true;
}

std::string_view TorchReader::storage(std::string_view key, std::string_view tensor) {
  std::string name = entryName(str("data/", key));
  const ZipArchive::Entry *entry = zip.find(name);
  if (!entry)
    fail("tensor '", tensor, "': its storage '", key.substr(0, 80), "' is missing");
  if (checked.insert(name).second)
    checkEntry(zip, name);
  return entry->packed;
}

/// Whether all elements lie in a storage of `available` elements.
static bool fits(const Tensor &tensor, int64_t first, int64_t available) {
  int64_t last = first, count = 1;
  bool isEmpty = false;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    int64_t span = 0, extent = tensor.shape[i];
    isEmpty |= extent == 0;
    // More elements than the storage has are an expanded view, which no parameter is.
    if (extent > 0 && (__builtin_mul_overflow(extent - 1, tensor.strides[i], &span) ||
                       __builtin_add_overflow(last, span, &last) ||
                       __builtin_mul_overflow(count, extent, &count) || count > available))
      return false;
  }
  return isEmpty ? first <= available : last < available;
}

/// The tensor that a value stands for; nothing where it is no tensor.
std::optional<Tensor> TorchReader::makeTensor(std::string_view name, const Pickle::Value &given) {
  const Pickle::Value *value = &given;
  auto isCallOf = [&](std::string_view function) {
    return value->kind == Kind::Reduced && pickle.at(value->items[0]).text.starts_with(function);
  };
  if (isCallOf("_rebuild_parameter") && value->items.size() > 1)
    value = &pickle.at(value->items[1]);
  if (!isCallOf("_rebuild_tensor"))
    return std::nullopt;
  auto bad = [&](auto... what) { fail("tensor '", name.substr(0, 200), "': ", what...); };
  const std::pmr::vector<ValueId> &arguments = value->items; // with the function itself at 0
  if (arguments.size() < 5 || pickle.at(arguments[1]).kind != Kind::Storage)
    bad("expected a storage, offset, shape and strides");
  // ('storage', class, key, device, elements)
  const Pickle::Value &id = pickle.at(pickle.at(arguments[1]).items[0]);
  if (id.items.size() < 5 || pickle.at(id.items[1]).kind != Kind::Global ||
      pickle.at(id.items[2]).kind != Kind::String)
    bad("expected a storage's type and key");
  std::string_view typeName = pickle.at(id.items[1]).text;
  if (typeName == "UntypedStorage" && arguments.size() > 7) // _rebuild_tensor_v3 names the dtype
    typeName = pickle.at(arguments[7]).text;
  std::optional<Type> type = typeOf(typeName);
  if (!type)
    bad("unknown element type '", typeName.substr(0, 80), "'");
  Tensor tensor;
  tensor.name = name;
  tensor.type = *type;
  const Pickle::Value &offset = pickle.at(arguments[2]);
  if (offset.kind != Kind::Int || offset.number < 0 ||
      !readExtents(pickle.at(arguments[3]), tensor.shape) ||
      !readExtents(pickle.at(arguments[4]), tensor.strides) ||
      tensor.shape.size() != tensor.strides.size())
    bad("expected an offset, a shape and as many strides");
  std::string_view bytes = storage(pickle.at(id.items[2]).text, name.substr(0, 200));
  int64_t width = sizeOf(*type), available = static_cast<int64_t>(bytes.size()) / width;
  if (!fits(tensor, offset.number, available))
    bad("shape ", ns::runtime::shapeText(tensor.shape), ", strides ",
        ns::runtime::shapeText(tensor.strides), " and offset ", offset.number,
        " reach beyond its storage of ", bytes.size(), " bytes");
  tensor.data = bytes.data() + offset.number * width;
  tensor.file = &file;
  tensor.offset = tensor.data - file.view().data();
  return tensor;
}

std::vector<Tensor> TorchReader::read(const OpenOptions &options) {
  const Pickle::Value &dict = chooseDict(options);
  std::vector<Tensor> tensors;
  std::set<std::string_view> seen;
  std::string other;
  for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
    const Pickle::Value &key = pickle.at(dict.items[i]), &value = pickle.at(dict.items[i + 1]);
    std::optional<Tensor> tensor;
    if (key.kind == Kind::String)
      tensor = makeTensor(key.text, value);
    if (!tensor) { // beside a state dict: options, an epoch, an optimizer
      if (value.kind == Kind::Opaque && other.empty())
        other = str("; '", key.text.substr(0, 80), "' is a pickled object of ",
                    Pickle::nameOf(value), " (nothing of it was run)");
      continue;
    }
    if (!seen.insert(key.text).second)
      fail("tensor '", key.text.substr(0, 200), "' is there twice");
    addTensor(tensors, std::move(*tensor));
  }
  if (tensors.empty())
    fail("expected a state dict, found no tensors", other, kAgain);
  return tensors;
}

std::vector<Tensor> ns::checkpoint::readTorch(const ZipArchive &zip,
                                              const ns::runtime::InputFile &file,
                                              const OpenOptions &options) {
  return TorchReader(zip, file).read(options);
}
