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

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

using namespace ns::runtime;

/// The entry that folds parameters into others, in place, after they have been read.
static constexpr const char *kPrepare = "prepare";

Session::Session(const std::string &path)
    : artifact(Artifact::open(path)), services(/*loadsBlas=*/metadata().callsBlas) {}

Backend &Session::device() const {
  if (!backend)
    backend = isMirrored() ? makeCudaBackend(artifact)
                           : makeCpuBackend(artifact, const_cast<Host &>(services));
  return *backend;
}

nsrt_entry_fn Session::entryFunction(const std::string &entry) const {
  nsrt_entry_fn function = artifact.entry(entry);
  if (!function)
    fail(path(), ": compiled with --emit=", metadata().emit, ", has no entry '", entry, "'");
  return function;
}

void Session::sendInputs(const EntryInfo &entry, const std::set<std::string> &made) {
  bool sends = false;
  for (const std::string &name : entry.inputs) {
    if (made.count(name))
      continue;
    const SlotInfo &slot = slotInfo(name);
    // What is stale is an output of another entry that nobody touched since.
    if (isStale(slot.region, slot.offset) || !staged.insert(slot.offset).second)
      continue;
    device().upload(slot.region, slot.offset, slot.bytes());
    sends = true;
  }
  if (sends)
    device().settle();
}

void Session::stage(const std::string &entry) {
  entryFunction(entry);
  if (isMirrored())
    sendInputs(*metadata().findEntry(entry));
}

void Session::start(const std::string &entry) {
  nsrt_entry_fn function = entryFunction(entry);
  if (!isMirrored()) {
    Stretch stretch(services.blasIsLoading() ? profile() : nullptr, "wait for the BLAS",
                    services.threads());
    services.waitForBlas();
  }
  const EntryInfo *info = metadata().findEntry(entry);
  if (isMirrored())
    sendInputs(*info);
  if (Profile *p = profile())
    device().startTimed(entry, function, *p);
  else
    device().start(entry, function);
  countCall(*info);
}

void Session::countCall(const EntryInfo &entry) {
  ++started;
  if (isMirrored())
    for (const std::string &name : entry.outputs)
      written[slotInfo(name).offset] = started;
}

void Session::startChain(const std::vector<std::string> &entries) {
  if (!isMirrored() || profile()) {
    for (const std::string &entry : entries)
      start(entry);
    return;
  }
  std::vector<EntryCall> calls;
  std::set<std::string> made;
  for (const std::string &entry : entries) {
    calls.push_back({entry, entryFunction(entry)});
    const EntryInfo &info = *metadata().findEntry(entry);
    sendInputs(info, made);
    made.insert(info.outputs.begin(), info.outputs.end());
  }
  device().startChain(calls);
  for (const std::string &entry : entries)
    countCall(*metadata().findEntry(entry));
}

void Session::run(const std::string &entry) {
  if (!isMirrored())
    return start(entry);
  entryFunction(entry);
  for (const std::string &name : metadata().findEntry(entry)->inputs)
    staged.erase(slotInfo(name).offset); // a view from before may have been written
  start(entry);
  for (const std::string &name : metadata().findEntry(entry)->outputs) {
    const SlotInfo &slot = slotInfo(name);
    download(slot.region, slot.offset, slot.bytes());
  }
  device().wait();
}

void Session::copy(const std::string &from, const std::string &to) {
  const SlotInfo &source = slotInfo(from), &target = slotInfo(to);
  if (!isMirrored()) {
    char *io = device().view(NSRT_IO);
    std::memcpy(io + target.offset, io + source.offset, source.bytes());
    return;
  }
  device().copy(source.offset, target.offset, source.bytes());
  written[target.offset] = ++started;
}

double Reading::get() {
  if (Backend *backend = std::exchange(value->backend, nullptr)) {
    const char *cell = backend->fetched(value->cell);
    value->number = TensorView{const_cast<char *>(cell), value->dtype, {}}.get(0);
  }
  return value->number;
}

