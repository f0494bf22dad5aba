//===- Checkpoint.h - weights in the files of other tools -------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// docs/decisions/checkpoints.md says why files are read this way.
//
//===----------------------------------------------------------------------===//

#ifndef NS_CHECKPOINT_CHECKPOINT_H
#define NS_CHECKPOINT_CHECKPOINT_H

#include "ns/Checkpoint/Tensor.h"

#include <memory>

namespace ns::checkpoint {

struct OpenOptions {
  bool ema = true; ///< prefer the averaged weights of a training run where the file has both
};

/// The named tensors of a checkpoint. What kind of file it is follows from its content:
/// - safetensors;
/// - what torch.save wrote of a state dict, or of a dict that holds one: the first of
///   `state_dict_ema`, `model_ema` (both only with `ema`), `state_dict`, `model` is taken; read
///   without running anything of it;
/// - .npz: arrays under their names, or Google's vision transformers under timm's names;
/// - a folder as transformers writes it: model.safetensors, its shards with their index, or
///   pytorch_model.bin.
/// The prefixes `_orig_mod.` and `module.` of the names are dropped.
///
/// Tensors point into the mapped files, which live as long as this does. Files are checked in full
/// before: headers, extents, strides, offsets and checksums, where the format has them.
class Checkpoint {
public:
  /// Throws Error, which names the file and the entry.
  static Checkpoint open(const std::string &path, const OpenOptions &options = {});
  Checkpoint(Checkpoint &&);
  ~Checkpoint();

  const std::string &path() const { return origin; }
  const std::vector<Tensor> &tensors() const { return entries; }
  /// XXH3-128 of the file; of several files, of their hashes one after the other.
  std::string contentHash() const;

private:
  Checkpoint();
  struct Files;
  std::string origin;
  std::unique_ptr<Files> files;
  std::vector<Tensor> entries;
};

/// A tensor of floats that a model wants.
struct Wanted {
  std::string name;
  std::vector<int64_t> shape;
  bool isOptional = false; ///< a buffer that is not in every checkpoint
};

/// Where a wanted tensor's elements are: these tensors, one after the other; none where an optional
/// one is not there.
using Pieces = std::vector<Tensor>;

/// For each wanted tensor its pieces, by name. Where the names do not agree they are translated
/// between the naming schemes of timm, transformers, torchvision and the papers' own repositories
/// (Names.h), which may split or join queries, keys and values. Buffers that hold no weights, such
/// as `num_batches_tracked`, may be left over, other entries only with `mayHaveMore`. Throws one
/// Error that lists all entries that are missing, left over, of another shape or of another type;
/// `model` is the model's name there.
std::vector<Pieces> fit(const Checkpoint &checkpoint, const std::vector<Wanted> &wanted,
                        const std::string &model, bool mayHaveMore = false);

/// The same for callers without exceptions: `error` is empty, or why there is nothing.
struct Fitted {
  std::shared_ptr<const Checkpoint> owner; ///< of the pieces' memory
  std::vector<Pieces> pieces;
  std::string error;
};
Fitted openAndFit(const std::string &path, const OpenOptions &options,
                  const std::vector<Wanted> &wanted, const std::string &model) noexcept;

/// The elements of `pieces` as `type`, row-major; empty with the reason in `error`.
std::vector<char> elementsOf(const Pieces &pieces, Type type, std::string &error) noexcept;

/// One tensor of floats of a safetensors file, in double; `error` is empty, or why there is none.
struct StoredValues {
  std::vector<int64_t> shape;
  std::vector<double> values;
  Type type = Type::F32; ///< in the file
  std::string error;
};
StoredValues readValues(const std::string &path, const std::string &name) noexcept;

} // namespace ns::checkpoint

#endif // NS_CHECKPOINT_CHECKPOINT_H
