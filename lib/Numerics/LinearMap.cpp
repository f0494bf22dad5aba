//===- LinearMap.cpp - maps that are applied, not stored --------*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Numerics/LinearMap.h"

#include <Eigen/SVD>

#include <algorithm>
#include <cmath>
#include <random>

using Eigen::MatrixXd;
using Eigen::VectorXd;

namespace ns::numerics {

/// The singular values of the upper bidiagonal matrix, descending.
static VectorXd bidiagonalValues(const std::vector<double> &diagonal,
                                 const std::vector<double> &above) {
  int64_t size = diagonal.size();
  MatrixXd matrix = MatrixXd::Zero(size, size);
  for (int64_t i = 0; i < size; ++i) {
    matrix(i, i) = diagonal[i];
    if (i + 1 < size)
      matrix(i, i + 1) = above[i];
  }
  return Eigen::BDCSVD<MatrixXd>(matrix).singularValues();
}

SingularRange extremeSingularValues(const LinearMap &map, int64_t steps, uint64_t seed) {
  // Bidiagonalise the transpose of a wide map: the smallest of its min(rows, cols) values are
  // wanted, not the zeros of its nullspace.
  bool wide = map.cols() > map.rows();
  int64_t narrow = std::min(map.rows(), map.cols()), tall = std::max(map.rows(), map.cols());
  auto forward = [&](const VectorXd &x, VectorXd &y) {
    wide ? map.applyTransposed(x.data(), y.data()) : map.apply(x.data(), y.data());
  };
  auto backward = [&](const VectorXd &y, VectorXd &x) {
    wide ? map.apply(y.data(), x.data()) : map.applyTransposed(y.data(), x.data());
  };
  if (narrow < 1 || steps < 1)
    return {};
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal;
  VectorXd v = VectorXd::NullaryExpr(narrow, [&] { return normal(generator); }).normalized();
  VectorXd u = VectorXd::Zero(tall), image(tall), next(narrow);
  std::vector<double> diagonal, above;
  double beta = 0;
  for (;;) {
    forward(v, image);
    u = image - beta * u;
    double alpha = u.norm();
    diagonal.push_back(alpha);
    if (int64_t(diagonal.size()) == steps || alpha == 0)
      break;
    u /= alpha;
    backward(u, next);
    next -= alpha * v;
    beta = next.norm();
    if (beta <= 1e-14 * diagonal.front())
      break; // an invariant subspace: the values are exact
    above.push_back(beta);
    v = next / beta;
  }
  VectorXd values = bidiagonalValues(diagonal, above);
  return {values[0], values[values.size() - 1], int64_t(diagonal.size())};
}

Projection projectOntoNullspace(const LinearMap &map, const std::vector<double> &x, double sigmaMax,
                                double tol, int64_t maxIterations) {
  VectorXd r = Eigen::Map<const VectorXd>(x.data(), map.cols());
  VectorXd s(map.rows()), q(map.cols());
  double start = r.norm();
  map.apply(r.data(), s.data());
  VectorXd p = s;
  double gamma = s.squaredNorm();
  Projection result;
  for (;; ++result.iterations) {
    double norm = r.norm();
    if (norm <= tol * start) {
      r.setZero();
      result.converged = true;
      break;
    }
    result.residual = sigmaMax > 0 ? std::sqrt(gamma) / (sigmaMax * norm) : 0;
    result.converged = result.residual <= tol;
    if (result.converged || result.iterations == maxIterations)
      break;
    map.applyTransposed(p.data(), q.data());
    r -= gamma / q.squaredNorm() * q;
    map.apply(r.data(), s.data());
    double previous = gamma;
    gamma = s.squaredNorm();
    p = s + gamma / previous * p;
  }
  if (r.isZero(0))
    result.residual = 0;
  result.vector.assign(r.data(), r.data() + r.size());
  return result;
}

} // namespace ns::numerics
