//===- OnnxFuzzer.cpp - libFuzzer target of the .onnx reader -*- C++ -*-===//
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
#include "ns/Import/Onnx.h"
#include "ns/Import/Raise.h"
#include "ns/Import/SafeTensorsWriter.h"

#include "mlir/IR/MLIRContext.h"

using namespace llvm;
using namespace ns;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  StringRef bytes(reinterpret_cast<const char *>(data), size);
  Expected<onnx::Model> model = onnx::Model::read(MemoryBufferRef(bytes, "fuzz"), /*folder=*/"");
  if (!model) {
    consumeError(model.takeError());
    return 0;
  }
  Expected<pt2::Program> program = onnx::translate(*model);
  if (!program) {
    consumeError(program.takeError());
    return 0;
  }
  pt2::safeTensorsHeader(program->weights);
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  Expected<pt2::ModelRecord> record =
      pt2::ModelRecord::create(*program, {0, 0, 0}, {1, 1, 1}, context);
  if (!record) {
    consumeError(record.takeError());
    return 0;
  }
  Expected<mlir::OwningOpRef<mlir::ModuleOp>> module = pt2::raise(*program, *record, context);
  if (!module)
    consumeError(module.takeError());
  return 0;
}
