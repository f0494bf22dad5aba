//===- InsertAttentionTaps.cpp - add attention_received and patchfool_grad -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// No probabilities are written out. What query q pays to the patch is attention itself, with the mask of the patch as the values of every channel; what
// token n receives is the gradient of attention by its values: dV = P^T dO, with the weights of the queries as dO. So both have a
// lowering, the former a derivative, and no tensor is larger than the tokens.
//
//===----------------------------------------------------------------------===//

#include "Entries.h"
#include "ns/Dialect/NS/Transforms/Passes.h"

using namespace mlir;

namespace ns::harden {
#define GEN_PASS_DEF_INSERTATTENTIONTAPSPASS
#include "ns/Dialect/NS/Transforms/Passes.h.inc"

namespace {

RankedTensorType withExtent(Value value, unsigned dim, int64_t size) {
  auto type = cast<RankedTensorType>(value.getType());
  SmallVector<int64_t> shape(type.getShape());
  shape[dim] = size;
  return type.clone(shape);
}

RankedTensorType withoutChannels(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.clone(type.getShape().drop_back());
}

/// The attentions of a network over all its patches.
struct Taps {
  SmallVector<nn::AttentionOp> layers;
  int64_t tokens = 0, prefix = 0;
  SmallVector<int64_t> patch; ///< pixels, height and width
  std::string why;            ///< why there are none

  /// Of `func`. Queries of pooling, which are not the tokens, are passed over.
  explicit Taps(func::FuncOp func) {
    Block &block = func.getBody().front();
    SmallVector<nn::PatchEmbedOp> embeddings(block.getOps<nn::PatchEmbedOp>());
    int64_t patches = 0;
    if (embeddings.size() == 1) {
      patches = cast<RankedTensorType>(embeddings[0].getResult().getType()).getDimSize(1);
      patch.assign(embeddings[0].getPatch());
    }
    for (auto op : block.getOps<nn::AttentionOp>()) {
      int64_t queries = op.getResult().getType().getDimSize(1), keys = numKeys(op);
      if (op.getWindow())
        why = nameOf(op) + " attends within windows of " + std::to_string(*op.getWindow()) + " tokens, not over the image";
      else if (queries == keys && embeddings.size() != 1)
        why = "the patches are not those of one patch embedding";
      else if (queries == keys && keys < patches)
        why = nameOf(op) + " attends over " + std::to_string(keys) + " tokens, and the image has " + std::to_string(patches) + " patches";
      else if (queries == keys && tokens && tokens != keys)
        why = nameOf(op) + " attends over " + std::to_string(keys) + " tokens, the layers before over " + std::to_string(tokens);
      if (!why.empty())
        return;
      if (queries == keys) {
        tokens = keys;
        layers.push_back(op);
      }
    }
    prefix = tokens - patches;
    if (layers.empty())
      why = "the network has no attention between its tokens";
  }

  /// As in the published code: the first half of the layers but the very first.
  auto lossLayers() const { return llvm::seq<int64_t>(1, std::max<int64_t>(1, layers.size() / 2)); }

private:
  static int64_t numKeys(nn::AttentionOp op) { return cast<RankedTensorType>(op.getInputs().back().getType()).getDimSize(1); }
  static std::string nameOf(Operation *op) {
    auto layer = op->getAttrOfType<StringAttr>(nn::NNDialect::kLayerAttr);
    return layer ? "layer " + layer.str() : "a layer";
  }
};

struct InsertAttentionTapsPass : impl::InsertAttentionTapsPassBase<InsertAttentionTapsPass> {
  using InsertAttentionTapsPassBase::InsertAttentionTapsPassBase;

  void runOnOperation() override {
    if (failed(run()))
      signalPassFailure();
  }

  LogicalResult run() {
    FailureOr<func::FuncOp> forward = getForward(getOperation());
    if (failed(forward))
      return failure();
    Taps taps(*forward);
    Builder builder(&getContext());
    if (!taps.why.empty()) {
      getOperation()->setAttr(NSDialect::kAttentionAttr, builder.getStringAttr(taps.why));
      return success();
    }
    SmallVector<int64_t> lossLayers = llvm::to_vector(taps.lossLayers());
    getOperation()->setAttr(NSDialect::kAttentionAttr,
                            builder.getDictionaryAttr({builder.getNamedAttr("layers", builder.getI64IntegerAttr(taps.layers.size())),
                                                       builder.getNamedAttr("loss_layers", builder.getDenseI64ArrayAttr(lossLayers)),
                                                       builder.getNamedAttr("patch", builder.getDenseI64ArrayAttr(taps.patch)),
                                                       builder.getNamedAttr("prefix", builder.getI64IntegerAttr(taps.prefix)),
                                                       builder.getNamedAttr("tokens", builder.getI64IntegerAttr(taps.tokens))}));
    numLayers += taps.layers.size();
    numLosses += lossLayers.size();
    return success(succeeded(insertReceived(*forward)) && (lossLayers.empty() || succeeded(insertGradient(*forward))));
  }

