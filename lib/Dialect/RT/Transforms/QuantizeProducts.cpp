//===- QuantizeProducts.cpp - products of frozen weights in e4m3 ----------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Both operands of such a product are matrices whose rows run along k. A row is divided by a power
// of two, which no product and no reader rounds: docs/decisions/fp8.md.
//
//===----------------------------------------------------------------------===//

#include "Prepare.h"

#include "ns/Dialect/RT/IR/RowProgram.h"
#include "ns/Dialect/RT/Transforms/Passes.h"

#include "llvm/ADT/MapVector.h"

#include <map>

namespace ns::rt {
#define GEN_PASS_DEF_RTQUANTIZEPRODUCTSPASS
#include "ns/Dialect/RT/Transforms/Passes.h.inc"
} // namespace ns::rt

using namespace mlir;
using namespace ns;
using namespace ns::rt;

namespace {

/// A matrix in e4m3, and the power of two that each of its rows must be multiplied by.
struct Quantized {
  Value values, scales;
};

/// A matrix that products read as rows x cols; `isTransposed`: it lies in memory as cols x rows.
/// It begins at element `offset` of a value.
struct Layout {
  int64_t rows, cols;
  bool isTransposed;
  int64_t offset = 0;

  bool operator==(const Layout &other) const = default;
  RankedTensorType values(MLIRContext *context) const {
    return RankedTensorType::get({rows, cols}, Float8E4M3FNType::get(context));
  }
  RankedTensorType scales(MLIRContext *context) const {
    return RankedTensorType::get({rows}, Float32Type::get(context));
  }
};

/// A product's element at an input of a program: the product's rows are `rows` inputs' rows.
struct Reader {
  OpOperand *use;
  int64_t offset; ///< of the view, in elements of the product
};

} // namespace

/// What a value is a view of, as long as it is the whole of it.
static Value wholeOf(Value value) {
  for (auto view = value.getDefiningOp<ViewOp>(); view; view = value.getDefiningOp<ViewOp>()) {
    if (typeOf(view.getSource()).getNumElements() != typeOf(value).getNumElements())
      break;
    value = view.getSource();
  }
  return value;
}

/// `value`, from element `offset` on, as a tensor of these extents.
static Value viewAs(OpBuilder &b, Value value, ArrayRef<int64_t> extents, int64_t offset = 0) {
  auto type = RankedTensorType::get(extents, typeOf(value).getElementType());
  return value.getType() == type
             ? value
             : ViewOp::create(b, value.getLoc(), type, value, offset).getResult();
}

/// The program that quantizes the rows of `matrix`, into the places `dest` where there are any.
static Quantized quantize(OpBuilder &b, Value matrix, const Layout &layout, Quantized dest = {}) {
  MLIRContext *context = b.getContext();
  if (layout.isTransposed)
    matrix = viewAs(b, matrix, {layout.rows * layout.cols}, layout.offset);
  else if (rowPitch(typeOf(matrix)) != layout.cols ||
           typeOf(matrix).getNumElements() != layout.rows * layout.cols)
    matrix = viewAs(b, matrix, {layout.rows, layout.cols}, layout.offset);
  RowProgram p(b, matrix.getLoc(), b.getF32Type(), {layout.rows, 1, layout.cols});
  Value x = layout.isTransposed ? p.in(matrix, p.r, p.c * layout.rows) : p.in(matrix);
  // Half of what the largest element must become, at least; a row of zeros has some power, too.
  Value half = p.mul(p.max(p.abs(x)), p.constant(1.0 / 224)), least = p.constant(0x1p-100);
  half = p.select(p.compare(arith::CmpFPredicate::OGT, half, least), half, least);
  constexpr uint32_t kExponent = 0x7f800000, kOne = 1u << 23; // its bits, its last bit
  Value power = p.bitAnd(p.bits(half), p.integer(kExponent));
  // 254 minus the exponent, which a division, a call on a GPU, would find as well.
  Value inverse = p.fromBits(p.addInt(p.bitXor(power, p.integer(kExponent)), p.integer(-kOne)));
  p.out(p.rounded(p.mul(x, inverse), Float8E4M3FNType::get(context)), layout.values(context), p.r,
        p.c, dest.values);
  p.out(p.fromBits(power), layout.scales(context), p.r, p.lit(0), dest.scales);
  FusedOp program = p.finish();
  if (Operation *made = matrix.getDefiningOp(); made && !dest.values) { // FLOPs are the maker's
    program->setDiscardableAttrs(made->getDiscardableAttrDictionary());
    program->removeAttr(RTDialect::kFlopsAttr);
  }
  return {program.getResult(0), program.getResult(1)};
}

