//===- Fit.cpp - the tensors of a checkpoint for those of a model ---------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Names.h"
#include "ns/Checkpoint/Checkpoint.h"
#include "ns/Checkpoint/SafeTensors.h"
#include "ns/Runtime/Error.h"

#include <algorithm>
#include <map>
#include <set>

using namespace ns::checkpoint;
using ns::runtime::fail;
using ns::runtime::shapeText;
using ns::runtime::str;

namespace {
/// One way to see the names of both sides as the same.
class NameMap {
public:
  /// `ours` and `theirs` are the names of the wanted tensors and of the checkpoint's, in order.
  NameMap(const std::vector<Wanted> &wanted, const std::vector<Tensor> &tensors,
          std::vector<CommonName> ours, const std::vector<CommonName> &theirs)
      : names(std::move(ours)) {
    for (size_t i = 0; i < tensors.size(); ++i)
      sources.emplace(theirs[i], &tensors[i]);
    for (size_t i = 0; i < wanted.size(); ++i)
      matched += !sourcesOf(i).empty();
  }

  size_t matches() const { return matched; }
  /// The tensors that hold the wanted tensor `index`, in order: itself, its parts, or the one whose
  /// part it is; none where the checkpoint lacks one of them.
  std::vector<const Tensor *> sourcesOf(size_t index) const;
  const CommonName &name(size_t index) const { return names[index]; }

private:
  const Tensor *find(const CommonName &name) const {
    auto found = sources.find(name);
    return found == sources.end() ? nullptr : found->second;
  }

  std::vector<CommonName> names;
  std::map<CommonName, const Tensor *> sources;
  size_t matched = 0;
};

/// Collects what does not fit, and says it at once.
class Problems {
public:
  template <class... Parts> void add(const Parts &...parts) {
    if (++count <= kShown)
      text += str("\n  ", parts...);
  }
  void failIfAny(const std::string &path, const std::string &model) const {
    if (count == 0)
      return;
    std::string more = count > kShown ? str("\n  and ", count - kShown, " more") : "";
    fail(path, ": ", count, count == 1 ? " entry does" : " entries do", " not fit the model ",
         model, ":", text, more);
  }

private:
  static constexpr int kShown = 50;
  int count = 0;
  std::string text;
};
} // namespace

std::vector<const Tensor *> NameMap::sourcesOf(size_t index) const {
  const CommonName &name = names[index];
  if (const Tensor *same = find(name))
    return {same};
  if (name.parts > 1) {
    const Tensor *whole = find({name.name, 0, 1});
    return whole ? std::vector{whole} : std::vector<const Tensor *>();
  }
  for (int parts : {2, 3}) {
    std::vector<const Tensor *> all;
    for (int part = 0; part < parts; ++part)
      if (const Tensor *tensor = find({name.name, part, parts}))
        all.push_back(tensor);
    if (all.size() == size_t(parts))
      return all;
  }
  return {};
}

/// The shape without extents of 1, which libraries add and drop (a scale as C x 1 x 1).
static std::vector<int64_t> squeezed(const std::vector<int64_t> &shape) {
  std::vector<int64_t> result;
  std::copy_if(shape.begin(), shape.end(), std::back_inserter(result),
               [](int64_t extent) { return extent != 1; });
  return result;
}

/// The shape of `pieces` one after the other; empty where they do not go together.
static std::vector<int64_t> joinedShape(const Pieces &pieces) {
  std::vector<int64_t> shape = pieces[0].shape;
  for (size_t i = 1; i < pieces.size(); ++i) {
    const std::vector<int64_t> &next = pieces[i].shape;
    if (shape.empty() || next.size() != shape.size() ||
        !std::equal(next.begin() + 1, next.end(), shape.begin() + 1))
      return {};
    shape[0] += next[0];
  }
  return shape;
}

/// The pieces of `wanted`, which the model's part `name` is held by; adds what does not fit.
static Pieces cut(const Wanted &wanted, const CommonName &name,
                  const std::vector<const Tensor *> &sources, bool isTranslated,
                  Problems &problems) {
  Pieces pieces;
  for (const Tensor *source : sources)
    pieces.push_back(*source);
  std::string from, found;
  for (const Tensor *source : sources) {
    from += (from.empty() ? "'" : ", '") + source->name.substr(0, 200) + "'";
    found += (found.empty() ? "" : ", ") + shapeText(source->shape);
  }
  from = isTranslated ? str(" in ", from) : "";
  bool isPart = sources.size() == 1 && name.parts > 1 && !wanted.shape.empty() &&
                !pieces[0].shape.empty() && pieces[0].shape[0] == wanted.shape[0] * name.parts;
  // A part that stands alone on the other side, too, already has the wanted shape.
  if (isPart)
    pieces = {pieces[0].rows(wanted.shape[0] * name.part, wanted.shape[0])};
  std::vector<int64_t> shape = joinedShape(pieces);
  bool unjoined = shape.empty() && pieces.size() > 1;
  if (unjoined || squeezed(shape) != squeezed(wanted.shape))
    problems.add("'", wanted.name, "': expected shape ", shapeText(wanted.shape), ", found ", found,
                 from);
  for (const Tensor *source : sources)
    if (!isFloat(source->type)) {
      problems.add("'", wanted.name, "': expected F64, F32, F16 or BF16, found ",
                   nameOf(source->type), from);
      break;
    }
  return pieces;
}

