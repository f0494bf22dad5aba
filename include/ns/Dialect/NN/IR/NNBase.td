//===- NNBase.td - the nn dialect, its types and attributes --*- tablegen -*-===//
//
// Part of the Nullspace compiler, under the Apache License v2.0 with LLVM Exceptions.
// See LICENSE for license information.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
//===----------------------------------------------------------------------===//
//
// Type constraints name the role of a tensor: images are B x c x H x W, tokens B x N x D,
// features B x D. The batch dimension is dynamic until `nn-bind-batch`.
//
//===----------------------------------------------------------------------===//

#ifndef NS_DIALECT_NN_IR_NNBASE_TD
#define NS_DIALECT_NN_IR_NNBASE_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"
include "ns/Dialect/NN/IR/NNEnums.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def NN_Dialect : Dialect {
  let name = "nn";
  let cppNamespace = "::ns::nn";
  let summary = "What the network computes";
  let description = [{
    Ops of image classifiers at the level at which they have a library call, a fused kernel or a
    derivative rule of their own. Made by `ns-import` and by `ns-differentiate`; gone after
    `nn-to-rt`. Weights are never in the IR: `nn.param` names an entry of a safetensors file.

    Discardable attributes: `nn.weights` (module, `#nn.file`), `nn.model` (module, a dictionary
    from the export: image size, mean, std, resize, crop), `nn.layer` (any op: the layer's name in
    the PyTorch model), `nn.momentum` (nn.batch_norm: that of its running statistics).
  }];
  let useDefaultAttributePrinterParser = 1;
  let extraClassDeclaration = [{
    /// Module attribute that names the weights file (`#nn.file`).
    static constexpr llvm::StringLiteral kWeightsAttr = "nn.weights";
    /// Module attribute with the exporter's facts about the model (a dictionary).
    static constexpr llvm::StringLiteral kModelAttr = "nn.model";
    /// Attribute of nn.batch_norm: weight of a batch in its running statistics (f64).
    static constexpr llvm::StringLiteral kMomentumAttr = "nn.momentum";
    /// Attribute of any op: the fully qualified name of its layer in the source model.
    static constexpr llvm::StringLiteral kLayerAttr = "nn.layer";
  }];
}

// A float tensor with a rank. f64 appears under --precision=f64, bf16 under --precision=bf16.
def NN_Tensor : RankedTensorOf<[F32, F64, BF16]>;
class NN_TensorOfRank<list<int> ranks> : TensorRankOf<[F32, F64, BF16], ranks>;
def NN_Image : NN_TensorOfRank<[4]>;
def NN_Tokens : NN_TensorOfRank<[3]>;
def NN_Features : NN_TensorOfRank<[2]>;
// Rows of channels: the last dimension is the channel, all others are rows.
def NN_Rows : NN_TensorOfRank<[2, 3]>;
def NN_Matrix : NN_TensorOfRank<[2]>;
def NN_Vector : NN_TensorOfRank<[1]>;
def NN_Scalar : NN_TensorOfRank<[0]>;
def NN_Labels : TensorRankOf<[I32], [1]>;

def NN_FileAttr : AttrDef<NN_Dialect, "File"> {
  let mnemonic = "file";
  let summary = "A weights file and what identifies it";
  let description = [{
    Path relative to the .mlir file, size in bytes, and the XXH3-128 hash (hex) of the safetensors
    header (`header`) and of the whole file (`content`).

    Example: `#nn.file<"vit_tiny.safetensors", size = 22886432, header = "9f..", content = "07..">`
  }];
  let parameters = (ins StringRefParameter<>:$path, "int64_t":$size,
                        StringRefParameter<>:$header, StringRefParameter<>:$content);
  let assemblyFormat = "`<` $path `,` `size` `=` $size `,` `header` `=` $header `,` `content` `=` $content `>`";
}

class NN_Op<string mnemonic, list<Trait> traits = []> : Op<NN_Dialect, mnemonic, traits>;
// Most ops: no effects, every element type equal.
class NN_PureOp<string mnemonic, list<Trait> traits = []>
    : NN_Op<mnemonic, !listconcat([Pure], traits)> {
  let hasVerifier = 1;
}

#endif // NS_DIALECT_NN_IR_NNBASE_TD
