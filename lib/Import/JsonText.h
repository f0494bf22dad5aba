//===- JsonText.h - JSON of a file from outside, piece by piece -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// llvm::json's documents take 4 KiB for each object, which may be eight bytes of text. So a large
// entry is walked as text, and only its pieces (a node, a weight) become documents.
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_IMPORT_JSONTEXT_H
#define NS_LIB_IMPORT_JSONTEXT_H

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/JSON.h"

namespace ns::pt2::schema {

/// A document of one piece: at most 4096 objects and arrays, which nest at most 100 deep (the
/// parser recurses), and at most 2^18 numbers, or names of members. Errors name the entry.
llvm::Expected<llvm::json::Value> parseJson(llvm::StringRef text, llvm::StringRef entry);

/// Calls `onMember(key, value)` for each member of the object that `text` is, with the value's
/// text. Nothing in a value is looked at but where it ends.
llvm::Error
forEachMember(llvm::StringRef text, llvm::StringRef entry,
              llvm::function_ref<llvm::Error(llvm::StringRef, llvm::StringRef)> onMember);

/// The same for the elements of an array.
llvm::Error forEachElement(llvm::StringRef text, llvm::StringRef entry,
                           llvm::function_ref<llvm::Error(llvm::StringRef)> onElement);

} // namespace ns::pt2::schema

#endif // NS_LIB_IMPORT_JSONTEXT_H
