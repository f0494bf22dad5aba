//===- Onnx.h - an ONNX model as the importer's program -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//

#ifndef NS_IMPORT_ONNX_H
#define NS_IMPORT_ONNX_H

#include "ns/Import/OnnxModel.h"

namespace ns::onnx {

/// Translates a model to the form that `torch.export` archives are read into, so that one set of
/// rules raises both (Raise.h):
///
/// - each ONNX node becomes the PyTorch call that it stands for: MatMul + Add a `linear`, softmax
/// of
///   scaled products between two MatMuls a `scaled_dot_product_attention`, Div-Erf-Add-Mul a
///   `gelu`;
/// - what computes shapes is evaluated, the batch standing for itself (`kProbeBatch`);
/// - weights get the names and the layout that they have in PyTorch: [in, out] matrices are read
///   transposed, an initializer that stands for several equal parameters becomes as many weights,
///   and a bias of zeros that an optimizer dropped comes back. torch.onnx says in its metadata
///   which parameter a node reads; models of other writers keep their own names.
///
/// Opsets 13 to 26. A node that no PyTorch call stands for is kept as `onnx.<op>`, with its reason,
/// and reported with the others by `raise`. Weights point into the model, which must outlive them
/// and also takes constants that the graph computes.
llvm::Expected<pt2::Program> translate(Model &model);

} // namespace ns::onnx

#endif // NS_IMPORT_ONNX_H
