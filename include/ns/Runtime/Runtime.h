//===- Runtime.h - C interface of libnsrt for other languages ---*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_RUNTIME_H
#define NS_RUNTIME_RUNTIME_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A loaded artefact with its memory. Every function returns 0, or a status of design.md 6 with the
 * reason in nsrt_last_error (of the calling thread, valid until its next failing call). Use a
 * session from one thread at a time. Memory handed out belongs to the session and lives until
 * nsrt_close. */
typedef struct nsrt_session nsrt_session;

int nsrt_open(const char *path, nsrt_session **out);
void nsrt_close(nsrt_session *session);
const char *nsrt_last_error(void);

/* path NULL: the weights the artefact was compiled against. ema: whether to prefer the averaged
 * weights of a checkpoint that has both. */
int nsrt_load_weights(nsrt_session *session, const char *path, int ema);
int nsrt_save_weights(nsrt_session *session, const char *path);

/* JSON of docs/abi.md. */
const char *nsrt_metadata(const nsrt_session *session);
int nsrt_slot(nsrt_session *session, const char *name, void **data, uint64_t *bytes);
int nsrt_param(nsrt_session *session, const char *name, void **data, uint64_t *bytes);
int nsrt_run(nsrt_session *session, const char *entry);

/* The same without waiting for its end: the next nsrt_slot of an output does. On the CPU it is nsrt_run. */
int nsrt_start(nsrt_session *session, const char *entry);
/* After writing a parameter, or a slot of region state, through its memory: an artefact of a GPU runs on a
 * copy of its own, and what the memory holds is up to date when nsrt_slot or nsrt_param returns. Inputs and
 * outputs of entries (region io) need neither: nsrt_run takes and leaves them there. */
int nsrt_changed(nsrt_session *session, const char *name);
int nsrt_set_threads(nsrt_session *session, int count);

/* Records calls of entries and their ops from now on; a second call begins anew. nsrt_profile_end writes what was recorded
 * as a trace (docs/executables.md, "Profile") and records no more. */
int nsrt_profile_start(nsrt_session *session);
int nsrt_profile_end(nsrt_session *session, const char *path);

/* Attacks images as `evaluate --attack attack_text` does: `images` holds count x height x width x 3 bytes of the
 * model's size, `labels` their classes. stands[i]: 1 where image i is still classified right, else 0. Slot `image` then
 * holds the attacked images of the last batch. The artefact needs the entries of evaluate. */
int nsrt_attack(nsrt_session *session, const char *attack_text, const uint8_t *images, const int32_t *labels,
                int64_t count, uint64_t seed, uint8_t *stands);

/* Corrupts an image (Corruptions.h): `pixels` holds height x width x 3 bytes, in place. `name` is what the
 * random numbers are drawn for, beside seed, kind and severity (1 to 5). frost_dir NULL: procedural frost. */
int nsrt_corrupt(uint8_t *pixels, int width, int height, const char *kind, int severity, uint64_t seed,
                 const char *name, const char *frost_dir);

/* The command line of an executable: the artefact at the end of the file argv[0] runs from, or the
 * shared object named by argv[1]. Returns the exit status. */
int nsrt_main(int argc, char **argv);

#ifdef __cplusplus
}
#endif

#endif // NS_RUNTIME_RUNTIME_H
