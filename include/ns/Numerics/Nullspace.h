//===- Nullspace.h - exact nullspace of a patch embedding -------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Which changes of an image does a vision transformer not see? Its first layer cuts the image into patches of n = c r r
// numbers and maps each by the same d x n matrix W. A change q of a patch with W q = 0 leaves the token as it was, and with it
// everything behind. By rank-nullity these q form a space of dimension n - rank(W), at least n - d where the matrix is wide.
//
// Pixel space. The network normalises pixels first, x -> (x - mean) / std, channel by channel, so a change q of the
// pixels reaches W as q / std. The nullspace that a user wants is that of
//
//     W' = W diag(1 / std)                          (std of the channel of each column)
//
// and not that of W: where std differs between channels (DeiT, most models of Hugging Face) a vector of null(W) added to the
// pixels moves the tokens by a relative 1e-2.
//
// A worked example. d = 1, n = 2, W = [1 1]. With std = (1, 1) the nullspace is spanned by (1, -1) / sqrt 2. With std =
// (1, 2), W' = [1 1/2], and it is spanned by (1, -2) / sqrt 5: the second channel counts half, so it moves twice as far. Added to the
// pixels, the first vector would change the token by (1 - 1/2) / sqrt 2.
//
// Two parts. Where W' is wide (n > d), the QR factorisation W'^T = [Q1 Q2] [R; 0] gives, for every W', an orthonormal basis Q2 of
// n - d directions that W' cannot see: the structural part, exact to rounding. What is left is the d x d matrix R^T, whose
// right singular vectors u with sigma <= tol add Q1 u: the numerical part, which exists only if training made rows of W nearly
// dependent, and exact to tol only. The singular values of R^T are those of W'. A tall or square matrix has no structural part, and
// its R is factored directly.
//
// Why not one SVD of W': a full V of a 768 x 3072 matrix by divide and conquer takes minutes and loses nothing by first being
// reduced to 768 x 768. Why not eigenvectors of W'^T W': squaring the singular values hides all below 1e-8 sigma_max.
//
// Invariants, which the unit tests hold the result to: the rows of `basis` are orthonormal; |W' q| <= max(tol, rounding) for each;
// rank + nullity = n; nullity >= structural = max(0, n - d); singularValues descend, min(d, n) of them.
//
// Cost: O(n^2 d); about two seconds for ViT-B/32 (d = 768, n = 3072) on one core.
//
//===----------------------------------------------------------------------===//

#ifndef NS_NUMERICS_NULLSPACE_H
#define NS_NUMERICS_NULLSPACE_H

#include <array>
#include <cstdint>
#include <vector>

namespace ns::numerics {

struct Nullspace {
  int64_t rows = 0, cols = 0; ///< d and n = c r r
  int64_t rank = 0;           ///< singular values above tol
  int64_t nullity = 0;        ///< n - rank
  int64_t structural = 0;     ///< max(0, n - d)
  double tol = 0;
  double sigmaMax = 0;           ///< the largest singular value, 0 for a zero matrix
  double sigmaMin = 0;           ///< the smallest singular value above tol, 0 for a zero matrix
  double residual = 0;           ///< max |W' q|_inf over the basis
  double structuralResidual = 0; ///< the same over the structural part
  std::vector<double> singularValues; ///< min(d, n), descending
  std::vector<double> basis;          ///< nullity x n, row-major, orthonormal rows; the structural part first
};

/// The threshold below which a singular value counts as zero: max(d, n) * eps * sigmaMax, eps the machine epsilon of the type that the
/// weights are stored in (their rounding alone perturbs singular values by that much).
double defaultTolerance(int64_t rows, int64_t cols, double eps, double sigmaMax);

/// Nullspace of a row-major `rows` x `cols` matrix of finite numbers. `tol` > 0 overrides defaultTolerance with `eps`.
Nullspace computeNullspace(const double *matrix, int64_t rows, int64_t cols, double eps, double tol = 0);

/// The part of an image (channels x extents) that no patch sees: each patch projected onto the basis, pixels outside of every patch as they are. Patches lie in row-major
/// order from the top left; a column of the basis is (channel, y, x).
std::vector<double> projectPatches(const Nullspace &space, std::vector<double> image, int64_t channels,
                                   std::array<int64_t, 2> extents, std::array<int64_t, 2> patch);

/// Divides each column j of a row-major matrix by `std[j / columnsPerChannel]`: W' of W.
void scaleColumnsByChannel(std::vector<double> &matrix, int64_t cols, const std::vector<double> &std);

} // namespace ns::numerics

#endif // NS_NUMERICS_NULLSPACE_H
