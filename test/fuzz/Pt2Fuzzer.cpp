//===- Pt2Fuzzer.cpp - libFuzzer target of the .pt2 reader -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Any bytes give a network or an error: no crash, no undefined behaviour, no memory beyond what the
// file's size explains (run with -rss_limit_mb, -malloc_limit_mb).
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Import/Raise.h"
#include "ns/Import/SafeTensorsWriter.h"

#include "mlir/IR/MLIRContext.h"

using namespace llvm;
using namespace ns::pt2;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  StringRef bytes(reinterpret_cast<const char *>(data), size);
  Expected<Program> program = Program::read(MemoryBufferRef(bytes, "fuzz"));
  if (!program) {
    consumeError(program.takeError());
    return 0;
  }
  safeTensorsHeader(program->weights);
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  Expected<ModelRecord> record = ModelRecord::create(*program, {}, {}, context);
  if (!record) {
    consumeError(record.takeError());
    return 0;
  }
  Expected<mlir::OwningOpRef<mlir::ModuleOp>> module = raise(*program, *record, context);
  if (!module)
    consumeError(module.takeError());
  return 0;
}
