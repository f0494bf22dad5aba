//===- ProgramTest.cpp - row programs as kernels, against the interpreter -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Every program goes through rt-outline-kernels, the lowering and optimisation for the device and
// the emulator, for rows of sizes that divide into vectors and warps and of sizes that do not.
//
//===----------------------------------------------------------------------===//

#include "../Device/TestSupport.h"
#include "Interpreter.h"

#include "ns/Conversion/Passes.h"
#include "ns/Dialect/RT/Transforms/Passes.h"
#include "ns/InitAll.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/Support/FormatVariadic.h"

#include <cmath>
#include <random>
#include <sys/mman.h>

using namespace mlir;
using namespace ns;
using namespace ns::test;

namespace {

/// Device memory whose allocations end, up to 15 bytes, where a page that may not be touched
/// begins.
class GuardedMemory : public emulator::Memory {
public:
  ~GuardedMemory() override {
    for (auto &[base, size] : mappings)
      munmap(base, size);
  }
  char *allocate(size_t bytes) {
    size_t used = (bytes + 15) / 16 * 16, size = (used + 4095) / 4096 * 4096 + 4096;
    void *base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(base, MAP_FAILED);
    mprotect(static_cast<char *>(base) + size - 4096, 4096, PROT_NONE);
    mappings.push_back({base, size});
    return static_cast<char *>(base) + size - 4096 - used;
  }
  bool contains(uintptr_t begin, size_t bytes) const override {
    return llvm::any_of(mappings, [&](auto &mapping) {
      auto first = reinterpret_cast<uintptr_t>(mapping.first);
      return begin >= first && begin + bytes <= first + mapping.second - 4096;
    });
  }

private:
  std::vector<std::pair<void *, size_t>> mappings;
};

void writeElement(char *to, Type type, double value) {
  if (type.isInteger(32)) {
    auto number = int32_t(value);
    memcpy(to, &number, 4);
  } else if (type.isBF16()) {
    auto number = float(roundTo(type, value));
    memcpy(to, reinterpret_cast<char *>(&number) + 2, 2);
  } else {
    auto number = float(value);
    memcpy(to, &number, 4);
  }
}

double readElement(const char *from, Type type) {
  if (type.isInteger(32)) {
    int32_t number;
    memcpy(&number, from, 4);
    return number;
  }
  float number = 0;
  if (type.isBF16())
    memcpy(reinterpret_cast<char *>(&number) + 2, from, 2);
  else
    memcpy(&number, from, 4);
  return number;
}

/// The slots of a program's function, filled in, and what the interpreter makes of them.
struct Case {
  std::string name;
  llvm::StringMap<Elements> expected;
  llvm::StringMap<char *> memory;
  llvm::StringMap<RankedTensorType> types;
};

/// Entries `func.func @NAME() {...}` of slots and row programs that write into slots.
class Programs {
public:
  void add(const std::string &entry) { text += entry; }

  /// Runs all entries on the emulator and compares what lies in their slots.
  void check(double tolerance = 2e-5) {
    DialectRegistry registry;
    registerAllDialects(registry);
    MLIRContext context(registry);
    auto module = parseSourceString<ModuleOp>(text, &context);
    ASSERT_TRUE(module);
    setLayout(*module);
    for (auto entry : module->getOps<func::FuncOp>())
      interpretEntry(entry);
    PassManager manager(&context);
    manager.addNestedPass<func::FuncOp>(rt::createRTPlanMemoryPass());
    manager.addPass(createRTOutlineKernelsPass());
    ASSERT_TRUE(succeeded(manager.run(*module)));
    std::string body;
    llvm::raw_string_ostream os(body);
    for (Operation &kernel : *kernelsOf(*module).getBody())
      os << kernel << "\n";
    Kernels image(body);
    auto current = cases.begin();
    for (auto entry : module->getOps<func::FuncOp>())
      runEntry(entry, *current++, image, tolerance);
  }

private:
  /// A layout with every slot on a boundary of 64 bytes.
  static void setLayout(ModuleOp module) {
    Builder b(module.getContext());
    SmallVector<Attribute> slots;
    int64_t offset = 0;
    llvm::StringMap<bool> seen;
    module.walk([&](rt::SlotOp slot) {
      if (!seen.insert({slot.getName(), true}).second)
        return;
      slots.push_back(b.getDictionaryAttr({b.getNamedAttr("name", slot.getNameAttr()),
                                           b.getNamedAttr("offset", b.getI64IntegerAttr(offset))}));
      offset += llvm::alignTo(rt::byteSize(rt::typeOf(slot.getResult())), 64);
    });
    module->setAttr(rt::RTDialect::kLayoutAttr,
                    b.getDictionaryAttr({b.getNamedAttr("io", b.getArrayAttr(slots))}));
  }

