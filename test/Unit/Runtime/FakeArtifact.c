/*===- FakeArtifact.c - a linear model as an artefact, for tests -*- C -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// logits = W u + b with u the pixels, noise added to u: every entry of docs/abi.md by hand, so that
the
// runtime's loops are tested without the compiler. EMIT names the mode.
//
//===----------------------------------------------------------------------===*/

#include "ns/Runtime/Abi.h"

#include <math.h>
#include <string.h>

#define B 4
#define K 5
#define D 48 /* 3 x 4 x 4 */

/* Offsets in bytes; region params: W, b. */
#define OFF_BIAS 960
#define PARAM_BYTES 1024
/* state */
#define OFF_NOISE 0
#define OFF_NGRAD 192
#define OFF_NM 384
#define OFF_NV 576
#define OFF_PGRAD 768
#define OFF_PM 1792
#define OFF_PV 2816
/* io */
#define OFF_IMAGE 0
#define OFF_LABELS 768
#define OFF_WEIGHTS 832
#define OFF_ACC 896
#define OFF_LOGITS 960
#define OFF_CLEAN 1088
#define OFF_NOISED 1216
#define OFF_LOSS 1344
#define OFF_LOSSES 1408
#define OFF_HYPER 1472
#define OFF_NHYPER 1536
#define OFF_NNORM 1600
#define OFF_SITE 1664
#define OFF_LSQ 1728
#define OFF_PSQ 1792
#define OFF_CONF 1856
#define OFF_SAME 1920
#define OFF_IGRAD 1984
#define OFF_CIMAGE 2752
#define OFF_MOMENTUM 3520
#define OFF_AHYPER 4288

#define S(x) #x
#define STR(x) S(x)
#define SLOT(name, region, off, type, shape)                                                       \
  "{\"name\":\"" name "\",\"region\":\"" region                                                    \
  "\",\"offset\":" STR(off) ",\"dtype\":\"" type "\",\"shape\":" shape "}"
#define ENTRY(name)                                                                                \
  "{\"name\":\"" name "\",\"inputs\":[],\"outputs\":[],\"flops\":0,\"kernels\":0,\"gemms\":1}"

/* The version of the ABI it speaks: of a table without image and kernels before 3. */
#ifndef SPEAKS
#define SPEAKS NSRT_ABI_VERSION
#endif
#ifndef TARGET
#define TARGET "cpu"
#define IMAGE 0, 0
#endif
#ifndef INTERPOLATION
#define INTERPOLATION "bilinear"
#define CROP "0.5"
#endif
#ifndef FEATURES
#define FEATURES ""
#endif

