//===- BackendTest.cpp - the CUDA backend on the emulated driver ----------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Runtime/Backend.h"
#include "Emulated.h"
#include "ns/Runtime/Error.h"

#include <cmath>

using namespace ns::runtime;

namespace {

constexpr int kCount = 64;
constexpr uint64_t kBytes = kCount * sizeof(float), kY = 512, kOne = 1024;
const char kArtifact[] = FAKE_FOLDER "/fake-device.so";

class BackendTest : public ns::test::Emulated {
protected:
  void open() {
    backend = makeCudaBackend(artifact);
    x()[0] = 0;
    *io(kOne) = 1;
    backend->upload(NSRT_IO, kOne, sizeof(float));
    backend->settle();
  }
  float *io(uint64_t offset) { return reinterpret_cast<float *>(backend->view(NSRT_IO) + offset); }
  float *x() { return io(0); }
  float *y() { return io(kY); }
  void fill(float value) {
    std::fill_n(x(), kCount, value);
    backend->upload(NSRT_IO, 0, kBytes);
  }
  void start(const char *entry) { backend->start(entry, artifact.entry(entry)); }
  float result() {
    backend->download(NSRT_IO, kY, kBytes);
    backend->wait();
    for (int i = 1; i < kCount; ++i)
      EXPECT_EQ(y()[i], y()[0]) << i;
    return y()[0];
  }

