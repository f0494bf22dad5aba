//===- JsonText.cpp - JSON of a file from outside, piece by piece ---------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "JsonText.h"

#include "llvm/ADT/StringExtras.h"

using namespace llvm;

/// Exports nest 12 deep, and a node has some forty brackets.
static constexpr unsigned kMaxDepth = 100, kMaxBrackets = 4096, kMaxCommas = 1 << 18;

namespace {
/// Takes values off the front of a text.
class Cursor {
public:
  Cursor(StringRef text, StringRef entry) : whole(text), rest(text), entry(entry) { skipSpace(); }

  bool consume(char c) {
    if (!rest.starts_with(StringRef(&c, 1)))
      return false;
    rest = rest.drop_front();
    skipSpace();
    return true;
  }
  bool atEnd() const { return rest.empty(); }
  /// A string without its quotes; escapes stay.
  Expected<StringRef> takeString() {
    Expected<StringRef> text = takeValue();
    if (text && (text->size() < 2 || text->front() != '"'))
      return damaged("expected a name");
    return text ? Expected<StringRef>(text->drop_front().drop_back()) : std::move(text);
  }
  /// Up to the comma or bracket after it.
  Expected<StringRef> takeValue();
  Error damaged(const Twine &what) const {
    return createStringError("entry '" + entry + "', byte " + Twine(whole.size() - rest.size()) +
                             ": " + what);
  }

private:
  void skipSpace() { rest = rest.ltrim(" \t\r\n"); }

  StringRef whole, rest, entry;
};
} // namespace

Expected<StringRef> Cursor::takeValue() {
  unsigned depth = 0;
  bool inString = false;
  size_t end = 0;
  for (; end < rest.size(); ++end) {
    char c = rest[end];
    if (inString) {
      end += c == '\\';
      inString = c != '"';
    } else if (c == '"') {
      inString = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth)
        return damaged("JSON nested deeper than " + Twine(kMaxDepth) + " levels");
    } else if (depth == 0 && (c == ',' || c == ':' || c == ']' || c == '}')) {
      break;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  if (depth > 0 || inString || end > rest.size())
    return damaged("expected the end of a value");
  StringRef value = rest.take_front(end).rtrim(" \t\r\n");
  if (value.empty())
    return damaged("expected a value");
  rest = rest.drop_front(end);
  return value;
}

Error ns::pt2::schema::forEachMember(StringRef text, StringRef entry,
                                     function_ref<Error(StringRef, StringRef)> onMember) {
  Cursor cursor(text, entry);
  if (!cursor.consume('{'))
    return cursor.damaged("expected an object");
  bool more = !cursor.consume('}');
  while (more) {
    Expected<StringRef> key = cursor.takeString();
    if (!key)
      return key.takeError();
    if (!cursor.consume(':'))
      return cursor.damaged("expected ':'");
    Expected<StringRef> value = cursor.takeValue();
    if (!value)
      return value.takeError();
    if (Error error = onMember(*key, *value))
      return error;
    more = cursor.consume(',');
    if (!more && !cursor.consume('}'))
      return cursor.damaged("expected ',' or '}'");
  }
  return cursor.atEnd() ? Error::success() : cursor.damaged("expected the end");
}

Error ns::pt2::schema::forEachElement(StringRef text, StringRef entry,
                                      function_ref<Error(StringRef)> onElement) {
  Cursor cursor(text, entry);
  if (!cursor.consume('['))
    return cursor.damaged("expected an array");
  bool more = !cursor.consume(']');
  while (more) {
    Expected<StringRef> value = cursor.takeValue();
    if (!value)
      return value.takeError();
    if (Error error = onElement(*value))
      return error;
    more = cursor.consume(',');
    if (!more && !cursor.consume(']'))
      return cursor.damaged("expected ',' or ']'");
  }
  return cursor.atEnd() ? Error::success() : cursor.damaged("expected the end");
}

Expected<json::Value> ns::pt2::schema::parseJson(StringRef text, StringRef entry) {
  unsigned brackets = 0, commas = 0;
  bool inString = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inString) {
      i += c == '\\';
      inString = c != '"';
    } else {
      inString = c == '"';
      brackets += c == '[' || c == '{';
      commas += c == ',' || c == ':';
    }
  }
  if (brackets > kMaxBrackets || commas > kMaxCommas)
    return createStringError("entry '" + entry + "': expected JSON of at most " +
                             Twine(kMaxBrackets) + " objects and arrays and " + Twine(kMaxCommas) +
                             " members, found more");
  // Ends where brackets do not nest as they should, and where they nest too deeply to recurse into.
  Cursor cursor(text, entry);
  if (Expected<StringRef> whole = cursor.takeValue(); !whole)
    return whole.takeError();
  Expected<json::Value> value = json::parse(text);
  if (!value)
    return createStringError("entry '" + entry + "': " + toString(value.takeError()));
  return value;
}