/* clang-format off */
static const char metadata[] =
    "{\"format\":1,\"compiler\":{\"version\":\"fake\",\"git\":\"\",\"mlir\":\"\"},\"emit\":\"" EMIT "\",\"options\":{},"
    "\"target\":\"" TARGET "\",\"device\":{\"archs\":[\"sm_90\"]},\"cpu\":\"x86-64-v3\",\"cpu_features\":[" FEATURES "],\"precision\":\"f32\",\"batch\":4,"
    "\"model\":{\"name\":\"linear\",\"image\":[3,4,4],\"classes\":5,\"mean\":[0,0,0],\"std\":[1,1,1],"
    "\"interpolation\":\"" INTERPOLATION "\",\"crop_pct\":" CROP ",\"source\":\"test\"},"
    "\"weights\":{\"file\":\"linear.safetensors\",\"size\":0,\"header\":\"\",\"content\":\"\"},"
    "\"regions\":{\"params\":1024,\"state\":3840,\"io\":4352,\"work\":64},"
    "\"params\":[{\"name\":\"head.weight\",\"shape\":[5,48],\"offset\":0,\"decay\":true,\"trainable\":true},"
    "{\"name\":\"head.bias\",\"shape\":[5],\"offset\":960,\"decay\":false,\"trainable\":true}],"
    "\"noise\":[{\"name\":\"noise\",\"shape\":[1,48],\"site\":\"tokens\",\"init\":\"uniform\",\"lim\":3.0}],\"basis\":[],"
    "\"slots\":[" SLOT("noise", "state", OFF_NOISE, "f32", "[1,48]") "," SLOT("noise.grad", "state", OFF_NGRAD, "f32", "[1,48]") ","
    SLOT("noise.m", "state", OFF_NM, "f32", "[1,48]") "," SLOT("noise.v", "state", OFF_NV, "f32", "[1,48]") ","
    SLOT("params.grad", "state", OFF_PGRAD, "f32", "[256]") "," SLOT("params.m", "state", OFF_PM, "f32", "[256]") ","
    SLOT("params.v", "state", OFF_PV, "f32", "[256]") "," SLOT("image", "io", OFF_IMAGE, "f32", "[4,3,4,4]") ","
    SLOT("labels", "io", OFF_LABELS, "i32", "[4]") "," SLOT("weights", "io", OFF_WEIGHTS, "f32", "[4]") ","
    SLOT("accumulate", "io", OFF_ACC, "f32", "[]") "," SLOT("logits", "io", OFF_LOGITS, "f32", "[4,5]") ","
    SLOT("clean_logits", "io", OFF_CLEAN, "f32", "[4,5]") "," SLOT("noised_logits", "io", OFF_NOISED, "f32", "[4,5]") ","
    SLOT("loss", "io", OFF_LOSS, "f32", "[]") "," SLOT("losses", "io", OFF_LOSSES, "f32", "[4]") ","
    SLOT("hyper", "io", OFF_HYPER, "f32", "[7]") "," SLOT("noise_hyper", "io", OFF_NHYPER, "f32", "[9]") ","
    SLOT("noise_norm", "io", OFF_NNORM, "f32", "[]") "," SLOT("site_norm", "io", OFF_SITE, "f32", "[4]") ","
    SLOT("logit_sq", "io", OFF_LSQ, "f32", "[4]") "," SLOT("prob_sq", "io", OFF_PSQ, "f32", "[4]") ","
    SLOT("conf_diff", "io", OFF_CONF, "f32", "[4]") "," SLOT("same_argmax", "io", OFF_SAME, "f32", "[4]") ","
    SLOT("image_grad", "io", OFF_IGRAD, "f32", "[4,3,4,4]") "," SLOT("clean_image", "io", OFF_CIMAGE, "f32", "[4,3,4,4]") ","
    SLOT("momentum", "io", OFF_MOMENTUM, "f32", "[4,3,4,4]") "," SLOT("attack_hyper", "io", OFF_AHYPER, "f32", "[3]") "],"
    "\"entries\":[" ENTRY("forward") "," ENTRY("forward_noised") "," ENTRY("site_norm") "," ENTRY("synth_step") ","
    ENTRY("synth_step_l2") "," ENTRY("synth_update") "," ENTRY("stop_test") "," ENTRY("finetune_step") ","
    ENTRY("finetune_step_noised") "," ENTRY("finetune_update") "," ENTRY("value_and_grad") ","
    ENTRY("attack_update") "," ENTRY("attack_update_l2") "," ENTRY("attack_update_momentum") "]}";

/* clang-format on */
#define F(region, off) ((float *)(r[region] + (off)))
#define WEIGHT F(NSRT_PARAMS, 0)
#define BIAS F(NSRT_PARAMS, OFF_BIAS)
#define NOISE F(NSRT_STATE, OFF_NOISE)
#define IO(off) F(NSRT_IO, off)

static void logitsOf(const nsrt_host *h, char *const *r, int noised, float *out) {
  float u[B * D];
  for (int i = 0; i < B * D; ++i)
    u[i] = IO(OFF_IMAGE)[i] + (noised ? NOISE[i % D] : 0);
  h->gemm_f32(h->context, 0, 1, B, K, D, 1, u, D, WEIGHT, D, 0, out, K);
  for (int i = 0; i < B * K; ++i)
    out[i] += BIAS[i % K];
}

static void softmax(const float *z, float *p) {
  float top = z[0], sum = 0;
  for (int k = 1; k < K; ++k)
    top = z[k] > top ? z[k] : top;
  for (int k = 0; k < K; ++k)
    sum += p[k] = expf(z[k] - top);
  for (int k = 0; k < K; ++k)
    p[k] /= sum;
}

static int32_t forward(const nsrt_host *h, char *const *r) {
  return logitsOf(h, r, 0, IO(OFF_LOGITS)), 0;
}
static int32_t forwardNoised(const nsrt_host *h, char *const *r) {
  return logitsOf(h, r, 1, IO(OFF_NOISED)), 0;
}

static int32_t siteNorm(const nsrt_host *h, char *const *r) {
  for (int b = 0; b < B; ++b) {
    float sum = 0;
    for (int i = 0; i < D; ++i)
      sum += IO(OFF_IMAGE)[b * D + i] * IO(OFF_IMAGE)[b * D + i];
    IO(OFF_SITE)[b] = sqrtf(sum);
  }
  return 0;
}

