//===- CudaBackend.cpp - entries as CUDA graphs ---------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CudaBackend.h"
#include "ns/Runtime/Error.h"

#include <nlohmann/json.hpp>

#include <cstdlib>
#include <string_view>

using namespace ns::runtime;
using namespace ns::runtime::cuda;

/// Of every region: what 128-bit accesses and cuBLASLt's fastest algorithms want.
static constexpr uint64_t kAlign = 512;

static uint64_t alignUp(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

static bool wantsSync() {
  const char *wish = std::getenv("NSRT_CUDA_SYNC");
  if (!wish || !*wish || std::string_view(wish) == "0")
    return false;
  if (std::string_view(wish) != "1")
    fail("environment variable NSRT_CUDA_SYNC: expected 0 or 1, found '", wish, "'");
  return true;
}

CudaBackend::CudaBackend(const Artifact &artifact) : artifact(artifact), synchronous(wantsSync()) {
  table.struct_size = sizeof table;
  table.abi_version = NSRT_ABI_VERSION;
  table.context = this;
  table.mark = mark;
  table.launch = launch;
  table.device_gemm = gemm;
  table.device_attention = attention;
  loadKernels();
  allocate();
  arrived.emplace(device.api);
  delivered.emplace(device.api);
}

CudaBackend::~CudaBackend() {
  device.quiesce();
  for (auto &[name, graph] : graphs)
    if (graph)
      device.api.cuGraphExecDestroy(graph);
  products.reset();
  attentions.reset();
  device.api.cuModuleUnload(module);
}

void CudaBackend::loadKernels() {
  Result result = device.api.cuModuleLoadData(&module, artifact.image().data());
  if (result == kNoBinaryForGpu || result == kInvalidPtx || result == kUnsupportedPtxVersion)
    fail(artifact.path(), ": its kernels are for other GPUs than ", device.name, " (sm_",
         device.capability, "), or for a newer driver: ", device.api.text(result),
         "; `--info` lists what they are for");
  if (result != kSuccess)
    fail(artifact.path(), ": its kernels cannot be loaded on ", device.name, ": ",
         device.api.text(result));
  for (const std::string &name : artifact.kernels()) {
    Function &function = kernels.emplace_back(nullptr);
    result = device.api.cuModuleGetFunction(&function, module, name.c_str());
    if (result != kSuccess)
      fail(artifact.path(), ": kernel '", name, "': ", device.api.text(result));
  }
}

void CudaBackend::allocate() {
  const auto &sizes = artifact.metadata().regions;
  uint64_t total = 0;
  auto reserve = [&](uint64_t bytes) {
    uint64_t offset = total;
    total += alignUp(std::max<uint64_t>(bytes, 1));
    return offset;
  };
  std::array<uint64_t, NSRT_NUM_REGIONS> offsets;
  for (int i = 0; i < NSRT_NUM_REGIONS; ++i)
    offsets[i] = reserve(sizes[i]);
  uint64_t twinAt = reserve(sizes[NSRT_IO]), workspaceAt = reserve(Products::kWorkspace),
           oneAt = reserve(sizeof(float));
  DevicePtr base = device.allocate(total, artifact.path());
  for (int i = 0; i < NSRT_NUM_REGIONS; ++i)
    regions[i] = reinterpret_cast<char *>(base + offsets[i]);
  twin = base + twinAt;
  workspace = base + workspaceAt;
  one = base + oneAt;
  static constexpr float kOne = 1;
  device.api.check(device.api.cuMemcpyHtoDAsync_v2(one, &kOne, sizeof kOne, device.compute),
                   "cuMemcpyHtoDAsync");
  paramsMirror = HostMemory(sizes[NSRT_PARAMS], "a mirror of the parameters");
  stateMirror = HostMemory(sizes[NSRT_STATE], "a mirror of the state");
  mirrors[NSRT_PARAMS] = paramsMirror.data();
  mirrors[NSRT_STATE] = stateMirror.data();
  mirrors[NSRT_IO] = device.allocatePinned(std::max<uint64_t>(sizes[NSRT_IO], 1), artifact.path());
  // The copy stream writes to the twin: not before it has been zeroed.
  device.api.check(device.api.cuStreamSynchronize(device.compute), "cuStreamSynchronize");
}

void CudaBackend::upload(int region, uint64_t offset, uint64_t bytes) {
  device.makeCurrent();
  if (region != NSRT_IO) {
    DevicePtr to = reinterpret_cast<DevicePtr>(regions[region] + offset);
    device.api.check(
        device.api.cuMemcpyHtoDAsync_v2(to, mirrors[region] + offset, bytes, device.compute),
        "cuMemcpyHtoDAsync");
    return;
  }
  delivered->holdBack(device.copies); // the twin may still be read
  device.api.check(device.api.cuMemcpyHtoDAsync_v2(twin + offset, mirrors[NSRT_IO] + offset, bytes,
                                                   device.copies),
                   "cuMemcpyHtoDAsync");
  staged.push_back({offset, bytes});
}

void CudaBackend::settle() {
  device.makeCurrent();
  device.api.check(device.api.cuStreamSynchronize(device.copies), "uploads: cuStreamSynchronize");
}

void CudaBackend::download(int region, uint64_t offset, uint64_t bytes) {
  device.makeCurrent();
  DevicePtr from = reinterpret_cast<DevicePtr>(regions[region] + offset);
  device.api.check(
      device.api.cuMemcpyDtoHAsync_v2(mirrors[region] + offset, from, bytes, device.compute),
      "cuMemcpyDtoHAsync");
}

void CudaBackend::deliverStaged() {
  if (staged.empty())
    return;
  arrived->record(device.copies);
  arrived->holdBack(device.compute);
  for (const Staged &piece : staged)
    device.api.check(device.api.cuMemcpyDtoDAsync_v2(
                         reinterpret_cast<DevicePtr>(regions[NSRT_IO] + piece.offset),
                         twin + piece.offset, piece.bytes, device.compute),
                     "cuMemcpyDtoDAsync");
  delivered->record(device.compute);
  staged.clear();
}

void CudaBackend::start(const std::string &name, nsrt_entry_fn run) {
  device.makeCurrent();
  deliverStaged();
  auto it = graphs.find(name);
  if (it == graphs.end()) {
    enqueue(name, run);
    if (!synchronous)
      graphs.emplace(name, nullptr);
    if (products)
      products->save();
    return;
  }
  if (!it->second)
    it->second = capture(name, run);
  Result result = device.api.cuGraphLaunch(it->second, device.compute);
  if (result != kSuccess)
    fail(artifact.path(), ": entry '", name, "': cuGraphLaunch: ", device.api.text(result));
}

void CudaBackend::wait() {
  device.makeCurrent();
  for (Stream stream : {device.copies, device.compute})
    if (Result result = device.api.cuStreamSynchronize(stream); result != kSuccess)
      fail(artifact.path(), ": ",
           entry.empty() ? "a copy" : str("entry '", entry, "' or one before"), " failed on ",
           device.name, ": ", device.api.text(result),
           "; NSRT_CUDA_SYNC=1 in the environment tells the op");
}

void CudaBackend::enqueue(const std::string &name, nsrt_entry_fn run) {
  entry = name;
  op = -1;
  failure.clear();
  int32_t status = run(&table, regions.data());
  if (!failure.empty())
    fail(artifact.path(), ": ", failure);
  if (status)
    fail(artifact.path(), ": entry '", name, "' failed with status ", status);
}

GraphExec CudaBackend::capture(const std::string &name, nsrt_entry_fn run) {
  const Driver &api = device.api;
  api.check(api.cuStreamBeginCapture_v2(device.compute, kCaptureThreadLocal),
            "cuStreamBeginCapture");
  Graph graph = nullptr;
  try {
    enqueue(name, run);
  } catch (...) {
    if (api.cuStreamEndCapture(device.compute, &graph) == kSuccess && graph)
      api.cuGraphDestroy(graph);
    throw;
  }
  std::string what = str(artifact.path(), ": entry '", name, "': ");
  api.check(api.cuStreamEndCapture(device.compute, &graph), (what + "cuStreamEndCapture").c_str());
  GraphExec exec = nullptr;
  Result result = api.cuGraphInstantiateWithFlags(&exec, graph, 0);
  api.cuGraphDestroy(graph);
  api.check(result, (what + "cuGraphInstantiate").c_str());
  return exec;
}

/// "entry 'forward', op 7 (blocks.0.mlp, product)".
std::string CudaBackend::whereabouts() const {
  std::string text = str("entry '", entry, "'");
  if (op < 0)
    return text;
  text += str(", op ", op);
  auto root = nlohmann::json::parse(artifact.metadata().json, nullptr, /*allow_exceptions=*/false);
  for (const auto &description : root.value("entries", nlohmann::json::array()))
    if (description.value("name", "") == entry)
      if (auto ops = description.value("ops", nlohmann::json::array()); uint64_t(op) < ops.size())
        text += str(" (", ops[op].value("layer", ""), ", ", ops[op].value("kind", ""), ")");
  return text;
}

template <class Fn> void CudaBackend::guarded(Fn fn) {
  if (!failure.empty())
    return; // generated code cannot be left: the rest of the entry does nothing
  try {
    fn();
    afterOp();
  } catch (const std::exception &error) {
    failure = str(whereabouts(), ": ", error.what());
  }
}

void CudaBackend::afterOp() {
  if (synchronous)
    device.api.check(device.api.cuStreamSynchronize(device.compute), "failed on the device");
}

void CudaBackend::mark(void *context, int64_t op) { static_cast<CudaBackend *>(context)->op = op; }

void CudaBackend::launch(void *context, int64_t kernel, const int64_t gridBlock[6],
                         void *const *args, int64_t) {
  auto &self = *static_cast<CudaBackend *>(context);
  self.guarded([&] {
    unsigned sizes[6];
    std::copy_n(gridBlock, 6, sizes);
    Result result = self.device.api.cuLaunchKernel(
        self.kernels.at(kernel), sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5], 0,
        self.device.compute, const_cast<void **>(args), nullptr);
    if (result != kSuccess)
      fail("kernel ", self.artifact.kernels()[kernel],
           ": cuLaunchKernel: ", self.device.api.text(result));
  });
}

void CudaBackend::gemm(void *context, const nsrt_gemm *op, const void *a, const void *b,
                       const void *bias, const void *beta, void *c) {
  auto &self = *static_cast<CudaBackend *>(context);
  self.guarded([&] {
    if (!self.products)
      self.products = std::make_unique<Products>(self.device, self.workspace, self.one);
    self.products->enqueue(*op, {a, b, bias, beta, c});
  });
}

void CudaBackend::attention(void *context, const nsrt_attention *op, void *const *args) {
  auto &self = *static_cast<CudaBackend *>(context);
  self.guarded([&] {
    if (!self.attentions)
      self.attentions = std::make_unique<Attention>(self.device);
    self.attentions->enqueue(*op, args);
  });
}

std::unique_ptr<Backend> ns::runtime::makeCudaBackend(const Artifact &artifact) {
  return std::make_unique<CudaBackend>(artifact);
}
