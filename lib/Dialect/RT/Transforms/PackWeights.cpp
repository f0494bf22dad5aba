//===- PackWeights.cpp - frozen weights lie packed ------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Prepare.h"

#include "ns/Dialect/RT/IR/RowProgram.h"
#include "ns/Dialect/RT/Transforms/Passes.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/Support/MathExtras.h"

#include <map>

namespace ns::rt {
#define GEN_PASS_DEF_RTPACKWEIGHTSPASS
#include "ns/Dialect/RT/Transforms/Passes.h.inc"
} // namespace ns::rt

using namespace mlir;
using namespace ns::rt;

namespace {

/// Rows of a parameter that lie one after the other, n x k, and who packs them: for Y = X W^T
/// (forward) or dX = dY W.
struct Part {
  int64_t n, k;
  SmallVector<PackOp> forward, gradients;

  RankedTensorType packedType(Type element) const {
    return RankedTensorType::get({k, PackOp::alignedColumns(n)}, element);
  }
};

/// What the entries read of one parameter, by the first element.
struct Weight {
  RankedTensorType type;
  std::map<int64_t, Part> parts;
  bool isOnlyPacked = true;

  void addReads(Value value, int64_t offset);
  void addPart(PackOp pack, int64_t offset);
  /// Whether the packed parts can stand in the place of the parameter.
  bool canLiePacked() const;
  /// Bytes that the packed form is longer.
  int64_t growth() const;
};

struct RTPackWeightsPass : public ns::rt::impl::RTPackWeightsPassBase<RTPackWeightsPass> {
  using RTPackWeightsPassBase::RTPackWeightsPassBase;

  void runOnOperation() override;

private:
  using Weights = llvm::MapVector<StringAttr, Weight>;
  void readPacked(StringAttr name, const Weight &weight);
  void packInPrepare(func::FuncOp prepare, const Weights &weights);
  void extendLayout(const Weights &weights);
};
} // namespace

//===----------------------------------------------------------------------===//
// Who reads what
//===----------------------------------------------------------------------===//

void Weight::addReads(Value value, int64_t offset) {
  for (Operation *user : value.getUsers()) {
    if (auto view = dyn_cast<ViewOp>(user))
      addReads(view.getResult(), offset + int64_t(view.getOffset()));
    else if (auto pack = dyn_cast<PackOp>(user); pack && !pack.getPacked())
      addPart(pack, offset);
    else
      isOnlyPacked = false;
  }
}

void Weight::addPart(PackOp pack, int64_t offset) {
  int64_t n = pack.getNk()[0], k = pack.getNk()[1];
  if (!pack.getTransB())
    std::swap(n, k); // as its rows lie in memory
  Part &part = parts.try_emplace(offset, Part{n, k, {}, {}}).first->second;
  isOnlyPacked &= part.n == n && part.k == k;
  (pack.getTransB() ? part.forward : part.gradients).push_back(pack);
}

bool Weight::canLiePacked() const {
  int64_t end = 0;
  for (auto &[offset, part] : parts) {
    bool isWhole = parts.size() == 1 && part.n * part.k == type.getNumElements();
    if (offset < end || part.forward.empty() ||
        (!isWhole && PackOp::alignedColumns(part.n) != part.n))
      return false;
    end = offset + part.n * part.k;
  }
  return isOnlyPacked && !parts.empty();
}

int64_t Weight::growth() const {
  int64_t bytes = 0;
  for (auto &[offset, part] : parts)
    bytes += part.k * (PackOp::alignedColumns(part.n) - part.n) * type.getElementTypeBitWidth() / 8;
  return llvm::alignTo(bytes, 64);
}

//===----------------------------------------------------------------------===//
// Changes
//===----------------------------------------------------------------------===//

static std::string nameOf(StringAttr param, int64_t offset) {
  std::string name = param.str() + ":packed";
  return offset == 0 ? name : name + ":" + std::to_string(offset);
}

/// The place of a packed part.
static Value placeOf(OpBuilder &b, Location loc, StringAttr param, const Weight &weight,
                     int64_t offset) {
  return SlotOp::create(b, loc, weight.parts.at(offset).packedType(weight.type.getElementType()),
                        ns::rt::Region::Params, nameOf(param, offset));
}

void RTPackWeightsPass::readPacked(StringAttr name, const Weight &weight) {
  for (auto &[offset, part] : weight.parts) {
    for (PackOp pack : part.forward) {
      OpBuilder b(pack);
      pack.getResult().replaceAllUsesWith(placeOf(b, pack.getLoc(), name, weight, offset));
      pack.erase();
      ++numReads;
    }
    for (PackOp pack : part.gradients) {
      OpBuilder b(pack);
      pack.getSourceMutable().assign(placeOf(b, pack.getLoc(), name, weight, offset));
      pack.setPacked(true);
    }
  }
}