namespace {

/// The parameters that are quantized in @prepare, and their places.
class FrozenWeights {
public:
  explicit FrozenWeights(ModuleOp module) : module(module), trains(trainsParams(module)) {}

  /// Is the right operand of `gemm` a frozen parameter, or a part of one, that no other product
  /// reads as another matrix?
  bool has(GemmOp gemm) {
    SlotOp slot = slotOf(gemm);
    if (!slot || trains || slot.getRegion() != ns::rt::Region::Params)
      return false;
    Layout layout = layoutOf(gemm);
    auto known = weights.find(nameOf(slot, layout));
    return known == weights.end() || known->second.layout == layout;
  }

  /// The places of that parameter's rows, as values of the entry that `gemm` is in.
  Quantized place(GemmOp gemm) {
    SlotOp slot = slotOf(gemm);
    Layout layout = layoutOf(gemm);
    std::string name = nameOf(slot, layout);
    weights[name] = {slot.getNameAttr(), typeOf(slot), layout};
    OpBuilder b(slot);
    return slots(b, slot.getLoc(), name, layout);
  }

  /// Writes the layout and the programs of @prepare.
  void finish() {
    if (weights.empty())
      return;
    SmallVector<std::pair<std::string, RankedTensorType>> added;
    for (auto &[name, weight] : weights) {
      added.push_back({name, weight.layout.values(module.getContext())});
      added.push_back({name + ":scale", weight.layout.scales(module.getContext())});
    }
    addParams(module, added);
    func::FuncOp prepare = getOrCreatePrepare(module);
    auto last = lastParamValues(prepare);
    OpBuilder b(prepare.getBody().front().getTerminator());
    for (auto &[name, weight] : weights) {
      auto &[param, type, layout] = weight;
      Value &value = last[param];
      if (!value)
        value = SlotOp::create(b, prepare.getLoc(), type, ns::rt::Region::Params, param);
      quantize(b, value, layout, slots(b, prepare.getLoc(), name, layout));
    }
  }

  int64_t size() const { return weights.size(); }

private:
  static SlotOp slotOf(GemmOp gemm) {
    Value value = gemm.getB();
    while (auto view = value.getDefiningOp<ViewOp>())
      value = view.getSource();
    return value.getDefiningOp<SlotOp>();
  }
  static Layout layoutOf(GemmOp gemm) {
    int64_t offset = 0;
    Value value = gemm.getB();
    for (; auto view = value.getDefiningOp<ViewOp>(); value = view.getSource())
      offset += view.getOffset();
    return {gemm.getMnk()[1], gemm.getMnk()[2], !gemm.getTransB(), offset};
  }
  /// A part of a parameter has its offset in the name.
  static std::string nameOf(SlotOp slot, const Layout &layout) {
    std::string name = (slot.getName() + (layout.isTransposed ? ":e4m3t" : ":e4m3")).str();
    bool isWhole = typeOf(slot).getNumElements() == layout.rows * layout.cols;
    return isWhole ? name : (Twine(name) + "@" + Twine(layout.offset)).str();
  }
  static Quantized slots(OpBuilder &b, Location loc, const std::string &name,
                         const Layout &layout) {
    MLIRContext *context = b.getContext();
    Value values = SlotOp::create(b, loc, layout.values(context), ns::rt::Region::Params, name);
    return {values, SlotOp::create(b, loc, layout.scales(context), ns::rt::Region::Params,
                                   name + ":scale")};
  }

  ModuleOp module;
  bool trains;
  struct Weight {
    StringAttr param;
    RankedTensorType type;
    Layout layout;
  };
  llvm::MapVector<std::string, Weight, std::map<std::string, unsigned>> weights; ///< by new name
};

} // namespace

//===----------------------------------------------------------------------===//
// Readers
//===----------------------------------------------------------------------===//

