//===- MemoryPicture.cpp - arenas drawn as offset over time -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Arena.h"
#include "Reports.h"

#include "ns/Dialect/RT/IR/RT.h"

#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace ns;

static constexpr double kWidth = 1100, kHeight = 480;

static std::string escaped(StringRef text) {
  std::string safe;
  for (char c : text)
    safe += c == '<' ? "&lt;" : c == '&' ? "&amp;" : std::string(1, c);
  return safe;
}

/// Values as rectangles, time to the right, offset upwards; the line is what is live.
static void draw(const Arena &arena, llvm::raw_ostream &os) {
  double perOp = kWidth / double(std::max<size_t>(arena.ops.size(), 1)),
         perByte = kHeight / double(std::max<int64_t>(arena.bytes, 1));
  os << llvm::formatv("<h2>{0}: {1:F1} MiB, {2:F1} live at op {3}</h2>\n<svg width=\"{4}\" "
                      "height=\"{5}\">\n",
                      arena.name, double(arena.bytes) / (1 << 20),
                      double(arena.live[arena.peak]) / (1 << 20), arena.peak, kWidth, kHeight);
  for (const ArenaValue &value : arena.values)
    os << llvm::formatv(
        "<rect class=\"{0}\" x=\"{1:F1}\" y=\"{2:F1}\" width=\"{3:F1}\" "
        "height=\"{4:F1}\"><title>{5} {6:$[x]}: {7:F2} MiB at {8:F2}, ops {9} to {10}</title>"
        "</rect>\n",
        value.saved    ? "saved"
        : value.packed ? "packed"
                       : "scratch",
        double(value.first) * perOp, kHeight - double(value.offset + value.bytes) * perByte,
        double(value.last + 1 - value.first) * perOp, double(value.bytes) * perByte,
        escaped(value.layer),
        llvm::make_range(value.type.getShape().begin(), value.type.getShape().end()),
        double(value.bytes) / (1 << 20), double(value.offset) / (1 << 20), value.first, value.last);
  os << "<polyline points=\"";
  for (auto [at, live] : llvm::enumerate(arena.live))
    os << llvm::formatv("{0:F1},{1:F1} ", (double(at) + 0.5) * perOp,
                        kHeight - double(live) * perByte);
  os << "\"/>\n</svg>\n";
}

void ns::drawMemory(ModuleOp module, llvm::raw_ostream &os) {
  os << "<!doctype html>\n<meta charset=\"utf-8\"><title>Memory</title>\n<style>\n"
        "body { font: 14px sans-serif } svg { border: 1px solid #888 }\n"
        "rect { stroke: #fff; stroke-width: .3 } .saved { fill: #3b6ea5 }\n"
        ".packed { fill: #8a9a5b } .scratch { fill: #b9cde3 } rect:hover { fill: #d9822b }\n"
        "polyline { fill: none; stroke: #a00 }\n</style>\n"
        "<p>Offset in the arena over the ops of each entry; dark: saved for backward; green: "
        "packed "
        "weights; the line: bytes that hold a value. Point at a rectangle for its layer.</p>\n";
  for (auto entry : module.getOps<func::FuncOp>())
    if (Arena arena(entry); !arena.values.empty())
      draw(arena, os);
}
