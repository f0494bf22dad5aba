//===- MemoryReport.cpp - regions, and arenas by value and time -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Arena.h"
#include "Reports.h"

#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Dialect/RT/IR/RT.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace ns;
namespace json = llvm::json;

namespace {
/// What lies in a region: bytes by class (params) or by slot (state, io).
struct RegionBytes {
  StringRef name;
  int64_t bytes = 0;
  llvm::MapVector<StringRef, int64_t> parts;
};
} // namespace

static constexpr StringRef kPacked = ":packed";

llvm::StringSet<> ns::packedParams(ModuleOp module) {
  auto layout = module->getAttrOfType<DictionaryAttr>(rt::RTDialect::kLayoutAttr);
  llvm::StringSet<> names;
  for (Attribute item : layout.getAs<ArrayAttr>("params"))
    if (auto [name, rest] =
            cast<DictionaryAttr>(item).getAs<StringAttr>("name").getValue().split(':');
        rest.starts_with(kPacked.drop_front()))
      names.insert(name);
  return names;
}

/// Parameters are weights, packed weights, their narrow copies or buffers; the slots of state and
/// io go by their own names. Empty for what lies over others: a group of the optimizer, or a
/// parameter where its packed form lies.
static StringRef partOf(ModuleOp module, StringRef region, StringRef name,
                        const llvm::StringSet<> &packed) {
  if (region == "params" && name.contains(kPacked))
    return "packed weights";
  if (region == "params" && name.ends_with(":bf16"))
    return "bf16 copies";
  if (name.contains(':') || (region == "params" && packed.contains(name)))
    return "";
  if (region != "params")
    return name;
  auto param = module.lookupSymbol<nn::ParamOp>(name);
  return !param ? "" : param.getBuffer() ? "buffers" : "weights";
}

static std::vector<RegionBytes> listRegions(ModuleOp module) {
  llvm::StringSet<> packed = packedParams(module);
  auto layout = module->getAttrOfType<DictionaryAttr>(rt::RTDialect::kLayoutAttr);
  std::vector<RegionBytes> regions;
  for (StringRef name : {"params", "state", "io"}) {
    RegionBytes &region = regions.emplace_back();
    region.name = name;
    region.bytes = regionBytes(module, name);
    int64_t left = region.bytes;
    for (Attribute item : layout.getAs<ArrayAttr>(name)) {
      auto fields = cast<DictionaryAttr>(item);
      StringRef slot = fields.getAs<StringAttr>("name").getValue(),
                part = partOf(module, name, slot, packed);
      if (part.empty())
        continue;
      int64_t bytes =
          rt::byteSize(cast<RankedTensorType>(fields.getAs<TypeAttr>("type").getValue()));
      region.parts[part] += bytes;
      left -= bytes;
    }
    region.parts["padding"] = left;
  }
  return regions;
}

int64_t ns::regionBytes(ModuleOp module, StringRef region) {
  if (region != "work")
    return module->getAttrOfType<DictionaryAttr>(rt::RTDialect::kLayoutAttr)
        .getAs<IntegerAttr>((region + "_bytes").str())
        .getInt();
  int64_t work = 0;
  for (auto entry : module.getOps<func::FuncOp>())
    work =
        std::max(work, entry->getAttrOfType<IntegerAttr>(rt::RTDialect::kWorkBytesAttr).getInt());
  return work;
}

//===----------------------------------------------------------------------===//
// JSON
//===----------------------------------------------------------------------===//

static json::Object toJson(const Arena &arena) {
  json::Array ops, values;
  for (const OpInfo &info : arena.ops)
    ops.push_back(
        json::Object{{"layer", info.layer}, {"kind", info.kind}, {"live", arena.live[ops.size()]}});
  for (const ArenaValue &value : arena.values)
    values.push_back(json::Object{{"layer", value.layer},
                                  {"shape", json::Array(value.type.getShape())},
                                  {"offset", value.offset},
                                  {"bytes", value.bytes},
                                  {"first", value.first},
                                  {"last", value.last},
                                  {"saved", value.saved},
                                  {"packed", value.packed}});
  return json::Object{{"name", arena.name},
                      {"work", arena.bytes},
                      {"thread_scratch", arena.scratch},
                      {"live", arena.live.empty() ? 0 : arena.live[arena.peak]},
                      {"peak", arena.peak},
                      {"saved", arena.savedBytes},
                      {"packed", arena.packedBytes},
                      {"ops", std::move(ops)},
                      {"values", std::move(values)}};
}

