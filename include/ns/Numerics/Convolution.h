//===- Convolution.h - a convolution as a map of the whole image -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Where the windows of the first layer overlap there is no matrix of one patch. The layer still is
// a linear map A of the whole image, c H W numbers to O H' W' (bias and mean aside), and what an
// image may change unseen is null(A).
//
// Its dimension is known where counting suffices. Neighbouring pixels s apart in both directions
// form c s^2 channels of an image s times smaller, on which a convolution of stride s has stride 1:
// O outputs see c s^2 numbers at each position. With O < c s^2 outputs (16 channels at stride 4, of
// 48) the map is wide, and c H W - O H' W' dimensions are lost whatever the weights. With more
// (ResNet: 64 at stride 2, of 12) nothing need be lost, and A is injective but for rare weights.
// Zero padding makes A not quite circulant, so a Fourier transform does not finish the count: the
// rest is left to iteration (LinearMap.h).
//
// Worked example: one channel, 1 x 4 pixels, kernel [1 1], stride 2, no padding. A = [1 1 0 0; 0 0
// 1 1]: 4 - 2 = 2 dimensions, spanned by (1, -1, 0, 0) and (0, 0, 1, -1). With stride 1, A has 3
// rows and 1 dimension is left, (1, -1, 1, -1).
//
//===----------------------------------------------------------------------===//

#ifndef NS_NUMERICS_CONVOLUTION_H
#define NS_NUMERICS_CONVOLUTION_H

#include "ns/Numerics/LinearMap.h"

#include <array>

namespace ns::numerics {

/// Geometry of a convolution as PyTorch's: extents along (y, x).
struct ConvolutionShape {
  int64_t channels = 0, outputs = 0, groups = 1;
  std::array<int64_t, 2> image{}, kernel{}, stride{1, 1}, padding{0, 0}, dilation{1, 1};

  /// Output extent along dimension 0 (y) or 1 (x), at least 0.
  int64_t extent(unsigned dim) const;
  int64_t rows() const { return outputs * extent(0) * extent(1); }
  int64_t cols() const { return channels * image[0] * image[1]; }
};

/// The nullity that every convolution of this shape has at least: pixels less the rank that
/// outputs, kernel and pixels read leave room for, group by group.
int64_t structuralNullity(const ConvolutionShape &shape);

/// The map of pixels: W diag(1/std). Images are c x H x W, outputs (H' W') x O.
class ImageConvolution : public LinearMap {
public:
  /// `weight` O x c/groups x kh x kw, row-major; `std` one number for each channel.
  ImageConvolution(const ConvolutionShape &shape, std::vector<double> weight,
                   const std::vector<double> &std);

  int64_t rows() const override { return shape.rows(); }
  int64_t cols() const override { return shape.cols(); }
  void apply(const double *x, double *y) const override;
  void applyTransposed(const double *y, double *x) const override;

private:
  int64_t taps() const { return shape.channels / shape.groups * shape.kernel[0] * shape.kernel[1]; }
  /// Calls visit(pixel, tap) for the window at output position `position` of `group`: where each
  /// tap that lies in the image reads.
  template <class Visit> void forWindow(int64_t position, int64_t group, Visit visit) const;

  ConvolutionShape shape;
  std::vector<double> weight;
};

} // namespace ns::numerics

#endif // NS_NUMERICS_CONVOLUTION_H
