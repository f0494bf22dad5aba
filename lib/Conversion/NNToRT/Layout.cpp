//===- Layout.cpp - places of parameters, state and io -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Layout.h"

#include "ns/Dialect/NN/IR/NN.h"
#include "ns/Dialect/NS/IR/NS.h"

#include "mlir/IR/Builders.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ns;

void Layout::pad(rt::Region region, int64_t multiple) {
  bytes[unsigned(region)] = llvm::alignTo(bytes[unsigned(region)], multiple);
}

void Layout::place(rt::Region region, StringRef name, RankedTensorType type) {
  pad(region, kAlignment);
  StringRef owned =
      StringAttr::get(type.getContext(), name).getValue(); // lives as long as the context
  slots[unsigned(region)].insert({owned, Slot{bytes[unsigned(region)], type}});
  bytes[unsigned(region)] += rt::byteSize(type);
}

Layout::Layout(ModuleOp module) {
  SmallVector<nn::ParamOp> decay, noDecay, buffers;
  for (auto param : module.getOps<nn::ParamOp>())
    (param.getBuffer() ? buffers : param.getNoDecay() ? noDecay : decay).push_back(param);
  element = Float32Type::get(module.getContext());
  for (auto param : module.getOps<nn::ParamOp>())
    element = param.getTensorType().getElementType();
  int64_t elementBytes = element.getIntOrFloatBitWidth() / 8;

  auto addParams = [&](ArrayRef<nn::ParamOp> params) {
    for (nn::ParamOp param : params)
      place(rt::Region::Params, param.getSymName(), param.getTensorType());
  };
  addParams(decay);
  pad(rt::Region::Params, kOptimizerRow * elementBytes);
  groups[0] = bytes[0] / elementBytes;
  addParams(noDecay);
  pad(rt::Region::Params, kOptimizerRow * elementBytes);
  groups[1] = bytes[0] / elementBytes - groups[0];
  trainedBytes = bytes[0];
  addParams(buffers);

  for (auto noise : module.getOps<harden::NoiseOp>())
    for (StringRef suffix : {"", ".grad", ".m", ".v"})
      place(rt::Region::State, (noise.getSymName() + suffix).str(), noise.getTensorType());

  bool trains =
      module.walk([](harden::AdamWParamsOp) { return WalkResult::interrupt(); }).wasInterrupted();
  if (trains) {
    auto flat = RankedTensorType::get({trainedBytes / elementBytes}, element);
    for (StringRef name : {"params.grad", "params.m", "params.v"}) {
      place(rt::Region::State, name, flat);
      int64_t start = find(rt::Region::State, name)->offset;
      int64_t from = 0;
      for (auto [group, elements] :
           {std::pair<StringRef, int64_t>{"decay", groups[0]}, {"no_decay", groups[1]}}) {
        StringRef key = StringAttr::get(element.getContext(), name + ":" + group).getValue();
        slots[1].insert(
            {key, Slot{start + from * elementBytes, RankedTensorType::get({elements}, element)}});
        from += elements;
      }
    }
    int64_t start = find(rt::Region::State, "params.grad")->offset;
    for (auto list : {decay, noDecay})
      for (nn::ParamOp param : list) {
        StringRef key =
            StringAttr::get(element.getContext(), "params.grad:" + param.getSymName()).getValue();
        slots[1].insert({key, Slot{start + find(rt::Region::Params, param.getSymName())->offset,
                                   param.getTensorType()}});
      }
    slots[0].insert({":decay", Slot{0, RankedTensorType::get({groups[0]}, element)}});
    slots[0].insert(
        {":no_decay", Slot{groups[0] * elementBytes, RankedTensorType::get({groups[1]}, element)}});
  }
}

const Layout::Slot *Layout::find(rt::Region region, StringRef name) const {
  auto &map = slots[unsigned(region)];
  auto it = map.find(name);
  return it == map.end() ? nullptr : &it->second;
}

LogicalResult Layout::addIO(StringRef name, RankedTensorType type, Location loc) {
  if (const Slot *slot = find(rt::Region::IO, name)) {
    if (slot->type != type)
      return emitError(loc, "expected io '")
             << name << "' to be " << slot->type << " in every entry, but got " << type;
    return success();
  }
  place(rt::Region::IO, name, type);
  return success();
}

int64_t Layout::groupElements(StringRef group) const { return groups[group == "decay" ? 0 : 1]; }

void Layout::store(ModuleOp module) const {
  Builder b(module.getContext());
  NamedAttrList layout;
  StringRef names[] = {"params", "state", "io"};
  for (unsigned region = 0; region < 3; ++region) {
    SmallVector<Attribute> list;
    for (auto &[name, slot] : slots[region])
      list.push_back(
          b.getDictionaryAttr({b.getNamedAttr("name", b.getStringAttr(name)),
                               b.getNamedAttr("offset", b.getI64IntegerAttr(slot.offset)),
                               b.getNamedAttr("type", TypeAttr::get(slot.type))}));
    layout.append(names[region], b.getArrayAttr(list));
    layout.append((names[region] + "_bytes").str(),
                  b.getI64IntegerAttr(llvm::alignTo(bytes[region], kAlignment)));
  }
  layout.append("trained_bytes", b.getI64IntegerAttr(trainedBytes));
  module->setAttr(rt::RTDialect::kLayoutAttr, layout.getDictionary(module.getContext()));
}
