//===- Rng.h - counter-based random numbers ---------------------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_RUNTIME_RNG_H
#define NS_RUNTIME_RNG_H

#include <array>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

namespace ns::runtime {

/// What a random number is for. Numbers of different streams never meet; the values are part of
/// what makes a run reproducible, so they never change.
enum class Stream : uint32_t {
  Split = 1,       ///< which training images belong to which part
  Order = 2,       ///< order of the images in a round
  NoiseInit = 3,   ///< start of a noise
  Permute = 4,     ///< the permuted control
  Gaussian = 5,    ///< the gaussian control
  Augment = 6,     ///< crops and flips
  AttackStart = 7, ///< random starts of PGD
  Square = 8,      ///< squares of the Square attack
  Bootstrap = 9,
  Corruption = 10, ///< corruptions of images
  Dropout = 11,    ///< seeds of finetuning's dropout masks
  TrainingAttack = 12, ///< random starts of the attacks of adversarial training
};

/// Philox4x32-10 (Salmon et al., SC'11): four words from a 128-bit counter and a 64-bit key.
inline std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, uint64_t seed) {
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    uint64_t a = uint64_t(0xD2511F53u) * counter[0], b = uint64_t(0xCD9E8D57u) * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(a)};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

/// The numbers of (seed, stream, step), step below 2^56: element i is the same whoever asks, in
/// whatever order or thread. next() walks the elements from 0.
class Rng {
public:
  Rng(uint64_t seed, Stream stream, uint64_t step = 0)
      : seed(seed), stream(static_cast<uint32_t>(stream) | static_cast<uint32_t>(step >> 32) << 8),
        step(static_cast<uint32_t>(step)) {}

  /// The words of elements 4 * index to 4 * index + 3.
  std::array<uint32_t, 4> block(uint64_t index) const {
    return philox({static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), step, stream},
                  seed);
  }
  uint32_t bits(uint64_t element) const { return block(element / 4)[element % 4]; }
  /// In [0, 1), a multiple of 2^-32.
  double uniform(uint64_t element) const { return bits(element) * 0x1p-32; }
  /// N(0, 1) by Box and Muller.
  double normal(uint64_t element) const {
    double radius = (bits(2 * element) + 0.5) * 0x1p-32, angle = uniform(2 * element + 1);
    return std::sqrt(-2 * std::log(radius)) * std::cos(6.283185307179586 * angle);
  }

  double next() { return uniform(position++); }
  /// In [0, bound), bound at most 2^32.
  int64_t nextBelow(int64_t bound) {
    return static_cast<int64_t>((static_cast<__uint128_t>(bits(position++)) * bound) >> 32);
  }

private:
  uint64_t seed;
  uint32_t stream, step;
  uint64_t position = 0;
};

/// A permutation of 0 .. count-1 by Fisher and Yates.
inline std::vector<int64_t> permutation(int64_t count, Rng rng) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), int64_t(0));
  for (int64_t i = count - 1; i > 0; --i)
    std::swap(order[i], order[rng.nextBelow(i + 1)]);
  return order;
}

} // namespace ns::runtime

#endif // NS_RUNTIME_RNG_H
