//===- AttentionEmitter.cpp - attention, head by head -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "AttentionEmitter.h"

#include "../RowProgram.h"
#include "HostCalls.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace ns;
using rt::typeOf;

namespace {

/// Where q, k or v lies: which input, from which channel, and channels in a row of that input.
struct Part {
  unsigned input;
  int64_t channel, pitch;
};

/// Extents and parts of one attention op. With windows, each one is as an image of its own: its
/// tokens lie together.
struct Shape {
  int64_t heads, queries, keys, width, dim, windows = 1;
  Part parts[3]; // q, k, v
  bool biased, scoreBiased, masked;
  unsigned numOperands;
  double scale;

  explicit Shape(Operation *op) {
    if (auto forward = dyn_cast<rt::AttentionOp>(op))
      read(forward, typeOf(forward.getResult()));
    else
      read(cast<rt::AttentionGradOp>(op), typeOf(op->getOperand(0)));
  }

private:
  template <typename OpT> void read(OpT op, RankedTensorType output) {
    heads = op.getHeads();
    scale = op.getScale().convertToDouble();
    OperandRange inputs = op.getInputs();
    biased = !op.getBiases().empty();
    scoreBiased = bool(op.getScoreBias());
    masked = bool(op.getMask());
    numOperands = op->getNumOperands();
    queries = output.getDimSize(1);
    width = output.getDimSize(2);
    keys = typeOf(inputs.back()).getDimSize(1);
    dim = width / heads;
    if (std::optional<uint64_t> window = op.getWindow()) {
      windows = keys / int64_t(*window);
      queries = keys = *window;
    }
    int64_t part = 0;
    for (auto [i, input] : llvm::enumerate(inputs)) {
      int64_t pitch = typeOf(input).getDimSize(2);
      for (int64_t channel = 0; channel < pitch; channel += width)
        parts[part++] = {unsigned(i), channel, pitch};
    }
  }
};

/// Emits the body of one task.
class HeadEmitter {
public:
  HeadEmitter(OpBuilder &b, KernelEmitter &kernels, Operation *op, Value arguments)
      : b(b), loc(op->getLoc()), kernels(kernels), op(op), shape(op), arguments(arguments),
        host(b, loc, LLVM::LoadOp::create(b, loc, pointerType(), arguments)) {
    element = typeOf(op->getOperand(0)).getElementType();
  }
  void emit(Value begin, Value end);

private:
  /// A matrix in memory.
  struct Matrix {
    Value pointer;
    int64_t ld;
  };

  LLVM::LLVMPointerType pointerType() { return LLVM::LLVMPointerType::get(b.getContext()); }
  Value argument(unsigned i);
  Matrix headOf(unsigned array, int64_t tokens, int64_t pitch, int64_t channel);
  Matrix input(unsigned part, int64_t tokens, double scale);
  Matrix scratch(int64_t rows, int64_t cols);
  void gemm(bool transA, bool transB, int64_t m, int64_t n, int64_t k, double alpha, Matrix a,
            Matrix other, Matrix c) {
    host.gemm(element, transA, transB, m, n, k, host.number(element, alpha), a.pointer, a.ld,
              other.pointer, other.ld, host.number(element, 0.0), c.pointer, c.ld);
  }
  void run(int64_t rows, bool overlap, ArrayRef<Value> pointers,
           llvm::function_ref<void(RowProgram &, function_ref<Value(ArrayRef<int64_t>)>)> write,
           std::array<int64_t, 3> space);
  Value added(unsigned array, Value index);
  void softmax(Matrix scores);
  void softmaxGrad(Matrix probabilities, Matrix gradient);
  void emitForward(Matrix q, Matrix k, Matrix v, double alpha);
  void emitBackward(Matrix q, Matrix k, Matrix v, double alpha);