static int32_t synth(const nsrt_host *h, char *const *r, int squared) {
  float *z = IO(OFF_NOISED), *c = IO(OFF_CLEAN), *g = F(NSRT_STATE, OFF_NGRAD), loss = 0,
        fresh[D] = {0};
  logitsOf(h, r, 1, z);
  for (int b = 0; b < B; ++b) {
    float sq = 0, w = IO(OFF_WEIGHTS)[b];
    for (int k = 0; k < K; ++k)
      sq += (z[b * K + k] - c[b * K + k]) * (z[b * K + k] - c[b * K + k]);
    float norm = sqrtf(sq), scale = squared ? 2 * w : norm > 0 ? w / norm : 0;
    loss += w * (squared ? sq : norm);
    for (int k = 0; k < K; ++k)
      for (int i = 0; i < D; ++i)
        fresh[i] += scale * (z[b * K + k] - c[b * K + k]) * WEIGHT[k * D + i];
  }
  for (int i = 0; i < D; ++i)
    g[i] = (*IO(OFF_ACC) != 0 ? g[i] : 0) + fresh[i];
  *IO(OFF_LOSS) = loss;
  return 0;
}
static int32_t synthStep(const nsrt_host *h, char *const *r) { return synth(h, r, 1); }
static int32_t synthStepL2(const nsrt_host *h, char *const *r) { return synth(h, r, 0); }

/* torch.optim.AdamW on n numbers. */
static void adamw(float *p, const float *g, float *m, float *v, int n, const float *y,
                  float decay) {
  for (int i = 0; i < n; ++i) {
    p[i] *= 1 - y[0] * decay;
    m[i] += (1 - y[1]) * (g[i] - m[i]);
    v[i] = y[2] * v[i] + (1 - y[2]) * g[i] * g[i];
    p[i] -= y[0] / y[5] * m[i] / (sqrtf(v[i]) / sqrtf(y[6]) + y[3]);
  }
}

static int32_t synthUpdate(const nsrt_host *h, char *const *r) {
  const float *y = IO(OFF_NHYPER);
  float g[D], sq = 0, after = 0;
  for (int i = 0; i < D; ++i)
    sq += NOISE[i] * NOISE[i];
  for (int i = 0; i < D; ++i)
    g[i] = F(NSRT_STATE, OFF_NGRAD)[i] - (y[7] != 0 ? y[7] * NOISE[i] / sq : 0);
  adamw(NOISE, g, F(NSRT_STATE, OFF_NM), F(NSRT_STATE, OFF_NV), D, y, y[4]);
  for (int i = 0; i < D; ++i)
    after += NOISE[i] * NOISE[i];
  float norm = sqrtf(after);
  if (y[8] > 0) {
    for (int i = 0; i < D; ++i)
      NOISE[i] *= y[8] / norm;
    norm = y[8];
  }
  *IO(OFF_NNORM) = norm;
  return 0;
}

static int32_t stopTest(const nsrt_host *h, char *const *r) {
  float *z = IO(OFF_NOISED), *c = IO(OFF_CLEAN), p[K], q[K];
  logitsOf(h, r, 1, z);
  for (int b = 0; b < B; ++b, z += K, c += K) {
    float lsq = 0, psq = 0;
    int i = 0, j = 0;
    softmax(z, p);
    softmax(c, q);
    for (int k = 0; k < K; ++k) {
      lsq += (z[k] - c[k]) * (z[k] - c[k]);
      psq += (p[k] - q[k]) * (p[k] - q[k]);
      i = z[k] > z[i] ? k : i;
      j = c[k] > c[j] ? k : j;
    }
    IO(OFF_LSQ)[b] = lsq;
    IO(OFF_PSQ)[b] = psq;
    IO(OFF_CONF)[b] = fabsf(p[i] - q[j]);
    IO(OFF_SAME)[b] = i == j;
  }
  return 0;
}

/* Adds the gradients of sum_b w_b CE(z_b, y_b) by W and b to g; returns the loss. */
static float crossEntropy(char *const *r, const float *z, int noised, float *g) {
  float loss = 0, p[K];
  for (int b = 0; b < B; ++b) {
    int label = ((int32_t *)(r[NSRT_IO] + OFF_LABELS))[b];
    float w = IO(OFF_WEIGHTS)[b];
    softmax(z + b * K, p);
    loss -= w * logf(p[label]);
    for (int k = 0; k < K; ++k) {
      float d = w * (p[k] - (k == label));
      for (int i = 0; i < D; ++i)
        g[k * D + i] += d * (IO(OFF_IMAGE)[b * D + i] + (noised ? NOISE[i] : 0));
      g[OFF_BIAS / 4 + k] += d;
    }
  }
  return loss;
}

static int32_t finetune(const nsrt_host *h, char *const *r, int noised) {
  float z[B * K], *g = F(NSRT_STATE, OFF_PGRAD);
  if (*IO(OFF_ACC) == 0)
    memset(g, 0, PARAM_BYTES);
  logitsOf(h, r, 0, z);
  *IO(OFF_LOSS) = crossEntropy(r, z, 0, g);
  if (noised) {
    logitsOf(h, r, 1, z);
    *IO(OFF_LOSS) += crossEntropy(r, z, 1, g);
  }
  return 0;
}
static int32_t finetuneStep(const nsrt_host *h, char *const *r) { return finetune(h, r, 0); }
static int32_t finetuneStepNoised(const nsrt_host *h, char *const *r) { return finetune(h, r, 1); }

