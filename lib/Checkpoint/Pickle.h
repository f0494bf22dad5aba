//===- Pickle.h - reads pickles, running nothing ----------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_CHECKPOINT_PICKLE_H
#define NS_LIB_CHECKPOINT_PICKLE_H

#include "Budget.h"

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ns::checkpoint {

/// A value of a pickle: a small number that names an object of its `Pickle`.
using ValueId = uint32_t;

/// A pickle as plain data. The stream is interpreted, nothing in it is ever called or imported:
/// what a global would have made becomes an `Opaque` value that remembers the global's name.
///
/// A hostile stream cannot make this recurse or multiply: every opcode makes at most one value,
/// values are shared by number and never copied, strings are views of the stream, and all of it
/// takes at most `kMaxMemory` bytes. A checkpoint of 10^4 tensors with their optimizer's takes
/// half.
class Pickle {
public:
  static constexpr size_t kMaxMemory = 64 << 20;

  enum class Kind : uint8_t {
    None,
    Bool,
    Int,
    Float,
    String,
    Tuple,
    List,
    Dict,
    Global,  ///< "module name"
    Storage, ///< persistent id; the tuple it was made from is `items[0]`
    Reduced, ///< of a known global: `items` are the global and its arguments
    Opaque,  ///< of an unknown one, named by `text`
  };

  struct Value {
    Kind kind = Kind::None;
    int64_t number = 0;              ///< of Bool and Int
    std::string_view text, module;   ///< of String; of Global and Opaque the name and its module
    std::pmr::vector<ValueId> items; ///< of a Dict: key, value, key, value, ...
  };

  /// Reads one pickle of protocol 0 to 5. Throws Error, which says at which byte.
  explicit Pickle(std::string_view stream);

  const Value &top() const { return values[root]; }
  const Value &at(ValueId id) const { return values[id]; }
  /// The value under a string key of a Dict, the last one where there are several; null where there
  /// is none.
  const Value *find(const Value &dict, std::string_view key) const;
  /// "module.name" of a Global or Opaque value.
  static std::string nameOf(const Value &value);

private:
  friend class PickleReader;
  Budget memory{"a pickle's values", kMaxMemory};
  std::pmr::deque<Value> values{&memory};
  ValueId root = 0;
};

} // namespace ns::checkpoint

#endif // NS_LIB_CHECKPOINT_PICKLE_H
