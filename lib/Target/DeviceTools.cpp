//===- DeviceTools.cpp - programs of the CUDA toolkit -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DeviceInternal.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Process.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;

Expected<std::string> ns::findInToolkit(StringRef path) {
  std::vector<std::string> roots;
  for (StringRef variable : {"CUDA_HOME", "CUDA_PATH"})
    if (auto root = sys::Process::GetEnv(variable))
      roots.push_back(*root);
  if (roots.empty())
    roots.push_back("/usr/local/cuda");
  for (const std::string &root : roots) {
    SmallString<128> candidate(root);
    sys::path::append(candidate, path);
    if (sys::fs::exists(candidate))
      return std::string(candidate);
  }
  bool program = path.starts_with("bin/");
  if (program)
    if (auto found = sys::findProgramByName(path.drop_front(4)))
      return *found;
  return createStringError("%s: expected it in the CUDA toolkit (CUDA_HOME, CUDA_PATH, else "
                           "/usr/local/cuda); looked in %s%s",
                           path.str().c_str(), join(roots, ", ").c_str(),
                           program ? " and PATH" : "");
}

static Expected<std::string> readFile(StringRef path) {
  auto buffer = MemoryBuffer::getFile(path);
  if (!buffer)
    return createStringError("%s: %s", path.str().c_str(), buffer.getError().message().c_str());
  return (*buffer)->getBuffer().str();
}

Expected<std::string> ns::runTool(StringRef program, ArrayRef<std::string> arguments,
                                  StringRef directory) {
  SmallString<128> log;
  if (std::error_code ec = sys::fs::createUniqueFile(directory + "/log%%%%%%", log))
    return createStringError(ec, "%s: %s", log.c_str(), ec.message().c_str());
  SmallVector<StringRef> line = {program};
  append_range(line, arguments);
  std::string message;
  int status =
      sys::ExecuteAndWait(program, line, std::nullopt, {"", log.str(), log.str()}, 0, 0, &message);
  Expected<std::string> text = readFile(log);
  if (!text)
    return text.takeError();
  if (status != 0)
    return createStringError("%s: status %d: %s%s", program.str().c_str(), status, message.c_str(),
                             text->c_str());
  return text;
}

/// Reads what `ptxas -v` says of each kernel.
static std::vector<ns::KernelReport> readLog(StringRef log, unsigned arch) {
  std::vector<ns::KernelReport> reports;
  auto number = [](StringRef text, StringRef unit) { // before `unit`
    unsigned value = 0;
    StringRef head = text.substr(0, text.find(unit)).rtrim();
    head.substr(head.find_last_of(" ") + 1).getAsInteger(10, value);
    return text.contains(unit) ? value : 0;
  };
  for (StringRef line : split(log, '\n')) {
    if (line.contains("Compiling entry function '"))
      reports.push_back({line.split('\'').second.split('\'').first.str(), arch});
    if (reports.empty())
      continue;
    ns::KernelReport &report = reports.back();
    if (line.contains("bytes stack frame")) {
      report.stackBytes = number(line, "bytes stack frame");
      report.spillBytes = number(line, "bytes spill stores") + number(line, "bytes spill loads");
    } else if (line.contains("Used ")) {
      report.registers = number(line, "registers");
      report.sharedBytes = number(line, "bytes smem");
    }
  }
  return reports;
}

Expected<SmallVector<char, 0>> ns::assemble(StringRef program, StringRef ptx, unsigned arch,
                                            StringRef directory,
                                            std::vector<KernelReport> &reports) {
  std::string stem = (directory + "/" + Twine(arch)).str();
  std::error_code ec;
  raw_fd_ostream os(stem + ".ptx", ec);
  if (!ec) {
    os << ptx;
    os.close();
    ec = os.error();
  }
  if (ec)
    return createStringError(ec, "%s.ptx: %s", stem.c_str(), ec.message().c_str());
  auto log = runTool(
      program,
      {"-v", "-O3", "-arch=sm_" + std::to_string(arch), stem + ".ptx", "-o", stem + ".cubin"},
      directory);
  if (!log)
    return log.takeError();
  auto cubin = readFile(stem + ".cubin");
  if (!cubin)
    return cubin.takeError();
  reports = readLog(*log, arch);
  if (Error error = readCubin(*cubin, reports))
    return error;
  return SmallVector<char, 0>(cubin->begin(), cubin->end());
}
