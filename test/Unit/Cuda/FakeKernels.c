/*===- FakeKernels.c - an emulation image by hand, for tests ------*- C -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===*/

/* The structs of ns/Emulator/Image.h, which is C++. */
#include <stdint.h>

typedef struct nsemu_thread {
  uint32_t tid[3], ctaid[3], ntid[3], nctaid[3];
  char *shared;
  const void *services;
} nsemu_thread;

typedef struct nsemu_param {
  uint32_t bytes, align;
  uint64_t extent;
  uint32_t flags;
} nsemu_param;

typedef struct nsemu_kernel {
  const char *name;
  void (*run)(nsemu_thread *, void *const *args);
  const nsemu_param *params;
  uint32_t num_params, shared_bytes, block[3], synchronizes;
} nsemu_kernel;

typedef struct nsemu_image {
  uint32_t version, num_kernels;
  const nsemu_kernel *kernels;
} nsemu_image;

enum { READ = 1, WRITE = 2 };

#define COUNT 64

/* y[i] += 2 x[i] */
static void add(nsemu_thread *thread, void *const *args) {
  const float *x = *(const float *const *)args[0];
  float *y = *(float *const *)args[1];
  uint32_t i = thread->ctaid[0] * thread->ntid[0] + thread->tid[0];
  y[i] += 2 * x[i];
}

static const nsemu_param addParams[] = {{8, 4, 4 * COUNT, READ}, {8, 4, 4 * COUNT, READ | WRITE}};
static const nsemu_kernel kernels[] = {{"add", add, addParams, 2, 0, {32, 1, 1}, 0}};

/* In C the name is a type's. */
const nsemu_image table __asm__("nsemu_image") __attribute__((visibility("default"))) = {1, 1, kernels};
