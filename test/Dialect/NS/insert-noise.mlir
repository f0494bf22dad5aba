// RUN: ns-opt %S/Inputs/small.mlir --ns-insert-noise | FileCheck %s --check-prefixes=CHECK,TOKENS
// RUN: ns-opt %S/Inputs/small.mlir --ns-insert-noise="site=image init=zero lim=0" | FileCheck %s --check-prefixes=CHECK,IMAGE
// RUN: ns-opt %S/Inputs/small.mlir --ns-insert-noise="site=block.0 init=normal lim=0.5" | FileCheck %s --check-prefixes=CHECK,BLOCK

// TOKENS: ns.noise @noise uniform lim 3.000000e+00 site "tokens" : tensor<1x4x8xf32>
// IMAGE: ns.noise @noise zero lim 0.000000e+00 site "image" : tensor<1x3x8x8xf32>
// BLOCK: ns.noise @noise normal lim 5.000000e-01 site "block.0" : tensor<1x4x8xf32>

// The network itself stays as it is.
// CHECK-LABEL: func.func @forward(
// CHECK-NOT: ns.inject

// CHECK-LABEL: func.func @forward_noised(
// CHECK-SAME: %[[IMAGE:.*]]: tensor<?x3x8x8xf32> {ns.name = "image"}) -> (tensor<?x5xf32> {ns.name = "noised_logits"}) attributes {ns.entry}
// Patch tokens: after the embedding, before all else.
// TOKENS: %[[U:.*]] = nn.patch_embed
// TOKENS-NEXT: %[[V:.*]] = ns.read_noise @noise : tensor<1x4x8xf32>
// TOKENS-NEXT: %[[UN:.*]] = ns.inject %[[U]], %[[V]] site "tokens" : tensor<?x4x8xf32>, tensor<1x4x8xf32>
// TOKENS: nn.layer_scale %[[UN]]
// Pixels: before normalisation, and clamped.
// IMAGE: %[[V:.*]] = ns.read_noise @noise : tensor<1x3x8x8xf32>
// IMAGE-NEXT: %[[XN:.*]] = ns.inject %[[IMAGE]], %[[V]] site "image" clip : tensor<?x3x8x8xf32>, tensor<1x3x8x8xf32>
// IMAGE: nn.normalize %[[XN]]
// The residual stream: both the block's norm and its skip read the noised tensor.
// BLOCK: %[[A:.*]] = nn.layer_scale
// BLOCK: %[[AN:.*]] = ns.inject %[[A]], %{{.*}} site "block.0"
// BLOCK-NEXT: %[[N:.*]] = nn.layer_norm %[[AN]]
// BLOCK-NEXT: nn.add %[[AN]], %[[N]]

// CHECK-LABEL: func.func @site_norm(
// CHECK-SAME: %[[IMAGE:.*]]: tensor<?x3x8x8xf32> {ns.name = "image"}) -> (tensor<?xf32> {ns.name = "site_norm"}) attributes {ns.entry}
// TOKENS: %[[U:.*]] = nn.patch_embed
// TOKENS-NEXT: ns.sample_norm %[[U]] : tensor<?x4x8xf32> -> tensor<?xf32>
// IMAGE-NEXT: ns.sample_norm %[[IMAGE]] : tensor<?x3x8x8xf32> -> tensor<?xf32>
// BLOCK: %[[A:.*]] = nn.layer_scale
// BLOCK-NEXT: ns.sample_norm %[[A]]
// Nothing behind the site is computed.
// CHECK-NOT: nn.linear
