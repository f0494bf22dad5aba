//===- InitAll.cpp - registers every dialect and pass -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/InitAll.h"

#include "ns/Autodiff/Passes.h"
#include "ns/Conversion/Passes.h"
#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Dialect/NN/Transforms/Passes.h"
#include "ns/Dialect/NS/IR/NS.h"
#include "ns/Dialect/NS/Transforms/Passes.h"
#include "ns/Dialect/RT/IR/RT.h"
#include "ns/Dialect/RT/Transforms/Passes.h"
#include "ns/Pipelines/Pipelines.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/GPU/IR/GPUDialect.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Transforms/Passes.h"

void ns::registerAllDialects(mlir::DialectRegistry &registry) {
  registry.insert<mlir::arith::ArithDialect, mlir::func::FuncDialect, mlir::gpu::GPUDialect,
                  mlir::LLVM::LLVMDialect, mlir::math::MathDialect, mlir::memref::MemRefDialect,
                  mlir::scf::SCFDialect, mlir::vector::VectorDialect>();
  registry.insert<nn::NNDialect, harden::NSDialect, rt::RTDialect>();
  autodiff::registerDifferentiableOpModels(registry);
}

void ns::registerAllPasses() {
  mlir::registerTransformsPasses();
  autodiff::registerAutodiffPasses();
  harden::registerNSPasses();
  nn::registerNNPasses();
  registerConversionPasses();
  rt::registerRTPasses();
  registerPipelines();
}
