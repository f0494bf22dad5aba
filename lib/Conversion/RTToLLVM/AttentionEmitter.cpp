//===- AttentionEmitter.cpp - attention, head by head -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AttentionEmitter.h"

#include "TileProducts.h"
#include "ns/Dialect/RT/IR/AttentionShape.h"
#include "ns/Dialect/RT/IR/RowProgram.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ns;
using rt::typeOf;

namespace {

/// Emits the body of one task.
class HeadEmitter {
public:
  HeadEmitter(OpBuilder &b, KernelEmitter &kernels, Operation *op, Value arguments)
      : b(b), loc(op->getLoc()), kernels(kernels), op(op), shape(op), arguments(arguments),
        host(b, loc, LLVM::LoadOp::create(b, loc, pointerType(), arguments)),
        element(typeOf(op->getOperand(0)).getElementType()),
        products(b, loc, host, element, kernels.getVectorBits()) {}
  void emit(Value begin, Value end);

private:
  /// Rows of the scores, at most, that go from product to softmax to product while they are near.
  static constexpr int64_t kBlockRows = 66;

  /// q, k or v in its place, and its bias or null.
  struct Input {
    Matrix from;
    Value bias;
  };

  LLVM::LLVMPointerType pointerType() { return LLVM::LLVMPointerType::get(b.getContext()); }
  Value argument(unsigned i);
  Matrix headOf(unsigned array, int64_t tokens, int64_t pitch, int64_t channel);
  Input input(unsigned part, int64_t tokens);
  Matrix result(unsigned part, int64_t tokens);
  Matrix scoresGrad();
  Matrix scratch(int64_t rows, int64_t ld);
  Matrix copied(const Input &source, int64_t tokens, double scale);
  TileRight transposed(const Input &source);
  TileLeft rowsOf(Matrix matrix) { return {matrix.pointer, matrix.ld, 1}; }
  TileLeft columnsOf(Matrix matrix) { return {matrix.pointer, 1, matrix.ld}; }
  TileRight vectorsOf(Matrix matrix) { return {matrix.pointer, matrix.ld, products.width()}; }
  void forEachBlock(llvm::function_ref<void(Value first, int64_t rows)> body);
  /// Makes the element (r, c) of a matrix, input or result, of a row program of the scores' width.
  using Operand = llvm::function_ref<Value(int64_t ld)>;
  void run(int64_t rows, ArrayRef<bool> overlaps, ArrayRef<Value> pointers,
           llvm::function_ref<void(RowProgram &, Operand)> write);
  SmallVector<Value> addedToScores(Value row);
  Value exponentials(RowProgram &p, Operand operand, int64_t ld, unsigned numAdded);
  void softmax(Matrix scores, Value inverseSums, Value first, int64_t rows);
  void softmaxGrad(Matrix scores, Matrix gradient, Matrix to, Value first, int64_t rows);
  void emitForward();
  void emitBackward();

  OpBuilder &b;
  Location loc;
  KernelEmitter &kernels;
  Operation *op;
  rt::AttentionShape shape;
  Value arguments;
  HostCalls host;
  Type element;
  TileProducts products;
  Value image, head, scratchBase; // image: one of all windows, where there are any
  int64_t scratchBytes = 0;
};

} // namespace

Value HeadEmitter::argument(unsigned i) {
  Value at = LLVM::GEPOp::create(b, loc, pointerType(), pointerType(), arguments,
                                 ArrayRef<LLVM::GEPArg>{int32_t(i)});
  return LLVM::LoadOp::create(b, loc, pointerType(), at);
}

/// The head's columns from `channel` on of argument `array`, tokens x pitch for each image.
Matrix HeadEmitter::headOf(unsigned array, int64_t tokens, int64_t pitch, int64_t channel) {
  Value column = products.add(products.mul(head, shape.dim), channel);
  Matrix images{argument(array), tokens * pitch};
  return {products.at(images, image, column), pitch};
}

Matrix HeadEmitter::scratch(int64_t rows, int64_t ld) {
  Value pointer = host.bytes(scratchBase, scratchBytes);
  scratchBytes += llvm::alignTo(rows * ld * (element.getIntOrFloatBitWidth() / 8), 64);
  return {pointer, ld};
}

