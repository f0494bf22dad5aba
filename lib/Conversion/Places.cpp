//===- Places.cpp - where the values of a planned entry lie -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Places.h"

using namespace mlir;
using namespace ns;
using rt::typeOf;

bool ns::overlap(Place a, int64_t bytesOfA, Place b, int64_t bytesOfB) {
  return a.region == b.region && a.offset < b.offset + bytesOfB && b.offset < a.offset + bytesOfA;
}

/// Offset of a named slot in `rt.layout`.
static FailureOr<int64_t> slotOffset(ModuleOp module, rt::SlotOp slot) {
  auto layout = module->getAttrOfType<DictionaryAttr>(rt::RTDialect::kLayoutAttr);
  if (!layout)
    return slot.emitOpError("expected the module to have '") << rt::RTDialect::kLayoutAttr << "'";
  for (Attribute entry : layout.getAs<ArrayAttr>(rt::stringifyRegion(slot.getRegion()))) {
    auto fields = cast<DictionaryAttr>(entry);
    if (fields.getAs<StringAttr>("name") == slot.getNameAttr())
      return fields.getAs<IntegerAttr>("offset").getInt();
  }
  return slot.emitOpError("expected region ")
         << rt::stringifyRegion(slot.getRegion()) << " to have a slot '" << slot.getName() << "'";
}

LogicalResult ns::assignPlaces(ModuleOp module, Operation *op, PlaceMap &places) {
  if (auto slot = dyn_cast<rt::SlotOp>(op)) {
    auto offset = slotOffset(module, slot);
    if (failed(offset))
      return failure();
    places[slot.getResult()] = {unsigned(slot.getRegion()), *offset};
    return success();
  }
  if (auto view = dyn_cast<rt::ViewOp>(op)) {
    Place place = places.lookup(view.getSource());
    place.offset +=
        int64_t(view.getOffset()) * (typeOf(view.getSource()).getElementTypeBitWidth() / 8);
    places[view.getResult()] = place;
    return success();
  }
  auto offsets = op->getAttrOfType<DenseI64ArrayAttr>(rt::RTDialect::kOffsetsAttr);
  if (!offsets && op->getNumResults() > 0)
    return op->emitOpError("expected '") << rt::RTDialect::kOffsetsAttr << "'; run rt-plan-memory";
  for (OpResult result : op->getResults()) {
    Value dest = rt::destinationOf(result);
    places[result] = dest ? places.lookup(dest)
                          : Place{unsigned(rt::Region::Work), offsets[result.getResultNumber()]};
  }
  return success();
}

std::string ns::programKey(rt::FusedOp op) {
  std::string key;
  llvm::raw_string_ostream os(key);
  os << op.getInner() << ',' << op.getCols() << op.getInMaps() << op.getOutMaps();
  for (Value value : op.getInputs())
    os << rt::rowPitch(typeOf(value)) << typeOf(value).getElementType() << ',';
  for (Value value : op.getResults())
    os << rt::rowPitch(typeOf(value)) << typeOf(value).getElementType() << ',';
  DenseMap<Value, unsigned> numbers;
  for (BlockArgument arg : op.getBody().getArguments())
    numbers.insert({arg, numbers.size()});
  for (Operation &inner : op.getBody().front()) {
    os << inner.getName() << inner.getAttrDictionary() << '(';
    for (Value operand : inner.getOperands())
      os << numbers.lookup(operand) << ',';
    os << ")\n";
    for (Value result : inner.getResults())
      numbers.insert({result, numbers.size()});
  }
  return key;
}
