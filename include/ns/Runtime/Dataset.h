//===- Dataset.h - labelled images on disk ----------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_DATASET_H
#define NS_RUNTIME_DATASET_H

#include "ns/Runtime/Image.h"

#include <memory>
#include <string>
#include <vector>

namespace ns::runtime {

/// One split: images in a fixed order, with their classes.
class Dataset {
public:
  virtual ~Dataset() = default;
  virtual int64_t size() const = 0;
  virtual int32_t label(int64_t index) const = 0;
  /// Any thread. Throws Error, naming the image, where it cannot be read.
  virtual Image image(int64_t index) const = 0;
  /// For reports: a path, or a number.
  virtual std::string name(int64_t index) const = 0;
  /// The folder of a class; its number where classes have no names.
  virtual std::string className(int32_t label) const { return std::to_string(label); }
  /// True where neighbours are of one class, so that a prefix is no sample.
  virtual bool sortedByClass() const = 0;
  /// A hash that tells the files of this data set from others with the same names and labels;
  /// cheap: sizes or checksums that are there, not contents. Empty where nothing is known.
  virtual std::string fingerprint() const { return ""; }
};

/// `path`: an ImageFolder (`train/`, `val/` or `validation/`, a folder for each class) or one .npz.
/// Labels are checked against `classes`. classMap: a file with the class names (folder names), one
/// a line, in the model's order.
std::unique_ptr<Dataset> openDataset(const std::string &path, const std::string &split,
                                     const std::string &classMap, int64_t classes);

std::unique_ptr<Dataset> openImageFolder(const std::string &path, const std::string &split,
                                         const std::string &classMap, int64_t classes);
std::unique_ptr<Dataset> openNpz(const std::string &path, const std::string &split,
                                 int64_t classes);

/// Image files below `root`, one label each; classes: folder names by label.
struct ImageFiles {
  std::string root;
  std::vector<std::string> files; ///< paths from the root
  std::vector<int32_t> labels;
  std::vector<std::string> classes;
};
std::unique_ptr<Dataset> openFiles(ImageFiles files);

/// Folders of images, one for each class, of perhaps not all classes.
struct ClassFolders {
  std::unique_ptr<Dataset> data;
  std::vector<char> present; ///< for each class of the model: has it images?
};
/// `path`: class folders, directly, in `val/`, or in the only folder there. Their names are those
/// of `classNames` (in the model's order) or, where all are digits, the classes' numbers
/// (ImageNet-V2: 0 to 999). Throws Error, which says what is needed, and lists folders that are no
/// class.
ClassFolders openClassFolders(const std::string &path, const std::vector<std::string> &classNames,
                              int64_t classes);

/// Names of the folders, or of the image files, in a folder, sorted as numbers sort.
std::vector<std::string> listFolders(const std::string &path);
std::vector<std::string> listImages(const std::string &path);
/// "a, b, c and 7 more".
std::string joined(const std::vector<std::string> &names);

/// Class names, one a line, of a model with so many classes.
std::vector<std::string> readClassMap(const std::string &path, int64_t classes);

/// The images a run uses: all, or `max` of them (0: all): the first of an .npz, evenly spaced ones
/// of folders.
std::vector<int64_t> selectImages(const Dataset &data, int64_t max);

} // namespace ns::runtime

#endif // NS_RUNTIME_DATASET_H