  void fill(Case &test, rt::SlotOp slot) {
    RankedTensorType type = rt::typeOf(slot.getResult());
    Type element = type.getElementType();
    int64_t bytes = element.getIntOrFloatBitWidth() / 8;
    std::normal_distribution<double> normal;
    Elements &values = test.expected[slot.getName()];
    char *memory = this->memory.allocate(rt::byteSize(type));
    for (int64_t i = 0; i < type.getNumElements(); ++i) {
      // Integers are labels of at least one class; second moments must not be negative.
      double value = element.isInteger(32) ? 0 : normal(random);
      if (slot.getName().ends_with("positive"))
        value = std::fabs(value) + 0.5;
      values.push_back(roundTo(element, value));
      writeElement(memory + i * bytes, element, value);
    }
    test.memory[slot.getName()] = memory;
    test.types[slot.getName()] = type;
  }

  static std::pair<rt::SlotOp, int64_t> slotOf(Value value) {
    if (auto view = value.getDefiningOp<rt::ViewOp>()) {
      auto [slot, offset] = slotOf(view.getSource());
      return {slot, offset + int64_t(view.getOffset())};
    }
    return {value.getDefiningOp<rt::SlotOp>(), 0};
  }

  void interpretEntry(func::FuncOp entry) {
    cases.push_back({entry.getSymName().str(), {}, {}, {}});
    Case &test = cases.back();
    for (auto slot : entry.getOps<rt::SlotOp>())
      fill(test, slot);
    auto elements = [&](Value value) {
      auto [slot, offset] = slotOf(value);
      Elements &all = test.expected[slot.getName()];
      auto begin = all.begin() + offset;
      return Elements(begin, begin + rt::typeOf(value).getNumElements());
    };
    for (auto fused : entry.getOps<rt::FusedOp>()) {
      std::vector<Elements> inputs, results;
      for (Value input : fused.getInputs())
        inputs.push_back(elements(input));
      for (unsigned i = 0; i < fused.getNumResults(); ++i)
        results.push_back(elements(fused.getDestOf(i)));
      results = interpret(fused, inputs, results);
      for (unsigned i = 0; i < fused.getNumResults(); ++i) {
        auto [slot, offset] = slotOf(fused.getDestOf(i));
        llvm::copy(results[i], test.expected[slot.getName()].begin() + offset);
      }
    }
  }

  void runEntry(func::FuncOp entry, Case &test, Kernels &image, double tolerance) {
    for (auto launch : entry.getOps<rt::LaunchOp>()) {
      SmallVector<char *> pointers;
      auto add = [&](Value value) {
        auto [slot, offset] = slotOf(value);
        int64_t bytes = rt::typeOf(value).getElementTypeBitWidth() / 8;
        pointers.push_back(test.memory[slot.getName()] + offset * bytes);
      };
      for (Value input : launch.getInputs())
        add(input);
      for (unsigned i = 0; i < launch.getNumResults(); ++i)
        add(launch.getDestOf(i));
      SmallVector<void *> arguments;
      for (char *&pointer : pointers)
        arguments.push_back(&pointer);
      std::string name = launch.getKernel().getLeafReference().str();
      emulator::Launch run{image.find(name.c_str()), {}, {}, 0, arguments.data()};
      ASSERT_NE(run.kernel, nullptr) << name;
      for (int i = 0; i < 3; ++i) {
        run.grid[i] = launch.getGrid()[i];
        run.block[i] = launch.getBlock()[i];
      }
      ASSERT_EQ(emulator::check(run), "") << test.name;
      ASSERT_EQ(emulator::launch(run, memory), "") << test.name << " " << name;
    }
    for (auto &slot : test.expected)
      compare(test, slot.getKey(), slot.getValue(), tolerance);
  }

