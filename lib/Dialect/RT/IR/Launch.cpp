//===- Launch.cpp - rt.launch against its kernel -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Destinations.h"

#include "mlir/Dialect/GPU/IR/GPUDialect.h"

using namespace mlir;
using namespace ns::rt;

Value LaunchOp::getDestOf(unsigned i) { return destinationAt(*this, i); }

LogicalResult LaunchOp::verify() {
  for (auto [name, sizes] : {std::pair<StringRef, ArrayRef<int64_t>>("grid", getGrid()),
                             std::pair<StringRef, ArrayRef<int64_t>>("block", getBlock())})
    if (sizes.size() != 3 || llvm::any_of(sizes, [](int64_t size) { return size <= 0; }))
      return emitOpError("expected ") << name << " to be three positive sizes";
  return verifyDestinations(*this);
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
