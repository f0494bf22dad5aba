//===- Session.cpp - one artefact with its memory -------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Session.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/SafeTensors.h"

#include <sys/mman.h>

#include <filesystem>

using namespace ns::runtime;

/// The entry that folds parameters into others, in place, after they have been read.
static constexpr const char *kPrepare = "prepare";

void Session::Unmap::operator()(char *p) const { ::munmap(p, bytes); }

Session::Session(const std::string &path) : artifact(Artifact::open(path)) {
  static constexpr uint64_t kPage = 4096, kHugePage = 2 << 20;
  for (int i = 0; i < NSRT_NUM_REGIONS; ++i) {
    uint64_t bytes = (std::max<uint64_t>(metadata().regions[i], 1) + kPage - 1) / kPage * kPage;
    // Fresh pages are zero and cost nothing before they are touched.
    void *p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
      fail(path, ": no memory for a region of ", bytes, " bytes");
    memory[i] = {static_cast<char *>(p), Unmap{bytes}};
    regions[i] = memory[i].get();
    if (bytes >= kHugePage)
      ::madvise(p, bytes, MADV_HUGEPAGE);
  }
}

void Session::run(const std::string &entry) {
  nsrt_entry_fn fn = artifact.entry(entry);
  if (!fn)
    fail(path(), ": compiled with --emit=", metadata().emit, ", has no entry '", entry, "'");
  if (int32_t status = fn(services.abi(), regions.data()))
    fail(path(), ": entry '", entry, "' failed with status ", status);
}

TensorView Session::slot(const std::string &name) const {
  const SlotInfo *info = metadata().findSlot(name);
  if (!info)
    fail(path(), ": compiled with --emit=", metadata().emit, ", has no slot '", name, "'");
  return {regions[info->region] + info->offset, info->dtype, info->shape};
}

TensorView Session::param(const ParamInfo &info) const {
  return {regions[NSRT_PARAMS] + info.offset, metadata().dtype(), info.shape};
}

TensorView Session::param(const std::string &name) const {
  const ParamInfo *info = metadata().findParam(name);
  if (!info)
    fail(path(), ": has no parameter '", name, "'");
  return param(*info);
}

std::string Session::defaultWeights() const {
  namespace fs = std::filesystem;
  const std::string &then = metadata().weights.file;
  if (then.empty())
    fail(path(), ": names no weights file; give one with --weights");
  std::error_code code;
  if (fs::exists(then, code))
    return then;
  fs::path beside = fs::path(path()).parent_path() / fs::path(then).filename();
  if (fs::exists(beside, code))
    return beside.string();
  fail("cannot find the weights ", then, ", nor their name beside ", path(),
       "; give their place with --weights");
}

/// Lists every entry of the file that does not fit the model.
static void checkEntries(const SafeTensorsReader &file, const Metadata &meta) {
  constexpr int kShown = 50;
  std::string problems;
  int count = 0;
  auto add = [&](const std::string &line) {
    if (++count <= kShown)
      problems += "\n  " + line;
  };
  for (const ParamInfo &param : meta.params) {
    const TensorInfo *entry = file.find(param.name);
    if (!entry)
      add(str("missing: '", param.name, "' ", shapeText(param.shape)));
    else if (entry->shape != param.shape)
      add(str("'", param.name, "': expected shape ", shapeText(param.shape), ", found ",
              shapeText(entry->shape)));
    else if (entry->dtype != "F32" && entry->dtype != "F64" && entry->dtype != "F16" &&
             entry->dtype != "BF16")
      add(str("'", param.name, "': expected F64, F32, F16 or BF16, found ", entry->dtype));
  }
  for (const TensorInfo &entry : file.tensors())
    if (!meta.findParam(entry.name))
      add(str("not of this model: '", entry.name, "' ", shapeText(entry.shape)));
  if (count > kShown)
    problems += str("\n  and ", count - kShown, " more");
  if (count > 0)
    fail(file.path(), ": ", count, " entries do not fit the model ", meta.model.name, ":",
         problems);
}

void Session::loadWeights(const std::string &path, bool verify) {
  const auto &expected = metadata().weights;
  SafeTensorsReader file(path.empty() ? defaultWeights() : path);
  bool same = file.fileSize() == expected.size && file.headerHash() == expected.header;
  if (path.empty() && !same)
    fail(file.path(), ": not the weights this was compiled against: expected ", expected.size,
         " bytes, header ", expected.header, "; found ", file.fileSize(), " bytes, header ",
         file.headerHash(), "; name the file with --weights to use it all the same");
  checkEntries(file, metadata());
  std::string content = verify || !path.empty() ? file.contentHash() : expected.content;
  if (verify && content != expected.content)
    fail(file.path(), ": expected content hash ", expected.content, ", found ", content);
  for (const ParamInfo &info : metadata().params)
    file.read(*file.find(info.name), param(info));
  if (has(kPrepare))
    run(kPrepare);
  loadedFile = std::filesystem::absolute(file.path()).string();
  loadedHash = content;
}

void Session::saveWeights(const std::string &path,
                          std::map<std::string, std::string> provenance) const {
  if (has(kPrepare))
    fail(this->path(), ": compiled with --emit=", metadata().emit, ", which folds weights while loading; only "
         "--emit=finetune and library can save them");
  SafeTensorsWriter writer;
  for (const ParamInfo &info : metadata().params)
    writer.add(info.name, param(info));
  provenance.emplace("format", "pt"); // what the Python loaders look for
  writer.setMetadata(std::move(provenance));
  writer.write(path);
}