  void compare(Case &test, StringRef name, const Elements &expected, double tolerance) {
    Type element = test.types[name].getElementType();
    int64_t bytes = element.getIntOrFloatBitWidth() / 8;
    if (element.isBF16())
      tolerance = 8e-3;
    for (size_t i = 0; i < expected.size(); ++i) {
      double found = readElement(test.memory[name] + i * bytes, element);
      if (std::isnan(expected[i]) && std::isnan(found))
        continue;
      ASSERT_NEAR(found, expected[i], tolerance * std::max(1.0, std::fabs(expected[i])))
          << test.name << " " << name.str() << "[" << i << "]";
    }
  }

  std::string text;
  std::vector<Case> cases;
  GuardedMemory memory;
  std::mt19937 random{7};
};

/// A map (r, k, c) -> ...
std::string map(const char *results) {
  return llvm::formatv("affine_map<(r, k, c) -> ({0})>", results);
}

const int64_t kColumns[] = {1, 3, 10, 12, 192, 197, 1000, 4097};

/// Replaces $R, $K, $C, $RC, $P (R K), $PC and $N, the entry's number.
std::string expand(std::string text, int64_t r, int64_t k, int64_t c) {
  static int number = 0;
  std::pair<const char *, int64_t> parameters[] = {
      {"$PC", r * k * c}, {"$RC", r * c}, {"$P", r * k},   {"$R", r},
      {"$K", k},          {"$C", c},      {"$N", number++}};
  for (auto [name, value] : parameters)
    for (size_t at; (at = text.find(name)) != std::string::npos;)
      text.replace(at, strlen(name), std::to_string(value));
  std::pair<const char *, std::string> maps[] = {
      {"#point", map("r, c")},
      {"#inner", "affine_map<(r, k, c) -> (r * " + std::to_string(k) + " + k, c)>"},
      {"#column", map("0, c")},
      {"#rows", map("r, 0")},
      {"#one", map("0, 0")}};
  for (auto &[name, value] : maps)
    for (size_t at; (at = text.find(name)) != std::string::npos;)
      text.replace(at, strlen(name), value);
  return text;
}

const char *kGelu = R"(
func.func @gelu_$N() {
  %x = rt.slot io "x$N" : tensor<$Rx$Cxf32>
  %b = rt.slot io "b$N" : tensor<$Cxf32>
  %s = rt.slot io "s$N" : tensor<f32>
  %y = rt.slot io "y$N" : tensor<$Rx$Cxf32>
  %0 = rt.fused [$R, 1, $C] ins(%x, %b, %s : tensor<$Rx$Cxf32>, tensor<$Cxf32>, tensor<f32>) into(%y : tensor<$Rx$Cxf32>) [0] maps [#point, #column, #one] -> [#point] : tensor<$Rx$Cxf32> {
  ^bb0(%a: f32, %bias: f32, %factor: f32):
    %h = arith.addf %a, %bias : f32
    %c = arith.constant -0.70710678 : f32
    %z = arith.mulf %h, %c : f32
    %e = math.erfc %z : f32
    %g = arith.mulf %h, %e : f32
    %r = arith.mulf %g, %factor : f32
    rt.yield %r : f32
  }
  return
}
)";

