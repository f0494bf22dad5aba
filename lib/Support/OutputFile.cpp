//===- OutputFile.cpp - a file that appears whole or not at all -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Support/OutputFile.h"

#include <cerrno>
#include <unistd.h>

using namespace llvm;

/// Renaming would put a regular file in the place of a device, and leave readers of a pipe alone.
static bool isWrittenInPlace(StringRef path) {
  sys::fs::file_status status;
  return path == "-" || (!sys::fs::status(path, status) && sys::fs::is_other(status));
}

Expected<ns::OutputFile> ns::OutputFile::create(StringRef path, bool executable) {
  OutputFile output(path);
  if (path == "-") {
    outs().flush(); // what was printed before comes before
    output.fd = STDOUT_FILENO;
  } else if (isWrittenInPlace(path)) {
    if (std::error_code ec = sys::fs::openFileForWrite(path, output.fd, sys::fs::CD_OpenExisting))
      return errorCodeToError(ec);
  } else {
    SmallString<128> real; // for a link (/dev/stdout of a redirected tool) to stay one
    if (!sys::fs::real_path(path, real))
      output.path = real.str();
    auto mode = sys::fs::all_read | sys::fs::all_write |
                (executable ? sys::fs::all_exe : sys::fs::no_perms);
    Expected<sys::fs::TempFile> file =
        sys::fs::TempFile::create(output.path + ".tmp%%%%%%%%", mode);
    if (!file)
      return file.takeError();
    output.file = std::move(*file);
    output.fd = output.file->FD;
  }
  const bool shouldClose = path != "-" && !output.file; // a TempFile closes its own
  output.stream = std::make_unique<raw_fd_ostream>(output.fd, shouldClose);
  return output;
}

ns::OutputFile::~OutputFile() {
  if (stream)
    consumeError(flush()); // a file that is given up may be incomplete
  stream.reset();
  if (file)
    consumeError(file->discard());
}

int ns::OutputFile::descriptor() {
  stream->flush();
  return fd;
}

Error ns::OutputFile::flush(bool durable) {
  stream->flush();
  std::error_code ec = stream->error();
  if (!ec && durable && file && fsync(fd) != 0)
    ec = std::error_code(errno, std::generic_category());
  stream->clear_error();
  return ec ? errorCodeToError(ec) : Error::success();
}

Error ns::OutputFile::keep() {
  if (Error error = flush())
    return error;
  stream.reset();
  if (!file)
    return Error::success();
  Error error = file->keep(path);
  file.reset();
  return error;
}
