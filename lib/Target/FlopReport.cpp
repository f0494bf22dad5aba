//===- FlopReport.cpp - useful FLOPs of each entry -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "OpTable.h"
#include "Reports.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace ns;
namespace json = llvm::json;

static constexpr llvm::StringLiteral kKinds[] = {
    "product",   "input_gradient",     "weight_gradient", "batched_product",
    "attention", "attention_gradient", "rows"};

namespace {
struct Count {
  int64_t ops = 0, flops = 0, recomputed = 0;

  void operator+=(const OpInfo &info) {
    ++ops;
    flops += info.flops;
    recomputed += info.recomputed;
  }
};

/// FLOPs of one entry: by kind, and by layer and kind in the order of first use.
struct EntryFlops {
  StringRef name;
  Count all;
  llvm::MapVector<StringRef, Count> byKind;
  llvm::MapVector<std::pair<StringRef, StringRef>, Count> byLayer;

  void add(const OpInfo &info) {
    for (const OpInfo &member : info.members)
      add(member);
    if (!info.members.empty() || info.flops + info.recomputed == 0)
      return;
    all += info;
    byKind[info.kind] += info;
    byLayer[{info.layer, info.kind}] += info;
  }
};
} // namespace

static std::vector<EntryFlops> countFlops(ModuleOp module) {
  std::vector<EntryFlops> entries;
  for (auto entry : module.getOps<func::FuncOp>()) {
    EntryFlops &flops = entries.emplace_back();
    flops.name = entry.getSymName();
    for (const OpInfo &info : listOps(entry))
      flops.add(info);
  }
  return entries;
}

json::Object ns::flopReport(ModuleOp module, int64_t batch) {
  json::Array entries;
  for (const EntryFlops &entry : countFlops(module)) {
    json::Object kinds;
    for (auto &[kind, count] : entry.byKind)
      kinds[kind] = count.flops;
    json::Array layers;
    for (auto &[key, count] : entry.byLayer)
      layers.push_back(json::Object{{"layer", key.first},
                                    {"kind", key.second},
                                    {"ops", count.ops},
                                    {"flops", count.flops},
                                    {"recomputed", count.recomputed}});
    entries.push_back(json::Object{{"name", entry.name},
                                   {"flops", entry.all.flops},
                                   {"recomputed", entry.all.recomputed},
                                   {"kinds", std::move(kinds)},
                                   {"layers", std::move(layers)}});
  }
  return json::Object{{"batch", batch}, {"entries", std::move(entries)}};
}

void ns::printFlopReport(ModuleOp module, int64_t batch, llvm::raw_ostream &os) {
  std::vector<EntryFlops> entries = countFlops(module);
  os << llvm::formatv("GFLOP of a call, {0} images; a multiply-add is 2\n", batch)
     << llvm::formatv("{0,-22} {1,10} {2,10}", "entry", "useful", "an image");
  for (StringRef kind : kKinds)
    os << llvm::formatv(" {0,18}", kind);
  os << llvm::formatv(" {0,12}\n", "recomputed");
  auto giga = [](int64_t flops) { return double(flops) * 1e-9; };
  for (EntryFlops &entry : entries) {
    os << llvm::formatv("{0,-22} {1,10:F3} {2,10:F3}", entry.name, giga(entry.all.flops),
                        giga(entry.all.flops) / double(batch));
    for (StringRef kind : kKinds)
      os << llvm::formatv(" {0,18:F3}", giga(entry.byKind[kind].flops));
    os << llvm::formatv(" {0,12:F3}\n", giga(entry.all.recomputed));
  }
  for (EntryFlops &entry : entries) {
    if (entry.all.flops == 0)
      continue;
    os << llvm::formatv("\n{0,-34} {1,-18} {2,4} {3,10} {4,7} {5,11}\n", entry.name, "kind", "ops",
                        "useful", "%", "recomputed");
    for (auto &[key, count] : entry.byLayer)
      os << llvm::formatv("  {0,-32} {1,-18} {2,4} {3,10:F3} {4,7:F2} {5,11:F3}\n", key.first,
                          key.second, count.ops, giga(count.flops),
                          100 * double(count.flops) / double(entry.all.flops),
                          giga(count.recomputed));
  }
}
