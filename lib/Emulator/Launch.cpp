//===- Launch.cpp - runs a kernel of an emulation image -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Emulator/Launch.h"

#include "Block.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <mutex>
#include <optional>
#include <thread>

using namespace ns::emulator;

const nsemu_image *ns::emulator::findImage(void *handle) {
  auto image = static_cast<const nsemu_image *>(dlsym(handle, NSEMU_IMAGE_SYMBOL));
  return image && image->version == NSEMU_IMAGE_VERSION ? image : nullptr;
}

const nsemu_kernel *ns::emulator::findKernel(const nsemu_image *image, const char *name) {
  for (uint32_t i = 0; i < image->num_kernels; ++i)
    if (!strcmp(image->kernels[i].name, name))
      return &image->kernels[i];
  return nullptr;
}

static std::string sizes(const unsigned *v) {
  return std::to_string(v[0]) + " x " + std::to_string(v[1]) + " x " + std::to_string(v[2]);
}

std::string ns::emulator::check(const Launch &launch) {
  constexpr uint64_t kMost[] = {0x7fffffff, 0xffff, 0xffff};
  std::string kernel = "kernel " + std::string(launch.kernel->name) + ": ";
  uint64_t threads = 1;
  for (int i = 0; i < 3; ++i) {
    threads *= launch.block[i];
    if (launch.grid[i] == 0 || launch.grid[i] > kMost[i])
      return kernel + "expected a grid of 1 to 2147483647 x 65535 x 65535 blocks, found " +
             sizes(launch.grid);
  }
  if (threads == 0 || threads > Block::kMaxThreads || launch.block[2] > 64)
    return kernel + "expected blocks of 1 to 1024 threads, at most 64 of them in z, found " +
           sizes(launch.block);
  const uint32_t *fixed = launch.kernel->block;
  if (fixed[0] && !std::equal(fixed, fixed + 3, launch.block))
    return kernel + "compiled for blocks of " + sizes(fixed) + " threads, found " +
           sizes(launch.block);
  size_t shared = launch.kernel->shared_bytes + launch.dynamicShared;
  if (shared > SharedMemory::kMaxBytes)
    return kernel + "expected at most " + std::to_string(SharedMemory::kMaxBytes) +
           " bytes of shared memory, found " + std::to_string(shared);
  return {};
}

static uint64_t pointerAt(const Launch &launch, uint32_t param) {
  uint64_t value;
  memcpy(&value, launch.args[param], sizeof value);
  return value;
}

/// Whether parameter `i`, which the kernel takes to be reached by itself only, overlaps `j`.
static bool aliases(const Launch &launch, uint32_t i, uint32_t j) {
  const nsemu_param &a = launch.kernel->params[i], &b = launch.kernel->params[j];
  if (!(a.flags & NSEMU_NOALIAS) || !((a.flags | b.flags) & NSEMU_WRITE) || !a.extent || !b.extent)
    return false;
  uint64_t first = pointerAt(launch, i), second = pointerAt(launch, j);
  return first < second + b.extent && second < first + a.extent;
}

/// What the pointers must be for the kernel's own assumptions to hold.
static std::string checkArguments(const Launch &launch, const Memory &memory) {
  const nsemu_kernel &kernel = *launch.kernel;
  for (uint32_t i = 0; i < kernel.num_params; ++i) {
    const nsemu_param &param = kernel.params[i];
    if (!param.align)
      continue;
    uint64_t value = pointerAt(launch, i);
    char text[64];
    snprintf(text, sizeof text, ", argument %u (0x%llx): ", i,
             static_cast<unsigned long long>(value));
    std::string place = "kernel " + std::string(kernel.name) + text;
    if (value % param.align)
      return place + "misaligned: expected a multiple of " + std::to_string(param.align);
    if (!memory.contains(value, param.extent ? param.extent : 1))
      return place + "expected " + std::to_string(param.extent) +
             " bytes of one allocation of device memory, found others";
    for (uint32_t j = 0; j < kernel.num_params; ++j)
      if (j != i && kernel.params[j].align && aliases(launch, i, j))
        return place + "expected no other argument to reach its " + std::to_string(param.extent) +
               " bytes, found argument " + std::to_string(j);
  }
  return {};
}

static std::optional<Order> readOrder() {
  const char *text = getenv("NSEMU_ORDER");
  std::string order = text ? text : "forward";
  if (order == "forward")
    return Order{Order::Forward, 0};
  if (order == "reverse")
    return Order{Order::Reverse, 0};
  if (order == "shuffle")
    return Order{Order::Shuffle, 0};
  char *end = nullptr;
  if (order.starts_with("shuffle:") && order.size() > 8) {
    uint64_t seed = strtoull(order.c_str() + 8, &end, 10);
    if (!*end)
      return Order{Order::Shuffle, seed};
  }
  return std::nullopt;
}

static unsigned numThreads() {
  const char *text = getenv("NSEMU_THREADS");
  int number = text ? atoi(text) : 0;
  return number > 0 ? number : std::max(1u, std::thread::hardware_concurrency());
}

namespace {

/// Keeps Blocks, whose stacks are dear, from one launch to the next.
class Pool {
public:
  std::unique_ptr<Block> take() {
    std::lock_guard lock(mutex);
    if (free.empty())
      return std::make_unique<Block>();
    std::unique_ptr<Block> block = std::move(free.back());
    free.pop_back();
    return block;
  }
  void give(std::unique_ptr<Block> block) {
    std::lock_guard lock(mutex);
    free.push_back(std::move(block));
  }

private:
  std::mutex mutex;
  std::vector<std::unique_ptr<Block>> free;
};

/// One launch: host threads take its blocks in turn.
class Grid {
public:
  Grid(const Launch &launch, const Memory &memory, Order order)
      : launch(launch), memory(memory), order(order),
        numBlocks(uint64_t(launch.grid[0]) * launch.grid[1] * launch.grid[2]) {}

  std::string run() {
    uint64_t threads = numBlocks * launch.block[0] * launch.block[1] * launch.block[2];
    // A host thread takes as long to start as some thousand threads of a kernel take to run.
    uint64_t workers = std::min<uint64_t>({numThreads(), numBlocks, threads / 4096 + 1});
    std::vector<std::thread> others;
    for (uint64_t i = 1; i < workers; ++i)
      others.emplace_back([this] { work(); });
    work();
    for (std::thread &other : others)
      other.join();
    return error;
  }

private:
  void work() {
    static Pool pool;
    std::unique_ptr<Block> block = pool.take();
    for (uint64_t i; !failed && (i = next++) < numBlocks;) {
      std::string message = block->run(launch, memory, order, order.at(i, numBlocks, 0));
      if (message.empty() || failed.exchange(true))
        continue;
      error = message;
    }
    pool.give(std::move(block));
  }

  const Launch &launch;
  const Memory &memory;
  Order order;
  uint64_t numBlocks;
  std::atomic<uint64_t> next = 0;
  std::atomic<bool> failed = false;
  std::string error;
};

} // namespace

std::string ns::emulator::launch(const Launch &launch, const Memory &memory) {
  std::optional<Order> order = readOrder();
  if (!order)
    return "NSEMU_ORDER: expected forward, reverse, shuffle or shuffle:SEED, found '" +
           std::string(getenv("NSEMU_ORDER")) + "'";
  if (std::string message = checkArguments(launch, memory); !message.empty())
    return message;
  return Grid(launch, memory, *order).run();
}
