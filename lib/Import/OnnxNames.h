//===- OnnxNames.h - which layer and which parameter a node belongs to -*- C++ -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// torch.onnx keeps, as metadata of each node, the modules it was called in and the PyTorch call
// that it comes from, and, as metadata of the graph, which parameter each argument of those calls
// is. All that is text:
//
//   name_scopes      ['', 'blocks', 'blocks.0', 'blocks.0.norm1', 'layer_norm']
//   fx_node          %layer_norm : [num_users=1] = call_function[target=torch.ops.aten.layer_norm.
//                    default](args = (%clone, [16], %p_blocks_0_norm1_weight, ...), kwargs = {})
//   graph_signature  p_blocks_0_norm1_weight: PARAMETER target='blocks.0.norm1.weight'
//
// The older exporter, and others, have the modules in the node's name: /blocks/blocks.0/norm1/Add.
//
//===----------------------------------------------------------------------===//

#ifndef NS_LIB_IMPORT_ONNXNAMES_H
#define NS_LIB_IMPORT_ONNXNAMES_H

#include "ns/Import/OnnxModel.h"

namespace ns::onnx {

/// The program's weights by the names that calls have for them.
class Signature {
public:
  struct Entry {
    llvm::StringRef name; ///< fully qualified
    pt2::Weight::Kind kind = pt2::Weight::Kind::Parameter;
    size_t order = 0; ///< in the model
  };

  explicit Signature(llvm::StringRef text);

  bool empty() const { return byName.empty(); }
  const Entry *ofPlaceholder(llvm::StringRef placeholder) const;
  const Entry *ofName(llvm::StringRef name) const;

private:
  llvm::StringMap<Entry> byPlaceholder, byName;
};

/// The innermost module's fully qualified name; empty where nothing says.
std::string layerOf(const Node &node);

/// The PyTorch op that `node` comes from, such as "aten.linear.default"; empty where nothing says.
llvm::StringRef callTarget(const Node &node);

/// The placeholders among the arguments of that call, null where an argument is none.
llvm::SmallVector<const Signature::Entry *> callWeights(const Node &node,
                                                        const Signature &signature);

} // namespace ns::onnx

#endif // NS_LIB_IMPORT_ONNXNAMES_H
