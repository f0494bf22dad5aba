/*===- Abi.h - what generated code and libnsrt know of each other -*- C -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// An artefact is a shared object that exports one symbol, nsrt_artifact_query. It has no global
// constructors, allocates nothing, and calls nothing but the functions of nsrt_host. All its data lives in
// four regions that the host allocates (64-byte aligned, sizes in the metadata):
//
//   params  parameters, in the metadata's order and offsets
//   state   what lasts between calls: noise, gradients, optimizer moments
//   io      inputs and outputs of the entries, by name
//   work    scratch of one call; nothing in it outlives the call
//
// An artefact for a GPU (metadata "target": "cuda") carries its kernels as an image. Its entries get the
// regions' addresses on the device, never read them, and do nothing but call launch, device_gemm,
// device_attention and mark, with the same arguments each time: what an entry enqueues can be captured once
// and replayed.
//
// The metadata is JSON; docs/abi.md lists its keys. Structs grow at the end only: struct_size tells which
// fields exist.
//
//===----------------------------------------------------------------------===*/

#ifndef NS_RUNTIME_ABI_H
#define NS_RUNTIME_ABI_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Grows where nsrt_host grows: a host serves artefacts of its own version and of older ones. */
#define NSRT_ABI_VERSION 3u
#define NSRT_QUERY_SYMBOL "nsrt_artifact_query"
/* An executable ends with: the artefact's bytes, their count (8 bytes, little endian), this magic. */
#define NSRT_FOOTER_MAGIC "NSRTEXE1"

/* A piece of parallel work on [begin, end). */
typedef void (*nsrt_task)(void *arg, int64_t begin, int64_t end);

/* Element types of a device's matrices. */
enum { NSRT_F32 = 0, NSRT_BF16 = 1, NSRT_E4M3 = 2, NSRT_TF32 = 3 /* float32 that may be rounded to TF32 */ };
enum { NSRT_EPILOGUE_NONE = 0, NSRT_EPILOGUE_BIAS = 1 };

/* A product on the device, in static storage: row-major C_i[m,n] = op(A_i) op(B_i) + beta C_i for i in [0, batch), op(X) = X or X^T,
   summed in float32. Matrix i of X begins i * stride_x elements after x. */
typedef struct nsrt_gemm {
  int64_t index; /* position among the artefact's products that differ: products of one index are equal */
  int32_t trans_a, trans_b;
  int64_t m, n, k, lda, ldb, ldc;
  int64_t batch, stride_a, stride_b, stride_c; /* strides are 0 where batch is 1; a stride of 0 shares one matrix */
  int32_t type_ab, type_c;                     /* NSRT_F32, ... */
  int32_t epilogue;                            /* NSRT_EPILOGUE_BIAS: C[i, j] += bias[j] */
  int32_t alignment; /* bytes: every address given to this product is a multiple of it, at most 256 */
} nsrt_gemm;

/* Attention of all heads on the device, in static storage: softmax(scale Q K^T) V, or its gradient. Element (i, h, t, d) of X (image,
   head, token, column) lies at x + i * strides_x[0] + h * strides_x[1] + t * strides_x[2] + d, in elements. args of the forward pass:
   q, k, v, o, statistics (log-sum-exp of each row of scores, f32, images x heads x queries); of the gradient: q, k, v, o, statistics,
   do, dq, dk, dv. */
typedef struct nsrt_attention {
  int64_t index; /* as in nsrt_gemm */
  int32_t gradient;
  int32_t type; /* of q, k, v, o and their gradients */
  int64_t images, heads, queries, keys, width;
  int64_t strides_q[3], strides_k[3], strides_v[3], strides_o[3];
  double scale;
} nsrt_attention;

