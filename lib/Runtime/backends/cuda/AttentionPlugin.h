/*===- AttentionPlugin.h - attention by cuDNN, in a library apart -*- C -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// libnsrt-cudnn.so is built where cuDNN's headers are (scripts/setup.sh --cudnn), and loaded where
an artefact asks for attention. Every
// function returns null, or what went wrong, valid until the next call.
//
//===----------------------------------------------------------------------===*/

#ifndef NS_RUNTIME_CUDA_ATTENTIONPLUGIN_H
#define NS_RUNTIME_CUDA_ATTENTIONPLUGIN_H

#include "ns/Runtime/Abi.h"

#define NSRT_ATTENTION_VERSION 1u
#define NSRT_ATTENTION_SYMBOL "nsrt_attention_query"

typedef struct nsrt_attention_plugin {
  uint32_t version;
  /* cudnn: a dlopen handle of libcudnn.so.9. The CUDA context is current, here and below. */
  const char *(*open)(void **state, void *cudnn);
  /* Enqueues on a CUstream. The first call for an op builds its plan and must not be captured.
     workspace: device memory; more than there is of it is an error. */
  const char *(*enqueue)(void *state, const nsrt_attention *op, void *const *args, void *workspace,
                         uint64_t workspace_bytes, void *stream);
  void (*close)(void *state);
} nsrt_attention_plugin;

/* Null where it does not speak this version. */
typedef const nsrt_attention_plugin *(*nsrt_attention_query_fn)(uint32_t version);

#endif /* NS_RUNTIME_CUDA_ATTENTIONPLUGIN_H */
