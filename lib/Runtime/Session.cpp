//===- Session.cpp - one artefact with its memory -------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Session.h"
#include "ns/Checkpoint/SafeTensors.h"
#include "ns/Runtime/Error.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdio>
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
  {
    Stretch stretch(services.blasIsLoading() ? profile() : nullptr, "wait for the BLAS",
                    services.threads());
    services.waitForBlas();
  }
  if (Profile *p = profile())
    p->beginEntry(entry, services.threads());
  int32_t status = fn(services.abi(), regions.data());
  if (Profile *p = profile())
    p->endEntry();
  if (status)
    fail(path(), ": entry '", entry, "' failed with status ", status);
}

void Session::startProfile() {
  recorded = std::make_unique<Profile>(metadata());
  services.setProfile(recorded.get());
}

void Session::endProfile() {
  services.setProfile(nullptr);
  recorded.reset();
}

void Session::touchWork() {
  Stretch stretch(profile(), "touch memory", services.threads());
  static constexpr uint64_t kPiece = 16 << 20;
  uint64_t bytes = metadata().regions[NSRT_WORK];
  std::atomic<uint64_t> next = 0;
  services.parallelFor(services.threads(), 1, [&](int64_t, int64_t) {
    for (uint64_t at; (at = next.fetch_add(kPiece)) < bytes;) // a hint: older kernels ignore it
      ::madvise(regions[NSRT_WORK] + at, std::min(kPiece, bytes - at), MADV_POPULATE_WRITE);
  });
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

/// The compiled-against weights must still be what they were.
static void checkUnchanged(const std::string &path, const Metadata &meta) {
  ns::checkpoint::SafeTensorsReader file(path);
  const auto &expected = meta.weights;
  if (file.fileSize() != expected.size || file.headerHash() != expected.header)
    fail(path, ": not the weights this was compiled against: expected ", expected.size,
         " bytes, header ", expected.header, "; found ", file.fileSize(), " bytes, header ",
         file.headerHash(), "; name the file with --weights to use it all the same");
}

static void copyPieces(const ns::checkpoint::Pieces &pieces, const TensorView &view) {
  using ns::checkpoint::Type;
  char *to = static_cast<char *>(view.data);
  for (const ns::checkpoint::Tensor &piece : pieces) {
    copyElements(piece, view.dtype == Dtype::F64 ? Type::F64 : Type::F32, to);
    to += piece.count() * sizeOf(view.dtype);
  }
}

/// Buffers such as attention masks are in no checkpoint: they come from the compiled-against file.
void Session::loadBuffers(const std::vector<ns::checkpoint::Wanted> &buffers) {
  if (buffers.empty())
    return;
  std::string place = defaultWeights();
  checkUnchanged(place, metadata());
  auto file = ns::checkpoint::Checkpoint::open(place);
  auto pieces = ns::checkpoint::fit(file, buffers, metadata().model.name, /*mayHaveMore=*/true);
  for (size_t i = 0; i < buffers.size(); ++i)
    copyPieces(pieces[i], param(buffers[i].name));
}

void Session::loadWeights(const std::string &path, const WeightsOptions &options) {
  Stretch stretch(profile(), "read weights", services.threads());
  bool isDefault = path.empty();
  std::string place = isDefault ? defaultWeights() : path;
  if (isDefault)
    checkUnchanged(place, metadata());
  auto file = ns::checkpoint::Checkpoint::open(place, {.ema = options.ema});
  std::vector<ns::checkpoint::Wanted> wanted;
  for (const ParamInfo &info : metadata().params) {
    bool isStatistic = info.name.find("running_") != std::string::npos;
    wanted.push_back({info.name, info.shape, !isDefault && !info.trainable && !isStatistic});
  }
  // The import keeps what the graph does not read.
  auto pieces = ns::checkpoint::fit(file, wanted, metadata().model.name, /*mayHaveMore=*/isDefault);
  const std::string &expected = metadata().weights.content;
  std::string content = options.verify || !isDefault ? file.contentHash() : expected;
  if (options.verify && content != expected)
    fail(place, ": expected content hash ", expected, ", found ", content);
  // The first touch of the region costs more than the copy: all threads take part.
  std::atomic<size_t> next = 0;
  services.parallelFor(services.threads(), 1, [&](int64_t, int64_t) {
    for (size_t i; (i = next++) < pieces.size();)
      copyPieces(pieces[i], param(metadata().params[i]));
  });
  std::vector<ns::checkpoint::Wanted> buffers;
  for (size_t i = 0; i < pieces.size(); ++i)
    if (pieces[i].empty())
      buffers.push_back({wanted[i].name, wanted[i].shape});
  loadBuffers(buffers);
  if (has(kPrepare))
    run(kPrepare);
  if (metadata().precision == "bf16" && !services.multipliesBf16())
    std::fprintf(stderr,
                 "note: %s: no bfloat16 products on this CPU: emulated in float32, as exact and no "
                 "faster\n",
                 this->path().c_str());
  loadedFile = std::filesystem::absolute(place).string();
  loadedHash = content;
}

/// What the compiled-against file holds beside the parameters, such as the mask token of a
/// pre-training: the network does not read it, but its framework expects it. Null where the file is
/// gone.
static std::unique_ptr<ns::checkpoint::SafeTensorsReader> openUnread(const std::string &file) {
  try {
    return std::make_unique<ns::checkpoint::SafeTensorsReader>(file);
  } catch (const Error &) {
    return nullptr;
  }
}

void Session::saveWeights(const std::string &path,
                          std::map<std::string, std::string> provenance) const {
  if (has(kPrepare))
    fail(this->path(), ": compiled with --emit=", metadata().emit,
         ", which folds weights while loading; only "
         "--emit=finetune and library can save them");
  Stretch stretch(profile(), "write weights", services.threads());
  ns::checkpoint::SafeTensorsWriter writer;
  for (const ParamInfo &info : metadata().params)
    writer.add(info.name, param(info));
  auto unread = openUnread(metadata().weights.file);
  if (unread)
    for (const ns::checkpoint::Tensor &tensor : unread->tensors())
      if (tensor.type == ns::checkpoint::Type::F32 && !metadata().findParam(tensor.name))
        writer.add(tensor.name, {const_cast<char *>(tensor.data), Dtype::F32, tensor.shape});
  provenance.emplace("format", "pt"); // what the Python loaders look for
  writer.setMetadata(std::move(provenance));
  writer.write(path);
}
