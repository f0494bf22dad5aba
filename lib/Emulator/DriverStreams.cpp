//===- DriverStreams.cpp - streams, events and graphs, emulated -----------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "DriverCalls.h"

#include <algorithm>
#include <cstring>
#include <utility>

using namespace ns::emulator;

bool Machine::capturing() const {
  return std::any_of(streams.begin(), streams.end(), [](auto &s) { return bool(s->capture); });
}

Result Machine::refuseInCapture(const char *what) {
  bool any = false;
  for (auto &stream : streams)
    if (stream->capture)
      any = stream->invalidated = true;
  if (!any)
    return kSuccess;
  complain(std::string(what) + " may not be called while a stream captures");
  return kStreamCaptureUnsupported;
}

Stream Machine::find(Stream stream) const {
  for (auto &each : streams)
    if (each.get() == stream)
      return stream;
  return nullptr;
}

Result Machine::runUntil(Stream stream, uint64_t position) {
  while (lost == kSuccess && stream->finished < position) {
    Operation operation = std::move(stream->waiting.front());
    stream->waiting.pop_front();
    Result result = operation.run();
    ++stream->finished;
    if (result != kSuccess) {
      complain(operation.name + " failed");
      lost = result;
    }
  }
  return lost;
}

Result Machine::enqueue(Stream stream, Operation operation) {
  if (!find(stream))
    return kInvalidHandle;
  if (stream->invalidated)
    return kStreamCaptureInvalidated;
  if (stream->capture) {
    stream->capture->operations.push_back(std::move(operation));
    return kSuccess;
  }
  stream->waiting.push_back(std::move(operation));
  ++stream->enqueued;
  return kSuccess;
}

/// Runs what a stream has, with device memory open.
static Result runAll(Stream stream, uint64_t position) {
  Machine &m = machine();
  m.memory.open();
  Result result = m.runUntil(stream, position);
  m.memory.close();
  return result;
}

static std::string numberOf(Stream stream) { return " stream " + std::to_string(stream->number); }

