//===- nsrt-driver.cpp - head of every emitted executable -----------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

//
// ns-compile appends an artefact to a copy of this program (docs/abi.md). Without one it takes the
// path of an artefact as its first argument. Environment: NSRT_LIBRARY, a libnsrt.so instead of the
// recorded one; NSRT_TORCH_LIB, LibTorch's lib folder where it moved after the build.
//
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <string>

/// Loads LibTorch's libraries from `folder` first: later look-ups by name then find these.
static bool loadTorch(const std::string &folder) {
  for (const char *name : {"libgomp.so.1", "libc10.so", "libtorch_cpu.so"})
    if (!dlopen((folder + "/" + name).c_str(), RTLD_NOW | RTLD_GLOBAL)) {
      std::fprintf(stderr, "error: NSRT_TORCH_LIB: %s\n", dlerror());
      return false;
    }
  return true;
}

int main(int argc, char **argv) {
  if (const char *folder = std::getenv("NSRT_TORCH_LIB"); folder && *folder && !loadTorch(folder))
    return 1;
  const char *library = std::getenv("NSRT_LIBRARY");
  void *handle = dlopen(library && *library ? library : "libnsrt.so", RTLD_NOW | RTLD_GLOBAL);
  if (!handle) {
    std::fprintf(stderr,
                 "error: cannot load the Nullspace runtime: %s\n"
                 "set NSRT_LIBRARY to libnsrt.so, or NSRT_TORCH_LIB to LibTorch's lib folder\n",
                 dlerror());
    return 1;
  }
  auto run = reinterpret_cast<int (*)(int, char **)>(dlsym(handle, "nsrt_main"));
  if (!run) {
    std::fprintf(stderr, "error: expected nsrt_main in libnsrt.so, found none: %s\n", dlerror());
    return 1;
  }
  int status = run(argc, argv);
  std::fflush(nullptr);
#ifndef __SANITIZE_ADDRESS__ // which looks for leaks at the end
  // All is written; to take LibTorch's tables apart would only take time.
  std::_Exit(status);
#endif
  return status;
}
