//===- PatchFool.cpp - the attack on a patch's share of attention ---------===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Fu et al. 2022, "Patch-Fool: Are Vision Transformers Always Robust Against Adversarial
// Perturbations?", as the published code has it: gradients, Adam and its rate count in the model's
// normalised space, budgets in pixels. What differs:
// - An image's gradients are those of its own loss, not of a batch's mean, so that its fate does
// not
//   depend on its batch. Only `pcgrad=reference`, whose projection is not homogeneous, tells: it is
//   the published code at a batch of one.
// - `iterate=best`: an image falls with any iterate after the first step, not with the last alone.
// - Random patches differ from one another.
//
//===----------------------------------------------------------------------===//

#include "Adam.h"
#include "AttackedRows.h"

#include "ns/Runtime/Error.h"

using namespace ns::runtime;

namespace {

constexpr double kMaskRate = 1e-2, kLeastMask = 1e-6;

/// Random numbers of an image, by restart of startOf: pixels, learnable mask, patches.
enum Draw : int64_t { kPixels = 0, kMask = 1, kPatches = 2 };

/// What the specification asks for, of this model.
struct Plan {
  bool attends;   ///< attack_mode=Attention
  bool learns;    ///< which pixels of the patches to change
  bool keepsBest; ///< iterate=best
  bool exact;     ///< pcgrad=exact
  int64_t numPatch, sparsePixels, maskStop, steps, decaySteps, selectLayer;
  double attentionWeight, radius, bound, lr, gamma;
  std::string select;
  // The image, and its patches row by row.
  int64_t channels, height, width, patchHeight, patchWidth;
  std::vector<double> mean, std;