/// A residual and a layer norm in bf16: two results, and the mean of each row.
const char *kNorm = R"(
func.func @norm_$N() {
  %x = rt.slot io "x$N" : tensor<$Rx$CxTYPE>
  %h = rt.slot io "h$N" : tensor<$Rx$Cxf32>
  %g = rt.slot io "g$N" : tensor<$Cxf32>
  %y = rt.slot io "y$N" : tensor<$Rx$CxTYPE>
  %m = rt.slot io "m$N" : tensor<$Rxf32>
  %0:3 = rt.fused [$R, 1, $C] ins(%x, %h, %g : tensor<$Rx$CxTYPE>, tensor<$Rx$Cxf32>, tensor<$Cxf32>) into(%y, %m, %h : tensor<$Rx$CxTYPE>, tensor<$Rxf32>, tensor<$Rx$Cxf32>) [0, 1, 2]
      maps [#point, #point, #column] -> [#point, #rows, #point] : tensor<$Rx$CxTYPE>, tensor<$Rxf32>, tensor<$Rx$Cxf32> {
  ^bb0(%a0: TYPE, %res: f32, %gain: f32):
    WIDEN
    %s = arith.addf %a, %res : f32
    %sum = rt.row_reduce add %s : f32
    %n = arith.constant $C.0 : f32
    %mean = arith.divf %sum, %n : f32
    %d = arith.subf %s, %mean : f32
    %q = arith.mulf %d, %d : f32
    %qs = rt.row_reduce add %q : f32
    %var = arith.divf %qs, %n : f32
    %eps = arith.constant 1.0e-3 : f32
    %v = arith.addf %var, %eps : f32
    %sd = math.sqrt %v : f32
    %e = arith.divf %d, %sd : f32
    %o = arith.mulf %e, %gain : f32
    NARROW
    rt.yield %out, %mean, %s : TYPE, f32, f32
  }
  return
}
)";

/// Softmax, its cross-entropy with a label, the place of the largest element.
const char *kLoss = R"(
func.func @loss_$N() {
  %x = rt.slot io "x$N" : tensor<$Rx$Cxf32>
  %t = rt.slot io "t$N" : tensor<$Rxi32>
  %y = rt.slot io "y$N" : tensor<$Rx$Cxf32>
  %l = rt.slot io "l$N" : tensor<$Rxf32>
  %p = rt.slot io "p$N" : tensor<$Rxf32>
  %0:3 = rt.fused [$R, 1, $C] ins(%x, %t : tensor<$Rx$Cxf32>, tensor<$Rxi32>) into(%y, %l, %p : tensor<$Rx$Cxf32>, tensor<$Rxf32>, tensor<$Rxf32>) [0, 1, 2]
      maps [#point, #rows] -> [#point, #rows, #rows] : tensor<$Rx$Cxf32>, tensor<$Rxf32>, tensor<$Rxf32> {
  ^bb0(%a: f32, %label: i32):
    %m = rt.row_reduce max %a : f32
    %d = arith.subf %a, %m : f32
    %e = math.exp %d : f32
    %s = rt.row_reduce add %e : f32
    %q = arith.divf %e, %s : f32
    %c = rt.index affine_map<(r, k, c) -> (c)> : i32
    %hit = arith.cmpi eq, %c, %label : i32
    %zero = arith.constant 0.0 : f32
    %one = arith.constant 1.0 : f32
    %hot = arith.select %hit, %one, %zero : f32
    %g = arith.subf %q, %hot : f32
    %at = arith.select %hit, %d, %zero : f32
    %chosen = rt.row_reduce add %at : f32
    %log = math.log %s : f32
    %loss = arith.subf %log, %chosen : f32
    %is = arith.cmpf oeq, %a, %m : f32
    %far = arith.constant 1.0e+09 : f32
    %cf = arith.sitofp %c : i32 to f32
    %w = arith.select %is, %cf, %far : f32
    %place = rt.row_reduce min %w : f32
    rt.yield %g, %loss, %place : f32, f32, f32
  }
  return
}
)";

