/*===- FakeDeviceArtifact.c - an artefact for a GPU by hand -------*- C -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Slots x and y of 64 floats in region io, sum in region state. Entries: add (sum += 2 x; y = sum,
by a product with 1), far (an argument that
// reaches beyond the device's memory), wide (a grid that no GPU takes), attend (y = attention of x
to itself, then the statistics of its 8 rows).
//
//===----------------------------------------------------------------------===*/

#include "ns/Runtime/Abi.h"

#include <string.h>

#define N 64
#define OFF_Y 512
#define OFF_ONE 1024

#define ENTRY(name)                                                                                \
  "{\"name\":\"" name "\",\"inputs\":[\"x\"],\"outputs\":[\"y\"],\"flops\":0,"                     \
  "\"ops\":[{\"layer\":\"blocks.0\",\"kind\":\"rows\",\"shape\":[1,64,1],\"flops\":0,"             \
  "\"bytes\":768}]}"

/* clang-format off */
static const char metadata[] =
    "{\"format\":1,\"compiler\":{\"version\":\"fake\",\"git\":\"\",\"mlir\":\"\"},\"emit\":\"library\",\"options\":{},"
    "\"target\":\"cuda\",\"device\":{\"archs\":[\"sm_90\"]},\"cpu\":\"x86-64-v3\",\"cpu_features\":[],\"precision\":\"f32\",\"batch\":1,"
    "\"model\":{\"name\":\"adder\",\"image\":[1,8,8],\"classes\":2,\"mean\":[0],\"std\":[1],\"source\":\"test\"},"
    "\"regions\":{\"params\":64,\"state\":256,\"io\":1536,\"work\":64},\"params\":[],\"noise\":[],\"basis\":[],"
    "\"slots\":[{\"name\":\"sum\",\"region\":\"state\",\"offset\":0,\"dtype\":\"f32\",\"shape\":[64]},"
    "{\"name\":\"x\",\"region\":\"io\",\"offset\":0,\"dtype\":\"f32\",\"shape\":[64]},"
    "{\"name\":\"y\",\"region\":\"io\",\"offset\":512,\"dtype\":\"f32\",\"shape\":[64]},"
    "{\"name\":\"one\",\"region\":\"io\",\"offset\":1024,\"dtype\":\"f32\",\"shape\":[1]}],"
    "\"entries\":[" ENTRY("add") "," ENTRY("far") "," ENTRY("wide") "," ENTRY("attend") "]}";
/* clang-format on */

__asm__(".section .rodata\n"
        ".balign 16\n"
        "image_begin: .incbin \"" IMAGE "\"\n"
        "image_end: .byte 0\n"
        ".previous\n");
extern const char image_begin[] __attribute__((visibility("hidden")));
extern const char image_end[] __attribute__((visibility("hidden")));

static void launch(const nsrt_host *h, void *x, void *sum, int64_t blocks) {
  void *args[2] = {&x, &sum};
  int64_t sizes[6] = {blocks, 1, 1, 32, 1, 1};
  h->launch(h->context, 0, sizes, args, 2);
}

static int32_t add(const nsrt_host *h, char *const *r) {
  /* y[64, 1] = sum[64, 1] one[1, 1] */
  static const nsrt_gemm copy = {0, 0, 0, N, 1, 1, 1, 1, 1, 1, 0, 0, 0, NSRT_F32, NSRT_F32,
                                 NSRT_EPILOGUE_NONE, 64};
  h->mark(h->context, 0);
  launch(h, r[NSRT_IO], r[NSRT_STATE], 2);
  h->device_gemm(h->context, &copy, r[NSRT_STATE], r[NSRT_IO] + OFF_ONE, 0, 0, r[NSRT_IO] + OFF_Y);
  return 0;
}

static int32_t far(const nsrt_host *h, char *const *r) {
  h->mark(h->context, 0);
  launch(h, r[NSRT_IO] + ((int64_t)1 << 40), r[NSRT_STATE], 2);
  return 0;
}

static int32_t wide(const nsrt_host *h, char *const *r) {
  h->mark(h->context, 0);
  launch(h, r[NSRT_IO], r[NSRT_STATE], 0);
  return 0;
}

static int32_t attend(const nsrt_host *h, char *const *r) {
  static const nsrt_attention op = {0, 0,          NSRT_BF16,  1,          1,          8,    8,
                                    8, {64, 8, 8}, {64, 8, 8}, {64, 8, 8}, {64, 8, 8}, 0.125};
  char *x = r[NSRT_IO], *y = x + OFF_Y;
  void *args[5] = {x, x, x, y, y + 128};
  h->mark(h->context, 0);
  h->device_attention(h->context, &op, args);
  return 0;
}

static const nsrt_entry entries[] = {
    {"add", add}, {"far", far}, {"wide", wide}, {"attend", attend}};
static const char *const kernels[] = {"add"};
static nsrt_artifact table = {sizeof(nsrt_artifact), NSRT_ABI_VERSION, metadata,
                              sizeof metadata - 1, 4, entries, 0, 0, 1, kernels};

__attribute__((visibility("default"))) const nsrt_artifact *nsrt_artifact_query(uint32_t host_abi,
                                                                               uint32_t level) {
  (void)level;
  table.image = image_begin;
  table.image_size = image_end - image_begin;
  return host_abi >= NSRT_ABI_VERSION ? &table : 0;
}
