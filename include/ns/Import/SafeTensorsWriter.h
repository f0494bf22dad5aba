//===- SafeTensorsWriter.h - copies weights into a safetensors file -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_IMPORT_SAFETENSORSWRITER_H
#define NS_IMPORT_SAFETENSORSWRITER_H

#include "ns/Import/Pt2Archive.h"

namespace ns::pt2 {

/// What identifies a weights file; becomes `#nn.file`. Hashes are XXH3-128, 32 hexadecimal digits,
/// high half first.
struct WeightsFile {
  int64_t size = 0;
  std::string header;  ///< hash of the 8-byte length and the JSON after it
  std::string content; ///< hash of the whole file
};

/// The first bytes of a safetensors file of `weights`: the header's length (8 bytes, little endian)
/// and the JSON, padded with spaces so that the data start at a multiple of 64 bytes. Keys are the
/// weights' names. Tensors lie without gaps, wider elements first, so that each is aligned. Of
/// weights with the same elements the first is stored; `__metadata__` names the others as
/// `tied:<name>` = the first.
std::string safeTensorsHeader(llvm::ArrayRef<Weight> weights);

/// Writes header and weights to `descriptor`, an empty file, and returns what identifies it.
/// `archive` is the open export, or -1 where weights lie in several files: those whose elements lie
/// in row-major order go from file to file inside the kernel, or are written from where they are
/// mapped, the others through a small buffer; no tensor is held in memory. Errors say
/// what the system said.
llvm::Expected<WeightsFile> writeSafeTensors(llvm::ArrayRef<Weight> weights, int archive,
                                             int descriptor);

} // namespace ns::pt2

#endif // NS_IMPORT_SAFETENSORSWRITER_H