//===----------------------------------------------------------------------===//
// q, k and v
//===----------------------------------------------------------------------===//

HeadEmitter::Input HeadEmitter::input(unsigned index, int64_t tokens) {
  const rt::AttentionShape::Part &part = shape.parts[index];
  unsigned firstInput = isa<rt::AttentionOp>(op) ? 1 : 2; // after the host, and the gradient
  unsigned numInputs = shape.parts[2].input + 1;
  Matrix from = headOf(firstInput + part.input, tokens, part.pitch, part.channel);
  if (shape.biases.empty())
    return {from, Value()};
  Value column = products.add(products.mul(head, shape.dim), part.channel);
  return {from, host.offset(argument(firstInput + numInputs + part.input), element, column)};
}

/// The gradient of q, k or v.
Matrix HeadEmitter::result(unsigned index, int64_t tokens) {
  const rt::AttentionShape::Part &part = shape.parts[index];
  return headOf(1 + op->getNumOperands() + part.input, tokens, part.pitch, part.channel);
}

/// (source + bias) * scale in scratch, in rows of whole vectors.
Matrix HeadEmitter::copied(const Input &source, int64_t tokens, double scale) {
  Matrix copy = scratch(tokens, products.pitch(shape.dim));
  products.copy(tokens, shape.dim, source.from, source.bias, scale, copy);
  return copy;
}

/// (k or v + bias) transposed, in scratch.
TileRight HeadEmitter::transposed(const Input &source) {
  Matrix panels = scratch(llvm::alignTo(shape.keys, products.width()), shape.dim);
  products.transpose(shape.keys, shape.dim, source.from, source.bias, panels.pointer);
  return products.panels(panels.pointer, shape.dim);
}

//===----------------------------------------------------------------------===//
// Softmax of a block of rows
//===----------------------------------------------------------------------===//

/// Blocks of one size, so that the body is emitted once. The last one reaches back over rows of the
/// one before it, whose results it writes again with the same bits.
void HeadEmitter::forEachBlock(llvm::function_ref<void(Value, int64_t)> body) {
  int64_t blocks = llvm::divideCeil(shape.queries, kBlockRows);
  int64_t rows = llvm::divideCeil(shape.queries, blocks);
  products.loop(blocks, [&](Value i) {
    Value first = products.mul(i, rows);
    if (blocks * rows != shape.queries)
      first = arith::MinUIOp::create(b, loc, first, host.i64(shape.queries - rows));
    body(first, rows);
  });
}

/// Calls a row kernel on `rows` rows of as many columns as there are keys; `overlaps` as in
/// KernelEmitter. `write` builds the program; it gets a function that makes an operand with rows
/// `ld` elements apart.
void HeadEmitter::run(int64_t rows, ArrayRef<bool> overlaps, ArrayRef<Value> pointers,
                      llvm::function_ref<void(RowProgram &, Operand)> write) {
  OwningOpRef<ModuleOp> holder(
      ModuleOp::create(loc)); // the program is only a pattern for the kernel
  OpBuilder inner = OpBuilder::atBlockEnd(holder->getBody());
  RowProgram program(inner, loc, element, {kBlockRows, 1, shape.keys});
  write(program, [&](int64_t ld) -> Value {
    auto type = RankedTensorType::get({kBlockRows, ld}, element);
    return rt::SlotOp::create(inner, loc, type, rt::Region::Work, "operand");
  });
  LLVM::LLVMFuncOp kernel = kernels.kernel(program.finish(), overlaps);
  SmallVector<Value> operands(pointers);
  operands.append({host.i64(0), host.i64(rows)});
  LLVM::CallOp::create(b, loc, kernel, operands);
}

/// Bias and mask of the scores, from row `row` of the head on: two, one or none.
SmallVector<Value> HeadEmitter::addedToScores(Value row) {
  SmallVector<Value> pointers;
  auto add = [&](unsigned array, Value index) {
    Matrix stack{argument(array), shape.queries * shape.keys};
    pointers.push_back(products.at({products.at(stack, index), shape.keys}, row));
  };
  if (shape.scoreBias) // the mask, where there is one, is the last operand
    add(op->getNumOperands() - bool(shape.mask), head);
  if (shape.mask)
    add(op->getNumOperands(), arith::RemUIOp::create(b, loc, image, host.i64(shape.windows)));
  return pointers;
}

