//===- Checkpoint.cpp - weights in the files of other tools ---------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Checkpoint/Checkpoint.h"
#include "Bytes.h"
#include "Formats.h"
#include "ns/Checkpoint/SafeTensors.h"
#include "ns/Runtime/Error.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <filesystem>
#include <set>

using namespace ns::checkpoint;
using namespace ns::runtime;
using nlohmann::json;

/// The open files; tensors point into them.
struct Checkpoint::Files {
  std::vector<std::unique_ptr<InputFile>> mapped;
  std::vector<std::unique_ptr<SafeTensorsReader>> safe;
  std::vector<std::string> hashes() const {
    std::vector<std::string> all;
    for (const auto &file : mapped)
      all.push_back(xxh3HexOfFile(*file));
    for (const auto &file : safe)
      all.push_back(file->contentHash());
    return all;
  }

  void add(const std::string &path, const OpenOptions &options, std::vector<Tensor> &out);
};

Checkpoint::Checkpoint() : files(std::make_unique<Files>()) {}
Checkpoint::Checkpoint(Checkpoint &&) = default;
Checkpoint::~Checkpoint() = default;

void ns::checkpoint::addTensor(std::vector<Tensor> &tensors, Tensor tensor) {
  if (tensor.name.size() > kMaxName)
    fail("tensor '", tensor.name.substr(0, 200), "': expected a name of at most ", kMaxName,
         " bytes, found ", tensor.name.size());
  if (tensors.size() == kMaxTensors)
    fail("expected at most ", kMaxTensors, " tensors, found more");
  tensors.push_back(std::move(tensor));
}

static std::vector<Tensor> readZip(const InputFile &file, const OpenOptions &options) {
  ZipArchive zip(file.view());
  auto has = [&](std::string_view name) { return zip.find(str(zip.root(), "/", name)) != nullptr; };
  if (has("data.pkl"))
    return readTorch(zip, file, options);
  if (has("models/model.json"))
    fail("expected a checkpoint, found an export: give it to ns-import");
  const auto &entries = zip.entries();
  if (std::any_of(entries.begin(), entries.end(),
                  [](const auto &entry) { return entry.first.ends_with(".npy"); }))
    return readNpz(zip, file);
  fail("expected a PyTorch checkpoint or NumPy arrays, found a zip archive of neither");
}

/// What a file without a zip directory or a safetensors header is taken for.
[[noreturn]] static void failUnknown(std::string_view bytes) {
  if (bytes.size() > 1 && bytes[0] == '\x80' && bytes[1] <= 5)
    fail("expected a checkpoint in PyTorch's zip format, found a bare pickle, as PyTorch before "
         "1.6 wrote them; re-save it in PyTorch with torch.save(torch.load(FILE), FILE)");
  fail("expected a .safetensors file, a PyTorch checkpoint (.pth, .pt, .bin), an .npz or a folder "
       "of transformers, found ",
       bytes.size(), " bytes of another kind");
}

void Checkpoint::Files::add(const std::string &path, const OpenOptions &options,
                            std::vector<Tensor> &out) {
  auto file = std::make_unique<InputFile>(path);
  std::string_view bytes = file->view();
  std::vector<Tensor> found;
  if (bytes.starts_with("PK")) {
    try {
      found = readZip(*file, options);
    } catch (const Error &error) {
      fail(path, ": ", error.what());
    }
    mapped.push_back(std::move(file));
  } else if (path.ends_with(".safetensors") || (bytes.size() > 8 && bytes[8] == '{')) {
    file.reset();
    safe.push_back(std::make_unique<SafeTensorsReader>(path));
    found = safe.back()->tensors();
  } else {
    try {
      failUnknown(bytes);
    } catch (const Error &error) {
      fail(path, ": ", error.what());
    }
  }
  for (Tensor &tensor : found)
    addTensor(out, std::move(tensor));
}

std::vector<std::string> ns::checkpoint::shardsOf(const std::string &indexPath) {
  constexpr uint64_t kMaxIndex = 4 << 20;
  constexpr size_t kMaxShards = 1000;
  if (InputFile(indexPath).size() > kMaxIndex)
    fail(indexPath, ": expected an index of at most ", kMaxIndex, " bytes");
  json index = json::parse(readText(indexPath), nullptr, /*allow_exceptions=*/false);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    fail(indexPath, ": expected a JSON object with a weight_map");
  std::set<std::string> shards;
  for (const auto &[name, value] : index["weight_map"].items()) {
    std::string shard = value.is_string() ? value.get<std::string>() : "";
    // A file beside the index and nothing else.
    if (shard.empty() || shard == "." || shard == ".." ||
        shard.find_first_of(std::string("/\\\0", 3)) != std::string::npos)
      fail(indexPath, ": tensor '", name.substr(0, 200),
           "': expected the name of a file in the same folder, found ", value.dump().substr(0, 80));
    shards.insert(shard);
    if (shards.size() > kMaxShards)
      fail(indexPath, ": more than ", kMaxShards, " files");
  }
  return {shards.begin(), shards.end()};
}

/// The files behind a path: those of a folder or of an index, or the one it names.
static std::vector<std::string> filesBehind(const std::string &path) {
  namespace fs = std::filesystem;
  std::error_code code;
  if (fs::is_directory(path, code)) {
    for (const char *name : {"model.safetensors", "model.safetensors.index.json",
                             "pytorch_model.bin", "pytorch_model.bin.index.json"})
      if (fs::exists(fs::path(path) / name, code))
        return filesBehind((fs::path(path) / name).string());
    fail(path, ": expected a folder with model.safetensors, model.safetensors.index.json or "
               "pytorch_model.bin, as transformers writes it");
  }
  if (!path.ends_with(".index.json"))
    return {path};
  std::vector<std::string> files;
  for (const std::string &shard : shardsOf(path))
    files.push_back((fs::path(path).parent_path() / shard).string());
  return files;
}

Checkpoint Checkpoint::open(const std::string &path, const OpenOptions &options) {
  Checkpoint result;
  result.origin = path;
  for (const std::string &file : filesBehind(path))
    result.files->add(file, options, result.entries);
  std::set<std::string_view> seen;
  for (Tensor &tensor : result.entries) {
    for (std::string_view prefix : {"_orig_mod.", "module.", "_orig_mod."})
      if (tensor.name.starts_with(prefix))
        tensor.name.erase(0, prefix.size());
    if (!seen.insert(tensor.name).second)
      fail(path, ": tensor '", tensor.name.substr(0, 200), "' is there twice");
  }
  return result;
}

std::string Checkpoint::contentHash() const {
  std::vector<std::string> hashes = files->hashes();
  if (hashes.size() == 1)
    return hashes[0];
  std::string all;
  for (const std::string &hash : hashes)
    all += hash;
  return xxh3Hex(all.data(), all.size());
}