Reading Session::later(const std::string &name) {
  const SlotInfo &info = slotInfo(name);
  Reading reading;
  reading.value = std::make_shared<Reading::Value>();
  reading.value->dtype = info.dtype;
  if (!isMirrored()) {
    reading.value->number = slot(name).get(0);
    return reading;
  }
  Reading before; // whose cell it takes
  if ((before.value = readings[nextCell].lock()))
    before.get();
  device().fetch(nextCell, info.region, info.offset, sizeOf(info.dtype));
  reading.value->backend = &device();
  reading.value->cell = nextCell;
  readings[nextCell] = reading.value;
  nextCell = (nextCell + 1) % Backend::kCells;
  return reading;
}

bool Session::isStale(int region, uint64_t offset) const {
  if (!isMirrored())
    return false;
  auto mirror = known.find({region, offset});
  int64_t asOf = mirror == known.end() ? 0 : mirror->second;
  if (region != NSRT_IO) // whichever entries write it
    return started > asOf;
  auto output = written.find(offset);
  return output != written.end() && output->second > asOf;
}

void Session::download(int region, uint64_t offset, uint64_t bytes) const {
  device().download(region, offset, bytes);
  known[{region, offset}] = started;
}

void Session::changed(const std::string &name) {
  const SlotInfo *slot = metadata().findSlot(name);
  TensorView view = slot ? TensorView{nullptr, slot->dtype, slot->shape} : param(name);
  if (!isMirrored())
    return;
  int region = slot ? slot->region : int(NSRT_PARAMS);
  uint64_t offset = slot ? slot->offset : metadata().findParam(name)->offset;
  device().upload(region, offset, view.bytes());
  device().settle();
  known[{region, offset}] = started;
}

void Session::changedParams() {
  if (!isMirrored())
    return;
  uint64_t end = 0;
  for (const ParamInfo &info : metadata().params) {
    end = std::max(end, info.offset + memoryOf(info).bytes());
    known[{NSRT_PARAMS, info.offset}] = started;
  }
  device().upload(NSRT_PARAMS, 0, end);
  device().settle();
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
  device().touchWork();
}

const SlotInfo &Session::slotInfo(const std::string &name) const {
  const SlotInfo *info = metadata().findSlot(name);
  if (!info)
    fail(path(), ": compiled with --emit=", metadata().emit, ", has no slot '", name, "'");
  return *info;
}

TensorView Session::slot(const std::string &name) const {
  const SlotInfo &info = slotInfo(name);
  if (isStale(info.region, info.offset)) {
    download(info.region, info.offset, info.bytes());
    device().wait();
  }
  if (info.region == NSRT_IO)
    staged.erase(info.offset); // it may be written now
  return {device().view(info.region) + info.offset, info.dtype, info.shape};
}

TensorView Session::overwrite(const std::string &name) {
  const SlotInfo &info = slotInfo(name);
  known[{info.region, info.offset}] = started;
  return slot(name);
}

TensorView Session::memoryOf(const ParamInfo &info) const {
  return {device().view(NSRT_PARAMS) + info.offset, metadata().dtype(), info.shape};
}

TensorView Session::param(const ParamInfo &info) const {
  if (info.packed)
    fail(path(), ": parameter '", info.name, "': compiled with --emit=", metadata().emit,
         ", which packs its weights for their products while loading; only --emit=finetune and "
         "library can show them");
  TensorView view = memoryOf(info);
  if (isStale(NSRT_PARAMS, info.offset)) {
    download(NSRT_PARAMS, info.offset, view.bytes());
    device().wait();
  }
  return view;
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
    copyPieces(pieces[i], memoryOf(*metadata().findParam(buffers[i].name)));
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
  device(); // made here, not by one of many threads
  // The first touch of the region costs more than the copy: all threads take part.
  std::atomic<size_t> next = 0;
  services.parallelFor(services.threads(), 1, [&](int64_t, int64_t) {
    for (size_t i; (i = next++) < pieces.size();)
      copyPieces(pieces[i], memoryOf(metadata().params[i]));
  });
  std::vector<ns::checkpoint::Wanted> buffers;
  for (size_t i = 0; i < pieces.size(); ++i)
    if (pieces[i].empty())
      buffers.push_back({wanted[i].name, wanted[i].shape});
  loadBuffers(buffers);
  changedParams();
  if (has(kPrepare))
    run(kPrepare);
  if (metadata().precision == "bf16" && !isMirrored() && !services.multipliesBf16())
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
