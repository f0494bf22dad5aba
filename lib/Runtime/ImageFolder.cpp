//===- ImageFolder.cpp - images in a folder for each class ----------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Dataset.h"
#include "ns/Runtime/Error.h"
#include "ns/Runtime/FileIO.h"

#include <algorithm>
#include <filesystem>
#include <map>

using namespace ns::runtime;
namespace fs = std::filesystem;

/// Digits compare as numbers, as timm sorts class folders ("2" before "10").
static bool naturalLess(const std::string &a, const std::string &b) {
  auto digit = [](char c) { return c >= '0' && c <= '9'; };
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (!digit(a[i]) || !digit(b[j])) {
      int x = std::tolower(static_cast<unsigned char>(a[i++])),
          y = std::tolower(static_cast<unsigned char>(b[j++]));
      if (x != y)
        return x < y;
      continue;
    }
    size_t m = i, n = j;
    while (m < a.size() && digit(a[m]))
      ++m;
    while (n < b.size() && digit(b[n]))
      ++n;
    std::string x = a.substr(i, m - i), y = b.substr(j, n - j);
    x.erase(0, std::min(x.find_first_not_of('0'), x.size() - 1));
    y.erase(0, std::min(y.find_first_not_of('0'), y.size() - 1));
    if (x != y)
      return x.size() != y.size() ? x.size() < y.size() : x < y;
    i = m;
    j = n;
  }
  if (a.size() - i != b.size() - j)
    return a.size() - i < b.size() - j;
  return a < b;
}

static std::vector<std::string> list(const fs::path &folder, bool folders) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code))
    if (it->path().filename().string()[0] != '.' && it->is_directory() == folders)
      names.push_back(it->path().filename().string());
  if (code)
    fail("cannot read the folder ", folder.string(), ": ", code.message());
  std::sort(names.begin(), names.end(), naturalLess);
  return names;
}

static bool isImage(const std::string &name) {
  std::string ending = fs::path(name).extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return ending == ".jpg" || ending == ".jpeg" || ending == ".png";
}

std::vector<std::string> ns::runtime::listFolders(const std::string &path) {
  return list(path, true);
}

std::vector<std::string> ns::runtime::listImages(const std::string &path) {
  std::vector<std::string> names = list(path, false);
  std::erase_if(names, [](const std::string &name) { return !isImage(name); });
  return names;
}

std::string ns::runtime::joined(const std::vector<std::string> &names) {
  constexpr size_t kShown = 20;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i)
    text += (i ? ", " : "") + names[i];
  return names.size() > kShown ? str(text, " and ", names.size() - kShown, " more") : text;
}

namespace {

class ImageFolder : public Dataset {
public:
  explicit ImageFolder(ImageFiles images) : images(std::move(images)) {}

  int64_t size() const override { return static_cast<int64_t>(images.files.size()); }
  int32_t label(int64_t index) const override { return images.labels[index]; }
  std::string name(int64_t index) const override { return images.files[index]; }
  bool sortedByClass() const override { return true; }
  Image image(int64_t index) const override {
    std::string path = images.root + "/" + images.files[index];
    return decodeImage(path, readFile(path));
  }
  std::string className(int32_t label) const override {
    return static_cast<size_t>(label) < images.classes.size() ? images.classes[label]
                                                              : Dataset::className(label);
  }
  std::string fingerprint() const override {
    std::string text;
    for (const std::string &file : images.files) {
      std::error_code code;
      text += file + " " + std::to_string(fs::file_size(images.root + "/" + file, code)) + "\n";
    }
    return xxh3Hex(text.data(), text.size());
  }

private:
  ImageFiles images;
};

} // namespace

std::unique_ptr<Dataset> ns::runtime::openFiles(ImageFiles files) {
  return std::make_unique<ImageFolder>(std::move(files));
}

std::vector<std::string> ns::runtime::readClassMap(const std::string &path, int64_t classes) {
  std::vector<std::string> names;
  std::istringstream text(readText(path));
  for (std::string line; std::getline(text, line);) {
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (!line.empty())
      names.push_back(line);
  }
  if (static_cast<int64_t>(names.size()) != classes)
    fail(path, ": expected the names of ", classes, " classes, one a line, found ", names.size());
  return names;
}

/// Folder name -> class. Without a map the folders themselves, sorted, are the classes; those of
/// train/ where there is one, so that a class missing in val/ shifts nothing.
static std::map<std::string, int32_t> classIndex(const fs::path &root, const fs::path &folder,
                                                 const std::string &classMap, int64_t classes) {
  std::error_code code;
  std::vector<std::string> names = !classMap.empty() ? readClassMap(classMap, classes)
                                   : fs::is_directory(root / "train", code)
                                       ? list(root / "train", true)
                                       : list(folder, true);
  if (static_cast<int64_t>(names.size()) != classes)
    fail(root.string(), ": the model has ", classes, " classes, found ", names.size(),
         " class folders (", joined(names),
         "); name the model's classes in order with --class-map");
  std::map<std::string, int32_t> index;
  for (size_t i = 0; i < names.size(); ++i)
    if (!index.emplace(names[i], i).second)
      fail(classMap, ": the class '", names[i], "' appears twice");
  return index;
}

