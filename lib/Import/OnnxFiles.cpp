//===- OnnxFiles.cpp - tensor data beside an ONNX model -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "OnnxFiles.h"

#include "llvm/ADT/ScopeExit.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace llvm;
using namespace ns;
using namespace ns::onnx;

/// Whether `location` is a name of a file in a folder or below it.
static bool staysInside(StringRef location) {
  SmallVector<StringRef> parts;
  location.split(parts, '/');
  return !location.contains('\0') && !location.contains('\\') && location.size() < 4096 &&
         llvm::none_of(
             parts, [](StringRef part) { return part.empty() || part == "." || part == ".."; });
}

/// Opens the file, following no symbolic link of what `location` names. -1 and errno on failure.
static int openBelow(StringRef folder, StringRef location) {
  int at = ::open(folder.str().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  while (at >= 0) {
    auto [part, rest] = location.split('/');
    const int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    const int next = ::openat(at, part.str().c_str(), flags | (rest.empty() ? 0 : O_DIRECTORY));
    const int reason = errno;
    ::close(at);
    errno = reason;
    if (next < 0 || rest.empty())
      return next;
    at = next;
    location = rest;
  }
  return -1;
}

Expected<StringRef> DataFiles::open(StringRef location) {
  auto known = contents.find(location);
  if (known != contents.end())
    return known->second;
  auto bad = [&](const Twine &what) {
    return createStringError("file '" + location.take_front(200) + "': " + what);
  };
  if (folder.empty() || !staysInside(location))
    return bad("expected the name of a file beside the model or below its folder");
  const int descriptor = openBelow(folder, location);
  if (descriptor < 0)
    return errno == ELOOP ? bad("a symbolic link, expected the file itself")
                          : bad("cannot be read: " +
                                std::error_code(errno, std::generic_category()).message());
  scope_exit close([&] { ::close(descriptor); });
  struct stat status;
  if (fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode))
    return bad("expected an ordinary file");
  ErrorOr<std::unique_ptr<MemoryBuffer>> buffer = MemoryBuffer::getOpenFile(
      descriptor, location, /*FileSize=*/-1, /*RequiresNullTerminator=*/false);
  if (!buffer)
    return bad("cannot be read: " + buffer.getError().message());
  buffers.push_back(std::move(*buffer));
  return contents[location] = buffers.back()->getBuffer();
}

Error DataFiles::attach(Tensor &tensor) {
  std::optional<pt2::ScalarType> type = scalarType(tensor.dataType);
  if (tensor.location.empty() || !type)
    return Error::success();
  Expected<StringRef> content = open(tensor.location);
  if (!content)
    return createStringError("tensor '" + tensor.name + "': " + toString(content.takeError()));
  const int64_t available = content->size(), width = pt2::elementSize(*type);
  const int64_t count = tensor.count(); // at most kMaxElements
  const bool inside = tensor.offset <= available && count <= (available - tensor.offset) / width;
  if (!inside || (tensor.length >= 0 && tensor.length != count * width))
    return createStringError(
        "tensor '" + tensor.name + "': expected " + Twine(count) + " elements of " + Twine(width) +
        " bytes at byte " + Twine(tensor.offset) +
        (inside ? ", its length says " + Twine(tensor.length) + " bytes"
                : " of '" + tensor.location + "', a file of " + Twine(available) + " bytes"));
  tensor.bytes = content->substr(tensor.offset, count * width);
  return Error::success();
}
