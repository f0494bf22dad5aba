//===- Pickle.cpp - reads pickles, running nothing ------------------------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// The opcodes are those of Python's pickletools. A state dict uses about 25 of them; the others are
// here so that what lies beside a state dict (optimizer state, command lines, NumPy scalars) can be
// stepped over.
//
//===----------------------------------------------------------------------===//

#include "Pickle.h"
#include "Bytes.h"
#include "ns/Runtime/Error.h"

#include <unordered_map>

using namespace ns::checkpoint;
using ns::runtime::fail;

/// The globals whose calls mean something here; `Reduced` values come from these only.
static bool isKnown(std::string_view module, std::string_view name) {
  if (module == "collections")
    return name == "OrderedDict";
  return module == "torch._utils" &&
         (name == "_rebuild_tensor_v2" || name == "_rebuild_tensor_v3" ||
          name == "_rebuild_tensor" || name == "_rebuild_parameter");
}

namespace ns::checkpoint {
/// The machine that a pickle is a program for.
class PickleReader {
public:
  PickleReader(std::string_view stream, Pickle &out)
      : stream(stream), memory(&out.memory), values(out.values) {}
  ValueId run();

private:
  using Kind = Pickle::Kind;
  using Value = Pickle::Value;
  using Ids = std::pmr::vector<ValueId>;

  template <class... Parts> [[noreturn]] void bad(const Parts &...what) const {
    fail("pickle, byte ", start, ": ", what...);
  }
  std::string_view take(uint64_t count) {
    if (count > stream.size() - at)
      bad("expected ", count, " more bytes, found the end");
    std::string_view bytes = stream.substr(at, count);
    at += count;
    return bytes;
  }
  uint64_t takeNumber(int bytes) { return littleEndian(take(bytes).data(), bytes); }
  std::string_view takeLine() {
    size_t end = stream.find('\n', at);
    if (end == std::string_view::npos)
      bad("expected a line, found the end");
    std::string_view line = stream.substr(at, end - at);
    at = end + 1;
    return line;
  }

  ValueId add(Value value) {
    values.push_back(std::move(value));
    return static_cast<ValueId>(values.size() - 1);
  }
  void push(ValueId id) { stack.push_back(id); }
  void push(Value value) { push(add(std::move(value))); }
  void push(Kind kind, int64_t number, std::string_view text, std::string_view module) {
    push(Value{kind, number, text, module, Ids(memory)});
  }
  void pushKind(Kind kind) { push(kind, 0, {}, {}); }
  void pushInt(int64_t number) { push(Kind::Int, number, {}, {}); }
  void pushText(std::string_view text) { push(Kind::String, 0, text, {}); }
  void pushGlobal(std::string_view module, std::string_view name) {
    push(Kind::Global, 0, name, module);
  }
  /// The last value; it must lie above the last mark.
  ValueId pop() {
    if (stack.size() <= (marks.empty() ? 0 : marks.back()))
      bad("the stack is empty");
    ValueId id = stack.back();
    stack.pop_back();
    return id;
  }
  ValueId peek() {
    ValueId id = pop();
    push(id);
    return id;
  }
  Ids popToMark() {
    if (marks.empty())
      bad("there is no mark");
    Ids items(stack.begin() + marks.back(), stack.end(), memory);
    stack.resize(marks.back());
    marks.pop_back();
    return items;
  }
  void makeTuple(Ids items) { push(Value{Kind::Tuple, 0, {}, {}, std::move(items)}); }
  void makeTuple(int count) {
    Ids items(count, memory);
    for (int i = count - 1; i >= 0; --i)
      items[i] = pop();
    makeTuple(std::move(items));
  }
  /// Appends to a list or, with `pairs`, to a dict; what is not one swallows the items.
  void extend(ValueId target, std::initializer_list<ValueId> items, Kind kind) {
    extend(target, Ids(items, memory), kind);
  }
  void extend(ValueId target, const Ids &items, Kind kind) {
    if (kind == Kind::Dict && items.size() % 2)
      bad("a key without a value");
    Ids &held = values[target].items;
    if (values[target].kind == kind)
      held.insert(held.end(), items.begin(), items.end());
  }
  void call(ValueId function, ValueId arguments);
  void put(uint64_t slot) { memo[slot] = peek(); }
  void get(uint64_t slot) {
    auto found = memo.find(slot);
    if (found == memo.end())
      bad("nothing is remembered as ", slot);
    push(found->second);
  }
  void popOne();
  void readGlobalFromStack();
  bool readNumber(char op);
  bool readText(char op);
  bool readContainer(char op);
  bool readMemo(char op);
  bool readCall(char op);

