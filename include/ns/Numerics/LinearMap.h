//===- LinearMap.h - maps that are applied, not stored ----------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// What can be known of a matrix A that is too large to store, from products with A and its
// transpose alone.
//
// Extreme singular values. Golub-Kahan bidiagonalisation from a random vector gives A V = U B with
// orthonormal V and U and a small bidiagonal B. Its singular values lie between the smallest and
// the largest of A, and the outermost ones converge first. V is not kept and so not
// reorthogonalised: lost orthogonality makes copies of values that have converged, and moves none
// (Paige). The smallest value reached is an upper bound of the smallest there is: a wide gap to it
// proves nothing.
//
// Projection. The part of x in null(A) is x - A^T y with y the least-squares solution of A^T y = x.
// CGLS, which is CG on A A^T y = A x, holds that difference as its own residual r; A r, which it
// computes in each step, says how far r is from the nullspace.
//
// A worked example: A = [1 1], x = (3, 1). A A^T y = A x is 2 y = 4, so y = 2 and r = (3, 1) - 2
// (1, 1) = (1, -1): A r = 0 after one step.
//
//===----------------------------------------------------------------------===//

#ifndef NS_NUMERICS_LINEARMAP_H
#define NS_NUMERICS_LINEARMAP_H

#include <cstdint>
#include <vector>

namespace ns::numerics {

/// A matrix `rows` x `cols` by its products.
class LinearMap {
public:
  virtual ~LinearMap() = default;
  virtual int64_t rows() const = 0;
  virtual int64_t cols() const = 0;
  /// y = A x, x of cols() numbers, y of rows().
  virtual void apply(const double *x, double *y) const = 0;
  /// x = A^T y.
  virtual void applyTransposed(const double *y, double *x) const = 0;
};

struct SingularRange {
  double largest = 0; ///< lower bound of the largest singular value, close after some tens of steps
  double smallest = 0; ///< upper bound of the smallest of min(rows, cols)
  int64_t steps = 0;   ///< steps taken; fewer than asked for where the space was exhausted
};

/// Ritz values of `steps` >= 1 steps of bidiagonalisation from seeded Gaussian noise.
SingularRange extremeSingularValues(const LinearMap &map, int64_t steps, uint64_t seed = 0);

struct Projection {
  std::vector<double> vector; ///< cols() numbers
  double residual = 0;        ///< |A v| / (sigmaMax |v|), 0 where v = 0
  int64_t iterations = 0;
  bool converged = false; ///< residual <= tol, or nothing of x is left: |v| <= tol |x|
};

/// The part of x in null(A), to |A v| <= tol sigmaMax |v|, in at most `maxIterations` steps. A
/// vector all but in the row space is returned as 0.
Projection projectOntoNullspace(const LinearMap &map, const std::vector<double> &x, double sigmaMax,
                                double tol, int64_t maxIterations);

} // namespace ns::numerics

#endif // NS_NUMERICS_LINEARMAP_H
