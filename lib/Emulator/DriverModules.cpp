//===- DriverModules.cpp - modules and launches, emulated -----------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DriverCalls.h"

#include <dlfcn.h>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

using namespace ns::emulator;

/// The bytes of an ELF object in memory: its section headers are the last of it, or its sections.
static size_t sizeOfElf(const char *image) {
  Elf64_Ehdr header;
  std::memcpy(&header, image, sizeof header);
  size_t size = header.e_shoff + size_t(header.e_shnum) * header.e_shentsize;
  for (int i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section;
    std::memcpy(&section, image + header.e_shoff + i * size_t(header.e_shentsize), sizeof section);
    if (section.sh_type != SHT_NOBITS)
      size = std::max<size_t>(size, section.sh_offset + section.sh_size);
  }
  return size;
}

/// What cuModuleLoadData would say of it, if it is no emulation image.
static Result kindOf(const char *image) {
  if (std::memcmp(image, ELFMAG, SELFMAG) != 0) {
    uint32_t magic;
    std::memcpy(&magic, image, sizeof magic);
    if (magic == 0xBA55ED50) // a fatbin: for GPUs
      return kNoBinaryForGpu;
    return std::strstr(image, ".version") ? kUnsupportedPtxVersion : kInvalidImage;
  }
  Elf64_Ehdr header;
  std::memcpy(&header, image, sizeof header);
  return header.e_machine == EM_X86_64 && header.e_type == ET_DYN ? kSuccess : kNoBinaryForGpu;
}

static bool writeAll(int file, const char *bytes, size_t size) {
  while (size > 0) {
    ssize_t put = ::write(file, bytes, size);
    if (put <= 0)
      return false;
    bytes += put;
    size -= put;
  }
  return true;
}

namespace ns::cuda {

NS_CALL(cuModuleLoadData, (Module * module, const void *data)) {
  NS_ENTER();
  if (Result refused = m.refuseInCapture("cuModuleLoadData"))
    return refused;
  const char *image = static_cast<const char *>(data);
  if (!image)
    return kInvalidValue;
  if (Result result = kindOf(image); result != kSuccess)
    return result;
  auto loaded = std::make_unique<ModuleOf>();
  loaded->file = ::memfd_create("nullspace-emulated-module", MFD_CLOEXEC);
  if (loaded->file < 0 || !writeAll(loaded->file, image, sizeOfElf(image)))
    return kOutOfMemory;
  std::string path = "/proc/self/fd/" + std::to_string(loaded->file);
  loaded->handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  loaded->image = loaded->handle ? findImage(loaded->handle) : nullptr;
  if (!loaded->image) {
    complain(
        std::string("cuModuleLoadData: expected an emulation image (--device-code=emulate), ") +
        (loaded->handle ? "found another shared object" : ::dlerror()));
    ::close(loaded->file);
    return kInvalidImage;
  }
  record("cuModuleLoadData " + std::to_string(loaded->image->num_kernels) + " kernels");
  *module = loaded.release();
  return kSuccess;
}

NS_CALL(cuModuleUnload, (Module module)) {
  NS_ENTER();
  if (!module)
    return kInvalidHandle;
  ::dlclose(module->handle);
  ::close(module->file);
  delete module;
  return kSuccess;
}

NS_CALL(cuModuleGetFunction, (Function * function, Module module, const char *name)) {
  NS_ENTER();
  if (!module)
    return kInvalidHandle;
  const nsemu_kernel *kernel = findKernel(module->image, name);
  if (!kernel)
    return kNotFound;
  auto &slot = module->functions[name];
  if (!slot)
    slot = std::make_unique<FunctionOf>(FunctionOf{kernel});
  *function = slot.get();
  return kSuccess;
}

NS_CALL(cuFuncGetAttribute, (int *value, FunctionAttribute attribute, Function function)) {
  NS_ENTER();
  const nsemu_kernel &kernel = *function->kernel;
  unsigned block = kernel.block[0] * kernel.block[1] * kernel.block[2];
  switch (attribute) {
  case kFunctionMaxThreads:
    *value = block ? int(block) : 1024;
    return kSuccess;
  case kFunctionSharedBytes:
    *value = int(kernel.shared_bytes);
    return kSuccess;
  case kFunctionBinaryVersion:
    *value = 90;
    return kSuccess;
  default:
    return kNotSupported;
  }
}

/// The values of a launch's arguments, which may be gone when it runs.
struct Arguments {
  std::vector<uint64_t> storage;
  std::vector<void *> addresses;
};

static Arguments copyArguments(const nsemu_kernel &kernel, void **parameters) {
  Arguments copy;
  std::vector<size_t> at;
  for (uint32_t i = 0; i < kernel.num_params; ++i) {
    at.push_back(copy.storage.size());
    copy.storage.resize(copy.storage.size() + (kernel.params[i].bytes + 7) / 8);
    std::memcpy(&copy.storage[at.back()], parameters[i], kernel.params[i].bytes);
  }
  for (size_t begin : at)
    copy.addresses.push_back(&copy.storage[begin]);
  return copy;
}

static void recordLaunch(const nsemu_kernel &kernel, const Launch &launch, const Arguments &args,
                         Stream stream) {
  if (!machine().record)
    return;
  char text[256];
  std::snprintf(text, sizeof text, "cuLaunchKernel %s grid %u %u %u block %u %u %u stream %d",
                kernel.name, launch.grid[0], launch.grid[1], launch.grid[2], launch.block[0],
                launch.block[1], launch.block[2], stream->number);
  std::string line = text;
  for (uint32_t i = 0; i < kernel.num_params; ++i) {
    uint64_t value = *static_cast<const uint64_t *>(args.addresses[i]);
    line.append(" ").append(kernel.params[i].align ? machine().memory.nameOf(value) : "value");
  }
  record(line);
}

NS_CALL(cuLaunchKernel, (Function function, unsigned gridX, unsigned gridY, unsigned gridZ,
                         unsigned blockX, unsigned blockY, unsigned blockZ, unsigned sharedBytes,
                         Stream stream, void **parameters, void **extra)) {
  NS_ENTER();
  if (!function || !m.find(stream))
    return kInvalidHandle;
  const nsemu_kernel &kernel = *function->kernel;
  if (extra || (kernel.num_params && !parameters))
    return kInvalidValue;
  Launch launch{&kernel, {gridX, gridY, gridZ}, {blockX, blockY, blockZ}, sharedBytes, nullptr};
  if (std::string refusal = check(launch); !refusal.empty()) {
    complain("cuLaunchKernel: " + refusal);
    return kInvalidValue;
  }
  auto arguments = std::make_shared<Arguments>(copyArguments(kernel, parameters));
  launch.args = arguments->addresses.data();
  recordLaunch(kernel, launch, *arguments, stream);
  return m.enqueue(stream, {"cuLaunchKernel of " + std::string(kernel.name), [launch, arguments] {
                              std::string fault = ns::emulator::launch(launch, machine().memory);
                              if (fault.empty())
                                return kSuccess;
                              complain(fault);
                              return kIllegalAddress;
                            }});
}

} // namespace ns::cuda
