//===- Libraries.h - libcuda and libcublasLt, loaded at run time -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_CUDA_LIBRARIES_H
#define NS_RUNTIME_CUDA_LIBRARIES_H

#include "ns/Cuda/BlasLt.h"
#include "ns/Cuda/Driver.h"

#include <string>
#include <vector>

namespace ns::runtime::cuda {

using namespace ns::cuda;

/// The functions of libcuda.so.1, by name.
struct Driver {
#define NS_MEMBER(name, parameters) Result(*name) parameters = nullptr;
  NS_CUDA_DRIVER(NS_MEMBER)
#undef NS_MEMBER
  std::string path; ///< where it was found

  /// "CUDA_ERROR_OUT_OF_MEMORY (out of memory)".
  std::string text(Result result) const;
  /// Throws Error "WHAT: CUDA_ERROR_..." unless it went well.
  void check(Result result, const char *what) const;
};

/// The functions of libcublasLt.so.13, by name.
struct BlasLt {
#define NS_MEMBER(name, result, parameters) result(*name) parameters = nullptr;
  NS_CUDA_BLASLT(NS_MEMBER)
#undef NS_MEMBER
  std::string path;

  void check(BlasStatus status, const char *what) const;
};

/// Loads libcuda at the first call: $NSRT_CUDA_LIBRARY, the system's, or where images of containers
/// have it. Throws Error where there is none or an older one than kLeastDriver.
const Driver &driver();
/// Loads libcublasLt at the first call: $NSRT_CUBLASLT_LIBRARY, the one that the process has, the
/// system's, a toolkit's, or one of a Python environment (PyTorch for CUDA brings it).
const BlasLt &blasLt();

/// Loads the first library among `names` that is there: as they are, then in each of the folders.
/// `variable` names the variable of the environment that decides where it is set. Throws Error with
/// all places where none is.
void *openLibrary(const char *what, const char *variable, const std::vector<std::string> &names,
                  const std::vector<std::string> &folders, std::string &path);
/// Folders of NVIDIA's wheels in the Python environments that can be found: PACKAGE is cublas or
/// cudnn.
std::vector<std::string> wheelFolders(const std::string &package);

} // namespace ns::runtime::cuda

#endif // NS_RUNTIME_CUDA_LIBRARIES_H