/// Sums over k that take in what lies in their destination.
const char *kSums = R"(
func.func @sums_$N() {
  %x = rt.slot io "x$N" : tensor<$Px$Cxf32>
  %y = rt.slot io "y$N" : tensor<$Rx$Cxf32>
  %0 = rt.fused [$R, $K, $C] ins(%x, %y : tensor<$Px$Cxf32>, tensor<$Rx$Cxf32>) into(%y : tensor<$Rx$Cxf32>) [0] maps [#inner, #point] -> [#point] : tensor<$Rx$Cxf32> {
  ^bb0(%a: f32, %old: f32):
    %k = rt.index affine_map<(r, k, c) -> (k)> : i32
    %first = arith.constant 0 : i32
    %is = arith.cmpi eq, %k, %first : i32
    %zero = arith.constant 0.0 : f32
    %o = arith.select %is, %old, %zero : f32
    %s = arith.addf %a, %o : f32
    rt.yield %s : f32
  }
  return
}
)";

/// The gradient of a layer norm: a result for each point, three sums, one number for all columns.
const char *kNormGradient = R"(
func.func @norm_gradient_$N() {
  %x = rt.slot io "x$N" : tensor<$Px$Cxf32>
  %d = rt.slot io "d$N" : tensor<$Px$CxTYPE>
  %g = rt.slot io "g$N" : tensor<$Cxf32>
  %dx = rt.slot io "dx$N" : tensor<$Px$CxTYPE>
  %dg = rt.slot io "dg$N" : tensor<$Rx$Cxf32>
  %db = rt.slot io "db$N" : tensor<$Rx$Cxf32>
  %du = rt.slot io "du$N" : tensor<$Rxf32>
  %0:4 = rt.fused [$R, $K, $C] ins(%x, %d, %g : tensor<$Px$Cxf32>, tensor<$Px$CxTYPE>, tensor<$Cxf32>) into(%dx, %dg, %db, %du : tensor<$Px$CxTYPE>, tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32>, tensor<$Rxf32>) [0, 1, 2, 3]
      maps [#inner, #inner, #column] -> [#inner, #point, #point, #rows] : tensor<$Px$CxTYPE>, tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32>, tensor<$Rxf32> {
  ^bb0(%v: f32, %a0: TYPE, %gain: f32):
    WIDEN
    %n = arith.constant $C.0 : f32
    %s = rt.row_reduce add %v : f32
    %mean = arith.divf %s, %n : f32
    %c = arith.subf %v, %mean : f32
    %q = arith.mulf %c, %c : f32
    %qs = rt.row_reduce add %q : f32
    %var = arith.divf %qs, %n : f32
    %eps = arith.constant 1.0e-3 : f32
    %ve = arith.addf %var, %eps : f32
    %sd = math.sqrt %ve : f32
    %h = arith.divf %c, %sd : f32
    %t = arith.mulf %a, %gain : f32
    %ht = arith.mulf %h, %t : f32
    %p = rt.row_reduce add %ht : f32
    %pm = arith.divf %p, %n : f32
    %hp = arith.mulf %h, %pm : f32
    %o = arith.subf %t, %hp : f32
    NARROW
    %w = arith.mulf %a, %h : f32
    rt.yield %out, %w, %a, %mean : TYPE, f32, f32, f32
  }
  return
}
)";

/// The gradient of an activation with the sum for the bias before it.
const char *kActivationGradient = R"(
func.func @activation_gradient_$N() {
  %x = rt.slot io "x$N" : tensor<$Px$CxTYPE>
  %d = rt.slot io "d$N" : tensor<$Px$Cxf32>
  %db = rt.slot io "db$N" : tensor<$Rx$Cxf32>
  %0:2 = rt.fused [$R, $K, $C] ins(%x, %d : tensor<$Px$CxTYPE>, tensor<$Px$Cxf32>) into(%d, %db : tensor<$Px$Cxf32>, tensor<$Rx$Cxf32>) [0, 1] maps [#inner, #inner] -> [#inner, #point] : tensor<$Px$Cxf32>, tensor<$Rx$Cxf32> {
  ^bb0(%a0: TYPE, %g: f32):
    WIDEN
    %t = math.tanh %a : f32
    %y = arith.mulf %t, %g : f32
    rt.yield %y, %y : f32, f32
  }
  return
}
)";

