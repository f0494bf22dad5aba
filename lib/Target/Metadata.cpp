//===- Metadata.cpp - what the artefact says of itself -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Target/Compile.h"

#include "OpTable.h"
#include "Reports.h"
#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Dialect/NS/IR/NS.h"
#include "ns/Dialect/RT/IR/RT.h"
#include "ns/Target/Version.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/Config/llvm-config.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/Path.h"

using namespace mlir;
using namespace ns;
namespace json = llvm::json;

static json::Value toJson(Attribute attribute) {
  if (auto text = dyn_cast<StringAttr>(attribute))
    return text.getValue();
  if (auto boolean = dyn_cast<BoolAttr>(attribute))
    return boolean.getValue();
  if (auto integer = dyn_cast<IntegerAttr>(attribute))
    return integer.getInt();
  if (auto number = dyn_cast<FloatAttr>(attribute))
    return number.getValueAsDouble();
  if (auto symbol = dyn_cast<FlatSymbolRefAttr>(attribute))
    return symbol.getValue();
  json::Array list;
  if (auto array = dyn_cast<ArrayAttr>(attribute)) {
    for (Attribute item : array)
      list.push_back(toJson(item));
  } else if (auto array = dyn_cast<DenseI64ArrayAttr>(attribute)) {
    for (int64_t item : array.asArrayRef())
      list.push_back(item);
  } else if (auto array = dyn_cast<DenseF64ArrayAttr>(attribute)) {
    for (double item : array.asArrayRef())
      list.push_back(item);
  } else if (auto dictionary = dyn_cast<DictionaryAttr>(attribute)) {
    json::Object object;
    for (NamedAttribute item : dictionary)
      object[item.getName().strref()] = toJson(item.getValue());
    return object;
  }
  return list;
}

static json::Array shapeOf(ShapedType type) { return json::Array(type.getShape()); }

static StringRef dtypeOf(Type element) {
  return element.isF64() ? "f64" : element.isInteger(32) ? "i32" : "f32";
}

static json::Array opsOf(ArrayRef<OpInfo> ops) {
  json::Array list;
  for (const OpInfo &info : ops) {
    json::Object item{{"layer", info.layer},
                      {"kind", info.kind},
                      {"shape", info.shape},
                      {"flops", info.flops + info.recomputed},
                      {"bytes", info.bytes}};
    if (!info.members.empty())
      item["members"] = opsOf(info.members);
    if (!info.kernel.empty())
      item["kernel"] = info.kernel;
    list.push_back(std::move(item));
  }
  return list;
}

static json::Object regionsOf(ModuleOp module) {
  json::Object regions;
  for (StringRef region : {"params", "state", "io", "work"})
    regions[region] = regionBytes(module, region);
  return regions;
}

static json::Array paramsOf(ModuleOp module) {
  auto layout = module->getAttrOfType<DictionaryAttr>(rt::RTDialect::kLayoutAttr);
  json::Array params;
  for (Attribute item : layout.getAs<ArrayAttr>("params")) {
    auto fields = cast<DictionaryAttr>(item);
    auto param = module.lookupSymbol<nn::ParamOp>(fields.getAs<StringAttr>("name"));
    if (!param)
      continue; // an optimizer group
    params.push_back(json::Object{{"name", param.getSymName()},
                                  {"shape", shapeOf(param.getTensorType())},
                                  {"offset", fields.getAs<IntegerAttr>("offset").getInt()},
                                  {"decay", !param.getNoDecay()},
                                  {"trainable", !param.getBuffer()}});
  }
  return params;
}

static json::Array slotsOf(ModuleOp module) {
  auto layout = module->getAttrOfType<DictionaryAttr>(rt::RTDialect::kLayoutAttr);
  json::Array slots;
  for (StringRef region : {"state", "io"})
    for (Attribute item : layout.getAs<ArrayAttr>(region)) {
      auto fields = cast<DictionaryAttr>(item);
      StringRef name = fields.getAs<StringAttr>("name").getValue();
      if (name.contains(':'))
        continue; // part of a flat slot
      auto type = cast<RankedTensorType>(fields.getAs<TypeAttr>("type").getValue());
      slots.push_back(json::Object{{"name", name},
                                   {"region", region},
                                   {"offset", fields.getAs<IntegerAttr>("offset").getInt()},
                                   {"dtype", dtypeOf(type.getElementType())},
                                   {"shape", shapeOf(type)}});
    }
  return slots;
}