namespace ns::cuda {

NS_CALL(cuStreamCreate, (Stream * stream, unsigned)) {
  NS_ENTER();
  auto fresh = std::make_unique<StreamOf>();
  fresh->number = m.streamsMade++;
  *stream = fresh.get();
  m.streams.push_back(std::move(fresh));
  return kSuccess;
}

NS_CALL(cuStreamDestroy_v2, (Stream stream)) {
  NS_ENTER();
  if (!m.find(stream))
    return kInvalidHandle;
  Result result = runAll(stream, stream->enqueued);
  std::erase_if(m.streams, [&](auto &each) { return each.get() == stream; });
  return result;
}

NS_CALL(cuStreamSynchronize, (Stream stream)) {
  NS_ENTER();
  if (!m.find(stream))
    return kInvalidHandle;
  if (stream->capture) {
    stream->invalidated = true;
    complain("cuStreamSynchronize of a stream that captures");
    return kStreamCaptureUnsupported;
  }
  record("cuStreamSynchronize" + numberOf(stream));
  return runAll(stream, stream->enqueued);
}

NS_CALL(cuStreamWaitEvent, (Stream stream, Event event, unsigned)) {
  NS_ENTER();
  if (!m.find(stream) || !m.events.count(event))
    return kInvalidHandle;
  if (!event->stream)
    return kSuccess;
  if (stream->capture) {
    stream->invalidated = true;
    complain("cuStreamWaitEvent on a stream that captures, for an event outside of the capture");
    return kStreamCaptureIsolation;
  }
  Stream other = event->stream;
  uint64_t position = event->position;
  record("cuStreamWaitEvent" + numberOf(stream) + " for" + numberOf(other));
  return m.enqueue(stream, {"cuStreamWaitEvent", [other, position] {
                              Machine &m = machine();
                              return m.find(other) ? m.runUntil(other, position) : kSuccess;
                            }});
}

NS_CALL(cuStreamBeginCapture_v2, (Stream stream, CaptureMode)) {
  NS_ENTER();
  if (!m.find(stream))
    return kInvalidHandle;
  if (stream->capture)
    return kInvalidValue;
  record("cuStreamBeginCapture" + numberOf(stream));
  stream->capture = std::make_unique<GraphOf>();
  stream->invalidated = false;
  return kSuccess;
}

NS_CALL(cuStreamEndCapture, (Stream stream, Graph *graph)) {
  NS_ENTER();
  *graph = nullptr;
  if (!m.find(stream))
    return kInvalidHandle;
  if (!stream->capture)
    return kStreamCaptureUnmatched;
  auto captured = std::move(stream->capture);
  bool invalidated = std::exchange(stream->invalidated, false);
  record("cuStreamEndCapture" + numberOf(stream) + " " +
         std::to_string(captured->operations.size()) + " nodes");
  if (invalidated)
    return kStreamCaptureInvalidated;
  *graph = captured.release();
  return kSuccess;
}

NS_CALL(cuEventCreate, (Event * event, unsigned flags)) {
  NS_ENTER();
  auto fresh = std::make_shared<EventOf>();
  fresh->hasTime = !(flags & kEventDisableTiming);
  *event = fresh.get();
  m.events[*event] = std::move(fresh);
  return kSuccess;
}

NS_CALL(cuEventDestroy_v2, (Event event)) {
  NS_ENTER();
  return m.events.erase(event) ? kSuccess : kInvalidHandle;
}

NS_CALL(cuEventRecordWithFlags, (Event event, Stream stream, unsigned flags)) {
  NS_ENTER();
  if (!m.find(stream) || !m.events.count(event))
    return kInvalidHandle;
  if (stream->capture && flags != kEventRecordExternal) {
    stream->invalidated = true;
    complain("an event recorded in a capture, but not as a node of the graph: not emulated");
    return kStreamCaptureUnsupported;
  }
  if (!stream->capture) {
    event->stream = stream;
    event->position = stream->enqueued + 1;
  }
  return m.enqueue(stream, {"cuEventRecord", [event = m.events[event]] {
                              event->when = std::chrono::steady_clock::now();
                              event->reached = true;
                              return kSuccess;
                            }});
}

NS_CALL(cuEventRecord, (Event event, Stream stream)) {
  return cuEventRecordWithFlags(event, stream, kEventDefault);
}

NS_CALL(cuEventSynchronize, (Event event)) {
  NS_ENTER();
  if (!m.events.count(event))
    return kInvalidHandle;
  if (!event->stream || !m.find(event->stream))
    return kSuccess;
  record("cuEventSynchronize" + numberOf(event->stream));
  return runAll(event->stream, event->position);
}

NS_CALL(cuEventElapsedTime, (float *milliseconds, Event start, Event end)) {
  NS_ENTER();
  for (Event event : {start, end}) {
    if (!m.events.count(event) || !event->hasTime)
      return kInvalidHandle;
    if (!event->reached || (m.find(event->stream) && event->stream->finished < event->position))
      return kNotReady;
  }
  *milliseconds = std::chrono::duration<float, std::milli>(end->when - start->when).count();
  return kSuccess;
}

NS_CALL(cuGraphInstantiateWithFlags, (GraphExec * exec, Graph graph, unsigned long long)) {
  NS_ENTER();
  if (!graph)
    return kInvalidValue;
  *exec = new GraphExecOf{std::make_shared<const std::vector<Operation>>(graph->operations)};
  return kSuccess;
}

NS_CALL(cuGraphLaunch, (GraphExec exec, Stream stream)) {
  NS_ENTER();
  if (!exec || !m.find(stream))
    return kInvalidHandle;
  if (stream->capture) {
    stream->invalidated = true;
    return kStreamCaptureUnsupported;
  }
  auto operations = exec->operations;
  record("cuGraphLaunch" + numberOf(stream) + " " + std::to_string(operations->size()) + " nodes");
  return m.enqueue(stream, {"cuGraphLaunch", [operations] {
                              for (const Operation &operation : *operations)
                                if (Result result = operation.run(); result != kSuccess) {
                                  complain(operation.name + " failed");
                                  return result;
                                }
                              return kSuccess;
                            }});
}

NS_CALL(cuGraphExecDestroy, (GraphExec exec)) {
  delete exec;
  return exec ? kSuccess : kInvalidValue;
}

NS_CALL(cuGraphDestroy, (Graph graph)) {
  delete graph;
  return graph ? kSuccess : kInvalidValue;
}

} // namespace ns::cuda