/// Tokens moved, a matrix transposed.
const char *kMoves = R"(
func.func @moves_$N() {
  %x = rt.slot io "x$N" : tensor<$Px$Cxf32>
  %w = rt.slot io "w$N" : tensor<$Cx$Rxf32>
  %y = rt.slot io "y$N" : tensor<$Px$Cxf32>
  %v = rt.slot io "v$N" : tensor<$Rx$Cxf32>
  %0 = rt.fused [$P, 1, $C] ins(%x : tensor<$Px$Cxf32>) into(%y : tensor<$Px$Cxf32>) [0] maps [affine_map<(r, k, c) -> ((r mod $R) * $K + r floordiv $R, c)>] -> [#point] : tensor<$Px$Cxf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  %1 = rt.fused [1, $R, $C] ins(%w : tensor<$Cx$Rxf32>) into(%v : tensor<$Rx$Cxf32>) [0] maps [affine_map<(r, k, c) -> (0, c * $R)>] -> [affine_map<(r, k, c) -> (k, c)>] : tensor<$Rx$Cxf32> {
  ^bb0(%a: f32):
    rt.yield %a : f32
  }
  return
}
)";

/// A hash of the coordinates chooses what stays; a view begins off the boundary of a vector.
const char *kDropout = R"(
func.func @dropout_$N() {
  %x = rt.slot io "x$N" : tensor<$Rx$Cxf32>
  %whole = rt.slot io "w$N" : tensor<$PCxf32>
  %y = rt.view %whole offset OFFSET : tensor<$PCxf32> -> tensor<$Rx$Cxf32>
  %0 = rt.fused [$R, 1, $C] ins(%x : tensor<$Rx$Cxf32>) into(%y : tensor<$Rx$Cxf32>) [0] maps [#point] -> [#point] : tensor<$Rx$Cxf32> {
  ^bb0(%a: f32):
    %r = rt.index affine_map<(r, k, c) -> (r)> : i32
    %c = rt.index affine_map<(r, k, c) -> (c)> : i32
    %n = arith.constant $C : i32
    %rn = arith.muli %r, %n : i32
    %at = arith.addi %rn, %c : i32
    %prime = arith.constant -1640531535 : i32
    %h = arith.muli %at, %prime : i32
    %bits = arith.constant 15 : i32
    %s = arith.shrui %h, %bits : i32
    %mixed = arith.xori %h, %s : i32
    %limit = arith.constant 1073741824 : i32
    %keep = arith.cmpi ult, %mixed, %limit : i32
    %zero = arith.constant 0.0 : f32
    %o = arith.select %keep, %zero, %a : f32
    rt.yield %o : f32
  }
  return
}
)";

/// A rotation of pairs.
const char *kRotation = R"(
func.func @rotation_$N() {
  %x = rt.slot io "x$N" : tensor<$Rx$CxTYPE>
  %s = rt.slot io "s$N" : tensor<$Cxf32>
  %y = rt.slot io "y$N" : tensor<$Rx$CxTYPE>
  %0 = rt.fused [$R, 1, $C] ins(%x, %s : tensor<$Rx$CxTYPE>, tensor<$Cxf32>) into(%y : tensor<$Rx$CxTYPE>) [0] maps [#point, #column] -> [#point] : tensor<$Rx$CxTYPE> {
  ^bb0(%a0: TYPE, %sine: f32):
    WIDEN
    %other = rt.swap_pairs %a : f32
    %o = math.fma %other, %sine, %a : f32
    NARROW
    rt.yield %out : TYPE
  }
  return
}
)";

