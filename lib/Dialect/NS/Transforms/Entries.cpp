//===- Entries.cpp - building entry functions from @forward -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Entries.h"

#include "ns/Dialect/NN/Transforms/Utils.h"

using namespace mlir;

namespace ns::harden {

FailureOr<func::FuncOp> getForward(ModuleOp module) {
  auto forward = module.lookupSymbol<func::FuncOp>("forward");
  if (!forward || forward.isExternal())
    return emitError(module.getLoc()) << "expected the module to define @forward, but got none";
  FunctionType type = forward.getFunctionType();
  auto isTensor = [](Type type, int64_t rank) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return tensor && tensor.getRank() == rank && isa<FloatType>(tensor.getElementType());
  };
  if (type.getNumInputs() != 1 || !isTensor(type.getInput(0), 4) || type.getNumResults() != 1 ||
      !isTensor(type.getResult(0), 2))
    return emitError(forward.getLoc()) << "expected @forward to map one batch of images (B x c x H x W) to logits (B x K), but got "
                                       << type;
  if (!forward.getBody().hasOneBlock())
    return emitError(forward.getLoc()) << "expected @forward to be one block, but got control flow";
  return forward;
}

static void setName(func::FuncOp func, unsigned index, StringRef name, bool isResult) {
  auto attr = StringAttr::get(func.getContext(), name);
  if (isResult)
    func.setResultAttr(index, NSDialect::kNameAttr, attr);
  else
    func.setArgAttr(index, NSDialect::kNameAttr, attr);
}
void nameArgument(func::FuncOp func, unsigned index, StringRef name) { setName(func, index, name, false); }
void nameResult(func::FuncOp func, unsigned index, StringRef name) { setName(func, index, name, true); }

EntryBuilder::EntryBuilder(func::FuncOp func) : func(func), opBuilder(func.getContext()) {
  func->setAttr(NSDialect::kEntryAttr, opBuilder.getUnitAttr());
  opBuilder.setInsertionPoint(func.getBody().front().getTerminator());
}

static LogicalResult checkNameIsFree(ModuleOp module, StringRef name) {
  if (Operation *other = module.lookupSymbol(name)) {
    auto diag = emitError(module.getLoc()) << "expected the symbol @" << name << " to be free for an entry, but got a definition";
    diag.attachNote(other->getLoc()) << "defined here";
    return diag;
  }
  return success();
}

FailureOr<EntryBuilder> EntryBuilder::cloneForward(func::FuncOp forward, StringRef name) {
  auto module = forward->getParentOfType<ModuleOp>();
  if (failed(checkNameIsFree(module, name)))
    return failure();
  func::FuncOp func = forward.clone();
  func.setName(name);
  module.push_back(func);
  nameArgument(func, 0, "image");
  return EntryBuilder(func);
}

FailureOr<EntryBuilder> EntryBuilder::create(ModuleOp module, StringRef name) {
  if (failed(checkNameIsFree(module, name)))
    return failure();
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  auto func = func::FuncOp::create(builder, module.getLoc(), name, builder.getFunctionType({}, {}));
  builder.setInsertionPointToStart(func.addEntryBlock());
  func::ReturnOp::create(builder, module.getLoc());
  return EntryBuilder(func);
}

Type EntryBuilder::getElementType() { return cast<RankedTensorType>(getImage().getType()).getElementType(); }

Value EntryBuilder::addArgument(StringRef name, ArrayRef<int64_t> shape, Type elementType) {
  return addArgument(name, RankedTensorType::get(shape, elementType));
}

Value EntryBuilder::addArgument(StringRef name, Type type) {
  unsigned index = func.getNumArguments();
  // Appending an argument of a tensor type to a function cannot fail.
  (void)func.insertArgument(index, type, DictionaryAttr(), func.getLoc());
  nameArgument(func, index, name);
  return func.getArgument(index);
}

Value EntryBuilder::imageGradient(Value losses, Value weights) {
  auto scalar = RankedTensorType::get({}, getElementType());
  Value loss = nn::WeightedSumOp::create(opBuilder, getLoc(), scalar, losses, weights);
  return GradientOp::create(opBuilder, getLoc(), getImage().getType(), loss, getImage()).getResult(0);
}

void EntryBuilder::setResults(ArrayRef<std::pair<StringRef, Value>> results) {
  Block &block = func.getBody().front();
  SmallVector<Value> values(llvm::make_second_range(results));
  block.getTerminator()->setOperands(values);
  func.setType(opBuilder.getFunctionType(block.getArgumentTypes(), TypeRange(values)));
  func.setAllResultAttrs(SmallVector<DictionaryAttr>(results.size(), opBuilder.getDictionaryAttr({})));
  for (auto [index, result] : llvm::enumerate(results))
    nameResult(func, index, result.first);
  nn::eraseDeadOps(block);
}

FailureOr<NoiseOp> getNoise(ModuleOp module) {
  auto noises = module.getOps<NoiseOp>();
  if (noises.empty()) {
    auto diag = emitError(module.getLoc()) << "expected the module to declare a noise, but got none";
    diag.attachNote() << "ns-insert-noise declares it";
    return diag;
  }
  return *noises.begin();
}

/// The noised tensor; `original` is the site's, `readers` its uses before the injection.
static FailureOr<Value> createInject(EntryBuilder &entry, NoiseOp noise, Value &original, SmallVector<OpOperand *> &readers) {
  FailureOr<Value> site = findSite(entry.getFunc(), noise.getSite());
  if (failed(site))
    return failure();
  original = *site;
  for (OpOperand &use : original.getUses())
    readers.push_back(&use);
  OpBuilder &builder = entry.builder();
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointAfterValue(original);
  Value value = ReadNoiseOp::create(builder, entry.getLoc(), noise.getTensorType(), noise.getSymName());
  return Value(InjectOp::create(builder, original.getLoc(), original.getType(), original, value, noise.getSiteAttr(),
                                noise.getSite() == "image"));
}

LogicalResult injectNoise(EntryBuilder &entry, NoiseOp noise) {
  Value original;
  SmallVector<OpOperand *> readers;
  FailureOr<Value> noised = createInject(entry, noise, original, readers);
  if (failed(noised))
    return failure();
  for (OpOperand *reader : readers)
    reader->set(*noised);
  return success();
}

LogicalResult injectNoiseStacked(EntryBuilder &entry, NoiseOp noise) {
  Value original;
  SmallVector<OpOperand *> readers;
  FailureOr<Value> noised = createInject(entry, noise, original, readers);
  if (failed(noised))
    return failure();
  OpBuilder &builder = entry.builder();
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointAfterValue(*noised);
  Value stacked = nn::ConcatBatchOp::create(builder, original.getLoc(), original.getType(), original, *noised);
  for (OpOperand *reader : readers)
    reader->set(stacked);
  return success();
}

} // namespace ns::harden
