//===- Libraries.cpp - libcuda and libcublasLt, loaded at run time --------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Libraries.h"
#include "ns/Runtime/Error.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

using namespace ns::runtime;
using namespace ns::runtime::cuda;

namespace fs = std::filesystem;

std::string Driver::text(Result result) const {
  const char *name = nullptr, *meaning = nullptr;
  cuGetErrorName(result, &name);
  cuGetErrorString(result, &meaning);
  return name ? str(name, " (", meaning ? meaning : "no description", ")")
              : str("CUDA error ", int(result));
}

void Driver::check(Result result, const char *what) const {
  if (result != kSuccess)
    fail(what, ": ", text(result));
}

void BlasLt::check(BlasStatus status, const char *what) const {
  if (status != kBlasSuccess)
    fail(what, ": ", cublasLtGetStatusName(status));
}

void *cuda::openLibrary(const char *what, const char *variable,
                        const std::vector<std::string> &names,
                        const std::vector<std::string> &folders, std::string &path) {
  if (const char *given = std::getenv(variable); given && *given) {
    path = given;
    if (void *handle = ::dlopen(given, RTLD_NOW | RTLD_LOCAL))
      return handle;
    fail("environment variable ", variable, ": expected ", what, ", found none: ", ::dlerror());
  }
  std::string reason; // of a file that is there and does not load
  std::vector<std::string> places = names;
  for (const std::string &folder : folders)
    for (const std::string &name : names)
      places.push_back(folder + "/" + name);
  for (const std::string &place : places) {
    std::error_code ignored;
    bool isPath = place.find('/') != std::string::npos;
    if (isPath && !fs::exists(place, ignored))
      continue;
    path = place;
    if (void *handle = ::dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL))
      return handle;
    if (isPath)
      reason += str("; ", ::dlerror());
  }
  std::string tried;
  for (const std::string &folder : folders)
    tried += " " + folder;
  fail("cannot find ", what, " (", names.front(), "): looked in the loader's path and in", tried,
       reason, "; set ", variable, " to its file");
}

/// The library folders of Python environments: $VIRTUAL_ENV's, that of the first python3 in PATH,
/// and the one that LibTorch was found in.
static std::vector<fs::path> sitePackages() {
  std::vector<fs::path> found;
  auto addEnvironment = [&](const fs::path &root) {
    std::error_code ignored;
    for (const char *lib : {"lib", "lib64"})
      for (const auto &entry : fs::directory_iterator(root / lib, ignored))
        for (const char *name : {"site-packages", "dist-packages"})
          if (entry.path().filename().string().starts_with("python3") &&
              fs::is_directory(entry.path() / name, ignored))
            found.push_back(entry.path() / name);
  };
  if (const char *environment = std::getenv("VIRTUAL_ENV"))
    addEnvironment(environment);
  std::string path = std::getenv("PATH") ? std::getenv("PATH") : "";
  for (size_t begin = 0; begin < path.size();) {
    size_t end = std::min(path.find(':', begin), path.size());
    std::error_code ignored;
    fs::path folder = path.substr(begin, end - begin);
    if (fs::exists(folder / "python3", ignored)) {
      addEnvironment(folder.parent_path());
      break;
    }
    begin = end + 1;
  }
  const char *torch = std::getenv("NSRT_TORCH_LIB"); // .../site-packages/torch/lib
  for (const char *lib : {torch ? torch : "", NSRT_TORCH_LIB_DIR})
    if (*lib)
      found.push_back(fs::path(lib).parent_path().parent_path());
  return found;
}

std::vector<std::string> cuda::wheelFolders(const std::string &package) {
  std::vector<std::string> folders;
  for (const fs::path &site : sitePackages())
    for (const std::string &name : {std::string("cu13"), package}) {
      std::string folder = (site / "nvidia" / name / "lib").string();
      if (std::find(folders.begin(), folders.end(), folder) == folders.end())
        folders.push_back(folder);
    }
  return folders;
}

template <class Pointer>
static void resolve(void *library, const std::string &path, const char *name, Pointer &pointer) {
  pointer = reinterpret_cast<Pointer>(::dlsym(library, name));
  if (!pointer)
    fail(path, ": too old: it has no ", name);
}

static Driver loadDriver() {
  Driver api;
  void *library = openLibrary("the NVIDIA driver", "NSRT_CUDA_LIBRARY", {"libcuda.so.1"},
                              {"/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/local/nvidia/lib64",
                               "/usr/local/nvidia/lib", "/usr/lib/wsl/lib"},
                              api.path);
#define NS_RESOLVE(name, parameters) resolve(library, api.path, #name, api.name);
  NS_CUDA_DRIVER(NS_RESOLVE)
#undef NS_RESOLVE
  int version = 0;
  api.check(api.cuDriverGetVersion(&version), "cuDriverGetVersion");
  if (version < kLeastDriver)
    fail(api.path, ": expected a driver for CUDA ", kLeastDriver / 1000, ".",
         kLeastDriver % 1000 / 10, " or newer, found one for CUDA ", version / 1000, ".",
         version % 1000 / 10, "; update the NVIDIA driver");
  return api;
}

static BlasLt loadBlasLt() {
  BlasLt api;
  std::vector<std::string> folders = wheelFolders("cublas");
  folders.push_back("/usr/local/cuda/lib64");
  void *library = openLibrary("cuBLASLt", "NSRT_CUBLASLT_LIBRARY",
                              {"libcublasLt.so.13", "libcublasLt.so.12"}, folders, api.path);
#define NS_RESOLVE(name, result, parameters) resolve(library, api.path, #name, api.name);
  NS_CUDA_BLASLT(NS_RESOLVE)
#undef NS_RESOLVE
  return api;
}

const Driver &cuda::driver() {
  static const Driver api = loadDriver();
  return api;
}

const BlasLt &cuda::blasLt() {
  static const BlasLt api = loadBlasLt();
  return api;
}
