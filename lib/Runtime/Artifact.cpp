//===- Artifact.cpp - a compiled artefact and its metadata ----------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Artifact.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/FileIO.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

using namespace ns::runtime;

static constexpr uint64_t kFooterSize = 16;

std::vector<std::string> ns::runtime::missingCpuFeatures(const std::vector<std::string> &wanted) {
  __builtin_cpu_init();
  // __builtin_cpu_supports takes literals only.
  std::map<std::string, bool> known = {{"sse3", __builtin_cpu_supports("sse3")},
                                       {"ssse3", __builtin_cpu_supports("ssse3")},
                                       {"sse4.1", __builtin_cpu_supports("sse4.1")},
                                       {"sse4.2", __builtin_cpu_supports("sse4.2")},
                                       {"popcnt", __builtin_cpu_supports("popcnt")},
                                       {"avx", __builtin_cpu_supports("avx")},
                                       {"avx2", __builtin_cpu_supports("avx2")},
                                       {"fma", __builtin_cpu_supports("fma")},
                                       {"f16c", __builtin_cpu_supports("f16c")},
                                       {"bmi", __builtin_cpu_supports("bmi")},
                                       {"bmi2", __builtin_cpu_supports("bmi2")},
                                       {"lzcnt", __builtin_cpu_supports("lzcnt")},
                                       {"movbe", __builtin_cpu_supports("movbe")},
                                       {"avx512f", __builtin_cpu_supports("avx512f")},
                                       {"avx512bw", __builtin_cpu_supports("avx512bw")},
                                       {"avx512cd", __builtin_cpu_supports("avx512cd")},
                                       {"avx512dq", __builtin_cpu_supports("avx512dq")},
                                       {"avx512vl", __builtin_cpu_supports("avx512vl")},
                                       {"avx512vnni", __builtin_cpu_supports("avx512vnni")},
                                       {"avx512bf16", __builtin_cpu_supports("avx512bf16")},
                                       {"avx512fp16", __builtin_cpu_supports("avx512fp16")}};
  std::vector<std::string> missing;
  for (const std::string &name : wanted)
    if (auto it = known.find(name); it == known.end() || !it->second)
      missing.push_back(name);
  return missing;
}

