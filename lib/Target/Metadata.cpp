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
#include "ns/Dialect/RT/IR/AttentionShape.h"
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
  llvm::StringSet<> packed = packedParams(module);
  json::Array params;
  for (Attribute item : layout.getAs<ArrayAttr>("params")) {
    auto fields = cast<DictionaryAttr>(item);
    auto param = module.lookupSymbol<nn::ParamOp>(fields.getAs<StringAttr>("name"));
    if (!param)
      continue; // an optimizer group
    json::Object info{{"name", param.getSymName()},
                      {"shape", shapeOf(param.getTensorType())},
                      {"offset", fields.getAs<IntegerAttr>("offset").getInt()},
                      {"decay", !param.getNoDecay()},
                      {"trainable", !param.getBuffer()}};
    if (packed.contains(param.getSymName()))
      info["packed"] = true;
    params.push_back(std::move(info));
  }
  return params;
}

/// Whether an entry calls the library for a product.
static bool callsBlas(ModuleOp module) {
  return module
      .walk([](rt::GemmOp op) {
        return op.getPacked() ? WalkResult::advance() : WalkResult::interrupt();
      })
      .wasInterrupted();
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

/// Workspace that calls of cuDNN's attention are given, in bytes, and how many there are. Its
/// deterministic gradient keeps the probabilities' in bfloat16, by tiles of 64 x 128, or sums those
/// of the queries in float32, and a sum for each row; what cuDNN 9.19 asked for, for an H200.
static json::Object attentionOf(ModuleOp module) {
  int64_t calls = 0, workspace = 0;
  module.walk([&](Operation *op) {
    if (!rt::isLibraryAttention(op))
      return;
    ++calls;
    if (!isa<rt::AttentionGradOp>(op))
      return;
    rt::AttentionShape shape(op);
    int64_t heads = shape.images * shape.windows * shape.heads;
    int64_t tiles = llvm::alignTo(shape.queries, 64) * llvm::alignTo(shape.keys, 128) * 2;
    int64_t sums = shape.queries * shape.dim * 4, rows = shape.queries * 4;
    workspace = std::max(workspace, heads * (std::max(tiles, sums) + rows));
  });
  if (calls == 0)
    return {};
  return json::Object{{"library", "cudnn"}, {"calls", calls}, {"workspace", workspace + 4096}};
}

/// What the code of a GPU's kernels was made for, and what it needs beside them.
static json::Object deviceOf(ModuleOp module, const CompileOptions &options) {
  ArrayRef<unsigned> archs = options.device.archs;
  if (options.device.code != DeviceCode::Fatbin)
    archs = archs.take_front();
  json::Array names;
  for (unsigned arch : archs)
    names.push_back("sm_" + std::to_string(arch));
  json::Object device{{"code", stringifyDeviceCode(options.device.code)},
                      {"archs", std::move(names)},
                      {"tf32", options.tf32}};
  if (options.precision == "fp8")
    device["capability"] = 89; // products of e4m3
  if (options.device.code != DeviceCode::Emulate)
    device["ptx"] = "compute_" + std::to_string(archs.front());
  if (json::Object attention = attentionOf(module); !attention.empty())
    device["attention"] = std::move(attention);
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
  if (options.target == "cpu")
    root["blas"] = callsBlas(module);
  else
    root["device"] = deviceOf(module, options);
  std::string text;
  llvm::raw_string_ostream(text) << json::Value(std::move(root));
  return text;
}