json::Object ns::memoryReport(ModuleOp module) {
  json::Object regions{{"work", json::Object{{"bytes", regionBytes(module, "work")}}}};
  for (const RegionBytes &region : listRegions(module)) {
    json::Object parts;
    for (auto &[name, bytes] : region.parts)
      parts[name] = bytes;
    regions[region.name] = json::Object{{"bytes", region.bytes}, {"parts", std::move(parts)}};
  }
  json::Array entries;
  for (auto entry : module.getOps<func::FuncOp>())
    entries.push_back(toJson(Arena(entry)));
  return json::Object{{"regions", std::move(regions)}, {"entries", std::move(entries)}};
}

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

static double mebibytes(int64_t bytes) { return double(bytes) / (1 << 20); }

/// Bytes live over time, one line for each stretch of ops: their maximum there.
static void printCurve(const Arena &arena, llvm::raw_ostream &os) {
  constexpr int64_t kLines = 24, kWidth = 50;
  int64_t count = arena.live.size(), step = (count + kLines - 1) / kLines;
  for (int64_t at = 0; at < count; at += step) {
    auto begin = arena.live.begin() + at, end = arena.live.begin() + std::min(at + step, count);
    int64_t most = *std::max_element(begin, end);
    bool turn = at <= arena.turn && arena.turn < at + step;
    os << llvm::formatv("  op {0,4} {1,9:F2} MiB {2}{3}\n", at, mebibytes(most),
                        std::string(size_t(kWidth * most / std::max<int64_t>(arena.bytes, 1)), '#'),
                        turn ? " backward begins" : "");
  }
}

static void printArena(const Arena &arena, llvm::raw_ostream &os) {
  os << llvm::formatv("\nentry {0,-22} {1,10:F2} MiB of work", arena.name, mebibytes(arena.bytes));
  if (arena.scratch > 0)
    os << llvm::formatv(", {0:F2} of scratch on each thread", mebibytes(arena.scratch));
  if (arena.values.empty()) {
    os << "\n";
    return;
  }
  const OpInfo &peak = arena.ops[arena.peak];
  os << llvm::formatv(", {0:F2} live at op {1} ({2} {3}), {4:F2} of all saved for backward",
                      mebibytes(arena.live[arena.peak]), arena.peak, peak.layer, peak.kind,
                      mebibytes(arena.savedBytes));
  if (arena.packedBytes > 0)
    os << llvm::formatv(", {0:F2} of packed weights", mebibytes(arena.packedBytes));
  os << "\n";
  printCurve(arena, os);
  os << llvm::formatv("  {0,10} {1,9} {2,9}  {3,-9} {4,-30} {5}\n", "at MiB", "MiB", "ops", "",
                      "layer", "shape");
  for (const ArenaValue &value : arena.values) {
    if (value.bytes < (1 << 20))
      continue;
    std::string ops = llvm::formatv("{0}-{1}", value.first, value.last),
                shape = llvm::formatv("{0:$[x]}", llvm::make_range(value.type.getShape().begin(),
                                                                   value.type.getShape().end()));
    bool atPeak = value.first <= arena.peak && arena.peak <= value.last;
    os << llvm::formatv("  {0,10:F2} {1,9:F2} {2,9}  {3,-9} {4,-30} {5}\n", mebibytes(value.offset),
                        mebibytes(value.bytes), ops,
                        value.saved    ? "saved"
                        : value.packed ? "packed"
                        : atPeak       ? "at peak"
                                       : "",
                        value.layer, shape);
  }
}

void ns::printMemoryReport(ModuleOp module, llvm::raw_ostream &os) {
  for (const RegionBytes &region : listRegions(module)) {
    os << llvm::formatv("region {0,-8} {1,10:F2} MiB:", region.name, mebibytes(region.bytes));
    for (auto &[name, bytes] : region.parts)
      if (bytes > 0)
        os << llvm::formatv(" {0} {1:F2}", name, mebibytes(bytes));
    os << "\n";
  }
  os << llvm::formatv("region {0,-8} {1,10:F2} MiB: the largest entry's\n", "work",
                      mebibytes(regionBytes(module, "work")));
  for (auto entry : module.getOps<func::FuncOp>())
    printArena(Arena(entry), os);
}