/// exp(x - max(x)) of a row x of scores with what is added to them: the first inputs of a program.
Value HeadEmitter::exponentials(RowProgram &p, Operand operand, int64_t ld, unsigned numAdded) {
  Value x = p.in(operand(ld));
  for (unsigned i = 0; i < numAdded; ++i)
    x = p.add(x, p.in(operand(shape.keys)));
  return p.exp(p.sub(x, p.max(x)));
}

/// Exponentials in place of the scores of rows [first, first + rows), and for each row what makes
/// probabilities of them: the second product multiplies by it.
void HeadEmitter::softmax(Matrix scores, Value inverseSums, Value first, int64_t rows) {
  SmallVector<Value> pointers = {scores.pointer};
  llvm::append_range(pointers, addedToScores(first));
  unsigned numAdded = pointers.size() - 1;
  pointers.append({scores.pointer, inverseSums});
  run(rows, {true, false}, pointers, [&](RowProgram &p, Operand operand) {
    Value e = exponentials(p, operand, scores.ld, numAdded);
    p.out(e, RankedTensorType::get({kBlockRows, scores.ld}, element));
    p.out(p.div(p.constant(1.0), p.sum(e)), RankedTensorType::get({kBlockRows}, element), p.r,
          p.lit(0));
  });
}

/// The probabilities P in place of the scores, and to = P * (gradient - rowsum(P * gradient)).
void HeadEmitter::softmaxGrad(Matrix scores, Matrix gradient, Matrix to, Value first,
                              int64_t rows) {
  SmallVector<Value> pointers = {scores.pointer};
  llvm::append_range(pointers, addedToScores(first));
  unsigned numAdded = pointers.size() - 1;
  pointers.append({gradient.pointer, scores.pointer, to.pointer});
  run(rows, {true, false}, pointers, [&](RowProgram &p, Operand operand) {
    Value e = exponentials(p, operand, scores.ld, numAdded), grad = p.in(operand(gradient.ld));
    // Both sums in one pass over the exponentials.
    Value inverse = p.div(p.constant(1.0), p.sum(e));
    Value mean = p.mul(p.sum(p.mul(e, grad)), inverse), probability = p.mul(e, inverse);
    p.out(probability, RankedTensorType::get({kBlockRows, scores.ld}, element));
    p.out(p.mul(probability, p.sub(grad, mean)),
          RankedTensorType::get({kBlockRows, to.ld}, element));
  });
}

//===----------------------------------------------------------------------===//
// One head
//===----------------------------------------------------------------------===//

void HeadEmitter::emitForward() {
  int64_t m = shape.queries, n = shape.keys, d = shape.dim;
  Matrix q = copied(input(0, m), m, shape.scale);
  TileRight keys = transposed(input(1, n));
  Matrix v = copied(input(2, n), n, 1.0);
  Matrix scores = scratch(std::min(m, kBlockRows), products.pitch(n));
  Value inverseSums = scratch(1, kBlockRows).pointer;
  Matrix out = headOf(1 + op->getNumOperands(), m, shape.width, 0);
  forEachBlock([&](Value first, int64_t rows) {
    auto from = [&](Matrix matrix) -> Matrix { return {products.at(matrix, first), matrix.ld}; };
    products.product(rows, n, d, rowsOf(from(q)), keys, {.to = scores, .padded = true});
    softmax(scores, inverseSums, first, rows);
    products.product(rows, d, n, rowsOf(scores), vectorsOf(v),
                     {.to = from(out), .distant = true, .factors = inverseSums});
  });
}