static json::Array entriesOf(ModuleOp module) {
  json::Array entries;
  for (auto entry : module.getOps<func::FuncOp>()) {
    std::vector<OpInfo> ops = listOps(entry);
    int64_t flops = 0;
    for (const OpInfo &info : ops)
      flops += info.flops;
    entries.push_back(json::Object{{"name", entry.getSymName()},
                                   {"inputs", toJson(entry->getAttr("rt.inputs"))},
                                   {"outputs", toJson(entry->getAttr("rt.outputs"))},
                                   {"flops", flops},
                                   {"ops", opsOf(ops)}});
  }
  return entries;
}

/// What the code of a GPU's kernels was made for.
static json::Object deviceOf(const CompileOptions &options) {
  ArrayRef<unsigned> archs = options.device.archs;
  if (options.device.code != DeviceCode::Fatbin)
    archs = archs.take_front();
  json::Array names;
  for (unsigned arch : archs)
    names.push_back("sm_" + std::to_string(arch));
  json::Object device{{"code", stringifyDeviceCode(options.device.code)},
                      {"archs", std::move(names)},
                      {"tf32", options.tf32}};
  if (options.device.code != DeviceCode::Emulate)
    device["ptx"] = "compute_" + std::to_string(archs.front());
  return device;
}

static json::Object optionsOf(const CompileOptions &options) {
  return json::Object{{"emit", options.emit},
                      {"target", options.target},
                      {"cpu", options.cpu},
                      {"precision", options.precision},
                      {"attention", options.attention},
                      {"product_results", options.productResults},
                      {"site", options.site},
                      {"init", options.init},
                      {"lim", options.lim},
                      {"batch_norm", options.batchNorm},
                      {"batch", options.batch},
                      {"dropout", options.dropout},
                      {"drop_path", options.dropPath},
                      {"input", options.input}};
}

/// The weights file with the absolute path that it has now.
static json::Object weightsOf(ModuleOp module, StringRef input) {
  auto file = module->getAttrOfType<nn::FileAttr>(nn::NNDialect::kWeightsAttr);
  if (!file)
    return {};
  SmallString<256> path(file.getPath());
  if (llvm::sys::path::is_relative(path)) {
    path = input;
    llvm::sys::path::remove_filename(path);
    llvm::sys::path::append(path, file.getPath());
  }
  (void)llvm::sys::fs::make_absolute(path);
  return json::Object{{"file", path.str().str()},
                      {"size", file.getSize()},
                      {"header", file.getHeader()},
                      {"content", file.getContent()}};
}

std::string ns::buildMetadata(ModuleOp module, const CompileOptions &options, StringRef cpu,
                              ArrayRef<std::string> cpuFeatures) {
  json::Array noises, bases;
  for (auto noise : module.getOps<harden::NoiseOp>())
    noises.push_back(json::Object{{"name", noise.getSymName()},
                                  {"shape", shapeOf(noise.getTensorType())},
                                  {"site", noise.getSite()},
                                  {"init", stringifyNoiseInit(noise.getInit())},
                                  {"lim", noise.getLim().convertToDouble()}});
  for (auto basis : module.getOps<harden::BasisOp>())
    bases.push_back(toJson(basis->getAttrDictionary()));
  Attribute model = module->getAttr(nn::NNDialect::kModelAttr);
  json::Object root{
      {"format", 1},
      {"compiler", json::Object{{"version", NS_VERSION},
                                {"git", NS_GIT_REVISION},
                                {"mlir", LLVM_VERSION_STRING}}},
      {"emit", options.emit},
      {"options", optionsOf(options)},
      {"target", options.target},
      {"cpu", cpu},
      {"cpu_features", json::Array(cpuFeatures)},
      {"precision", options.precision},
      {"batch", options.batch},
      {"model", model ? toJson(model) : json::Value(json::Object())},
      {"weights", weightsOf(module, options.input)},
      {"regions", regionsOf(module)},
      {"params", paramsOf(module)},
      {"noise", std::move(noises)},
      {"basis", std::move(bases)},
      {"slots", slotsOf(module)},
      {"entries", entriesOf(module)},
  };
  if (Attribute attention = module->getAttr(harden::NSDialect::kAttentionAttr))
    root["attention"] = toJson(attention);
  if (options.target != "cpu")
    root["device"] = deviceOf(options);
  std::string text;
  llvm::raw_string_ostream(text) << json::Value(std::move(root));
  return text;
}
