//===- Metadata.cpp - the metadata of an artefact -------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Artifact.h"
#include "ns/Runtime/Error.h"

#include <nlohmann/json.hpp>

using namespace ns::runtime;
using nlohmann::json;

namespace {

/// Typed access to JSON that names the artefact and the key in its errors.
struct Reader {
  const std::string &origin;

  const json &at(const json &object, const char *key) const {
    if (!object.is_object() || !object.contains(key))
      fail(origin, ": the artefact's metadata lacks '", key, "'");
    return object[key];
  }
  template <class T> T get(const json &object, const char *key) const {
    try {
      return at(object, key).get<T>();
    } catch (const json::exception &e) {
      fail(origin, ": metadata '", key, "': ", e.what());
    }
  }
  std::vector<int64_t> shape(const json &object) const {
    auto dims = get<std::vector<int64_t>>(object, "shape");
    int64_t count = 1;
    for (int64_t dim : dims)
      if (dim < 0 || __builtin_mul_overflow(count, std::max<int64_t>(dim, 1), &count) ||
          count > (int64_t(1) << 48))
        fail(origin, ": metadata has an impossible shape ", shapeText(dims));
    return dims;
  }
  void inRegion(const std::string &what, uint64_t offset, uint64_t bytes, uint64_t region) const {
    if (offset % 4 != 0 || offset > region || bytes > region - offset)
      fail(origin, ": metadata puts ", what, " at ", offset, "+", bytes, " of a region of ", region,
           " bytes");
  }
};

Dtype dtypeOf(const std::string &origin, const std::string &name) {
  if (name == "f32")
    return Dtype::F32;
  if (name == "f64")
    return Dtype::F64;
  if (name == "i32")
    return Dtype::I32;
  fail(origin, ": metadata has an unknown dtype '", name, "'");
}

uint64_t bytesOf(const std::vector<int64_t> &shape, Dtype dtype) {
  return TensorView{nullptr, dtype, shape}.bytes();
}

void readModel(const Reader &read, const json &model, Metadata &meta) {
  if (!model.contains("image"))
    return; // a library of a module without an export's facts: its entries run, the loops do not
  auto image = read.get<std::vector<int64_t>>(model, "image");
  if (image.size() != 3 || (image[0] != 1 && image[0] != 3) || image[1] <= 0 || image[2] <= 0)
    fail(read.origin, ": expected metadata model.image to be [1 or 3, H, W], found ",
         shapeText(image));
  meta.model.channels = image[0];
  meta.model.height = image[1];
  meta.model.width = image[2];
  meta.model.classes = read.get<int64_t>(model, "classes");
  auto perChannel = [&](const char *key, double otherwise) {
    std::vector<double> numbers(image[0], otherwise);
    if (model.contains(key))
      numbers = read.get<std::vector<double>>(model, key);
    if (static_cast<int64_t>(numbers.size()) != image[0])
      fail(read.origin, ": expected metadata model.", key, " to have ", image[0],
           " numbers, found ", numbers.size());
    return numbers;
  };
  meta.model.mean = perChannel("mean", 0);
  meta.model.std = perChannel("std", 1);
  if (model.contains("name"))
    meta.model.name = read.get<std::string>(model, "name");
  if (model.contains("interpolation"))
    meta.model.interpolation = read.get<std::string>(model, "interpolation");
  if (model.contains("crop_pct"))
    meta.model.cropPct = read.get<double>(model, "crop_pct");
  if (!(meta.model.cropPct > 0.01 && meta.model.cropPct <= 1))
    fail(read.origin, ": expected metadata model.crop_pct in (0, 1], found ", meta.model.cropPct);
}

void readAttention(const Reader &read, const json &item, Metadata &meta) {
  AttentionInfo &attention = meta.attention;
  if (item.is_string()) {
    attention.whyNone = item.get<std::string>();
    return;
  }
  attention.layers = read.get<int64_t>(item, "layers");
  attention.tokens = read.get<int64_t>(item, "tokens");
  attention.prefix = read.get<int64_t>(item, "prefix");
  attention.lossLayers = read.get<std::vector<int64_t>>(item, "loss_layers");
  auto patch = read.get<std::vector<int64_t>>(item, "patch");
  if (patch.size() != 2 || patch[0] < 1 || patch[1] < 1 || attention.layers < 1 ||
      attention.prefix < 0 ||
      (meta.model.height / patch[0]) * (meta.model.width / patch[1]) !=
          attention.tokens - attention.prefix)
    fail(read.origin, ": metadata attention.patch ", shapeText(patch), " does not cut an image of ",
         meta.model.height, "x", meta.model.width, " into the ",
         attention.tokens - attention.prefix, " patches of ", attention.tokens, " tokens");
  attention.patchHeight = patch[0];
  attention.patchWidth = patch[1];
}

void readParams(const Reader &read, const json &root, Metadata &meta) {
  for (const json &item : read.at(root, "params")) {
    ParamInfo param{read.get<std::string>(item, "name"), read.shape(item),
                    read.get<uint64_t>(item, "offset")};
    param.decay = item.value("decay", true);
    param.trainable = item.value("trainable", true);
    param.packed = item.value("packed", false);
    read.inRegion("parameter '" + param.name + "'", param.offset,
                  bytesOf(param.shape, meta.dtype()), meta.regions[NSRT_PARAMS]);
    meta.params.push_back(std::move(param));
  }
}

void readSlots(const Reader &read, const json &root, Metadata &meta) {
  for (const json &item : read.at(root, "slots")) {
    SlotInfo slot;
    slot.name = read.get<std::string>(item, "name");
    auto region = read.get<std::string>(item, "region");
    if (region != "state" && region != "io")
      fail(read.origin, ": metadata slot '", slot.name, "': expected region state or io, found '",
           region, "'");
    slot.region = region == "state" ? NSRT_STATE : NSRT_IO;
    slot.offset = read.get<uint64_t>(item, "offset");
    slot.dtype = dtypeOf(read.origin, read.get<std::string>(item, "dtype"));
    slot.shape = read.shape(item);
    read.inRegion("slot '" + slot.name + "'", slot.offset, slot.bytes(), meta.regions[slot.region]);
    meta.slots.push_back(std::move(slot));
  }
}

void readEntries(const Reader &read, const json &root, Metadata &meta) {
  for (const json &item : read.at(root, "entries"))
    meta.entries.push_back({read.get<std::string>(item, "name"),
                            read.get<std::vector<std::string>>(item, "inputs"),
                            read.get<std::vector<std::string>>(item, "outputs")});
  for (const EntryInfo &entry : meta.entries)
    for (const auto *names : {&entry.inputs, &entry.outputs})
      for (const std::string &name : *names)
        if (!meta.findSlot(name))
          fail(read.origin, ": metadata entry '", entry.name, "' names the slot '", name,
               "', which the artefact does not have");
}

void readDevice(const Reader &read, const json &device, Metadata &meta) {
  meta.device.archs = read.get<std::vector<std::string>>(device, "archs");
  meta.device.ptx = device.value("ptx", "");
  meta.device.tf32 = device.value("tf32", false);
  meta.device.capability = device.value("capability", 0);
  if (device.contains("attention")) {
    const json &attention = device["attention"];
    meta.device.attention = read.get<std::string>(attention, "library");
    meta.device.attentionWorkspace = read.get<uint64_t>(attention, "workspace");
    if (meta.device.attention != "cudnn" || meta.device.attentionWorkspace > (uint64_t(1) << 40))
      fail(read.origin,
           ": metadata 'attention': expected library cudnn and at most 1 TiB of "
           "workspace, found '",
           meta.device.attention, "' and ", meta.device.attentionWorkspace, " bytes");
  }
}

} // namespace

