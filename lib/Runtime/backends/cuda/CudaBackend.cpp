//===- CudaBackend.cpp - entries as CUDA graphs ---------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "CudaBackend.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/Profile.h"

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
  if (!artifact.metadata().device.attention.empty())
    openAttention(); // what is missing is said before any work
  allocate();
  arrived.emplace(device.api);
  delivered.emplace(device.api);
}

CudaBackend::~CudaBackend() {
  device.quiesce();
  for (auto &[name, graph] : graphs)
    if (graph)
      device.api.cuGraphExecDestroy(graph);
  for (auto &[name, timed] : timelines)
    if (timed.graph)
      device.api.cuGraphExecDestroy(timed.graph);
  products.reset();
  attentions.reset();
  device.api.cuModuleUnload(module);
}

void CudaBackend::loadKernels() {
  if (int needed = artifact.metadata().device.capability; device.capability < needed)
    fail(artifact.path(), ": expected a GPU of compute capability ", needed / 10, ".", needed % 10,
         " or later for products of FP8 (--precision=fp8), found ", device.name, ", of ",
         device.capability / 10, ".", device.capability % 10,
         "; compile with --precision=bf16 for it");
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

void CudaBackend::openAttention() {
  try {
    attentions = std::make_unique<Attention>(device);
  } catch (const Error &error) {
    fail(artifact.path(), ": its attention is cuDNN's: ", error.what());
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
  uint64_t attentionBytes = artifact.metadata().device.attentionWorkspace,
           attentionAt = reserve(attentionBytes);
  DevicePtr base = device.allocate(total, artifact.path());
  for (int i = 0; i < NSRT_NUM_REGIONS; ++i)
    regions[i] = reinterpret_cast<char *>(base + offsets[i]);
  twin = base + twinAt;
  workspace = base + workspaceAt;
  one = base + oneAt;
  if (attentions)
    attentions->setWorkspace(base + attentionAt, attentionBytes);
  static constexpr float kOne = 1;
  device.api.check(device.api.cuMemcpyHtoDAsync_v2(one, &kOne, sizeof kOne, device.compute),
                   "cuMemcpyHtoDAsync");
  paramsMirror = HostMemory(sizes[NSRT_PARAMS], "a mirror of the parameters");
  stateMirror = HostMemory(sizes[NSRT_STATE], "a mirror of the state");
  mirrors[NSRT_PARAMS] = paramsMirror.data();
  mirrors[NSRT_STATE] = stateMirror.data();
  mirrors[NSRT_IO] = device.allocatePinned(std::max<uint64_t>(sizes[NSRT_IO], 1), artifact.path());
  cells = device.allocatePinned(kCells * sizeof(double), artifact.path());
  for (int i = 0; i < kCells; ++i)
    cellMarkers.push_back(std::make_unique<Marker>(device.api));
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

void CudaBackend::copy(uint64_t from, uint64_t to, uint64_t bytes) {
  device.makeCurrent();
  deliverStaged(); // what was sent to these places before
  auto at = [&](uint64_t offset) {
    return reinterpret_cast<DevicePtr>(regions[NSRT_IO] + offset);
  };
  device.api.check(device.api.cuMemcpyDtoDAsync_v2(at(to), at(from), bytes, device.compute),
                   "cuMemcpyDtoDAsync");
}

void CudaBackend::fetch(int cell, int region, uint64_t offset, uint64_t bytes) {
  device.makeCurrent();
  DevicePtr from = reinterpret_cast<DevicePtr>(regions[region] + offset);
  device.api.check(
      device.api.cuMemcpyDtoHAsync_v2(cells + cell * sizeof(double), from, bytes, device.compute),
      "cuMemcpyDtoHAsync");
  cellMarkers[cell]->record(device.compute);
}

const char *CudaBackend::fetched(int cell) {
  device.makeCurrent();
  expectEnd(cellMarkers[cell]->tryWait());
  return cells + cell * sizeof(double);
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

/// "synth_step", or "value_and_grad + attack_update".
static std::string joinedName(std::span<const EntryCall> calls) {
  std::string name = calls.front().entry;
  for (const EntryCall &call : calls.subspan(1))
    name += " + " + call.entry;
  return name;
}

void CudaBackend::startChain(std::span<const EntryCall> calls) {
  device.makeCurrent();
  deliverStaged();
  std::string name = joinedName(calls);
  auto it = graphs.find(name);
  if (it == graphs.end()) {
    for (const EntryCall &call : calls)
      enqueue(call.entry, call.run);
    if (!synchronous)
      graphs.emplace(name, nullptr);
    if (products)
      products->save();
    return;
  }
  if (!it->second)
    it->second = capture(calls);
  launchGraph(name, it->second);
}

void CudaBackend::launchGraph(const std::string &name, GraphExec graph) {
  Result result = device.api.cuGraphLaunch(graph, device.compute);
  if (result != kSuccess)
    fail(artifact.path(), ": entry '", name, "': cuGraphLaunch: ", device.api.text(result));
}

/// Events of the driver time ops to about a microsecond, which each of them takes, too. The first
/// run of an entry chooses algorithms: it counts as the host's.
void CudaBackend::startTimed(const std::string &name, nsrt_entry_fn run, Profile &profile) {
  if (!synchronous && !graphs.count(name)) {
    Stretch stretch(&profile, "first runs of entries", 1);
    start(name, run);
    return wait();
  }
  device.makeCurrent();
  deliverStaged();
  Timeline &timed = timelines[name];
  profile.beginEntry(name, 1);
  if (!timed.graph) {
    timed = {};
    timeline = &timed;
    struct End {
      Timeline *&timeline;
      ~End() { timeline = nullptr; }
    } end{timeline};
    if (synchronous)
      enqueue(name, run);
    else
      timed.graph = capture(std::array{EntryCall{name, run}});
  }
  if (timed.graph)
    launchGraph(name, timed.graph);
  wait();
  int64_t end = profile.now();
  auto before = [&](size_t i) { // nanoseconds from event i to the last one
    return int64_t(timed.markers.back()->millisecondsSince(*timed.markers[i]) * 1e6);
  };
  for (size_t i = 0; i < timed.ops.size(); ++i)
    profile.addOp(timed.ops[i], end - before(i), end - before(i + 1));
  profile.endEntry(end);
}

void CudaBackend::addMarker() {
  timeline->markers.push_back(std::make_unique<Marker>(device.api, kEventDefault));
  if (capturing)
    timeline->markers.back()->recordInGraph(device.compute);
  else
    timeline->markers.back()->record(device.compute);
}

void CudaBackend::wait() {
  device.makeCurrent();
  for (Stream stream : {device.copies, device.compute})
    expectEnd(device.api.cuStreamSynchronize(stream));
}

void CudaBackend::expectEnd(Result result) const {
  if (result != kSuccess)
    fail(artifact.path(), ": ", entry.empty() ? "a copy" : str("entry '", entry, "' or one before"),
         " failed on ", device.name, ": ", device.api.text(result),
         "; NSRT_CUDA_SYNC=1 in the environment tells the op");
}

void CudaBackend::enqueue(const std::string &name, nsrt_entry_fn run) {
  entry = name;
  op = -1;
  failure.clear();
  int32_t status = run(&table, regions.data());
  if (timeline)
    guarded([&] { addMarker(); });
  if (!failure.empty())
    fail(artifact.path(), ": ", failure);
  if (status)
    fail(artifact.path(), ": entry '", name, "' failed with status ", status);
}

GraphExec CudaBackend::capture(std::span<const EntryCall> calls) {
  const Driver &api = device.api;
  api.check(api.cuStreamBeginCapture_v2(device.compute, kCaptureThreadLocal),
            "cuStreamBeginCapture");
  Graph graph = nullptr;
  capturing = true;
  try {
    for (const EntryCall &call : calls)
      enqueue(call.entry, call.run);
    capturing = false;
  } catch (...) {
    capturing = false;
    if (api.cuStreamEndCapture(device.compute, &graph) == kSuccess && graph)
      api.cuGraphDestroy(graph);
    throw;
  }
  std::string what = str(artifact.path(), ": entry '", joinedName(calls), "': ");
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

void CudaBackend::mark(void *context, int64_t op) {
  auto &self = *static_cast<CudaBackend *>(context);
  self.op = op;
  if (self.timeline)
    self.guarded([&] {
      self.timeline->ops.push_back(op);
      self.addMarker();
    });
}

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
      self.openAttention();
    self.attentions->enqueue(*op, args);
  });
}

std::unique_ptr<Backend> ns::runtime::makeCudaBackend(const Artifact &artifact) {
  return std::make_unique<CudaBackend>(artifact);
}