/// The inputs of programs that read a product of rows of `cols` elements, through views or not;
/// false where something else reads it, or a program in an order in which a row of its input is not
/// a part of one of the product's rows.
static bool collectReaders(Value value, int64_t offset, int64_t cols,
                           SmallVectorImpl<Reader> &readers) {
  for (OpOperand &use : value.getUses()) {
    if (auto view = dyn_cast<ViewOp>(use.getOwner())) {
      if (!collectReaders(view.getResult(), offset + view.getOffset(), cols, readers))
        return false;
      continue;
    }
    auto program = dyn_cast<FusedOp>(use.getOwner());
    if (!program || use.getOperandNumber() >= program.getInputs().size())
      return false;
    AffineExpr column = program.getInMap(use.getOperandNumber()).getResult(1);
    bool isPoint =
        column == getAffineDimExpr(2, column.getContext()) && typeOf(value).getRank() >= 2;
    if (cols % rowPitch(typeOf(value)) != 0 || offset % cols != 0 ||
        !(isPoint || isa<AffineConstantExpr>(column)))
      return false;
    readers.push_back({&use, offset});
  }
  return true;
}

/// The largest value of a row's expression, about; no part of one is negative.
static int64_t largest(AffineExpr expr, FusedOp program) {
  if (auto constant = dyn_cast<AffineConstantExpr>(expr))
    return constant.getValue();
  if (auto dim = dyn_cast<AffineDimExpr>(expr))
    return (dim.getPosition() == 0 ? program.getRows() : program.getInner()) - 1;
  auto binary = cast<AffineBinaryOpExpr>(expr);
  int64_t left = largest(binary.getLHS(), program), right = largest(binary.getRHS(), program);
  switch (expr.getKind()) {
  case AffineExprKind::Add:
    return left + right;
  case AffineExprKind::Mul:
    return left * right;
  case AffineExprKind::Mod:
    return std::min(left, right - 1);
  default:
    return left / right;
  }
}

/// Quotient and remainder of a row's expression by `by`. Terms that it divides are taken apart:
/// left to its own, affine arithmetic multiplies them out into differences.
static std::pair<AffineExpr, AffineExpr> divide(AffineExpr row, int64_t by, FusedOp program) {
  AffineExpr quotient = getAffineConstantExpr(0, row.getContext()), rest = quotient;
  SmallVector<AffineExpr> terms = {row};
  while (!terms.empty()) {
    AffineExpr term = terms.pop_back_val();
    auto binary = dyn_cast<AffineBinaryOpExpr>(term);
    if (term.getKind() == AffineExprKind::Add) {
      terms.append({binary.getRHS(), binary.getLHS()});
      continue;
    }
    auto factor = binary ? dyn_cast<AffineConstantExpr>(binary.getRHS()) : AffineConstantExpr();
    if (term.getKind() == AffineExprKind::Mul && factor && factor.getValue() % by == 0)
      quotient = quotient + binary.getLHS() * (factor.getValue() / by);
    else
      rest = rest + term;
  }
  if (largest(rest, program) < by)
    return {quotient, rest};
  return {quotient + rest.floorDiv(by), rest % by};
}

/// One more input of a program, unless it has it; its element.
static Value addInput(FusedOp program, Value input, AffineMap map) {
  Block &body = program.getBody().front();
  for (auto [i, known] : llvm::enumerate(program.getInputs()))
    if (known == input && program.getInMap(i) == map)
      return body.getArgument(i);
  SmallVector<AffineMap> maps(program.getInMaps().getAsValueRange<AffineMapAttr>());
  maps.push_back(map);
  program.getInputsMutable().append(input);
  program.setInMapsAttr(Builder(program.getContext()).getAffineMapArrayAttr(maps));
  return body.addArgument(typeOf(input).getElementType(), program.getLoc());
}

/// Multiplies what a program reads of a product by the scales of its row and its column.
static void scaleRead(const Reader &reader, int64_t cols, Value rowScales, Value columnScales) {
  auto program = cast<FusedOp>(reader.use->getOwner());
  unsigned index = reader.use->getOperandNumber();
  AffineMap map = program.getInMap(index);
  int64_t pitch = rowPitch(typeOf(reader.use->get())), inRow = cols / pitch;
  auto [row, part] = divide(map.getResult(0), inRow, program);
  MLIRContext *context = program.getContext();
  auto makeMap = [&](AffineExpr row, AffineExpr column) {
    return AffineMap::get(3, 0, {row, column}, context);
  };
  OpBuilder b(program);
  if (inRow > 1)
    columnScales = viewAs(b, columnScales, {inRow, pitch});
  Value column = addInput(program, columnScales, makeMap(part, map.getResult(1)));
  Value rowScale = addInput(program, rowScales,
                            makeMap(row + reader.offset / cols, getAffineConstantExpr(0, context)));
  BlockArgument element = program.getBody().getArgument(index);
  b.setInsertionPointToStart(element.getOwner());
  auto scaled = arith::MulFOp::create(b, program.getLoc(), element, column);
  auto whole = arith::MulFOp::create(b, program.getLoc(), scaled, rowScale);
  element.replaceAllUsesExcept(whole, scaled);
}