static int32_t finetuneUpdate(const nsrt_host *h, char *const *r) {
  const float *y = IO(OFF_HYPER);
  for (int part = 0; part < 2; ++part) {
    int at = part ? OFF_BIAS / 4 : 0, n = part ? K : K * D;
    adamw(WEIGHT + at, F(NSRT_STATE, OFF_PGRAD) + at, F(NSRT_STATE, OFF_PM) + at,
          F(NSRT_STATE, OFF_PV) + at, n, y, part ? 0 : y[4]);
  }
  return 0;
}

static int32_t valueAndGrad(const nsrt_host *h, char *const *r) {
  float p[K];
  logitsOf(h, r, 0, IO(OFF_LOGITS));
  for (int b = 0; b < B; ++b) {
    int label = ((int32_t *)(r[NSRT_IO] + OFF_LABELS))[b];
    softmax(IO(OFF_LOGITS) + b * K, p);
    IO(OFF_LOSSES)[b] = -logf(p[label]);
    for (int i = 0; i < D; ++i) {
      float sum = 0;
      for (int k = 0; k < K; ++k)
        sum += (p[k] - (k == label)) * WEIGHT[k * D + i];
      IO(OFF_IGRAD)[b * D + i] = IO(OFF_WEIGHTS)[b] * sum;
    }
  }
  return 0;
}

static float clip(float y, float low, float high) { return y < low ? low : y > high ? high : y; }

/* A step along d, as docs/abi.md has it. */
static int32_t ascend(char *const *r, const float *d, int l2) {
  const float *hyper = IO(OFF_AHYPER);
  for (int b = 0; b < B; ++b, d += D) {
    float *y = IO(OFF_IMAGE) + b * D, *x = IO(OFF_CIMAGE) + b * D, square = 0, distance = 0;
    for (int i = 0; i < D; ++i)
      square += d[i] * d[i];
    for (int i = 0; i < D; ++i) {
      y[i] += hyper[0] * (l2 ? d[i] / (sqrtf(square) + 1e-10f) : (d[i] > 0) - (d[i] < 0));
      distance += (y[i] - x[i]) * (y[i] - x[i]);
    }
    float shrink = sqrtf(distance) > hyper[1] ? hyper[1] / sqrtf(distance) : 1;
    for (int i = 0; i < D; ++i)
      y[i] = clip(l2 ? x[i] + shrink * (y[i] - x[i]) : clip(y[i], x[i] - hyper[1], x[i] + hyper[1]),
                  0, 1);
  }
  return 0;
}
static int32_t attackUpdate(const nsrt_host *h, char *const *r) {
  return ascend(r, IO(OFF_IGRAD), 0);
}
static int32_t attackUpdateL2(const nsrt_host *h, char *const *r) {
  return ascend(r, IO(OFF_IGRAD), 1);
}
static int32_t attackUpdateMomentum(const nsrt_host *h, char *const *r) {
  float *m = IO(OFF_MOMENTUM), decay = IO(OFF_AHYPER)[2];
  for (int b = 0; b < B; ++b) {
    float sum = 0;
    for (int i = b * D; i < (b + 1) * D; ++i)
      sum += fabsf(IO(OFF_IGRAD)[i]);
    for (int i = b * D; i < (b + 1) * D; ++i)
      m[i] = decay * m[i] + IO(OFF_IGRAD)[i] / fmaxf(sum / D, 1e-30f);
  }
  return ascend(r, m, 0);
}

static const nsrt_entry entries[] = {{"forward", forward},
                                     {"forward_noised", forwardNoised},
                                     {"site_norm", siteNorm},
                                     {"synth_step", synthStep},
                                     {"synth_step_l2", synthStepL2},
                                     {"synth_update", synthUpdate},
                                     {"stop_test", stopTest},
                                     {"finetune_step", finetuneStep},
                                     {"finetune_step_noised", finetuneStepNoised},
                                     {"finetune_update", finetuneUpdate},
                                     {"value_and_grad", valueAndGrad},
                                     {"attack_update", attackUpdate},
                                     {"attack_update_l2", attackUpdateL2},
                                     {"attack_update_momentum", attackUpdateMomentum}};

static const nsrt_artifact artifact = {SPEAKS < 3 ? NSRT_ARTIFACT_SIZE_V2 : sizeof(nsrt_artifact),
                                       SPEAKS,
                                       metadata,
                                       sizeof metadata - 1,
                                       sizeof entries / sizeof entries[0],
                                       entries,
                                       IMAGE,
                                       0,
                                       0};

const nsrt_artifact *nsrt_artifact_query(uint32_t abi, uint32_t x86_level) {
  (void)x86_level; /* code for any processor */
  return abi == SPEAKS ? &artifact : 0;
}
