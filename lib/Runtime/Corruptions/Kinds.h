//===- Kinds.h - one function for each kind of corruption ----- -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Each takes the image, its parameters at one severity (Parameters.cpp says what they are) and the
// random numbers, and returns the image before rounding; or the 8-bit image where the kind is made
// of 8-bit steps.
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_RUNTIME_CORRUPTIONS_KINDS_H
#define NS_LIB_RUNTIME_CORRUPTIONS_KINDS_H

#include "Planes.h"

#include "ns/Runtime/Corruptions.h"

namespace ns::runtime::corruptions {

/// The numbers of one kind at one severity, in the order of the published tables.
using Parameters = std::span<const double>;
Parameters parameters(const Corruption &corruption, CorruptionTable table);

// Noise.cpp
Planes gaussianNoise(const Planes &x, Parameters p, Rng &rng);
Planes shotNoise(const Image &x, Parameters p, Rng &rng);
Planes impulseNoise(const Planes &x, Parameters p, Rng &rng);
Planes speckleNoise(const Planes &x, Parameters p, Rng &rng);
// Blur.cpp
Planes gaussianBlur(const Planes &x, Parameters p);
Planes defocusBlur(const Planes &x, Parameters p);
Planes glassBlur(const Planes &x, Parameters p, Rng &rng);
Planes motionBlurred(const Planes &x, Parameters p, Rng &rng);
Planes zoomBlur(const Planes &x, Parameters p);
// Weather.cpp
Planes snow(const Planes &x, Parameters p, Rng &rng);
Planes frost(const Planes &x, Parameters p, Rng &rng, CorruptionTable table,
             const FrostTextures &textures);
Planes fog(const Planes &x, Parameters p, Rng &rng);
Planes brightness(const Planes &x, Parameters p);
/// A texture of the given size for use where no pictures of frost are at hand.
Image proceduralFrost(int width, int height, Rng &rng);
// Spatter.cpp
Planes spatter(const Planes &x, Parameters p, Rng &rng);
// Digital.cpp
Planes contrast(const Planes &x, Parameters p);
Planes saturate(const Planes &x, Parameters p);
Planes elasticTransform(const Planes &x, Parameters p, Rng &rng);
Image pixelate(const Image &x, Parameters p);

} // namespace ns::runtime::corruptions

#endif // NS_LIB_RUNTIME_CORRUPTIONS_KINDS_H