  std::string_view stream;
  std::pmr::memory_resource *memory;
  std::pmr::deque<Value> &values;
  size_t at = 0, start = 0;
  Ids stack{memory};
  std::pmr::vector<size_t> marks{memory};
  std::pmr::unordered_map<uint64_t, ValueId> memo{memory};
};
} // namespace ns::checkpoint

/// What calling a global would make; it is not called.
void PickleReader::call(ValueId function, ValueId arguments) {
  const Value &callee = values[function];
  const Ids &given = values[arguments].items;
  // No known global takes more; copying any number would let a short stream fill the memory.
  constexpr size_t kMaxArguments = 8;
  if (callee.kind != Kind::Global || !isKnown(callee.module, callee.text) ||
      given.size() > kMaxArguments)
    return push(Kind::Opaque, 0, callee.text, callee.module);
  if (callee.text == "OrderedDict")
    return pushKind(Kind::Dict);
  Ids items({function}, memory);
  items.insert(items.end(), given.begin(), given.end());
  push(Value{Kind::Reduced, 0, {}, {}, std::move(items)});
}

bool PickleReader::readNumber(char op) {
  switch (op) {
  case 'K': // BININT1
    pushInt(static_cast<int64_t>(takeNumber(1)));
    return true;
  case 'M': // BININT2
    pushInt(static_cast<int64_t>(takeNumber(2)));
    return true;
  case 'J': // BININT
    pushInt(static_cast<int32_t>(takeNumber(4)));
    return true;
  case '\x8a':   // LONG1
  case '\x8b': { // LONG4
    std::string_view bytes = take(takeNumber(op == '\x8a' ? 1 : 4));
    if (bytes.size() > 8) { // no extent or offset is as large
      pushKind(Kind::Opaque);
      return true;
    }
    uint64_t number = littleEndian(bytes.data(), static_cast<int>(bytes.size()));
    int unused = bytes.empty() ? 0 : 64 - 8 * static_cast<int>(bytes.size());
    pushInt(static_cast<int64_t>(number << unused) >> unused);
    return true;
  }
  case 'I': // INT
  case 'L': // LONG
  case 'F': // FLOAT
    takeLine();
    pushKind(Kind::Opaque); // protocol 0: torch.save never wrote it
    return true;
  case 'G': // BINFLOAT
    take(8);
    pushKind(Kind::Float);
    return true;
  case '\x88': // NEWTRUE
  case '\x89': // NEWFALSE
    push(Kind::Bool, op == '\x88', {}, {});
    return true;
  case 'N': // NONE
    pushKind(Kind::None);
    return true;
  default:
    return false;
  }
}

bool PickleReader::readText(char op) {
  switch (op) {
  case 'X': // BINUNICODE
  case 'T': // BINSTRING
  case 'B': // BINBYTES
    pushText(take(takeNumber(4)));
    return true;
  case '\x8c': // SHORT_BINUNICODE
  case 'U':    // SHORT_BINSTRING
  case 'C':    // SHORT_BINBYTES
    pushText(take(takeNumber(1)));
    return true;
  case '\x8d': // BINUNICODE8
  case '\x8e': // BINBYTES8
  case '\x96': // BYTEARRAY8
    pushText(take(takeNumber(8)));
    return true;
  case 'V': // UNICODE
  case 'S': // STRING
    pushText(takeLine());
    return true;
  default:
    return false;
  }
}

/// POP drops a mark where that is the last thing pushed.
void PickleReader::popOne() {
  if (!marks.empty() && marks.back() == stack.size())
    marks.pop_back();
  else
    pop();
}

