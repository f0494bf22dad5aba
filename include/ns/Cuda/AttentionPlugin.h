/*===- AttentionPlugin.h - attention by cuDNN, in a library apart -*- C -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// libnsrt-cudnn.so is built where cuDNN's headers are (scripts/setup.sh --cudnn), and loaded where an
// artefact calls attention. lib/Emulator has one that runs on the CPU. Every function returns null, or
// what went wrong, valid until the next call.
//
//===----------------------------------------------------------------------===*/

#ifndef NS_CUDA_ATTENTIONPLUGIN_H
#define NS_CUDA_ATTENTIONPLUGIN_H

#include "ns/Runtime/Abi.h"

#define NSRT_ATTENTION_VERSION 2u
#define NSRT_ATTENTION_SYMBOL "nsrt_attention_query"

typedef struct nsrt_attention_plugin {
  uint32_t version;
  /* cudnn: a dlopen handle of libcudnn.so.9. The CUDA context is current, here and below. */
  const char *(*open)(void **state, void *cudnn);
  /* Builds the plan of an op, once for its index; not in a capture. *workspace_bytes: what enqueue needs. */
  const char *(*prepare)(void *state, const nsrt_attention *op, uint64_t *workspace_bytes);
  /* Enqueues a prepared op on a CUstream; may be captured. workspace: device memory. */
  const char *(*enqueue)(void *state, const nsrt_attention *op, void *const *args, void *workspace,
                         void *stream);
  void (*close)(void *state);
} nsrt_attention_plugin;

/* Null where it does not speak this version. */
typedef const nsrt_attention_plugin *(*nsrt_attention_query_fn)(uint32_t version);

#endif /* NS_CUDA_ATTENTIONPLUGIN_H */
