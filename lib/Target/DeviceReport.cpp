//===- DeviceReport.cpp - what became of the kernels -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DeviceInternal.h"

#include "llvm/Object/ELFObjectFile.h"
#include "llvm/Support/Endian.h"
#include "llvm/Support/Format.h"

using namespace llvm;

/// Counts one instruction of 16 bytes (sm_80 to sm_120; checked against nvdisasm). The opcode is in
/// bits 0 to 8, the size of an access in bits 73 to 75: 6 is 128 bits, 5 is 64 bits.
static void count(uint64_t low, uint64_t high, ns::KernelReport &report) {
  constexpr unsigned kLdg = 0x181, kStg = 0x186, kCallAbs = 0x143, kCallRel = 0x144;
  unsigned opcode = low & 0x1ff, size = high >> 9 & 7;
  unsigned kind = size >= 6 ? 0 : size == 5 ? 1 : 2;
  ++report.instructions;
  if (opcode == kLdg)
    ++report.loads[kind];
  else if (opcode == kStg)
    ++report.stores[kind];
  else if (opcode == kCallAbs || opcode == kCallRel)
    ++report.calls;
}

Error ns::readCubin(ArrayRef<char> cubin, MutableArrayRef<KernelReport> reports) {
  MemoryBufferRef buffer(StringRef(cubin.data(), cubin.size()), "cubin");
  auto object = object::ObjectFile::createELFObjectFile(buffer);
  if (!object)
    return object.takeError();
  for (const object::SectionRef &section : (*object)->sections()) {
    auto name = section.getName();
    if (!name)
      return name.takeError();
    if (!name->consume_front(".text."))
      continue;
    auto report = find_if(reports, [&](KernelReport &r) { return r.kernel == *name; });
    if (report == reports.end())
      continue;
    auto code = section.getContents();
    if (!code)
      return code.takeError();
    for (size_t i = 0; i + 16 <= code->size(); i += 16)
      count(support::endian::read64le(code->data() + i),
            support::endian::read64le(code->data() + i + 8), *report);
  }
  return Error::success();
}

void ns::printDeviceReport(ArrayRef<KernelReport> reports, raw_ostream &os) {
  size_t width = 6;
  for (const KernelReport &report : reports)
    width = std::max(width, report.kernel.size());
  os << left_justify("kernel", width)
     << "  arch  registers  spills  stack  shared  instructions  loads 16/8/less bytes  stores  "
        "calls\n";
  for (const KernelReport &r : reports)
    os << left_justify(r.kernel, width)
       << format("  %4u  %9u  %6u  %5u  %6u  %12u  %13u/%u/%-5u  %2u/%u/%u  %5u\n", r.arch,
                 r.registers, r.spillBytes, r.stackBytes, r.sharedBytes, r.instructions, r.loads[0],
                 r.loads[1], r.loads[2], r.stores[0], r.stores[1], r.stores[2], r.calls);
}

json::Object ns::deviceReport(ArrayRef<KernelReport> reports) {
  json::Array rows;
  for (const KernelReport &r : reports)
    rows.push_back(json::Object{{"kernel", r.kernel},
                                {"arch", r.arch},
                                {"registers", r.registers},
                                {"spill_bytes", r.spillBytes},
                                {"stack_bytes", r.stackBytes},
                                {"shared_bytes", r.sharedBytes},
                                {"instructions", r.instructions},
                                {"loads", json::Array(r.loads)},
                                {"stores", json::Array(r.stores)},
                                {"calls", r.calls}});
  return json::Object{{"device", std::move(rows)}};
}