/// AdamW in place, with numbers for all parameters.
const char *kAdam = R"(
func.func @adam_$N() {
  %p = rt.slot io "p$N" : tensor<$Rx$Cxf32>
  %m = rt.slot io "m$N" : tensor<$Rx$Cxf32>
  %v = rt.slot io "v$Npositive" : tensor<$Rx$Cxf32>
  %g = rt.slot io "g$N" : tensor<$Rx$Cxf32>
  %h = rt.slot io "h$Npositive" : tensor<3xf32>
  %0:3 = rt.fused [$R, 1, $C] ins(%p, %m, %v, %g, %h, %h : tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32>, tensor<3xf32>, tensor<3xf32>) into(%p, %m, %v : tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32>) [0, 1, 2]
      maps [#point, #point, #point, #point, #one, affine_map<(r, k, c) -> (2, 0)>] -> [#point, #point, #point] : tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32>, tensor<$Rx$Cxf32> {
  ^bb0(%a: f32, %first: f32, %second: f32, %grad: f32, %rate: f32, %eps: f32):
    %b = arith.constant 0.9 : f32
    %c = arith.constant 0.1 : f32
    %gc = arith.mulf %grad, %c : f32
    %m1 = math.fma %first, %b, %gc : f32
    %gg = arith.mulf %grad, %gc : f32
    %v1 = math.fma %second, %b, %gg : f32
    %root = math.sqrt %v1 : f32
    %den = arith.addf %root, %eps : f32
    %num = arith.mulf %m1, %rate : f32
    %step = arith.divf %num, %den : f32
    %a1 = arith.subf %a, %step : f32
    rt.yield %a1, %m1, %v1 : f32, f32, f32
  }
  return
}
)";

/// With elements of f32 or bf16 for TYPE.
std::string typed(std::string text, bool narrow) {
  std::pair<const char *, const char *> parts[] = {
      {"WIDEN", narrow ? "%a = arith.extf %a0 : bf16 to f32"
                       : "%nil = arith.constant 0.0 : f32\n    %a = arith.addf %a0, %nil : f32"},
      {"NARROW", narrow
                     ? "%out = arith.truncf %o : f32 to bf16"
                     : "%unit = arith.constant 1.0 : f32\n    %out = arith.mulf %o, %unit : f32"},
      {"TYPE", narrow ? "bf16" : "f32"}};
  for (auto [name, value] : parts)
    for (size_t at; (at = text.find(name)) != std::string::npos;)
      text.replace(at, strlen(name), value);
  return text;
}

TEST(Programs, flat) {
  Programs programs;
  for (int64_t columns : kColumns) {
    programs.add(expand(kGelu, 5, 1, columns));
    programs.add(expand(kMoves, 6, 3, columns));
    std::string dropout = kDropout;
    dropout.replace(dropout.find("OFFSET"), 6, columns % 2 ? "1" : "2");
    programs.add(expand(dropout, 7, 2, columns));
    programs.add(expand(kAdam, 9, 1, columns));
    if (columns % 2 == 0)
      for (bool narrow : {false, true})
        programs.add(expand(typed(kRotation, narrow), 4, 1, columns));
  }
  programs.check();
}

TEST(Programs, rows) {
  Programs programs;
  for (int64_t columns : kColumns)
    for (bool narrow : {false, true})
      if (!narrow || columns % 4 == 0)
        programs.add(expand(typed(kNorm, narrow), 9, 1, columns));
  for (int64_t columns : kColumns)
    programs.add(expand(kLoss, 3, 1, columns));
  programs.add(expand(kLoss, 300, 1, 12)); // several rows in a warp, the last block not full
  programs.check();
}

TEST(Programs, rowsTooLongForRegisters) {
  Programs programs;
  programs.add(expand(kLoss, 2, 1, 70001));
  programs.add(expand(typed(kNorm, false), 2, 1, 65536));
  programs.check(5e-5);
}

TEST(Programs, sums) {
  Programs programs;
  for (int64_t columns : kColumns) {
    programs.add(expand(kSums, 3, 5, columns));
    programs.add(expand(kSums, 1, 67, columns));
    for (bool narrow : {false, true}) {
      if (narrow && columns % 4 != 0)
        continue;
      programs.add(expand(typed(kNormGradient, narrow), 2, columns < 500 ? 19 : 3, columns));
      programs.add(expand(typed(kActivationGradient, narrow), 3, columns < 500 ? 23 : 5, columns));
    }
  }
  programs.check(1e-4);
}

} // namespace
