//===- TestSupport.cpp - kernels compiled and run in the test's process -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "TestSupport.h"

#include "ns/InitAll.h"

#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace ns;
using namespace ns::test;

mlir::OwningOpRef<mlir::ModuleOp> test::parseKernels(mlir::MLIRContext &context,
                                                     llvm::StringRef body) {
  mlir::DialectRegistry registry;
  registerAllDialects(registry);
  registry.insert<mlir::gpu::GPUDialect, mlir::NVVM::NVVMDialect>();
  context.appendDialectRegistry(registry);
  std::string text =
      "module attributes {gpu.container_module} { gpu.module @kernels {\n" + body.str() + "\n} }";
  return mlir::parseSourceString<mlir::ModuleOp>(text, &context);
}

mlir::gpu::GPUModuleOp test::kernelsOf(mlir::ModuleOp module) {
  return *module.getOps<mlir::gpu::GPUModuleOp>().begin();
}

bool test::haveLibdevice() {
  for (const char *variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char *root = getenv(variable))
      return access((std::string(root) + "/nvvm/libdevice/libdevice.10.bc").c_str(), R_OK) == 0;
  return access("/usr/local/cuda/nvvm/libdevice/libdevice.10.bc", R_OK) == 0;
}

Kernels::Kernels(llvm::StringRef body) {
  mlir::MLIRContext context;
  auto module = parseKernels(context, body);
  if (!module)
    return;
  DeviceOptions options;
  options.code = DeviceCode::Emulate;
  auto result = emitDeviceImage(kernelsOf(*module), options);
  if (!result) {
    ADD_FAILURE() << llvm::toString(result.takeError());
    return;
  }
  file = memfd_create("kernels", MFD_CLOEXEC);
  EXPECT_EQ(write(file, result->bytes.data(), result->bytes.size()), ssize_t(result->bytes.size()));
  handle = dlopen(("/proc/self/fd/" + std::to_string(file)).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    ADD_FAILURE() << dlerror();
  else
    image = emulator::findImage(handle);
}

Kernels::~Kernels() {
  if (handle)
    dlclose(handle);
  if (file >= 0)
    close(file);
}
