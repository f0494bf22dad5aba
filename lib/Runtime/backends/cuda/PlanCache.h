//===- PlanCache.h - chosen algorithms of products, remembered --*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_CUDA_PLANCACHE_H
#define NS_RUNTIME_CUDA_PLANCACHE_H

#include "ns/Cuda/BlasLt.h"

#include <map>
#include <optional>
#include <string>

namespace ns::runtime::cuda {

/// The algorithm that was the fastest for a product, and what it needs.
struct ProductChoice {
  ns::cuda::BlasAlgo algo{};
  uint64_t workspace = 0;  ///< bytes
  double microseconds = 0; ///< as timed
};

/// $XDG_CACHE_HOME/nullspace/products-HASH.json: choices by product, one file for each machine,
/// named by the hash of device, driver and library version, which the file repeats. A file that
/// does not read is ignored with a note; writing replaces it at once, and keeps what other
/// processes have added.
class PlanCache {
public:
  /// `machine`: device, driver and library version. No HOME and no XDG_CACHE_HOME: nothing is
  /// remembered.
  explicit PlanCache(std::string machine);

  std::optional<ProductChoice> find(const std::string &product) const;
  void add(const std::string &product, const ProductChoice &choice);
  /// Writes what was added. Where the folder cannot be written: a note, once.
  void save();

  const std::string &path() const { return file; }

private:
  std::map<std::string, ProductChoice> read() const;

  std::string machine, file;
  std::map<std::string, ProductChoice> choices;
  bool changed = false;
};

} // namespace ns::runtime::cuda

#endif // NS_RUNTIME_CUDA_PLANCACHE_H