/* Services of the host. Every function may be called from any thread of parallel_for. */
typedef struct nsrt_host {
  uint32_t struct_size;
  uint32_t abi_version;
  void *context; /* first argument of every function below */

  /* Runs task over [0, count), in pieces of at least grain, on the one thread pool; returns when all is done. */
  void (*parallel_for)(void *context, nsrt_task task, void *arg, int64_t count, int64_t grain);

  /* Row-major C[m,n] = alpha op(A) op(B) + beta C, op(X) = X or X^T; beta 0 does not read C. */
  void (*gemm_f32)(void *context, int32_t trans_a, int32_t trans_b, int64_t m, int64_t n, int64_t k,
                   float alpha, const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                   float *c, int64_t ldc);
  void (*gemm_f64)(void *context, int32_t trans_a, int32_t trans_b, int64_t m, int64_t n, int64_t k,
                   double alpha, const double *a, int64_t lda, const double *b, int64_t ldb, double beta,
                   double *c, int64_t ldc);

  /* Scratch memory of the calling task, 64-byte aligned, of at least `bytes`; valid until the task returns or asks for more. A
     parallel_for inside of a task runs on the task's thread, and its tasks have scratch of their own. */
  void *(*scratch)(void *context, int64_t bytes);

  /* Said before each op of an entry, with its position in the entry's list of ops (docs/abi.md); inside of a task before each
     member of a group of ops, with its position among them. Never null; does nothing but under a profile. */
  void (*mark)(void *context, int64_t op);

  /* gemm_f32 of bfloat16 operands (the upper halves of floats): exact products, summed in float32. */
  void (*gemm_bf16)(void *context, int32_t trans_a, int32_t trans_b, int64_t m, int64_t n, int64_t k,
                    float alpha, const uint16_t *a, int64_t lda, const uint16_t *b, int64_t ldb,
                    float beta, float *c, int64_t ldc);

  /* Since version 3; null on a host without a device, which refuses artefacts that need it. All addresses below are the device's, all
     calls are enqueued in order on one stream. */

  /* Kernel number `kernel` of the artefact's list on a grid of grid_block[0..2] blocks of grid_block[3..5] threads. args: the address of each
     argument's value, as cuLaunchKernel takes them, valid during the call; the arguments are pointers. */
  void (*launch)(void *context, int64_t kernel, const int64_t grid_block[6], void *const *args,
                 int64_t num_args);
  /* bias: n elements of type_c, or null without that epilogue. beta: a float32 on the device, or null for 0, which does not read C. */
  void (*device_gemm)(void *context, const nsrt_gemm *op, const void *a, const void *b,
                      const void *bias, const void *beta, void *c);
  void (*device_attention)(void *context, const nsrt_attention *op, void *const *args);
} nsrt_host;

enum { NSRT_PARAMS = 0, NSRT_STATE = 1, NSRT_IO = 2, NSRT_WORK = 3, NSRT_NUM_REGIONS = 4 };

/* Runs one entry; returns 0. */
typedef int32_t (*nsrt_entry_fn)(const nsrt_host *host, char *const *regions);

typedef struct nsrt_entry {
  const char *name;
  nsrt_entry_fn run;
} nsrt_entry;

typedef struct nsrt_artifact {
  uint32_t struct_size;
  uint32_t abi_version;
  const char *metadata; /* JSON, UTF-8, NUL-terminated */
  uint64_t metadata_size;
  uint64_t num_entries;
  const nsrt_entry *entries;

  /* Since version 3; of an artefact for a GPU, else null and 0. The image is what cuModuleLoadData takes (a fatbin, a cubin or PTX that ends
     with a NUL); kernels are the names of its functions. */
  const char *image;
  uint64_t image_size;
  uint64_t num_kernels;
  const char *const *kernels;
} nsrt_artifact;

/* What a table of version 1 or 2 has: the fields before `image`. */
#define NSRT_ARTIFACT_SIZE_V2 40u

/* The tables of an artefact, in static storage: one for each processor level that it has code for. x86_level is the host's: 4 with
   AVX-512 (x86-64-v4), 3 with AVX2 and FMA (x86-64-v3), else 1. Returns the fastest table for that level, the least demanding one where none
   fits (its metadata tells what is missing), or NULL where the artefact does not speak host_abi. */
typedef const nsrt_artifact *(*nsrt_artifact_query_fn)(uint32_t host_abi, uint32_t x86_level);

#ifdef __cplusplus
}
#endif

#endif /* NS_RUNTIME_ABI_H */