  Artifact artifact = Artifact::open(kArtifact);
  std::unique_ptr<Backend> backend;
};

TEST_F(BackendTest, RunsOnceThenCapturesThenReplays) {
  open();
  int captures = recorded("cuStreamEndCapture"), launches = recorded("cuGraphLaunch");
  float sum = 0;
  for (int step = 1; step <= 4; ++step) {
    fill(step);
    start("add");
    sum += 2 * step;
    EXPECT_EQ(result(), sum) << "step " << step; // no step ran twice, none was left out
  }
  EXPECT_EQ(recorded("cuStreamEndCapture") - captures, 1);
  EXPECT_EQ(recorded("cuGraphLaunch") - launches, 3);
}

TEST_F(BackendTest, TheMirrorMayBeWrittenAfterSettling) {
  open();
  fill(1);
  backend->settle();
  std::fill_n(x(), kCount, 100.f); // the next images, not uploaded yet
  start("add");
  EXPECT_EQ(result(), 2);
  start("add"); // uploads nothing: x is what it was
  EXPECT_EQ(result(), 4);
}

TEST_F(BackendTest, UploadsReachEntriesInOrder) {
  open();
  fill(1);
  start("add");
  backend->settle();
  fill(10); // while the first one has not run
  backend->settle();
  start("add");
  EXPECT_EQ(result(), 22);
}

TEST_F(BackendTest, StateCanBeWrittenAndRead) {
  open();
  auto *sum = reinterpret_cast<float *>(backend->view(NSRT_STATE));
  std::fill_n(sum, kCount, 5.f);
  backend->upload(NSRT_STATE, 0, kBytes);
  fill(1);
  start("add");
  backend->download(NSRT_STATE, 0, kBytes);
  backend->wait();
  EXPECT_EQ(sum[0], 7);
  EXPECT_EQ(sum[kCount - 1], 7);
}

TEST_F(BackendTest, RegionsAreZeroAtFirst) {
  open();
  fill(0);
  start("add");
  EXPECT_EQ(result(), 0);
}

TEST_F(BackendTest, ProductsAreRememberedAndABrokenCacheIsNot) {
  for (const char *broken : {"", "{", "[]", R"({"format":1})"}) {
    open(); // the second one finds what the first one wrote
    fill(1);
    int before = recorded("cublasLtMatmul");
    start("add");
    EXPECT_EQ(result(), 2);
    int timed = recorded("cublasLtMatmul") - before;
    start("add");
    EXPECT_EQ(result(), 4);
    backend.reset();
    std::string file;
    for (const auto &entry : std::filesystem::directory_iterator(folder() + "/nullspace"))
      file = entry.path();
    ASSERT_TRUE(file.ends_with(".json")) << file; // no draft is left behind
    open();
    fill(1);
    before = recorded("cublasLtMatmul");
    start("add");
    EXPECT_EQ(result(), 2);
    EXPECT_EQ(recorded("cublasLtMatmul") - before, 1); // none was timed
    EXPECT_GE(timed, 1);
    backend.reset();
    std::ofstream(file) << broken;
    ::testing::internal::CaptureStderr();
    open();
    fill(1);
    before = recorded("cublasLtMatmul");
    start("add");
    EXPECT_EQ(result(), 2);
    EXPECT_GT(recorded("cublasLtMatmul") - before, 1) << broken;
    EXPECT_NE(::testing::internal::GetCapturedStderr().find("note: " + file), std::string::npos);
  }
}

TEST_F(BackendTest, ARefusedLaunchNamesEntryOpAndKernel) {
  open();
  try {
    start("wide");
    FAIL() << "a grid of 0 blocks was taken";
  } catch (const Error &error) {
    EXPECT_STREQ(error.what(),
                 (std::string(kArtifact) +
                  ": entry 'wide', op 0 (blocks.0, rows): kernel add: cuLaunchKernel: "
                  "CUDA_ERROR_INVALID_VALUE (invalid argument)")
                     .c_str());
  }
  fill(1);
  start("add"); // the backend goes on
  EXPECT_EQ(result(), 2);
}

TEST_F(BackendTest, AFaultIsToldAtTheWait) {
  open();
  start("far");
  try {
    backend->wait();
    FAIL() << "memory beyond the device's was read";
  } catch (const Error &error) {
    EXPECT_NE(std::string(error.what()).find("entry 'far' or one before failed"), std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find("CUDA_ERROR_ILLEGAL_ADDRESS"), std::string::npos);
  }
}

TEST_F(BackendTest, AttentionWithoutItsPluginSaysSo) {
  ::setenv("NSRT_CUDNN_PLUGIN", "/nowhere/libnsrt-cudnn.so", 1); // there may be one beside libnsrt
  open();
  try {
    start("attend");
    FAIL() << "attention ran without cuDNN";
  } catch (const Error &error) {
    EXPECT_NE(std::string(error.what()).find("entry 'attend', op 0"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("libnsrt-cudnn.so"), std::string::npos)
        << error.what();
  }
  ::unsetenv("NSRT_CUDNN_PLUGIN");
}

TEST_F(BackendTest, AttentionRunsIsCapturedAndReplayed) {
  ::setenv("NSRT_CUDNN_PLUGIN", EMULATOR_FOLDER "/libnsrt-cudnn.so", 1);
  ::setenv("NSRT_CUDNN_LIBRARY", EMULATOR_FOLDER "/libnsrt-cudnn.so", 1);
  open();
  int calls = recorded("cudnnAttention 1x1x8x8x8");
  fill(0);
  for (int step = 0; step < 3; ++step) {
    start("attend");
    backend->download(NSRT_IO, kY, kBytes);
    backend->wait();
    EXPECT_EQ(y()[0], 0) << step;
    for (int row = 0; row < 8; ++row) // after 8 rows of 8 bfloat16
      EXPECT_FLOAT_EQ(y()[32 + row], std::log(8.f)) << step;
  }
  EXPECT_EQ(recorded("cudnnAttention 1x1x8x8x8") - calls, 2); // as called, and into the graph
  ::unsetenv("NSRT_CUDNN_PLUGIN");
  ::unsetenv("NSRT_CUDNN_LIBRARY");
}

/// Opens the artefact where an error is expected: prints it and ends the process with status 1.
[[noreturn]] void openOrExit(const char *artifact, const char *variable, const char *value,
                             const char *entry = nullptr) {
  ::setenv(variable, value, 1);
  try {
    Artifact opened = Artifact::open(artifact);
    auto backend = makeCudaBackend(opened);
    if (entry) {
      backend->start(entry, opened.entry(entry));
      backend->wait();
    }
    std::_Exit(0);
  } catch (const Error &error) {
    std::fprintf(stderr, "%s\n", error.what());
    std::_Exit(1);
  }
}

using BackendDeathTest = BackendTest;

TEST_F(BackendDeathTest, NoDriver) {
  EXPECT_EXIT(openOrExit(kArtifact, "NSRT_CUDA_LIBRARY", "/nonexistent/libcuda.so.1"),
              ::testing::ExitedWithCode(1),
              "environment variable NSRT_CUDA_LIBRARY: expected the NVIDIA driver, found none");
}

TEST_F(BackendDeathTest, NoBlasLt) {
  EXPECT_EXIT(openOrExit(kArtifact, "NSRT_CUBLASLT_LIBRARY", "/nonexistent/x.so", "add"),
              ::testing::ExitedWithCode(1), "NSRT_CUBLASLT_LIBRARY: expected cuBLASLt, found none");
}

TEST_F(BackendDeathTest, OldDriver) {
  EXPECT_EXIT(openOrExit(kArtifact, "NSEMU_DRIVER", "11080"), ::testing::ExitedWithCode(1),
              "expected a driver for CUDA 12.0 or newer, found one for CUDA 11.8");
}

TEST_F(BackendDeathTest, NoDevice) {
  EXPECT_EXIT(openOrExit(kArtifact, "NSEMU_DEVICES", "0"), ::testing::ExitedWithCode(1),
              "no GPU can be used: cuInit: CUDA_ERROR_NO_DEVICE");
}

TEST_F(BackendDeathTest, OutOfMemory) {
  EXPECT_EXIT(openOrExit(kArtifact, "NSEMU_MEMORY", "8"), ::testing::ExitedWithCode(1),
              "fake-device.so: expected 33 MiB of memory on Nullspace emulator, found 8 MiB free "
              "of 8 MiB");
}

TEST_F(BackendDeathTest, AnImageForOtherDevices) {
  EXPECT_EXIT(openOrExit(FAKE_FOLDER "/fake-foreign.so", "NSEMU_DEVICES", "1"),
              ::testing::ExitedWithCode(1),
              "its kernels are for other GPUs than Nullspace emulator \\(sm_90\\).*"
              "CUDA_ERROR_NO_BINARY_FOR_GPU");
}

TEST_F(BackendDeathTest, SynchronousRunsNameTheOpOfAFault) {
  EXPECT_EXIT(openOrExit(kArtifact, "NSRT_CUDA_SYNC", "1", "far"), ::testing::ExitedWithCode(1),
              "entry 'far', op 0 \\(blocks.0, rows\\): failed on the device: "
              "CUDA_ERROR_ILLEGAL_ADDRESS");
}

TEST_F(BackendDeathTest, BadWish) {
  EXPECT_EXIT(openOrExit(kArtifact, "NSRT_CUDA_SYNC", "yes"), ::testing::ExitedWithCode(1),
              "NSRT_CUDA_SYNC: expected 0 or 1, found 'yes'");
}

/// Without settling the mirror may be read too late: the emulator copies as late as CUDA may.
TEST_F(BackendTest, TheEmulatorSeesAMirrorWrittenTooEarly) {
  open();
  fill(1);
  std::fill_n(x(), kCount, 100.f);
  start("add");
  EXPECT_EQ(result(), 200);
}

} // namespace
