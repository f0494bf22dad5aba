/*===- kernel_host.c - runs one entry of an artefact ------------------ -*- C -*-===*
 *
 * Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
 * See LICENSE for license information.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 *===----------------------------------------------------------------------===*
 *
 * For tests and benchmarks of single kernels, linked with the artefact's object. Every task is cut into as many pieces as it is told, whatever
 * its grain: with OpenMP they run on so many threads, without one after the other, the last one first, since their order is open.
 */

#include "ns/Runtime/Abi.h"

#include <stdlib.h>
#include <string.h>

static int pieces;

static void share(void *context, nsrt_task task, void *arg, int64_t count, int64_t grain) {
#pragma omp parallel for schedule(static, 1) num_threads(pieces)
  for (int64_t i = pieces - 1; i >= 0; --i)
    if (count * i / pieces < count * (i + 1) / pieces)
      task(arg, count * i / pieces, count * (i + 1) / pieces);
}

static void *scratch(void *context, int64_t bytes) {
  static __thread void *block;
  static __thread int64_t size;
  if (bytes > size) {
    free(block);
    block = aligned_alloc(64, size = (bytes + 63) / 64 * 64);
  }
  return block;
}

/* One term after the other: what matters is which elements are read and written. */
static void gemm(void *context, int32_t transA, int32_t transB, int64_t m, int64_t n, int64_t k, float alpha,
                 const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (int64_t l = 0; l < k; ++l)
        sum += (transA ? a[l * lda + i] : a[i * lda + l]) * (transB ? b[j * ldb + l] : b[l * ldb + j]);
      c[i * ldc + j] = alpha * sum + (beta == 0 ? 0 : beta * c[i * ldc + j]);
    }
}

static void ignore(void *context, int64_t op) {}

const nsrt_artifact *nsrt_artifact_query(uint32_t host_abi, uint32_t x86_level);

/* Runs entry number `entry` `times` times; returns what the last run did. */
int run(int entry, int numPieces, int times, char *io, char *work) {
  nsrt_host host;
  memset(&host, 0, sizeof host);
  host.struct_size = sizeof host;
  host.abi_version = NSRT_ABI_VERSION;
  host.parallel_for = share;
  host.gemm_f32 = gemm;
  host.scratch = scratch;
  host.mark = ignore;
  pieces = numPieces;
  char *regions[NSRT_NUM_REGIONS] = {0, 0, io, work};
  int status = 0;
  for (int i = 0; i < times; ++i)
    status = nsrt_artifact_query(NSRT_ABI_VERSION, 4)->entries[entry].run(&host, regions);
  return status;
}