bool PickleReader::readContainer(char op) {
  switch (op) {
  case '(': // MARK
    marks.push_back(stack.size());
    return true;
  case ')': // EMPTY_TUPLE
    pushKind(Kind::Tuple);
    return true;
  case ']': // EMPTY_LIST
    pushKind(Kind::List);
    return true;
  case '}': // EMPTY_DICT
    pushKind(Kind::Dict);
    return true;
  case '\x8f': // EMPTY_SET
    pushKind(Kind::Opaque);
    return true;
  case 't': // TUPLE
    makeTuple(popToMark());
    return true;
  case '\x85': // TUPLE1
  case '\x86': // TUPLE2
  case '\x87': // TUPLE3
    makeTuple(static_cast<unsigned char>(op) - 0x84);
    return true;
  case 'l':      // LIST
  case 'd':      // DICT
  case 'e':      // APPENDS
  case 'u':      // SETITEMS
  case '\x90': { // ADDITEMS
    Ids items = popToMark();
    if (op == 'l' || op == 'd')
      pushKind(op == 'l' ? Kind::List : Kind::Dict);
    extend(peek(), items, op == 'u' || op == 'd' ? Kind::Dict : Kind::List);
    return true;
  }
  case '\x91': // FROZENSET
    popToMark();
    pushKind(Kind::Opaque);
    return true;
  case 'a': { // APPEND
    ValueId item = pop();
    extend(peek(), {item}, Kind::List);
    return true;
  }
  case 's': { // SETITEM
    ValueId value = pop(), name = pop();
    extend(peek(), {name, value}, Kind::Dict);
    return true;
  }
  case '0': // POP
    popOne();
    return true;
  case '1': // POP_MARK
    popToMark();
    return true;
  case '2': // DUP
    push(peek());
    return true;
  default:
    return false;
  }
}

bool PickleReader::readMemo(char op) {
  switch (op) {
  case 'q': // BINPUT
    put(takeNumber(1));
    return true;
  case 'r': // LONG_BINPUT
    put(takeNumber(4));
    return true;
  case '\x94': // MEMOIZE
    put(memo.size());
    return true;
  case 'h': // BINGET
    get(takeNumber(1));
    return true;
  case 'j': // LONG_BINGET
    get(takeNumber(4));
    return true;
  default:
    return false;
  }
}

void PickleReader::readGlobalFromStack() {
  ValueId name = pop(), module = pop();
  if (values[name].kind != Kind::String || values[module].kind != Kind::String)
    bad("expected the name of a global");
  std::string_view text = values[name].text, owner = values[module].text;
  pushGlobal(owner, text);
}

bool PickleReader::readCall(char op) {
  switch (op) {
  case 'c': { // GLOBAL
    std::string_view module = takeLine(), name = takeLine();
    pushGlobal(module, name);
    return true;
  }
  case '\x93': // STACK_GLOBAL
    readGlobalFromStack();
    return true;
  case 'R':      // REDUCE
  case '\x81':   // NEWOBJ
  case '\x92': { // NEWOBJ_EX
    if (op == '\x92')
      pop(); // keyword arguments
    ValueId arguments = pop(), function = pop();
    call(function, arguments);
    return true;
  }
  case 'i': { // INST
    std::string_view module = takeLine(), name = takeLine();
    popToMark();
    push(Kind::Opaque, 0, name, module);
    return true;
  }
  case 'o': { // OBJ
    Ids items = popToMark();
    std::string_view name, module;
    if (!items.empty()) {
      name = values[items[0]].text;
      module = values[items[0]].module;
    }
    push(Kind::Opaque, 0, name, module);
    return true;
  }
  case 'b': // BUILD: the state of an object; state dicts keep `_metadata` there
    pop();
    peek();
    return true;
  case 'Q': { // BINPERSID
    ValueId id = pop();
    push(Value{Kind::Storage, 0, {}, {}, Ids({id}, memory)});
    return true;
  }
  default:
    return false;
  }
}

ValueId PickleReader::run() {
  for (;;) {
    start = at;
    char op = take(1)[0];
    if (op == '.') // STOP
      return pop();
    if (op == '\x80' || op == '\x95') // PROTO, FRAME
      take(op == '\x80' ? 1 : 8);
    else if (!readNumber(op) && !readText(op) && !readContainer(op) && !readMemo(op) &&
             !readCall(op))
      bad("opcode ", static_cast<int>(static_cast<unsigned char>(op)),
          " is not one that torch.save writes");
  }
}

Pickle::Pickle(std::string_view stream) { root = PickleReader(stream, *this).run(); }

const Pickle::Value *Pickle::find(const Value &dict, std::string_view key) const {
  const Value *found = nullptr;
  if (dict.kind == Kind::Dict)
    for (size_t i = 0; i + 1 < dict.items.size(); i += 2)
      if (at(dict.items[i]).kind == Kind::String && at(dict.items[i]).text == key)
        found = &at(dict.items[i + 1]);
  return found;
}

std::string Pickle::nameOf(const Value &value) {
  // A class made through copyreg is known by no name of its own.
  std::string name(value.module.substr(0, 80));
  return name + (name.empty() ? "" : ".") + std::string(value.text.substr(0, 80));
}
