//===- DriverTest.cpp - what the emulated driver refuses and when it runs -===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "Emulated.h"
#include "Runtime/backends/cuda/Device.h"

#include <cmath>
#include <cstring>

using namespace ns::cuda;
using ns::runtime::cuda::Marker;

namespace {

class DriverTest : public ns::test::Emulated {
protected:
  DriverTest() : device(std::make_unique<ns::runtime::cuda::Device>()), api(device->api) {}

  Graph capture(std::function<void()> work) {
    EXPECT_EQ(api.cuStreamBeginCapture_v2(device->compute, kCaptureThreadLocal), kSuccess);
    work();
    Graph graph = nullptr;
    ended = api.cuStreamEndCapture(device->compute, &graph);
    return graph;
  }

  std::unique_ptr<ns::runtime::cuda::Device> device;
  const ns::runtime::cuda::Driver &api;
  Result ended = kSuccess;
};

TEST_F(DriverTest, RunsWhenSomethingWaits) {
  char *pinned = device->allocatePinned(4, "test");
  DevicePtr memory = device->allocate(4, "test");
  ASSERT_EQ(api.cuMemsetD8Async(memory, 7, 4, device->compute), kSuccess);
  ASSERT_EQ(api.cuMemcpyDtoHAsync_v2(pinned, memory, 4, device->compute), kSuccess);
  EXPECT_EQ(pinned[0], 0); // nothing waited
  ASSERT_EQ(api.cuStreamSynchronize(device->compute), kSuccess);
  EXPECT_EQ(pinned[0], 7);
}

TEST_F(DriverTest, EventsOrderStreams) {
  char *pinned = device->allocatePinned(4, "test");
  DevicePtr memory = device->allocate(4, "test");
  ASSERT_EQ(api.cuStreamSynchronize(device->compute), kSuccess);
  Marker marker(api);
  ASSERT_EQ(api.cuMemsetD8Async(memory, 7, 4, device->copies), kSuccess);
  marker.record(device->copies);
  marker.holdBack(device->compute);
  ASSERT_EQ(api.cuMemsetD8Async(memory, 9, 4, device->copies), kSuccess); // not waited for
  ASSERT_EQ(api.cuMemcpyDtoHAsync_v2(pinned, memory, 4, device->compute), kSuccess);
  ASSERT_EQ(api.cuStreamSynchronize(device->compute), kSuccess);
  EXPECT_EQ(pinned[0], 7);
}

TEST_F(DriverTest, PageableMemoryIsReadAtTheCall) {
  char pageable[4] = {1, 1, 1, 1}, *pinned = device->allocatePinned(4, "test");
  DevicePtr memory = device->allocate(4, "test");
  ASSERT_EQ(api.cuMemcpyHtoDAsync_v2(memory, pageable, 4, device->compute), kSuccess);
  std::memset(pageable, 2, 4);
  ASSERT_EQ(api.cuMemcpyDtoHAsync_v2(pinned, memory, 4, device->compute), kSuccess);
  ASSERT_EQ(api.cuStreamSynchronize(device->compute), kSuccess);
  EXPECT_EQ(pinned[0], 1);
}

TEST_F(DriverTest, FreshMemoryIsNotZero) {
  DevicePtr memory = 0;
  ASSERT_EQ(api.cuMemAlloc_v2(&memory, 4), kSuccess);
  float value = 0;
  ASSERT_EQ(api.cuMemcpyDtoHAsync_v2(&value, memory, 4, device->compute), kSuccess);
  EXPECT_TRUE(std::isnan(value));
  EXPECT_EQ(api.cuMemFree_v2(memory), kSuccess);
  EXPECT_EQ(api.cuMemFree_v2(memory), kInvalidValue);
}

TEST_F(DriverTest, CapturedWorkRunsAtTheLaunchOnly) {
  char *pinned = device->allocatePinned(4, "test");
  DevicePtr memory = device->allocate(4, "test");
  Graph graph = capture([&] { api.cuMemsetD8Async(memory, 3, 4, device->compute); });
  ASSERT_EQ(ended, kSuccess);
  GraphExec exec = nullptr;
  ASSERT_EQ(api.cuGraphInstantiateWithFlags(&exec, graph, 0), kSuccess);
  api.cuGraphDestroy(graph);
  for (int expected : {0, 3}) {
    ASSERT_EQ(api.cuMemcpyDtoHAsync_v2(pinned, memory, 4, device->compute), kSuccess);
    ASSERT_EQ(api.cuStreamSynchronize(device->compute), kSuccess);
    EXPECT_EQ(pinned[0], expected);
    ASSERT_EQ(api.cuGraphLaunch(exec, device->compute), kSuccess);
  }
  api.cuGraphExecDestroy(exec);
}

TEST_F(DriverTest, CapturesAreInvalidatedByWhatMayNotBeCaptured) {
  DevicePtr memory = 0;
  capture([&] {
    EXPECT_EQ(api.cuStreamSynchronize(device->compute), kStreamCaptureUnsupported);
    EXPECT_EQ(api.cuMemsetD8Async(0, 0, 0, device->compute), kInvalidValue);
  });
  EXPECT_EQ(ended, kStreamCaptureInvalidated);
  capture([&] { EXPECT_EQ(api.cuMemAlloc_v2(&memory, 64), kStreamCaptureUnsupported); });
  EXPECT_EQ(ended, kStreamCaptureInvalidated);
  Graph graph = nullptr;
  EXPECT_EQ(api.cuStreamEndCapture(device->compute, &graph), kStreamCaptureUnmatched);
  EXPECT_EQ(api.cuStreamSynchronize(device->compute), kSuccess); // and goes on
}

TEST_F(DriverTest, CopiesStayInsideOfAnAllocation) {
  char host[64] = {};
  DevicePtr memory = device->allocate(64, "test");
  EXPECT_EQ(api.cuMemcpyHtoDAsync_v2(memory + 8, host, 64, device->compute), kInvalidValue);
  EXPECT_EQ(api.cuMemcpyHtoDAsync_v2(reinterpret_cast<DevicePtr>(host), host, 64, device->compute),
            kInvalidValue);
}

TEST_F(DriverTest, TimesNeedWhatHasHappened) {
  Marker begin(api, kEventDefault), end(api, kEventDefault);
  float milliseconds = -1;
  begin.record(device->compute);
  end.record(device->compute);
  EXPECT_THROW(end.millisecondsSince(begin), std::exception);
  end.wait();
  milliseconds = end.millisecondsSince(begin);
  EXPECT_GE(milliseconds, 0);
}

TEST_F(DriverTest, MemoryIsCounted) {
  size_t before = 0, after = 0, total = 0;
  ASSERT_EQ(api.cuMemGetInfo_v2(&before, &total), kSuccess);
  device->allocate(1 << 20, "test");
  ASSERT_EQ(api.cuMemGetInfo_v2(&after, &total), kSuccess);
  EXPECT_EQ(before - after, size_t(1) << 20);
  DevicePtr memory = 0;
  EXPECT_EQ(api.cuMemAlloc_v2(&memory, total), kOutOfMemory);
}

using DriverDeathTest = DriverTest;

TEST_F(DriverDeathTest, TheHostCannotTouchDeviceMemory) {
  DevicePtr memory = device->allocate(64, "test");
  EXPECT_DEATH(*reinterpret_cast<volatile char *>(memory) = 1, "");
}

} // namespace
