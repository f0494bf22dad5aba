//===- Artifact.h - a compiled artefact and its metadata --------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_ARTIFACT_H
#define NS_RUNTIME_ARTIFACT_H

#include "ns/Runtime/Abi.h"
#include "ns/Runtime/Tensor.h"

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ns::runtime {

struct ParamInfo {
  std::string name;
  std::vector<int64_t> shape;
  uint64_t offset = 0; ///< bytes in region params
  bool decay = true, trainable = true;
  bool packed = false; ///< once loaded it lies in panels: no view shows it
};

struct SlotInfo {
  std::string name;
  int region = NSRT_IO;
  uint64_t offset = 0;
  Dtype dtype = Dtype::F32;
  std::vector<int64_t> shape;

  int64_t bytes() const { return TensorView{nullptr, dtype, shape}.bytes(); }
};

struct NoiseInfo {
  std::string name, site, init;
  std::vector<int64_t> shape;
  double lim = 0;
};

struct EntryInfo {
  std::string name;
  std::vector<std::string> inputs, outputs; ///< slots of region io
};

/// The attention that attacks may aim at.
struct AttentionInfo {
  int64_t layers = 0, tokens = 0;
  int64_t prefix = 0; ///< tokens before those of the patches
  int64_t patchHeight = 0, patchWidth = 0;
  std::vector<int64_t> lossLayers; ///< with entry patchfool_grad's losses
  std::string whyNone;             ///< where there are no layers
};

/// docs/abi.md, as far as the runtime reads it; sizes and offsets have been checked against the
/// regions.
struct Metadata {
  std::string json; ///< the whole text
  std::string emit, target, cpu, precision, compilerVersion;
  std::vector<std::string> cpuFeatures;
  int64_t batch = 0;
  /// Finetuning takes the statistics of batch norms from its batches (`--batch-norm=train`).
  bool trainsBatchNorm = false;
  bool callsBlas = true; ///< whether entries call the CPU's library of products
  struct {
    std::string name, interpolation = "bicubic";
    int64_t channels = 0, height = 0, width = 0, classes = 0;
    double cropPct = 1;
    std::vector<double> mean, std; ///< of each channel
  } model;
  struct {
    std::string file, header, content;
    uint64_t size = 0;
  } weights;
  std::array<uint64_t, NSRT_NUM_REGIONS> regions{};
  std::vector<ParamInfo> params;
  std::vector<SlotInfo> slots;
  std::vector<NoiseInfo> noises;
  std::vector<EntryInfo> entries;
  AttentionInfo attention;
  /// What the code of a GPU was compiled for; empty and false for the CPU.
  struct {
    std::vector<std::string> archs; ///< such as "sm_90"; "emulate": for the emulator only
    std::string ptx;       ///< the architecture whose PTX is there too, such as "compute_80"
    bool tf32 = false;     ///< float32 products may be of TF32
    int capability = 0;    ///< the least that its products need: 89 for 8.9; 0: any
    std::string attention; ///< the library whose attention is called: "cudnn" or none
    uint64_t attentionWorkspace = 0; ///< bytes that its calls are likely to need
  } device;

  /// Whether entries run on a GPU.
  bool onDevice() const { return target != "cpu"; }
  Dtype dtype() const { return precision == "f64" ? Dtype::F64 : Dtype::F32; }
  const ParamInfo *findParam(const std::string &name) const;
  const SlotInfo *findSlot(const std::string &name) const;
  const EntryInfo *findEntry(const std::string &name) const;
};

/// Reads metadata; `origin` names the artefact in errors.
Metadata parseMetadata(const std::string &origin, const std::string &text);

/// The features among `wanted` (CPUID names as LLVM spells them) that this machine lacks or nobody
/// knows.
std::vector<std::string> missingCpuFeatures(const std::vector<std::string> &wanted);

/// A loaded artefact. Its ABI, CPU features and metadata have been checked: nothing of it ran
/// before.
class Artifact {
public:
  /// From a shared object, or from the tail of an executable.
  static Artifact open(const std::string &path);
  /// True where the file ends with an artefact (docs/abi.md, "An executable").
  static bool isAppendedTo(const std::string &path);

  Artifact(Artifact &&other) noexcept;
  Artifact &operator=(Artifact &&) = delete;
  ~Artifact();

  const std::string &path() const { return origin; }
  const Metadata &metadata() const { return meta; }
  /// Null where the artefact has no such entry.
  nsrt_entry_fn entry(const std::string &name) const;
  /// The code of a GPU's kernels and their names, by number; empty for the CPU.
  std::string_view image() const { return code; }
  const std::vector<std::string> &kernels() const { return kernelNames; }

private:
  /// A shared object and the descriptor of the memory it was loaded from (-1: from a file).
  struct Loaded {
    void *handle = nullptr;
    int memory = -1;
    void close();
  };
  static Loaded loadBytes(const std::vector<char> &bytes, const std::string &path);
  Artifact(std::string path, Loaded loaded);
  void readImage(const nsrt_artifact &artifact);

  std::string origin;
  Loaded loaded;
  Metadata meta;
  std::map<std::string, nsrt_entry_fn> table;
  std::string_view code;
  std::vector<std::string> kernelNames;
};

} // namespace ns::runtime

#endif // NS_RUNTIME_ARTIFACT_H
