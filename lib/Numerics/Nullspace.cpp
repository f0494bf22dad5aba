//===- Nullspace.cpp - exact nullspace of a patch embedding -----*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#include "ns/Numerics/Nullspace.h"

#include <Eigen/QR>
#include <Eigen/SVD>

#include <algorithm>

using Eigen::MatrixXd;
using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

namespace ns::numerics {

double defaultTolerance(int64_t rows, int64_t cols, double eps, double sigmaMax) {
  return double(std::max(rows, cols)) * eps * sigmaMax;
}

void scaleColumnsByChannel(std::vector<double> &matrix, int64_t cols, const std::vector<double> &std) {
  int64_t perChannel = cols / int64_t(std.size());
  for (size_t i = 0; i < matrix.size(); ++i)
    matrix[i] /= std[(int64_t(i) % cols) / perChannel];
}

/// Fills spectrum, tolerance and rank from the descending singular values.
static void setSpectrum(Nullspace &result, const Eigen::VectorXd &sigma, double eps, double tol) {
  result.singularValues.assign(sigma.data(), sigma.data() + sigma.size());
  result.sigmaMax = sigma.size() ? sigma[0] : 0;
  result.tol = tol > 0 ? tol : defaultTolerance(result.rows, result.cols, eps, result.sigmaMax);
  result.rank = std::count_if(sigma.begin(), sigma.end(), [&](double s) { return s > result.tol; });
  result.nullity = result.cols - result.rank;
  result.sigmaMin = result.rank ? sigma[result.rank - 1] : 0;
}

static double maxAbs(const MatrixXd &matrix) { return matrix.size() ? matrix.cwiseAbs().maxCoeff() : 0; }

Nullspace computeNullspace(const double *matrix, int64_t rows, int64_t cols, double eps, double tol) {
  Nullspace result;
  result.rows = rows;
  result.cols = cols;
  result.structural = std::max<int64_t>(0, cols - rows);
  Eigen::Map<const RowMajor> w(matrix, rows, cols);
  int64_t reduced = std::min(rows, cols);
  MatrixXd basis(cols, 0);
  if (reduced == 0) {
    setSpectrum(result, Eigen::VectorXd(), eps, tol);
    basis.setIdentity(cols, cols);
  } else if (cols > rows) {
    Eigen::HouseholderQR<MatrixXd> qr(w.transpose());
    MatrixXd r = qr.matrixQR().topRows(rows).template triangularView<Eigen::Upper>();
    Eigen::BDCSVD<MatrixXd> svd(r.transpose(), Eigen::ComputeFullV);
    setSpectrum(result, svd.singularValues(), eps, tol);
    // [Q2, Q1 V0] = Q [0 V0; I 0]
    int64_t numerical = result.nullity - result.structural;
    basis.setZero(cols, result.nullity);
    basis.bottomLeftCorner(result.structural, result.structural).setIdentity();
    basis.topRightCorner(rows, numerical) = svd.matrixV().rightCols(numerical);
    basis.applyOnTheLeft(qr.householderQ());
  } else {
    Eigen::HouseholderQR<MatrixXd> qr(w);
    MatrixXd r = qr.matrixQR().topRows(cols).template triangularView<Eigen::Upper>();
    Eigen::BDCSVD<MatrixXd> svd(r, Eigen::ComputeFullV);
    setSpectrum(result, svd.singularValues(), eps, tol);
    basis = svd.matrixV().rightCols(result.nullity);
  }
  MatrixXd image = w * basis;
  result.residual = maxAbs(image);
  result.structuralResidual = maxAbs(image.leftCols(result.structural));
  result.basis.resize(result.nullity * cols);
  Eigen::Map<RowMajor>(result.basis.data(), result.nullity, cols) = basis.transpose();
  return result;
}

std::vector<double> projectPatches(const Nullspace &space, std::vector<double> image, int64_t channels,
                                   std::array<int64_t, 2> extents, std::array<int64_t, 2> patch) {
  Eigen::Map<const RowMajor> basis(space.basis.data(), space.nullity, space.cols);
  auto [height, width] = extents;
  Eigen::VectorXd pixels(space.cols);
  for (int64_t top = 0; top + patch[0] <= height; top += patch[0])
    for (int64_t left = 0; left + patch[1] <= width; left += patch[1]) {
      auto row = [&](int64_t channel, int64_t y) {
        return Eigen::Map<Eigen::VectorXd>(&image[(channel * height + top + y) * width + left], patch[1]);
      };
      for (int64_t i = 0; i < channels * patch[0]; ++i)
        pixels.segment(i * patch[1], patch[1]) = row(i / patch[0], i % patch[0]);
      pixels = (basis.transpose() * (basis * pixels)).eval();
      for (int64_t i = 0; i < channels * patch[0]; ++i)
        row(i / patch[0], i % patch[0]) = pixels.segment(i * patch[1], patch[1]);
    }
  return image;
}

} // namespace ns::numerics
