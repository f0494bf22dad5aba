//===- CudnnPlugin.cpp - attention by cuDNN, forward and backward ---------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// libnsrt-cudnn.so: the one place that sees cuDNN's headers, whose frontend takes 20 s to
// compile. cuDNN itself is loaded by libnsrt, which hands its handle over. One graph for each op.
//
//===----------------------------------------------------------------------===//

#include "ns/Cuda/AttentionPlugin.h"

#include <cudnn_frontend.h>

#include <memory>
#include <string>
#include <unordered_map>

namespace fe = cudnn_frontend;

namespace cudnn_frontend {
void *cudnn_dlhandle = nullptr; // where NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING looks
} // namespace cudnn_frontend

namespace {

using Tensor = std::shared_ptr<fe::graph::Tensor_attributes>;
using Attributes = fe::graph::Tensor_attributes;

/// Of the tensors, in the order of the op's arguments (Abi.h).
enum Uid : int64_t { kQ = 1, kK, kV, kO, kStatistics, kGradO, kGradQ, kGradK, kGradV };

struct State {
  cudnnHandle_t handle = nullptr;
  std::unordered_map<int64_t, std::shared_ptr<fe::graph::Graph>> graphs; // by an op's index
  std::string complaint;
};

/// Images x heads x rows x width, with the op's strides.
Attributes shapeOf(const nsrt_attention &op, const char *name, int64_t uid, int64_t rows,
                   const int64_t strides[3]) {
  return Attributes()
      .set_name(name)
      .set_uid(uid)
      .set_dim({op.images, op.heads, rows, op.width})
      .set_stride({strides[0], strides[1], strides[2], 1});
}

Attributes statisticsOf(const nsrt_attention &op) {
  return Attributes()
      .set_name("statistics")
      .set_uid(kStatistics)
      .set_dim({op.images, op.heads, op.queries, 1})
      .set_stride({op.heads * op.queries, op.queries, 1, 1})
      .set_data_type(fe::DataType_t::FLOAT);
}

void makeOutput(const Tensor &tensor, Attributes like) {
  tensor->set_output(true)
      .set_uid(like.get_uid())
      .set_dim(like.get_dim())
      .set_stride(like.get_stride());
}

void addForward(fe::graph::Graph &graph, const nsrt_attention &op) {
  auto q = graph.tensor(shapeOf(op, "q", kQ, op.queries, op.strides_q));
  auto k = graph.tensor(shapeOf(op, "k", kK, op.keys, op.strides_k));
  auto v = graph.tensor(shapeOf(op, "v", kV, op.keys, op.strides_v));
  auto attributes = fe::graph::SDPA_attributes()
                        .set_name("attention")
                        .set_generate_stats(true)
                        .set_attn_scale(static_cast<float>(op.scale));
  auto [o, statistics] = graph.sdpa(q, k, v, attributes);
  makeOutput(o, shapeOf(op, "o", kO, op.queries, op.strides_o));
  makeOutput(statistics, statisticsOf(op));
  statistics->set_data_type(fe::DataType_t::FLOAT);
}

void addBackward(fe::graph::Graph &graph, const nsrt_attention &op) {
  auto q = graph.tensor(shapeOf(op, "q", kQ, op.queries, op.strides_q));
  auto k = graph.tensor(shapeOf(op, "k", kK, op.keys, op.strides_k));
  auto v = graph.tensor(shapeOf(op, "v", kV, op.keys, op.strides_v));
  auto o = graph.tensor(shapeOf(op, "o", kO, op.queries, op.strides_o));
  auto gradO = graph.tensor(shapeOf(op, "do", kGradO, op.queries, op.strides_o));
  auto statistics = graph.tensor(statisticsOf(op));
  auto attributes = fe::graph::SDPA_backward_attributes()
                        .set_name("attention_gradient")
                        .set_deterministic_algorithm(true) // resumed runs give the same bits
                        .set_attn_scale(static_cast<float>(op.scale));
  auto [gradQ, gradK, gradV] = graph.sdpa_backward(q, k, v, o, gradO, statistics, attributes);
  makeOutput(gradQ, shapeOf(op, "dq", kGradQ, op.queries, op.strides_q));
  makeOutput(gradK, shapeOf(op, "dk", kGradK, op.keys, op.strides_k));
  makeOutput(gradV, shapeOf(op, "dv", kGradV, op.keys, op.strides_v));
}

/// Null with a complaint where cuDNN has no such graph.
std::shared_ptr<fe::graph::Graph> build(State &state, const nsrt_attention &op) {
  if (op.type != NSRT_BF16) {
    state.complaint = "cuDNN's attention is for bfloat16";
    return nullptr;
  }
  auto graph = std::make_shared<fe::graph::Graph>();
  graph->set_io_data_type(fe::DataType_t::BFLOAT16)
      .set_intermediate_data_type(fe::DataType_t::FLOAT)
      .set_compute_data_type(fe::DataType_t::FLOAT);
  if (op.gradient)
    addBackward(*graph, op);
  else
    addForward(*graph, op);
  auto status = graph->build(state.handle, {fe::HeurMode_t::A});
  if (status.is_bad()) {
    state.complaint = "cuDNN: " + status.get_message();
    return nullptr;
  }
  return graph;
}

const char *openCudnn(void **out, void *cudnn) {
  static thread_local std::string complaint;
  fe::cudnn_dlhandle = cudnn;
  auto state = std::make_unique<State>();
  if (auto status = fe::detail::create_handle(&state->handle); status != CUDNN_STATUS_SUCCESS) {
    complaint = std::string("cudnnCreate: ") + fe::detail::get_error_string(status);
    return complaint.c_str();
  }
  *out = state.release();
  return nullptr;
}

const char *prepare(void *opaque, const nsrt_attention *op, uint64_t *bytes) {
  State &state = *static_cast<State *>(opaque);
  auto graph = build(state, *op);
  if (!graph)
    return state.complaint.c_str();
  *bytes = static_cast<uint64_t>(graph->get_workspace_size());
  state.graphs[op->index] = std::move(graph);
  return nullptr;
}

const char *enqueue(void *opaque, const nsrt_attention *op, void *const *args, void *workspace,
                    void *stream) {
  State &state = *static_cast<State *>(opaque);
  std::unordered_map<int64_t, void *> pointers;
  for (int64_t i = 0; i < (op->gradient ? 9 : 5); ++i)
    pointers[kQ + i] = args[i];
  fe::detail::set_stream(state.handle, static_cast<cudaStream_t>(stream));
  auto status = state.graphs.at(op->index)->execute(state.handle, pointers, workspace);
  if (status.is_good())
    return nullptr;
  state.complaint = "cuDNN: " + status.get_message();
  return state.complaint.c_str();
}

void closeCudnn(void *opaque) {
  auto *state = static_cast<State *>(opaque);
  fe::detail::destroy_handle(state->handle);
  delete state;
}

} // namespace

extern "C" __attribute__((visibility("default"))) const nsrt_attention_plugin *
nsrt_attention_query(uint32_t version) {
  static constexpr nsrt_attention_plugin kPlugin = {NSRT_ATTENTION_VERSION, openCudnn, prepare,
                                                    enqueue, closeCudnn};
  return version == NSRT_ATTENTION_VERSION ? &kPlugin : nullptr;
}
