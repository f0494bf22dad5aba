//===- Cudnn.cpp - the emulated attention of cuDNN ------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// build/lib/emulator/libnsrt-cudnn.so: the plugin of ns/Cuda/AttentionPlugin.h on the CPU, in the
// place of the real one and of cuDNN. It computes as fused kernels do: scores, softmax and sums in
// float32, probabilities and gradients of scores rounded to bfloat16 before they are multiplied,
// forward's normalised after that, gradients of queries summed in the workspace. It refuses what
// cuDNN refuses: plans in a capture, other types, widths and strides, unaligned addresses.
//
//===----------------------------------------------------------------------===//

#include "Driver.h"
#include "ns/Cuda/AttentionPlugin.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <set>
#include <string>

using namespace ns::cuda;

namespace {

struct State {
  std::set<int64_t> prepared; ///< indices of ops
  std::string complaint;

  const char *refuse(const std::string &text) {
    complaint = "cuDNN emulator: " + text;
    return complaint.c_str();
  }
};

float widen(uint16_t half) {
  uint32_t bits = uint32_t(half) << 16;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

/// To nearest even; NaN stays NaN.
uint16_t narrow(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if (std::isnan(x))
    return uint16_t(bits >> 16 | 0x40);
  return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float rounded(float x) { return widen(narrow(x)); }

/// One argument: images x heads x rows x width of bfloat16.
struct Tensor {
  const char *name;
  int64_t rows;
  const int64_t *strides;
};

/// Those of an op in the order of its arguments; the fifth are the statistics, of float32.
std::vector<Tensor> tensorsOf(const nsrt_attention &op) {
  std::vector<Tensor> tensors = {{"q", op.queries, op.strides_q},
                                 {"k", op.keys, op.strides_k},
                                 {"v", op.keys, op.strides_v},
                                 {"o", op.queries, op.strides_o},
                                 {"statistics", op.queries, nullptr}};
  if (op.gradient) {
    tensors.push_back({"do", op.queries, op.strides_o});
    for (int i = 0; i < 3; ++i)
      tensors.push_back({i == 0   ? "dq"
                         : i == 1 ? "dk"
                                  : "dv",
                         tensors[i].rows, tensors[i].strides});
  }
  return tensors;
}

/// Bytes from an argument's first element to behind its last.
uint64_t extentOf(const nsrt_attention &op, const Tensor &tensor) {
  if (!tensor.strides)
    return uint64_t(op.images) * op.heads * op.queries * sizeof(float);
  return 2 * ((op.images - 1) * tensor.strides[0] + (op.heads - 1) * tensor.strides[1] +
              (tensor.rows - 1) * tensor.strides[2] + op.width);
}

uint64_t workspaceOf(const nsrt_attention &op) {
  return op.gradient ? uint64_t(op.images) * op.heads * op.queries * op.width * sizeof(float) : 0;
}

const char *openEmulated(void **state, void *) {
  *state = new State;
  return nullptr;
}

void closeEmulated(void *state) { delete static_cast<State *>(state); }

const char *prepare(void *opaque, const nsrt_attention *op, uint64_t *bytes) {
  State &state = *static_cast<State *>(opaque);
  if (nsemu_capturing())
    return state.refuse("a plan was asked for in a capture");
  if (op->type != NSRT_BF16)
    return state.refuse("expected bfloat16");
  if (op->width % 8 != 0 || op->width > 128 || op->width <= 0)
    return state.refuse("expected a width that is a multiple of 8 up to 128");
  if (op->images < 1 || op->heads < 1 || op->queries < 2 || op->keys < 2)
    return state.refuse("expected images and heads, and two queries and keys or more");
  for (const Tensor &tensor : tensorsOf(*op))
    for (int i = 0; tensor.strides && i < 3; ++i)
      if (tensor.strides[i] % 8 != 0 || tensor.strides[i] < op->width)
        return state.refuse(std::string(tensor.name) +
                            ": expected strides of multiples of 8, found " +
                            std::to_string(tensor.strides[i]));
  *bytes = workspaceOf(*op);
  state.prepared.insert(op->index);
  return nullptr;
}

/// The matrix of one head of one image.
struct Head {
  uint16_t *first;
  int64_t stride;
  float at(int64_t row, int64_t column) const { return widen(first[row * stride + column]); }
  void set(int64_t row, int64_t column, float x) const { first[row * stride + column] = narrow(x); }
};

struct Call {
  nsrt_attention op;
  void *args[9];
  float *workspace;

  Head head(int argument, int64_t image, int64_t head) const {
    const int64_t *strides = tensorsOf(op)[argument].strides;
    auto *base = static_cast<uint16_t *>(args[argument]);
    return {base + image * strides[0] + head * strides[1], strides[2]};
  }
  float *statistics(int64_t image, int64_t head) const {
    return static_cast<float *>(args[4]) + (image * op.heads + head) * op.queries;
  }
};

float dot(const Head &a, int64_t i, const Head &b, int64_t j, int64_t width) {
  float sum = 0;
  for (int64_t d = 0; d < width; ++d)
    sum += a.at(i, d) * b.at(j, d);
  return sum;
}

void forward(const Call &call, int64_t image, int64_t index) {
  const nsrt_attention &op = call.op;
  Head q = call.head(0, image, index), k = call.head(1, image, index),
       v = call.head(2, image, index), o = call.head(3, image, index);
  float *statistics = call.statistics(image, index);
  std::vector<float> row(op.keys), out(op.width);
  for (int64_t i = 0; i < op.queries; ++i) {
    for (int64_t j = 0; j < op.keys; ++j)
      row[j] = float(op.scale) * dot(q, i, k, j, op.width);
    float most = *std::max_element(row.begin(), row.end()), sum = 0;
    std::fill(out.begin(), out.end(), 0.f);
    for (int64_t j = 0; j < op.keys; ++j) {
      float e = std::exp(row[j] - most);
      sum += e;
      for (int64_t d = 0; d < op.width; ++d)
        out[d] += rounded(e) * v.at(j, d);
    }
    statistics[i] = most + std::log(sum);
    for (int64_t d = 0; d < op.width; ++d)
      o.set(i, d, out[d] / sum);
  }
}

void backward(const Call &call, int64_t image, int64_t index) {
  const nsrt_attention &op = call.op;
  Head q = call.head(0, image, index), k = call.head(1, image, index),
       v = call.head(2, image, index), o = call.head(3, image, index),
       gradO = call.head(5, image, index), gradQ = call.head(6, image, index),
       gradK = call.head(7, image, index), gradV = call.head(8, image, index);
  const float *statistics = call.statistics(image, index);
  int64_t width = op.width;
  float *sumsQ = call.workspace + (image * op.heads + index) * op.queries * width;
  std::fill_n(sumsQ, op.queries * width, 0.f);
  std::vector<float> sumsK(op.keys * width), sumsV(op.keys * width);
  for (int64_t i = 0; i < op.queries; ++i) {
    float mean = dot(gradO, i, o, i, width);
    for (int64_t j = 0; j < op.keys; ++j) {
      float p = std::exp(float(op.scale) * dot(q, i, k, j, width) - statistics[i]);
      float dScore = rounded(p * (dot(gradO, i, v, j, width) - mean)), half = rounded(p);
      for (int64_t d = 0; d < width; ++d) {
        sumsQ[i * width + d] += dScore * k.at(j, d);
        sumsK[j * width + d] += dScore * q.at(i, d);
        sumsV[j * width + d] += half * gradO.at(i, d);
      }
    }
  }
  for (int64_t d = 0; d < width; ++d) {
    for (int64_t i = 0; i < op.queries; ++i)
      gradQ.set(i, d, float(op.scale) * sumsQ[i * width + d]);
    for (int64_t j = 0; j < op.keys; ++j) {
      gradK.set(j, d, float(op.scale) * sumsK[j * width + d]);
      gradV.set(j, d, sumsV[j * width + d]);
    }
  }
}

/// Its line in the record.
std::string lineOf(const nsrt_attention &op) {
  char text[128];
  std::snprintf(text, sizeof text, "cudnnAttention%s %ldx%ldx%ldx%ldx%ld",
                op.gradient ? "Gradient" : "", long(op.images), long(op.heads), long(op.queries),
                long(op.keys), long(op.width));
  return text;
}

const char *enqueue(void *opaque, const nsrt_attention *op, void *const *args, void *workspace,
                    void *stream) {
  State &state = *static_cast<State *>(opaque);
  if (!state.prepared.count(op->index))
    return state.refuse("this op has no plan");
  Call call{*op, {}, static_cast<float *>(workspace)};
  auto tensors = tensorsOf(*op);
  for (size_t i = 0; i < tensors.size(); ++i) {
    call.args[i] = args[i];
    if (reinterpret_cast<uintptr_t>(args[i]) % 16 != 0)
      return state.refuse(std::string(tensors[i].name) + " is not aligned to 16 bytes");
    if (!nsemu_contains(args[i], extentOf(*op, tensors[i])))
      return state.refuse(std::string(tensors[i].name) + " does not lie in device memory");
  }
  if (workspaceOf(*op) && !nsemu_contains(workspace, workspaceOf(*op)))
    return state.refuse("the workspace does not lie in device memory");
  Result result = nsemu_enqueue(static_cast<Stream>(stream), lineOf(*op).c_str(), [call] {
    for (int64_t image = 0; image < call.op.images; ++image)
      for (int64_t head = 0; head < call.op.heads; ++head)
        (call.op.gradient ? backward : forward)(call, image, head);
    return kSuccess;
  });
  return result == kSuccess ? nullptr : state.refuse("the stream takes no work");
}

} // namespace

extern "C" __attribute__((visibility("default"))) const nsrt_attention_plugin *
nsrt_attention_query(uint32_t version) {
  static constexpr nsrt_attention_plugin kPlugin = {NSRT_ATTENTION_VERSION, openEmulated, prepare,
                                                    enqueue, closeEmulated};
  return version == NSRT_ATTENTION_VERSION ? &kPlugin : nullptr;
}