/// Adds the images of the classes' folders below the root; lists folders that are no class.
static void collect(const std::map<std::string, int32_t> &index, ImageFiles &images) {
  std::vector<std::string> unknown;
  for (const std::string &name : list(images.root, true)) {
    auto it = index.find(name);
    if (it == index.end()) {
      unknown.push_back(name);
      continue;
    }
    for (const std::string &file : listImages(images.root + "/" + name)) {
      images.files.push_back(name + "/" + file);
      images.labels.push_back(it->second);
    }
  }
  if (!unknown.empty())
    fail(images.root, ": ", unknown.size(),
         " folders are no class of the model: ", joined(unknown));
  if (images.files.empty())
    fail(images.root, ": expected .jpg, .jpeg or .png files in folders named by class, found none");
}

std::unique_ptr<Dataset> ns::runtime::openImageFolder(const std::string &path,
                                                      const std::string &split,
                                                      const std::string &classMap,
                                                      int64_t classes) {
  std::error_code code;
  fs::path root = path, folder = root / split;
  if (split == "val" && !fs::is_directory(folder, code) &&
      fs::is_directory(root / "validation", code))
    folder = root / "validation";
  if (!fs::is_directory(folder, code))
    fail(path, ": expected a folder '", split, "' with a folder for each class, found none");
  auto index = classIndex(root, folder, classMap, classes);
  ImageFiles images;
  images.root = folder.string();
  images.classes.resize(classes);
  for (auto &[name, label] : index)
    images.classes[label] = name;
  collect(index, images);
  return openFiles(std::move(images));
}

ClassFolders ns::runtime::openClassFolders(const std::string &path,
                                           const std::vector<std::string> &classNames,
                                           int64_t classes) {
  std::error_code code;
  if (!fs::is_directory(path, code))
    fail(path, ": expected a folder with a folder for each class, found ",
         fs::exists(path, code) ? "a file" : "nothing");
  ImageFiles images;
  images.root = path;
  if (fs::is_directory(path + "/val", code))
    images.root += "/val";
  std::vector<std::string> folders = list(images.root, true);
  // As an archive unpacks: everything in one folder of its own.
  if (folders.size() == 1 && !list(images.root + "/" + folders[0], true).empty()) {
    images.root += "/" + folders[0];
    folders = list(images.root, true);
  }
  if (folders.empty())
    fail(path, ": expected a folder for each class, found none");
  std::map<std::string, int32_t> index;
  for (size_t i = 0; i < classNames.size(); ++i)
    index.emplace(classNames[i], static_cast<int32_t>(i));
  bool known = std::any_of(folders.begin(), folders.end(),
                           [&](const std::string &name) { return index.count(name) != 0; });
  bool numbers = std::all_of(folders.begin(), folders.end(), [](const std::string &name) {
    return name.size() < 9 &&
           std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c); });
  });
  images.classes = classNames;
  if (!known && numbers) {
    index.clear();
    images.classes.clear();
    for (const std::string &name : folders)
      if (int32_t label = std::stoi(name); label < classes)
        index.emplace(name, label);
  } else if (!known) {
    fail(images.root, ": which class of the model is the folder '", folders[0], "'? Name its ",
         classes, " classes in order with --class-map FILE (folder names, one a line)",
         classNames.empty()
             ? ""
             : str("; those of --data-dir, such as '", classNames[0], "', are others"));
  }
  collect(index, images);
  std::vector<char> present(classes);
  for (int32_t label : images.labels)
    present[label] = 1;
  return {openFiles(std::move(images)), std::move(present)};
}

std::unique_ptr<Dataset> ns::runtime::openDataset(const std::string &path, const std::string &split,
                                                  const std::string &classMap, int64_t classes) {
  std::error_code code;
  if (fs::is_directory(path, code))
    return openImageFolder(path, split, classMap, classes);
  if (fs::path(path).extension() == ".npz")
    return openNpz(path, split, classes);
  fail(path, ": expected a folder with train/ and val/, or an .npz file, found ",
       fs::exists(path, code) ? "another file" : "nothing");
}

std::vector<int64_t> ns::runtime::selectImages(const Dataset &data, int64_t max) {
  int64_t size = data.size(), count = max > 0 ? std::min(max, size) : size;
  std::vector<int64_t> chosen(count);
  for (int64_t i = 0; i < count; ++i)
    chosen[i] =
        data.sortedByClass() ? static_cast<int64_t>(static_cast<__int128_t>(i) * size / count) : i;
  return chosen;
}