  int64_t columns() const { return width / patchWidth; }
  int64_t patches() const { return height / patchHeight * columns(); }
  int64_t patchPixels() const { return patchHeight * patchWidth; }
  int64_t plane() const { return height * width; }
};

/// The patches that one image's attack changes, their pixels, and the descent on them. T is the
/// model's precision.
template <class T> class PatchedImage {
public:
  explicit PatchedImage(const Plan &plan) : plan(plan) {}

  void begin(const AttackContext &context, int64_t image, std::span<const int64_t> patches,
             const T *x) {
    pixels.clear();
    for (int64_t patch : patches)
      for (int64_t at = 0; at < plan.patchPixels(); ++at)
        pixels.push_back((patch / plan.columns() * plan.patchHeight + at / plan.patchWidth) *
                             plan.width +
                         patch % plan.columns() * plan.patchWidth + at % plan.patchWidth);
    mask.clear();
    for (int64_t pixel : pixels)
      mask.push_back(static_cast<T>(startOf(context, image, kMask).uniform(pixel)));
    if (plan.sparsePixels && !plan.learns)
      keepLargestOfMask();
    changes.assign(pixels.size(), 1);
    maskDescent.begin(mask.size());
    descent.begin(plan.channels * pixels.size());
    value.resize(plan.channels * pixels.size());
    clean.resize(value.size());
    Rng start = startOf(context, image, kPixels);
    forEachValue([&](size_t at, size_t i, int64_t c) {
      int64_t element = c * plan.plane() + pixels[i];
      T u = static_cast<T>(start.uniform(element)), e = static_cast<T>(plan.bound);
      clean[at] = x[element];
      value[at] = std::clamp(plan.bound ? x[element] + e * (2 * u - 1) : u, T(0), T(1));
    });
  }

  /// The pixels to change from now on: the largest of the learnable mask.
  void choosePixels() {
    T least = sparseThreshold();
    for (size_t i = 0; i < pixels.size(); ++i)
      changes[i] = mask[i] >= least;
  }

  /// Writes the changed pixels to y, an iterate of the image, and the others back.
  void write(T *y) const {
    forEachValue([&](size_t at, size_t i, int64_t c) {
      y[c * plan.plane() + pixels[i]] = changes[i] ? value[at] : clean[at];
    });
  }

  /// One step up the gradient of cross-entropy by the pixels and those of the attention losses.
  void step(int64_t iteration, const T *crossEntropy, std::span<const T *const> attention) {
    bool learns = plan.learns && iteration < plan.maskStop;
    std::vector<T> ofCrossEntropy = valueGradient(crossEntropy), total = ofCrossEntropy, maskTotal;
    std::vector<T> maskOfCrossEntropy;
    if (learns)
      maskTotal = maskOfCrossEntropy = maskGradient(crossEntropy);
    for (const T *gradient : attention) {
      add(total, valueGradient(gradient), ofCrossEntropy);
      if (learns)
        add(maskTotal, maskGradient(gradient), maskOfCrossEntropy);
    }
    descent.beginStep(plan.lr * std::pow(plan.gamma, iteration / plan.decaySteps));
    forEachValue([&](size_t at, size_t, int64_t c) {
      value[at] -= static_cast<T>(plan.std[c]) * descent.move(at, -total[at]);
    });
    if (learns)
      stepMask(maskTotal);
    project();
  }

private:
  /// fn(at, i, c): position in `value`, pixel, channel.
  template <class Fn> void forEachValue(Fn fn) const {
    for (int64_t c = 0; c < plan.channels; ++c)
      for (size_t i = 0; i < pixels.size(); ++i)
        fn(c * pixels.size() + i, i, c);
  }

  T sparseThreshold() const {
    std::vector<T> order = mask;
    auto at = order.begin() + (plan.sparsePixels - 1);
    std::nth_element(order.begin(), at, order.end(), std::greater<T>());
    return *at;
  }
  void keepLargestOfMask() {
    T least = sparseThreshold();
    size_t kept = 0;
    for (size_t i = 0; i < pixels.size(); ++i)
      if (mask[i] >= least)
        pixels[kept++] = pixels[i];
    pixels.resize(kept);
    mask.resize(kept);
  }

  /// In normalised space; 0 at pixels that are not changed.
  std::vector<T> valueGradient(const T *gradient) const {
    std::vector<T> result(value.size());
    forEachValue([&](size_t at, size_t i, int64_t c) {
      T g = gradient[c * plan.plane() + pixels[i]];
      result[at] = changes[i] ? g * static_cast<T>(plan.std[c]) : T(0);
    });
    return result;
  }
  /// By the learnable mask, which weights the normalised pixels.
  std::vector<T> maskGradient(const T *gradient) const {
    std::vector<T> result(mask.size());
    forEachValue([&](size_t at, size_t i, int64_t c) {
      T g = gradient[c * plan.plane() + pixels[i]];
      result[i] += g * (value[at] - static_cast<T>(plan.mean[c]));
    });
    return result;
  }

  /// Adds the gradient of an attention loss, without what of it opposes cross-entropy (PCGrad: Yu
  /// et al. 2020; the published code divides by the norm once).
  void add(std::vector<T> &total, std::vector<T> part, const std::vector<T> &crossEntropy) const {
    double dot = 0, square = 0;
    for (size_t i = 0; i < part.size(); ++i) {
      dot += static_cast<double>(part[i]) * crossEntropy[i];
      square += static_cast<double>(crossEntropy[i]) * crossEntropy[i];
    }
    double share = dot < 0 ? dot / (plan.exact ? square : std::sqrt(square)) : 0;
    for (size_t i = 0; i < part.size(); ++i)
      total[i] += static_cast<T>(plan.attentionWeight * (part[i] - share * crossEntropy[i]));
  }

  void stepMask(const std::vector<T> &gradient) {
    maskDescent.beginStep(kMaskRate);
    for (size_t i = 0; i < mask.size(); ++i)
      mask[i] -= maskDescent.move(i, -gradient[i]);
    // The pixels outside, of mask 0, count too.
    T least = *std::min_element(mask.begin(), mask.end());
    if (static_cast<int64_t>(pixels.size()) < plan.plane())
      least = std::min(least, T(0));
    for (T &entry : mask)
      entry += static_cast<T>(kLeastMask) - least;
  }

  /// Back into the budget, in pixels: an L2 ball for each channel or the Linf ball; and into [0,
  /// 1].
  void project() {
    for (int64_t c = 0; plan.radius && c < plan.channels; ++c) {
      size_t from = c * pixels.size(), to = from + pixels.size();
      double square = 0;
      for (size_t at = from; at < to; ++at)
        square += (static_cast<double>(value[at]) - clean[at]) * (value[at] - clean[at]);
      double shrink = std::sqrt(square) < plan.radius ? 1 : plan.radius / std::sqrt(square);
      for (size_t at = from; at < to; ++at)
        value[at] = static_cast<T>(clean[at] + shrink * (value[at] - clean[at]));
    }
    T e = static_cast<T>(plan.bound);
    for (size_t at = 0; at < value.size(); ++at) {
      if (plan.bound)
        value[at] = std::clamp(value[at], clean[at] - e, clean[at] + e);
      value[at] = std::clamp(value[at], T(0), T(1));
    }
  }

  const Plan &plan;
  std::vector<int64_t> pixels; ///< of the patches, by their offset in a plane of the image
  std::vector<char> changes;   ///< which of them
  std::vector<T> mask;         ///< learnable, by pixel
  std::vector<T> value, clean; ///< by channel, then pixel
  Adam<T> descent, maskDescent;
};

/// The attack on the rows of the batch.
template <class T> class Run {
public:
  Run(AttackContext &context, const AttackSpec &spec, const Plan &plan)
      : context(context), plan(plan), rows(context, spec),
        patched(rows.size(), PatchedImage<T>(plan)), taken(rows.size()) {
    if (!plan.attends)
      return;
    patch = context.session.slot("patch");
    for (int64_t layer : context.session.metadata().attention.lossLayers)
      attentionGradients.push_back(context.session.slot("attention_grad_" + std::to_string(layer)));
  }

  Survivors run() {
    std::vector<char> ends(rows.size()), isLast(rows.size());
    auto look = [&](std::span<const int64_t> images) { choosePatches(images); };
    auto begin = [&](T *y, const T *x, const T *, int64_t i) {
      patched[i].begin(context, rows.imageOf(i), chosen[rows.lookedAt(i)], x);
      taken[i] = 0;
      write(y, i);
      if (plan.attends)
        aimAt(i);
    };
    while (rows.refill(look, begin)) {
      rows.run(plan.attends ? "patchfool_grad" : "value_and_grad");
      for (int64_t i = 0; i < rows.size(); ++i)
        isLast[i] = taken[i] == plan.steps;
      std::vector<char> right = rows.stillRight(isLast);
      rows.forEach([&](T *y, const T *, const T *g, int64_t i) {
        ends[i] = isLast[i] || (plan.keepsBest && taken[i] > 0 && !right[i]);
        if (!ends[i])
          step(y, g, i);
      });
      rows.finishAll(ends, right);
    }
    return rows.results().outcome();
  }

private:
  void write(T *y, int64_t i) {
    if (plan.learns && taken[i] < plan.maskStop + (taken[i] == plan.steps))
      patched[i].choosePixels();
    patched[i].write(y);
  }

  void step(T *y, const T *g, int64_t i) {
    std::vector<const T *> attention;
    for (const TensorView &view : attentionGradients)
      attention.push_back(static_cast<const T *>(view.data) + i * rows.pixels());
    patched[i].step(taken[i]++, g, attention);
    write(y, i);
  }

  /// The patches of the images that lie in the slots.
  void choosePatches(std::span<const int64_t> images) {
    chosen.clear();
    if (plan.select == "Attn") {
      TensorView weights = context.session.slot("query_weights");
      for (int64_t k = 0, n = weights.count(); k < n; ++k)
        weights.set(k, 1.0 / static_cast<double>(context.session.metadata().attention.tokens));
      rows.run("attention_received");
    } else if (plan.select == "Saliency") {
      rows.run("value_and_grad");
    }
    for (size_t k = 0; k < images.size(); ++k) {
      std::vector<int64_t> order;
      if (plan.select == "Rand") {
        order = permutation(plan.patches(), startOf(context, images[k], kPatches));
      } else {
        std::vector<double> scores = plan.select == "Attn" ? attentionReceived(k) : saliency(k);
        order.resize(scores.size());
        std::iota(order.begin(), order.end(), 0);
        std::stable_sort(order.begin(), order.end(),
                         [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
      }
      order.resize(plan.numPatch);
      chosen.push_back(std::move(order));
    }
  }

  std::vector<double> attentionReceived(int64_t k) const {
    const AttentionInfo &info = context.session.metadata().attention;
    TensorView attention = context.session.slot("attention");
    int64_t from = (k * info.layers + plan.selectLayer) * info.tokens + info.prefix;
    std::vector<double> scores;
    for (int64_t patch = 0; patch < plan.patches(); ++patch)
      scores.push_back(attention.get(from + patch));
    return scores;
  }

  /// Summed |d cross-entropy / d pixel| of each patch, in normalised space.
  std::vector<double> saliency(int64_t k) const {
    TensorView gradient = context.session.slot("image_grad");
    std::vector<double> scores(plan.patches());
    for (int64_t element = 0; element < rows.pixels(); ++element) {
      int64_t c = element / plan.plane(), y = element % plan.plane() / plan.width,
              x = element % plan.width;
      if (y / plan.patchHeight < plan.height / plan.patchHeight &&
          x / plan.patchWidth < plan.columns())
        scores[y / plan.patchHeight * plan.columns() + x / plan.patchWidth] +=
            std::abs(gradient.get(k * rows.pixels() + element)) * plan.std[c];
    }
    return scores;
  }

  /// The attention losses are those of the image's first patch.
  void aimAt(int64_t i) {
    const AttentionInfo &info = context.session.metadata().attention;
    for (int64_t token = 0; token < info.tokens; ++token)
      patch.set(i * info.tokens + token, token == info.prefix + chosen[rows.lookedAt(i)][0]);
  }

  AttackContext &context;
  const Plan &plan;
  AttackedRows<T> rows;
  std::vector<PatchedImage<T>> patched;
  std::vector<int64_t> taken;               ///< steps, by row
  std::vector<std::vector<int64_t>> chosen; ///< patches of the images that look() saw
  TensorView patch;                         ///< the slot; where attention is attacked
  std::vector<TensorView> attentionGradients;
};

} // namespace

[[noreturn]] static void refuse(const AttackSpec &spec, const std::string &what) {
  throw UsageError("--attack " + spec.text + ": " + what);
}

/// Checks that the model has the attention that is asked for.
static void requireAttention(const AttackSpec &spec, const Metadata &meta, bool attends,
                             bool selects) {
  const AttentionInfo &info = meta.attention;
  if (!attends && !selects)
    return;
  std::string otherwise = "; attack_mode=CE_loss with patch_select=Saliency or Rand needs none";
  if (!info.layers)
    refuse(spec, "expected a model with attention between all its patches, found none: " +
                     (info.whyNone.empty() ? "the executable was compiled without its taps"
                                           : info.whyNone) +
                     otherwise);
  if (attends && info.lossLayers.empty())
    refuse(spec,
           "expected a model of at least 4 layers of attention, whose layers 1 to L / 2 - 1 have "
           "an attention loss, found " +
               std::to_string(info.layers) + "; attack_mode=CE_loss needs none");
  auto layer = static_cast<int64_t>(spec.number("atten_select"));
  if (selects && layer >= info.layers)
    refuse(spec, "expected atten_select below the " + std::to_string(info.layers) +
                     " layers of attention, found " + std::to_string(layer));
}

static void setPatchSize(const AttackSpec &spec, const Metadata &meta, bool needsTokens,
                         Plan &plan) {
  auto asked = static_cast<int64_t>(spec.number("patch_size"));
  plan.patchHeight = asked ? asked : meta.attention.patchHeight;
  plan.patchWidth = asked ? asked : meta.attention.patchWidth;
  if (!plan.patchHeight)
    refuse(spec, "expected patch_size, which a model without patch tokens does not tell");
  if (needsTokens && (plan.patchHeight != meta.attention.patchHeight ||
                      plan.patchWidth != meta.attention.patchWidth))
    refuse(spec, "expected patch_size to be that of the model's tokens, " +
                     std::to_string(meta.attention.patchHeight) + "x" +
                     std::to_string(meta.attention.patchWidth) + ", found " +
                     std::to_string(asked));
  if (plan.patchHeight > plan.height || plan.patchWidth > plan.width)
    refuse(spec, "expected patch_size within the image of " + std::to_string(plan.height) + "x" +
                     std::to_string(plan.width) + ", found " + std::to_string(asked));
}

static Plan planOf(const AttackSpec &spec, const Metadata &meta) {
  auto whole = [&](const char *key) { return static_cast<int64_t>(spec.number(key)); };
  auto is = [&](const char *key, const char *word) { return spec.words.at(key) == word; };
  Plan plan{};
  plan.attends = is("attack_mode", "Attention");
  plan.select = spec.words.at("patch_select");
  bool selects = plan.select == "Attn";
  requireAttention(spec, meta, plan.attends, selects);
  plan.channels = meta.model.channels;
  plan.height = meta.model.height;
  plan.width = meta.model.width;
  plan.mean = meta.model.mean;
  plan.std = meta.model.std;
  setPatchSize(spec, meta, plan.attends || selects, plan);
  plan.keepsBest = is("iterate", "best");
  plan.exact = is("pcgrad", "exact");
  plan.sparsePixels = whole("sparse_pixel_num");
  plan.learns = plan.sparsePixels && is("random_sparse_pixel", "no");
  plan.numPatch = whole("num_patch");
  plan.maskStop = whole("learnable_mask_stop");
  plan.steps = whole("train_attack_iters");
  plan.decaySteps = whole("step_size");
  plan.selectLayer = whole("atten_select");
  plan.attentionWeight = spec.number("atten_loss_weight");
  plan.radius = spec.number("mild_l_2");
  plan.bound = spec.number("mild_l_inf");
  plan.lr = spec.number("attack_learning_rate");
  plan.gamma = spec.number("gamma");
  if (plan.numPatch > plan.patches())
    refuse(spec, "expected num_patch of at most the image's " + std::to_string(plan.patches()) +
                     " patches, found " + std::to_string(plan.numPatch));
  if (plan.sparsePixels > plan.numPatch * plan.patchPixels())
    refuse(spec, "expected sparse_pixel_num of at most the " +
                     std::to_string(plan.numPatch * plan.patchPixels()) +
                     " pixels of the patches, found " + std::to_string(plan.sparsePixels));
  if (!plan.sparsePixels && is("random_sparse_pixel", "yes"))
    refuse(spec, "expected sparse_pixel_num beside random_sparse_pixel=yes, found none");
  if (plan.radius && plan.bound)
    refuse(spec, "expected one of mild_l_2 and mild_l_inf, found both");
  return plan;
}

Survivors ns::runtime::attackPatchFool(AttackContext &context, const AttackSpec &spec) {
  Plan plan = planOf(spec, context.session.metadata());
  Survivors survivors;
  visitFloat(context.session.slot("image"), [&](auto *pixels) {
    survivors = Run<std::remove_pointer_t<decltype(pixels)>>(context, spec, plan).run();
  });
  context.details["patch"] = {plan.patchHeight, plan.patchWidth};
  return survivors;
}