/// The x86-64 level of this processor, as nsrt_artifact_query takes it.
static uint32_t x86Level() {
  if (missingCpuFeatures({"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}).empty())
    return 4;
  return missingCpuFeatures({"avx2", "fma"}).empty() ? 3 : 1;
}

/// The size of the artefact at the end of `file`, 0 where there is none.
static uint64_t appendedSize(const InputFile &file) {
  uint8_t footer[kFooterSize];
  if (file.size() < kFooterSize)
    return 0;
  file.readAt(file.size() - kFooterSize, footer, kFooterSize);
  if (std::memcmp(footer + 8, NSRT_FOOTER_MAGIC, 8) != 0)
    return 0;
  uint64_t size = 0;
  for (int i = 7; i >= 0; --i)
    size = size << 8 | footer[i];
  if (size == 0 || size > file.size() - kFooterSize)
    fail(file.path(), ": the artefact at its end is damaged: expected at most ",
         file.size() - kFooterSize, " bytes, found a size of ", size);
  return size;
}

bool Artifact::isAppendedTo(const std::string &path) { return appendedSize(InputFile(path)) != 0; }

static void writeAll(int fd, const std::vector<char> &bytes, const std::string &path) {
  for (size_t at = 0; at < bytes.size();) {
    ssize_t put = ::write(fd, bytes.data() + at, bytes.size() - at);
    if (put <= 0 && errno != EINTR)
      fail(path, ": cannot unpack the artefact: ", std::strerror(errno));
    at += put > 0 ? put : 0;
  }
}

void Artifact::Loaded::close() {
  if (handle)
    ::dlclose(handle);
  if (memory >= 0)
    ::close(memory);
  handle = nullptr;
  memory = -1;
}

/// Loads a shared object's bytes: from memory, or from a temporary file where the kernel refuses.
Artifact::Loaded Artifact::loadBytes(const std::vector<char> &bytes, const std::string &path) {
  int fd = ::memfd_create("nullspace-artifact", MFD_CLOEXEC);
  if (fd >= 0) {
    writeAll(fd, bytes, path);
    void *handle = ::dlopen(("/proc/self/fd/" + std::to_string(fd)).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle) // the loader knows objects by name: the number must not be given to another one
      return {handle, fd};
    ::close(fd);
  }
  const char *folder = std::getenv("TMPDIR");
  std::string name = std::string(folder && *folder ? folder : "/tmp") + "/nullspace-XXXXXX";
  fd = ::mkstemp(name.data());
  if (fd < 0)
    fail(path, ": cannot unpack the artefact into ", name, ": ", std::strerror(errno));
  try {
    writeAll(fd, bytes, path);
  } catch (...) {
    ::close(fd);
    ::unlink(name.c_str());
    throw;
  }
  ::close(fd);
  void *handle = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  std::string reason = handle ? "" : ::dlerror();
  ::unlink(name.c_str());
  if (!handle)
    fail(path, ": cannot load the artefact: ", reason);
  return {handle, -1};
}

/// dlopen maps what the program headers promise and dies where the file ends before.
static void checkElf(const InputFile &file) {
  Elf64_Ehdr header;
  auto damaged = [&](const char *what) {
    fail(file.path(), ": expected a compiled artefact (an x86-64 shared object), found ", what);
  };
  if (file.size() < sizeof header)
    damaged("a file too short to be one");
  file.readAt(0, &header, sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_machine != EM_X86_64 || header.e_type != ET_DYN)
    damaged("something else");
  uint64_t tableSize = uint64_t(header.e_phnum) * sizeof(Elf64_Phdr);
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phoff > file.size() ||
      tableSize > file.size() - header.e_phoff)
    damaged("a truncated one");
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  file.readAt(header.e_phoff, segments.data(), tableSize);
  for (const Elf64_Phdr &segment : segments)
    if (segment.p_offset > file.size() || segment.p_filesz > file.size() - segment.p_offset)
      damaged("a truncated one");
}

Artifact Artifact::open(const std::string &path) {
  InputFile file(path);
  if (uint64_t size = appendedSize(file)) {
    std::vector<char> bytes(size);
    file.readAt(file.size() - kFooterSize - size, bytes.data(), size);
    return Artifact(path, loadBytes(bytes, path));
  }
  checkElf(file);
  // dlopen looks a bare name up in the library path; a slash keeps it a file.
  std::string name = path.find('/') == std::string::npos ? "./" + path : path;
  void *handle = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle)
    fail("cannot load the artefact ", path, ": ", ::dlerror());
  return Artifact(path, {handle, -1});
}

Artifact::Artifact(std::string path, Loaded object) : origin(std::move(path)), loaded(object) {
  try {
    auto query =
        reinterpret_cast<nsrt_artifact_query_fn>(::dlsym(loaded.handle, NSRT_QUERY_SYMBOL));
    if (!query)
      fail(origin, ": expected a compiled artefact that exports ", NSRT_QUERY_SYMBOL,
           ", found none");
    const nsrt_artifact *artifact = nullptr;
    for (uint32_t version = NSRT_ABI_VERSION; !artifact && version > 0; --version)
      artifact = query(version, x86Level());
    if (!artifact || artifact->abi_version > NSRT_ABI_VERSION ||
        artifact->struct_size <
            (artifact->abi_version < 3 ? NSRT_ARTIFACT_SIZE_V2 : sizeof(nsrt_artifact)))
      fail(origin, ": expected ABI version ", NSRT_ABI_VERSION, ", found ",
           artifact ? std::to_string(artifact->abi_version) : "another",
           "; compile it again with this version");
    meta = parseMetadata(origin, std::string(artifact->metadata, artifact->metadata_size));
    std::string missing;
    for (const std::string &feature : missingCpuFeatures(meta.cpuFeatures))
      missing += " " + feature;
    if (!missing.empty())
      fail(origin, ": compiled for ", meta.cpu, ", but this CPU lacks:", missing,
           "; compile it again with --cpu=native on this machine");
    for (uint64_t i = 0; i < artifact->num_entries; ++i)
      table[artifact->entries[i].name] = artifact->entries[i].run;
    for (const EntryInfo &entry : meta.entries)
      if (!table.count(entry.name))
        fail(origin, ": the metadata lists the entry '", entry.name,
             "', but the code has none of that name");
    if (meta.onDevice())
      readImage(*artifact);
  } catch (...) {
    loaded.close();
    throw;
  }
}

/// The image stays where it is: in the loaded object.
void Artifact::readImage(const nsrt_artifact &artifact) {
  if (artifact.abi_version < 3 || !artifact.image || artifact.image_size == 0)
    fail(origin, ": compiled for ", meta.target, ", but without code for a device");
  code = {artifact.image, artifact.image_size};
  kernelNames.assign(artifact.kernels, artifact.kernels + artifact.num_kernels);
}

Artifact::Artifact(Artifact &&other) noexcept
    : origin(std::move(other.origin)), loaded(std::exchange(other.loaded, {})),
      meta(std::move(other.meta)), table(std::move(other.table)), code(other.code),
      kernelNames(std::move(other.kernelNames)) {}

Artifact::~Artifact() { loaded.close(); }

nsrt_entry_fn Artifact::entry(const std::string &name) const {
  auto it = table.find(name);
  return it == table.end() ? nullptr : it->second;
}