  OpBuilder &b;
  Location loc;
  KernelEmitter &kernels;
  Operation *op;
  Shape shape;
  Value arguments;
  HostCalls host;
  Type element;
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
HeadEmitter::Matrix HeadEmitter::headOf(unsigned array, int64_t tokens, int64_t pitch,
                                        int64_t channel) {
  Value index = arith::MulIOp::create(b, loc, image, host.i64(tokens * pitch));
  index = arith::AddIOp::create(b, loc, index,
                                arith::MulIOp::create(b, loc, head, host.i64(shape.dim)));
  index = arith::AddIOp::create(b, loc, index, host.i64(channel));
  return {host.offset(argument(array), element, index), pitch};
}

HeadEmitter::Matrix HeadEmitter::scratch(int64_t rows, int64_t cols) {
  Value pointer = host.bytes(scratchBase, scratchBytes);
  scratchBytes += llvm::alignTo(rows * cols * (element.getIntOrFloatBitWidth() / 8), 64);
  return {pointer, cols};
}

/// Calls a row kernel on `rows` rows. `write` builds the program; it gets a function that makes an
/// input or result tensor of a shape.
void HeadEmitter::run(
    int64_t rows, bool overlap, ArrayRef<Value> pointers,
    llvm::function_ref<void(RowProgram &, function_ref<Value(ArrayRef<int64_t>)>)> write,
    std::array<int64_t, 3> space) {
  OwningOpRef<ModuleOp> holder(
      ModuleOp::create(loc)); // the program is only a pattern for the kernel
  OpBuilder inner = OpBuilder::atBlockEnd(holder->getBody());
  RowProgram program(inner, loc, element, space);
  write(program, [&](ArrayRef<int64_t> extents) -> Value {
    return rt::SlotOp::create(inner, loc, RankedTensorType::get(extents, element), rt::Region::Work,
                              "operand");
  });
  LLVM::LLVMFuncOp kernel = kernels.kernel(program.finish(), {overlap});
  SmallVector<Value> operands(pointers);
  operands.append({host.i64(0), host.i64(rows)});
  LLVM::CallOp::create(b, loc, kernel, operands);
}

/// q, k or v of the head: in place, or with bias and scale in scratch.
HeadEmitter::Matrix HeadEmitter::input(unsigned index, int64_t tokens, double scale) {
  const Part &part = shape.parts[index];
  unsigned firstInput = isa<rt::AttentionOp>(op) ? 1 : 2; // after the host, and the gradient
  unsigned numInputs = shape.parts[2].input + 1;
  Matrix source = headOf(firstInput + part.input, tokens, part.pitch, part.channel);
  if (!shape.biased)
    return source;
  Value at = arith::AddIOp::create(b, loc, arith::MulIOp::create(b, loc, head, host.i64(shape.dim)),
                                   host.i64(part.channel));
  Value bias = host.offset(argument(firstInput + numInputs + part.input), element, at);
  Matrix copy = scratch(tokens, shape.dim);
  run(tokens, /*overlap=*/false, {source.pointer, bias, copy.pointer},
      [&](RowProgram &p, auto tensor) {
        Value x = p.in(tensor({tokens, part.pitch})); // inputs in the order of the pointers
        x = p.add(x, p.inColumn(tensor({shape.dim})));
        if (scale != 1.0)
          x = p.mul(x, p.constant(scale));
        p.out(x, RankedTensorType::get({tokens, shape.dim}, element));
      },
      {tokens, 1, shape.dim});
  return copy;
}

/// Matrix `index` of argument `array`, a stack of matrices of the scores' shape.
Value HeadEmitter::added(unsigned array, Value index) {
  return host.offset(argument(array), element,
                     arith::MulIOp::create(b, loc, index, host.i64(shape.queries * shape.keys)));
}

/// Softmax of each row of the scores, in place, after bias and mask have been added.
void HeadEmitter::softmax(Matrix scores) {
  auto type = RankedTensorType::get({shape.queries, shape.keys}, element);
  SmallVector<Value> pointers = {scores.pointer};
  if (shape.scoreBiased) // the mask, where there is one, is the last operand
    pointers.push_back(added(shape.numOperands - shape.masked, head));
  if (shape.masked)
    pointers.push_back(
        added(shape.numOperands, arith::RemUIOp::create(b, loc, image, host.i64(shape.windows))));
  unsigned numAdded = pointers.size() - 1;
  pointers.push_back(scores.pointer);
  run(shape.queries, /*overlap=*/true, pointers,
      [&](RowProgram &p, auto tensor) {
        Value x = p.in(tensor(type.getShape()));
        for (unsigned i = 0; i < numAdded; ++i)
          x = p.add(x, p.in(tensor(type.getShape())));
        Value exponentials = p.exp(p.sub(x, p.max(x)));
        p.out(p.mul(exponentials, p.div(p.constant(1.0), p.sum(exponentials))), type);
      },
      {shape.queries, 1, shape.keys});
}

/// gradient = P * (gradient - rowsum(P * gradient)).
void HeadEmitter::softmaxGrad(Matrix probabilities, Matrix gradient) {
  auto type = RankedTensorType::get({shape.queries, shape.keys}, element);
  run(shape.queries, /*overlap=*/true, {probabilities.pointer, gradient.pointer, gradient.pointer},
      [&](RowProgram &p, auto tensor) {
        Value probability = p.in(tensor(type.getShape())), grad = p.in(tensor(type.getShape()));
        p.out(p.mul(probability, p.sub(grad, p.sum(p.mul(probability, grad)))), type);
      },
      {shape.queries, 1, shape.keys});
}

void HeadEmitter::emitForward(Matrix q, Matrix k, Matrix v, double alpha) {
  Matrix scores = scratch(shape.queries, shape.keys);
  gemm(false, true, shape.queries, shape.keys, shape.dim, alpha, q, k, scores);
  softmax(scores);
  Matrix out = headOf(1 + op->getNumOperands(), shape.queries, shape.width, 0);
  gemm(false, false, shape.queries, shape.dim, shape.keys, 1.0, scores, v, out);
}

void HeadEmitter::emitBackward(Matrix q, Matrix k, Matrix v, double alpha) {
  int64_t m = shape.queries, n = shape.keys, d = shape.dim;
  Matrix scores = scratch(m, n), gradient;
  if (cast<rt::AttentionGradOp>(op).getScoresGrad()) {
    Value task = arith::AddIOp::create(
        b, loc, arith::MulIOp::create(b, loc, image, host.i64(shape.heads)), head);
    gradient = {added(shape.numOperands + op->getNumResults(), task), n};
  } else {
    gradient = scratch(m, n);
  }
  Matrix dOut = headOf(1, m, shape.width, 0);
  auto result = [&](unsigned index, int64_t tokens) {
    const Part &part = shape.parts[index];
    return headOf(1 + op->getNumOperands() + part.input, tokens, part.pitch, part.channel);
  };
  gemm(false, true, m, n, d, alpha, q, k, scores);
  softmax(scores);
  gemm(true, false, n, d, m, 1.0, scores, dOut, result(2, n));
  gemm(false, true, m, n, d, 1.0, dOut, v, gradient);
  softmaxGrad(scores, gradient);
  gemm(false, false, m, d, n, shape.scale, gradient, k, result(0, m));
  gemm(true, false, n, d, m, alpha, gradient, q,
       result(1, n)); // q holds the scale where alpha is 1
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
    double alpha = shape.biased ? 1.0 : shape.scale;
    Matrix q = input(0, shape.queries, shape.scale), k = input(1, shape.keys, 1.0),
           v = input(2, shape.keys, 1.0);
    if (isa<rt::AttentionOp>(op))
      emitForward(q, k, v, alpha);
    else
      emitBackward(q, k, v, alpha);
  }
  size.setValueAttr(b.getI64IntegerAttr(scratchBytes));
}

LLVM::LLVMFuncOp AttentionEmitter::task(Operation *op) {
  std::string key;
  llvm::raw_string_ostream os(key);
  os << op->getName() << op->getOperandTypes() << op->getPropertiesAsAttribute()
     << op->getNumResults();
  LLVM::LLVMFuncOp &known = tasks[key];
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