/// The better one of taking the names as they are and of translating them.
static NameMap chooseMap(const std::vector<Wanted> &wanted, const std::vector<Tensor> &tensors,
                         bool &isTranslated) {
  constexpr size_t kMaxTensors = 20'000; // no classifier has more; a hostile file may
  std::vector<std::string> ours, theirs;
  for (const Wanted &tensor : wanted)
    ours.push_back(tensor.name);
  for (const Tensor &tensor : tensors)
    theirs.push_back(tensor.name);
  std::vector<CommonName> plainOurs, plainTheirs;
  for (const std::string &name : ours)
    plainOurs.push_back({name});
  for (const std::string &name : theirs)
    plainTheirs.push_back({name});
  NameMap plain(wanted, tensors, std::move(plainOurs), plainTheirs);
  isTranslated = false;
  if (plain.matches() == wanted.size() || theirs.size() > kMaxTensors)
    return plain;
  NameMap translated(wanted, tensors, translate(ours), translate(theirs));
  isTranslated = translated.matches() > plain.matches();
  return isTranslated ? translated : plain;
}

std::vector<Pieces> ns::checkpoint::fit(const Checkpoint &checkpoint,
                                        const std::vector<Wanted> &wanted, const std::string &model,
                                        bool mayHaveMore) {
  bool isTranslated = false;
  NameMap map = chooseMap(wanted, checkpoint.tensors(), isTranslated);
  Problems problems;
  std::set<const Tensor *> used;
  std::vector<Pieces> result;
  for (size_t i = 0; i < wanted.size(); ++i) {
    std::vector<const Tensor *> sources = map.sourcesOf(i);
    used.insert(sources.begin(), sources.end());
    result.emplace_back();
    if (!sources.empty())
      result.back() = cut(wanted[i], map.name(i), sources, isTranslated, problems);
    else if (!wanted[i].isOptional)
      problems.add("missing: '", wanted[i].name, "' ", shapeText(wanted[i].shape));
  }
  for (const Tensor &tensor : checkpoint.tensors())
    if (!mayHaveMore && !used.contains(&tensor) && !isDispensable(tensor.name))
      problems.add("not of this model: '", tensor.name.substr(0, 200), "' ",
                   shapeText(tensor.shape));
  problems.failIfAny(checkpoint.path(), model);
  return result;
}

Fitted ns::checkpoint::openAndFit(const std::string &path, const OpenOptions &options,
                                  const std::vector<Wanted> &wanted,
                                  const std::string &model) noexcept {
  Fitted result;
  try {
    auto checkpoint = std::make_shared<Checkpoint>(Checkpoint::open(path, options));
    result.pieces = fit(*checkpoint, wanted, model);
    result.owner = std::move(checkpoint);
  } catch (const std::exception &error) {
    result.error = error.what();
  }
  return result;
}

StoredValues ns::checkpoint::readValues(const std::string &path, const std::string &name) noexcept {
  StoredValues result;
  try {
    SafeTensorsReader file(path);
    const Tensor *tensor = file.find(name);
    if (!tensor)
      fail(path, ": expected a tensor '", name, "', found none");
    if (!isFloat(tensor->type))
      fail(path, ": tensor '", name, "': expected F64, F32, F16 or BF16, found ",
           nameOf(tensor->type));
    result.values.resize(tensor->count());
    copyElements(*tensor, Type::F64, result.values.data());
    result.shape = tensor->shape;
    result.type = tensor->type;
  } catch (const std::exception &error) {
    result.error = error.what();
  }
  return result;
}

std::vector<char> ns::checkpoint::elementsOf(const Pieces &pieces, Type type,
                                             std::string &error) noexcept {
  try {
    int64_t count = 0;
    for (const Tensor &piece : pieces)
      count += piece.count();
    std::vector<char> elements(count * sizeOf(type));
    char *to = elements.data();
    for (const Tensor &piece : pieces) {
      copyElements(piece, type, to);
      to += piece.count() * sizeOf(type);
    }
    return elements;
  } catch (const std::exception &e) {
    error = e.what();
    return {};
  }
}