const ParamInfo *Metadata::findParam(const std::string &name) const {
  for (const ParamInfo &param : params)
    if (param.name == name)
      return &param;
  return nullptr;
}

const SlotInfo *Metadata::findSlot(const std::string &name) const {
  for (const SlotInfo &slot : slots)
    if (slot.name == name)
      return &slot;
  return nullptr;
}

const EntryInfo *Metadata::findEntry(const std::string &name) const {
  for (const EntryInfo &entry : entries)
    if (entry.name == name)
      return &entry;
  return nullptr;
}

Metadata ns::runtime::parseMetadata(const std::string &origin, const std::string &text) {
  Reader read{origin};
  json root = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!root.is_object())
    fail(origin, ": the artefact's metadata is not a JSON object");
  if (auto format = read.get<int>(root, "format"); format != 1)
    fail(origin, ": expected artefact format 1, found ", format);
  Metadata meta;
  meta.json = text;
  meta.emit = read.get<std::string>(root, "emit");
  meta.target = root.value("target", "cpu");
  if (meta.target != "cpu" && meta.target != "cuda")
    fail(origin, ": expected an artefact for cpu or cuda, found '", meta.target, "'");
  meta.cpu = root.value("cpu", "");
  meta.precision = read.get<std::string>(root, "precision");
  if (meta.precision != "f32" && meta.precision != "f64" && meta.precision != "bf16" &&
      meta.precision != "fp8")
    fail(origin, ": expected precision f32, f64, bf16 or fp8, found '", meta.precision, "'");
  meta.cpuFeatures = read.get<std::vector<std::string>>(root, "cpu_features");
  meta.batch = read.get<int64_t>(root, "batch");
  if (meta.batch < 1 || meta.batch > 1 << 20)
    fail(origin, ": expected a batch of at least 1, found ", meta.batch);
  if (root.contains("options") && root["options"].contains("batch_norm"))
    meta.trainsBatchNorm = read.get<std::string>(root["options"], "batch_norm") == "train";
  const json &regions = read.at(root, "regions");
  static constexpr const char *kRegions[] = {"params", "state", "io", "work"};
  for (int i = 0; i < NSRT_NUM_REGIONS; ++i)
    meta.regions[i] = read.get<uint64_t>(regions, kRegions[i]);
  readModel(read, read.at(root, "model"), meta);
  if (root.contains("attention") && meta.model.channels)
    readAttention(read, root["attention"], meta);
  if (root.contains("weights") && root["weights"].contains("file")) {
    const json &weights = root["weights"];
    meta.weights.file = read.get<std::string>(weights, "file");
    meta.weights.size = read.get<uint64_t>(weights, "size");
    meta.weights.header = read.get<std::string>(weights, "header");
    meta.weights.content = read.get<std::string>(weights, "content");
  }
  readParams(read, root, meta);
  readSlots(read, root, meta);
  for (const json &item : root.value("noise", json::array()))
    meta.noises.push_back({read.get<std::string>(item, "name"), item.value("site", "tokens"),
                           item.value("init", "uniform"), read.shape(item),
                           item.value("lim", 3.0)});
  readEntries(read, root, meta);
  meta.callsBlas = !meta.onDevice() && root.value("blas", true);
  if (meta.onDevice())
    readDevice(read, read.at(root, "device"), meta);
  return meta;
}
