//===- Launch.cpp - rt.launch against its kernel -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Dialect/RT/IR/RT.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

using namespace mlir;
using namespace ns::rt;

Value LaunchOp::getDestOf(unsigned i) {
  auto destOf = getDestOfAttr();
  if (!destOf || destOf[i] < 0)
    return {};
  return getDests()[destOf[i]];
}

LogicalResult LaunchOp::verify() {
  for (auto [name, sizes] : {std::pair<StringRef, ArrayRef<int64_t>>("grid", getGrid()),
                             std::pair<StringRef, ArrayRef<int64_t>>("block", getBlock())})
    if (sizes.size() != 3 || llvm::any_of(sizes, [](int64_t size) { return size <= 0; }))
      return emitOpError("expected ") << name << " to be three positive sizes";
  auto destOf = getDestOfAttr();
  if (destOf && destOf.size() != getNumResults())
    return emitOpError("expected a destination index for each of ")
           << getNumResults() << " results, but got " << destOf.size();
  for (unsigned i = 0; i < getNumResults(); ++i) {
    if (destOf && destOf[i] >= int64_t(getDests().size()))
      return emitOpError("expected destination index ")
             << i << " to be below " << getDests().size() << ", but got " << destOf[i];
    if (Value dest = getDestOf(i);
        dest && typeOf(dest).getNumElements() != typeOf(getResult(i)).getNumElements())
      return emitOpError("expected destination of result ")
             << i << " to have " << typeOf(getResult(i)).getNumElements() << " elements";
  }
  return success();
}

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto kernel = symbols.lookupNearestSymbolFrom<gpu::GPUFuncOp>(*this, getKernelAttr());
  if (!kernel)
    return emitOpError("expected ") << getKernelAttr() << " to be a gpu.func";
  if (kernel.getNumArguments() != getInputs().size() + getNumResults())
    return emitOpError("expected ")
           << getKernelAttr() << " to have " << getInputs().size() + getNumResults()
           << " arguments, for inputs and results, but got " << kernel.getNumArguments();
  SmallVector<Value> places(getInputs());
  llvm::append_range(places, getResults());
  for (auto [i, place] : llvm::enumerate(places)) {
    RankedTensorType tensor = typeOf(place);
    auto argument = dyn_cast<MemRefType>(kernel.getArgument(i).getType());
    if (!argument || argument.getElementType() != tensor.getElementType() ||
        argument.getShape() != ArrayRef<int64_t>{tensor.getNumElements()})
      return emitOpError("expected argument ")
             << i << " of " << getKernelAttr() << " to be a memref of " << tensor.getNumElements()
             << " elements of " << tensor.getElementType() << ", but got "
             << kernel.getArgument(i).getType();
  }
  if (auto known = kernel.getKnownBlockSizeAttr())
    for (unsigned dim = 0; dim < 3; ++dim)
      if (known[dim] != getBlock()[dim])
        return emitOpError("expected block ") << getKernelAttr() << " is made for, "
                                              << known.asArrayRef() << ", but got " << getBlock();
  return success();
}
