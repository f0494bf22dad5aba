//===- OnnxNames.cpp - which layer and which parameter a node belongs to -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "OnnxNames.h"

using namespace llvm;
using namespace ns;
using namespace ns::onnx;
using pt2::Weight;

Signature::Signature(StringRef text) {
  while (!text.empty()) {
    StringRef line;
    std::tie(line, text) = text.split('\n');
    auto [placeholder, rest] = line.trim().split(": ");
    auto [kind, target] = rest.split(' ');
    auto [before, quoted] = target.split("target='");
    Entry entry{quoted.take_until([](char c) { return c == '\''; }), Weight::Kind::Parameter,
                byName.size()};
    if (kind == "BUFFER")
      entry.kind = Weight::Kind::Buffer;
    else if (kind == "CONSTANT_TENSOR")
      entry.kind = Weight::Kind::Constant;
    else if (kind != "PARAMETER")
      continue;
    if (entry.name.empty())
      continue;
    byPlaceholder.try_emplace(placeholder, entry);
    byName.try_emplace(entry.name, entry);
  }
}

static const Signature::Entry *lookUp(const StringMap<Signature::Entry> &map, StringRef key) {
  auto found = map.find(key);
  return found == map.end() ? nullptr : &found->second;
}

const Signature::Entry *Signature::ofPlaceholder(StringRef placeholder) const {
  return lookUp(byPlaceholder, placeholder);
}

const Signature::Entry *Signature::ofName(StringRef name) const { return lookUp(byName, name); }

/// The last module of `/blocks/blocks.0/attn/qkv/MatMul`: a part that starts with the one before it
/// and a dot replaces it (the members of a list), any other is below it.
static std::string layerOfPath(StringRef path) {
  if (!path.consume_front("/"))
    return "";
  std::string layer;
  StringRef last, part;
  for (path = path.rsplit('/').first; !path.empty(); last = part) {
    std::tie(part, path) = path.split('/');
    if (!last.empty() && part.starts_with((last + ".").str()))
      layer.resize(layer.size() - last.size());
    else if (!layer.empty())
      layer += '.';
    layer += part;
  }
  return layer;
}

std::string ns::onnx::layerOf(const Node &node) {
  if (node.scopes.empty())
    return node.name.contains('/') && node.name.rfind('/') > 0 ? layerOfPath(node.name) : "";
  SmallVector<StringRef> quoted; // text, comma, text, ... between quotes
  node.scopes.split(quoted, '\'');
  SmallVector<StringRef> scopes;
  for (size_t i = 1; i < quoted.size(); i += 2)
    scopes.push_back(quoted[i]);
  return scopes.size() < 2 ? "" : scopes[scopes.size() - 2].str(); // the last is the call
}

StringRef ns::onnx::callTarget(const Node &node) {
  StringRef target = node.call.split("target=").second.take_until([](char c) { return c == ']'; });
  target.consume_front("torch.ops.");
  return target;
}

SmallVector<const Signature::Entry *> ns::onnx::callWeights(const Node &node,
                                                            const Signature &signature) {
  SmallVector<const Signature::Entry *> weights;
  StringRef text = node.call.split("](args = (").second;
  int depth = 0;
  size_t start = 0;
  auto add = [&](size_t end) {
    StringRef argument = text.slice(start, end).trim();
    weights.push_back(argument.consume_front("%") ? signature.ofPlaceholder(argument) : nullptr);
    start = end + 1;
  };
  for (size_t i = 0; i < text.size() && depth >= 0; ++i) {
    if (text[i] == '(' || text[i] == '[')
      ++depth;
    else if (text[i] == ')' || text[i] == ']')
      --depth;
    if (depth < 0 || (depth == 0 && text[i] == ','))
      add(i);
  }
  return weights;
}
