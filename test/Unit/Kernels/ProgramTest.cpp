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
#include "Programs.h"

#include "ns/Conversion/Passes.h"
#include "ns/Dialect/RT/Transforms/Passes.h"
#include "ns/InitAll.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"

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
  } else if (isa<Float8E4M3FNType>(type)) {
    *to = 0; // only results are of it
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
  if (isa<Float8E4M3FNType>(type)) {
    APInt code(8, uint8_t(*from));
    return APFloat(APFloat::Float8E4M3FN(), code).convertToDouble();
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
      if (slot.getName().starts_with("every")) // the upper half of a float, and the next one
        value = llvm::bit_cast<float>(uint32_t(i / 2 << 16 | i % 2));
      if (slot.getName().starts_with("x") && i == 3)
        value = NAN; // stays where PyTorch keeps it
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
    if (isa<Float8E4M3FNType>(element))
      tolerance = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      double found = readElement(test.memory[name] + i * bytes, element);
      if (found == expected[i] || (std::isnan(expected[i]) && std::isnan(found)))
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

/// Divisible by vectors and warps, and not.
const int64_t kColumns[] = {1, 3, 10, 12, 192, 197, 1000, 4097};

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

TEST(Programs, quantized) {
  Programs programs;
  for (int64_t columns : kColumns)
    programs.add(expand(kQuantize, 5, 1, columns));
  programs.add(expand(kQuantize, 300, 1, 64)); // several rows in a warp, the last block not full
  programs.add(expand(kQuantize, 2, 1, 65536));
  programs.add(expand(kRoundToE4M3, 512, 1, 256)); // all that matters of a float
  programs.check(0);
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