  /// Entry `attention_received`.
  static LogicalResult insertReceived(func::FuncOp forward) {
    FailureOr<EntryBuilder> entry = EntryBuilder::cloneForward(forward, "attention_received");
    if (failed(entry))
      return failure();
    Taps taps(entry->getFunc());
    OpBuilder &builder = entry->builder();
    int64_t batch = entry->getBatch();
    Value weights = entry->addArgument("query_weights", {batch, taps.tokens}, entry->getElementType());
    SmallVector<Value> received;
    for (nn::AttentionOp op : taps.layers)
      received.push_back(receivedBy(builder, op, weights));
    auto type = RankedTensorType::get({batch, taps.tokens * int64_t(received.size())}, entry->getElementType());
    Value all = nn::ConcatChannelsOp::create(builder, entry->getLoc(), type, received);
    entry->setResults({{"attention", all}});
    return success();
  }

  /// What each token receives in `op`, B x N: the gradient by the values.
  static Value receivedBy(OpBuilder &builder, nn::AttentionOp op, Value weights) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointAfter(op); // its inputs need not outlive the layer
    Location loc = op.getLoc();
    Value grad = ExpandChannelsOp::create(builder, loc, op.getResult().getType(), weights);
    auto grads = nn::AttentionGradOp::create(builder, loc, op.getInputs().getTypes(), grad, op.getInputs(), op.getBias(),
                                             op.getMask(), op.getHeadsAttr(), op.getScaleAttr(), op.getWindowAttr());
    Value last = grads.getResults().back();
    int64_t channels = op.getResult().getType().getDimSize(2);
    int64_t from = cast<RankedTensorType>(last.getType()).getDimSize(2) - channels;
    Value values = from ? Value(nn::SliceChannelsOp::create(builder, loc, withExtent(last, 2, channels), last, from)) : last;
    Value received = MeanChannelsOp::create(builder, loc, withoutChannels(values), values);
    nameLayer(op, {grad, last, values, received});
    return received;
  }

  /// Entry `patchfool_grad`.
  static LogicalResult insertGradient(func::FuncOp forward) {
    FailureOr<EntryBuilder> entry = EntryBuilder::cloneForward(forward, "patchfool_grad");
    if (failed(entry))
      return failure();
    Taps taps(entry->getFunc());
    OpBuilder &builder = entry->builder();
    Location loc = entry->getLoc();
    int64_t batch = entry->getBatch();
    Value logits = entry->getLogits();
    auto perImage = RankedTensorType::get({batch}, entry->getElementType());
    Value labels = entry->addArgument("labels", {batch}, builder.getI32Type());
    Value weights = entry->addArgument("weights", perImage);
    Value patch = entry->addArgument("patch", {batch, taps.tokens}, entry->getElementType());
    Value losses = nn::CrossEntropyOp::create(builder, loc, perImage, logits, labels);
    SmallVector<std::pair<std::string, Value>> made;
    for (int64_t layer : taps.lossLayers()) {
      Value attention = AttentionLossOp::create(builder, loc, perImage, paidTo(builder, taps.layers[layer], patch));
      made.push_back({"attention_loss_" + std::to_string(layer), attention});
      made.push_back({"attention_grad_" + std::to_string(layer), entry->imageGradient(attention, weights)});
    }
    SmallVector<std::pair<StringRef, Value>> results = {{"losses", losses}, {"logits", logits}, {"image_grad", entry->imageGradient(losses, weights)}};
    results.append(made.begin(), made.end());
    entry->setResults(results);
    return success();
  }

  /// What each query of `op` pays to the tokens of the mask `patch`, B x N, mean over the heads.
  static Value paidTo(OpBuilder &builder, nn::AttentionOp op, Value patch) {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointAfter(op);
    Location loc = op.getLoc();
    auto type = op.getResult().getType();
    SmallVector<Value> inputs(op.getInputs());
    int64_t channels = type.getDimSize(2);
    auto part = [&](Value packed, int64_t from) -> Value {
      return nn::SliceChannelsOp::create(builder, loc, withExtent(packed, 2, channels), packed, from);
    };
    if (inputs.size() == 1)
      inputs = {part(inputs[0], 0), part(inputs[0], channels)};
    else if (inputs.size() == 2)
      inputs[1] = part(inputs[1], 0);
    inputs.resize(2);
    inputs.push_back(ExpandChannelsOp::create(builder, loc, type, patch));
    Value attention = nn::AttentionOp::create(builder, loc, type, inputs, op.getBias(), op.getMask(), op.getHeadsAttr(),
                                              op.getScaleAttr(), op.getWindowAttr());
    Value paid = MeanChannelsOp::create(builder, loc, withoutChannels(attention), attention);
    inputs.append({attention, paid});
    nameLayer(op, inputs);
    return paid;
  }

  /// Gives what was made beside `op` the name of its layer.
  static void nameLayer(nn::AttentionOp op, ArrayRef<Value> made) {
    if (auto layer = op->getAttr(nn::NNDialect::kLayerAttr))
      for (Value value : made)
        if (Operation *def = value.getDefiningOp(); def && !def->hasAttr(nn::NNDialect::kLayerAttr))
          def->setAttr(nn::NNDialect::kLayerAttr, layer);
  }
};

} // namespace
} // namespace ns::harden
