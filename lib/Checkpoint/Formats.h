//===- Formats.h - the readers behind Checkpoint ----------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each reads a mapped file and throws Error, without the file's name, where that is damaged or of
// another kind.
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_CHECKPOINT_FORMATS_H
#define NS_LIB_CHECKPOINT_FORMATS_H

#include "ns/Checkpoint/Checkpoint.h"
#include "ns/Checkpoint/ZipArchive.h"
#include "ns/Runtime/FileIO.h"

namespace ns::checkpoint {

/// What one file may hold. A reader keeps some hundred bytes for each tensor and a few copies of
/// its name, whatever the tensor takes in the file: these bound them by some ten megabytes. Models
/// of 10^10 parameters have a thousandth of both.
constexpr size_t kMaxTensors = 50'000, kMaxName = 512;

/// Appends a tensor. Throws Error where the limits are passed.
void addTensor(std::vector<Tensor> &tensors, Tensor tensor);

/// A file that torch.save wrote in its zip format (PyTorch 1.6 and later).
std::vector<Tensor> readTorch(const ZipArchive &zip, const runtime::InputFile &file,
                              const OpenOptions &options);

/// The arrays of an .npz, Google's vision transformers under timm's names.
std::vector<Tensor> readNpz(const ZipArchive &zip, const runtime::InputFile &file);

/// Replaces the names that Flax gives to a vision transformer's arrays by timm's, and turns the
/// arrays to PyTorch's layouts. Leaves other arrays as they are. Queries, keys and values stay
/// three tensors, `attn.query` and so on, which Names.h knows.
std::vector<Tensor> renameFlax(std::vector<Tensor> arrays);

/// The plain file names that an index of shards lists, each once.
std::vector<std::string> shardsOf(const std::string &indexPath);

} // namespace ns::checkpoint

#endif // NS_LIB_CHECKPOINT_FORMATS_H