/// Each part is packed into the arena, and from there takes the place of what it was made of.
void RTPackWeightsPass::packInPrepare(func::FuncOp prepare, const Weights &weights) {
  llvm::DenseMap<StringAttr, Value> last = lastParamValues(prepare);
  OpBuilder b(prepare.getBody().front().getTerminator());
  Location loc = prepare.getLoc();
  for (auto &[name, weight] : weights) {
    Value whole = last.lookup(name);
    if (!whole)
      whole = SlotOp::create(b, loc, weight.type, ns::rt::Region::Params, name.getValue());
    Type element = weight.type.getElementType();
    for (auto &[offset, part] : weight.parts) {
      Value rows = whole;
      if (part.n * part.k != weight.type.getNumElements())
        rows =
            ViewOp::create(b, loc, RankedTensorType::get({part.n, part.k}, element), whole, offset);
      RankedTensorType type = part.packedType(element);
      Value packed = PackOp::create(b, loc, type, rows, b.getDenseI64ArrayAttr({part.n, part.k}),
                                    /*trans_b=*/true);
      ns::RowProgram copy(b, loc, element, {type.getDimSize(0), 1, type.getDimSize(1)});
      copy.out(copy.in(packed), type, copy.r, copy.c, placeOf(b, loc, name, weight, offset));
      copy.finish();
    }
  }
}

void RTPackWeightsPass::extendLayout(const Weights &weights) {
  Builder b(&getContext());
  auto layout = getOperation()->getAttrOfType<DictionaryAttr>(RTDialect::kLayoutAttr);
  auto slots = layout.getAs<ArrayAttr>("params").getAsRange<DictionaryAttr>();
  auto offsetOf = [](DictionaryAttr slot) { return slot.getAs<IntegerAttr>("offset").getInt(); };
  std::map<int64_t, int64_t> growths; // of the slot that begins there
  int64_t bytes = layout.getAs<IntegerAttr>("params_bytes").getInt();
  for (DictionaryAttr slot : slots)
    if (auto it = weights.find(slot.getAs<StringAttr>("name")); it != weights.end()) {
      growths[offsetOf(slot)] = it->second.growth();
      bytes += it->second.growth();
    }
  SmallVector<Attribute> params;
  auto place = [&](StringRef name, int64_t offset, RankedTensorType type) {
    params.push_back(b.getDictionaryAttr({b.getNamedAttr("name", b.getStringAttr(name)),
                                          b.getNamedAttr("offset", b.getI64IntegerAttr(offset)),
                                          b.getNamedAttr("type", TypeAttr::get(type))}));
  };
  for (DictionaryAttr slot : slots) {
    int64_t offset = offsetOf(slot), moved = offset;
    for (auto [begin, growth] : growths)
      moved += begin < offset ? growth : 0;
    auto name = slot.getAs<StringAttr>("name");
    place(name, moved, cast<RankedTensorType>(slot.getAs<TypeAttr>("type").getValue()));
    if (auto it = weights.find(name); it != weights.end())
      for (auto &[from, part] : it->second.parts) {
        Type element = it->second.type.getElementType();
        place(nameOf(name, from), moved + from * element.getIntOrFloatBitWidth() / 8,
              part.packedType(element));
      }
  }
  NamedAttrList fields(layout);
  fields.set("params", b.getArrayAttr(params));
  fields.set("params_bytes", b.getI64IntegerAttr(bytes));
  getOperation()->setAttr(RTDialect::kLayoutAttr, fields.getDictionary(&getContext()));
}

void RTPackWeightsPass::runOnOperation() {
  ModuleOp module = getOperation();
  if (trainsParams(module))
    return;
  Weights weights;
  for (func::FuncOp entry : chooseEntries(module, {}))
    entry.walk([&](SlotOp slot) {
      if (slot.getRegion() != ns::rt::Region::Params)
        return;
      Weight &weight = weights[slot.getNameAttr()];
      weight.type = typeOf(slot.getResult());
      weight.addReads(slot.getResult(), 0);
    });
  weights.remove_if([](auto &item) { return !item.second.canLiePacked(); });
  numWeights = weights.size();
  if (weights.empty())
    return;
  for (auto &[name, weight] : weights)
    readPacked(name, weight);
  packInPrepare(getOrCreatePrepare(module), weights);
  extendLayout(weights);
  for (auto entry : module.getOps<func::FuncOp>())
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(entry.getBody().front())))
      if (isa<ViewOp, SlotOp>(op) && op.use_empty())
        op.erase();
}
