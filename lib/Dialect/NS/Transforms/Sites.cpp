//===- Sites.cpp - where noise can enter a network --------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Names of layers differ between families and libraries; what a residual network computes does not.
// The rules (the table in ns-insert-noise) need the graph, and of the names only which ops share a
// module.
//
// The trunk. A value is on the trunk if every path from the pixels to the logits passes through it.
// In straight-line code it is found by one scan: with the readers of each value counted as they go
// by, a value is on the trunk iff no earlier value that depends on the pixels is still to be read
// when it is made.
//
//     x ----+---- norm -> attention -> linear ---- add ----+---- norm -> linear -> gelu -> linear
//     ---- add
//           +--------------------------------------+ +------------------------------------------+
//     trunk                                        trunk trunk
//
//===----------------------------------------------------------------------===//

#include "Entries.h"
#include "ns/Dialect/NN/IR/NN.h"

#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

namespace ns::harden {

using Path = SmallVector<StringRef, 6>;

static void appendLayer(Operation *op, SmallVectorImpl<Path> &layers) {
  auto layer = op->getAttrOfType<StringAttr>(nn::NNDialect::kLayerAttr);
  if (!layer)
    return;
  Path path;
  layer.getValue().split(path, '.');
  layers.push_back(std::move(path));
}

/// The module that holds all `layers`; for one layer the module above it.
static std::string commonModule(ArrayRef<Path> layers) {
  if (layers.empty())
    return "";
  ArrayRef<StringRef> common = layers.front();
  for (const Path &path : layers) {
    size_t same = 0;
    while (same < std::min(common.size(), path.size()) && common[same] == path[same])
      ++same;
    common = common.take_front(same);
  }
  if (llvm::all_equal(layers) && !common.empty())
    common = common.drop_back();
  return llvm::join(common, ".");
}

/// A sum of two values that both depend on the pixels.
static bool isJoin(Operation *op, const llvm::SmallPtrSetImpl<Value> &fromPixels) {
  return isa<nn::AddOp>(op) &&
         llvm::all_of(op->getOperands(), [&](Value v) { return fromPixels.contains(v); });
}

SmallVector<Residual> findResiduals(func::FuncOp func) {
  Block &block = func.getBody().front();
  llvm::SmallPtrSet<Value, 16> fromPixels;
  int64_t unread = llvm::range_size(block.getArgument(0).getUses());
  fromPixels.insert(block.getArgument(0));
  Value trunk = block.getArgument(0);
  SmallVector<Path> layers;
  SmallVector<Residual> residuals;
  for (Operation &op : block) {
    int64_t read =
        llvm::count_if(op.getOperands(), [&](Value v) { return fromPixels.contains(v); });
    if (!read || !op.getNumResults())
      continue;
    bool join = isJoin(&op, fromPixels);
    unread -= read;
    fromPixels.insert(op.result_begin(), op.result_end());
    Value result = op.getResult(0);
    auto rankOf = [](Value value) { return cast<RankedTensorType>(value.getType()).getRank(); };
    if (unread == 0 && op.getNumResults() == 1) {
      if (join && rankOf(trunk) == 3 && rankOf(result) == 3)
        residuals.push_back({trunk, cast<nn::AddOp>(op), commonModule(layers)});
      trunk = result;
      layers.clear();
    } else {
      appendLayer(&op, layers);
    }
    for (Value value : op.getResults())
      unread += llvm::range_size(value.getUses());
  }
  return residuals;
}

SmallVector<SmallVector<Residual>> findBlocks(func::FuncOp func) {
  SmallVector<SmallVector<Residual>> blocks;
  for (Residual &residual : findResiduals(func)) {
    if (blocks.empty() || residual.module.empty() || residual.module != blocks.back().back().module)
      blocks.emplace_back();
    blocks.back().push_back(std::move(residual));
  }
  return blocks;
}

static FailureOr<Value> findTokens(func::FuncOp func) {
  auto embeds = llvm::to_vector(func.getBody().front().getOps<nn::PatchEmbedOp>());
  if (embeds.size() != 1)
    return emitError(func.getLoc())
           << "expected noise site \"tokens\" to be one nn.patch_embed, but got " << embeds.size();
  Value tokens = embeds.front().getResult();
  // Swin, ConvNeXt: the embedding ends in a norm. Where a block's norm reads the tokens, so does
  // the block's skip.
  if (tokens.hasOneUse())
    if (auto norm = dyn_cast<nn::LayerNormOp>(*tokens.user_begin()))
      return norm.getResult();
  return tokens;
}

StringRef resolveSite(func::FuncOp func, StringRef site) {
  if (site != "auto")
    return site;
  if (llvm::hasSingleElement(func.getBody().front().getOps<nn::PatchEmbedOp>()))
    return "tokens";
  return findBlocks(func).empty() ? "image" : "stem";
}

FailureOr<Value> findSite(func::FuncOp func, StringRef site) {
  if (site == "image")
    return Value(func.getArgument(0));
  if (site == "tokens")
    return findTokens(func);
  unsigned index = 0;
  StringRef number = site;
  if (site != "stem" && (!number.consume_front("block.") || number.getAsInteger(10, index)))
    return emitError(func.getLoc())
           << "expected noise site to be image, tokens, stem, block.K or auto, but got \"" << site
           << "\"";
  SmallVector<SmallVector<Residual>> blocks = findBlocks(func);
  if (index < blocks.size())
    return blocks[index].front().input;
  return emitError(func.getLoc()) << "expected noise site \"" << site
                                  << "\" to be in the network, but got " << blocks.size()
                                  << " blocks";
}

} // namespace ns::harden