void HeadEmitter::emitBackward() {
  int64_t m = shape.queries, n = shape.keys, d = shape.dim;
  Matrix dOut = copied({headOf(1, m, shape.width, 0), Value()}, m, 1.0);
  Matrix q = copied(input(0, m), m, shape.scale), k = copied(input(1, n), n, 1.0);
  TileRight keys = transposed({k, Value()}), values = transposed(input(2, n));
  Matrix probabilities = scratch(m, products.pitch(n));
  Matrix dProbabilities = scratch(std::min(m, kBlockRows), products.pitch(n));
  Matrix dScores = scoresGrad(), dQ = result(0, m);
  forEachBlock([&](Value first, int64_t rows) {
    auto from = [&](Matrix matrix) -> Matrix { return {products.at(matrix, first), matrix.ld}; };
    Matrix p = from(probabilities), ds = from(dScores);
    products.product(rows, n, d, rowsOf(from(q)), keys, {.to = p, .padded = true});
    products.product(rows, n, d, rowsOf(from(dOut)), values,
                     {.to = dProbabilities, .padded = true});
    softmaxGrad(p, dProbabilities, ds, first, rows);
    products.product(rows, d, n, rowsOf(ds), vectorsOf(k),
                     {.to = from(dQ), .distant = true, .scale = shape.scale});
  });
  products.product(n, d, m, columnsOf(probabilities), vectorsOf(dOut),
                   {.to = result(2, n), .distant = true});
  products.product(n, d, m, columnsOf(dScores), vectorsOf(q),
                   {.to = result(1, n), .distant = true}); // q is scaled
}

/// The gradient of the head's scores: a result where it is wanted, else in scratch.
Matrix HeadEmitter::scoresGrad() {
  if (!cast<rt::AttentionGradOp>(op).getScoresGrad())
    return scratch(shape.queries, products.pitch(shape.keys));
  Value task = arith::AddIOp::create(b, loc, products.mul(image, shape.heads), head);
  Matrix stack{argument(op->getNumOperands() + op->getNumResults()), shape.queries * shape.keys};
  return {products.at(stack, task), shape.keys};
}

void HeadEmitter::emit(Value begin, Value end) {
  // The size of the scratch is known only after the body: the constant is set then.
  auto size = arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(0));
  Value context = host.pointerField(HostField::Context);
  auto type = LLVM::LLVMFunctionType::get(pointerType(), {pointerType(), b.getI64Type()});
  scratchBase = LLVM::CallOp::create(
                    b, loc, type, ValueRange{host.pointerField(HostField::Scratch), context, size})
                    .getResult();
  auto loop = scf::ForOp::create(b, loc, begin, end, host.i64(1));
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(loop.getBody());
    image = arith::DivUIOp::create(b, loc, loop.getInductionVar(), host.i64(shape.heads));
    head = arith::RemUIOp::create(b, loc, loop.getInductionVar(), host.i64(shape.heads));
    if (isa<rt::AttentionOp>(op))
      emitForward();
    else
      emitBackward();
  }
  size.setValueAttr(b.getI64IntegerAttr(scratchBytes));
}

/// Text that two ops share exactly when one task serves both: all but the number of images.
static std::string keyOf(Operation *op) {
  std::string key;
  llvm::raw_string_ostream os(key);
  os << op->getName() << op->getPropertiesAsAttribute() << op->getNumResults();
  unsigned numImageOperands = rt::numImageOperands(op);
  for (auto [i, operand] : llvm::enumerate(op->getOperands())) {
    os << ',' << typeOf(operand).getElementType() << ' ';
    llvm::interleave(typeOf(operand).getShape().drop_front(i < numImageOperands), os, "x");
  }
  return key;
}

LLVM::LLVMFuncOp AttentionEmitter::task(Operation *op) {
  LLVM::LLVMFuncOp &known = tasks[keyOf(op)];
  if (known)
    return known;
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(b.getContext()),
                                          {pointer, b.getI64Type(), b.getI64Type()});
  auto name =
      llvm::formatv("{0}_{1}_task", isa<rt::AttentionOp>(op) ? "attention" : "attention_grad",
                    tasks.size() - 1)
          .str();
  auto function = LLVM::LLVMFuncOp::create(b, op->getLoc(), name, type, LLVM::Linkage::Internal);
  Block *entry = function.addEntryBlock(b);
  b.setInsertionPointToStart(entry);
  HeadEmitter(b, kernels, op, entry->getArgument(0))
      .emit(entry->getArgument(1), entry->getArgument(2));
  LLVM::ReturnOp::create(b, op->getLoc(), ValueRange());
  return known = function;
}