/// A program that scales the whole product, for readers of other kinds.
static void scaleResult(GemmOp gemm, Value rowScales, Value columnScales) {
  OpBuilder b(gemm.getContext());
  b.setInsertionPointAfter(gemm);
  Value result = gemm.getResult();
  int64_t rows = gemm.getMnk()[0], cols = gemm.getMnk()[1];
  RowProgram p(b, gemm.getLoc(), b.getF32Type(), {rows, 1, cols});
  Value matrix = rowPitch(typeOf(result)) == cols ? result : viewAs(b, result, {rows, cols});
  Value x = p.mul(p.mul(p.in(matrix), p.inColumn(columnScales)), p.in(rowScales, p.r, p.lit(0)));
  p.out(x, typeOf(matrix));
  FusedOp program = p.finish();
  program->setDiscardableAttrs(gemm->getDiscardableAttrDictionary());
  Value scaled = program.getResult(0);
  if (matrix == result)
    return result.replaceAllUsesExcept(scaled, program);
  scaled = viewAs(b, scaled, typeOf(result).getShape());
  result.replaceAllUsesExcept(scaled, matrix.getDefiningOp());
}

//===----------------------------------------------------------------------===//
// The pass
//===----------------------------------------------------------------------===//

namespace {
struct RTQuantizeProductsPass
    : public ns::rt::impl::RTQuantizeProductsPassBase<RTQuantizeProductsPass> {
  using RTQuantizeProductsPassBase::RTQuantizeProductsPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    FrozenWeights frozen(module);
    for (func::FuncOp entry : chooseEntries(module, entries))
      quantizeProducts(entry.getBody().front(), frozen);
    frozen.finish();
    numFrozen = frozen.size();
  }

  /// Has the library a product of e4m3 for it?
  static bool isCandidate(GemmOp gemm) {
    int64_t n = gemm.getMnk()[1], k = gemm.getMnk()[2];
    return typeOf(gemm.getA()).getElementType().isF32() && !gemm.getTransA() && !gemm.getBatch() &&
           !gemm.getDest() && !gemm.getBias() && !gemm.getPacked() &&
           n % GemmOp::kQuantizedMultiple == 0 && k % GemmOp::kQuantizedMultiple == 0;
  }

  void quantizeProducts(Block &block, FrozenWeights &frozen) {
    struct Made {
      GemmOp gemm;
      Value rowScales, columnScales;
    };
    SmallVector<Made> made;
    llvm::DenseMap<Value, Quantized> known;
    for (auto gemm : llvm::make_early_inc_range(block.getOps<GemmOp>())) {
      if (!isCandidate(gemm) || !frozen.has(gemm))
        continue;
      Value left = wholeOf(gemm.getA());
      Quantized &rows = known[left]; // a value is read in rows of one length
      if (rows.values && typeOf(rows.values).getDimSize(1) != gemm.getMnk()[2])
        continue;
      if (!rows.values) {
        OpBuilder b(gemm.getContext());
        b.setInsertionPointAfterValue(left);
        rows = quantize(b, left, {gemm.getMnk()[0], gemm.getMnk()[2], /*isTransposed=*/false});
        ++numQuantized;
      }
      Quantized columns = frozen.place(gemm);
      gemm.getAMutable().assign(rows.values);
      gemm.getBMutable().assign(columns.values);
      gemm.setTransB(true);
      made.push_back({gemm, rows.scales, columns.scales});
      ++numProducts;
    }
    for (const Made &product : made) // all programs are there that read one
      scale(product.gemm, product.rowScales, product.columnScales);
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
      if (isa<ViewOp, SlotOp>(op) && op.use_empty())
        op.erase();
  }

  void scale(GemmOp gemm, Value rowScales, Value columnScales) {
    int64_t cols = gemm.getMnk()[1];
    SmallVector<Reader> readers;
    if (!collectReaders(gemm.getResult(), 0, cols, readers))
      return scaleResult(gemm, rowScales, columnScales);
    for (const Reader &reader : readers)
      scaleRead(reader, cols, rowScales, columnScales);
    numScaled += readers.size();
  }
};
} // namespace
