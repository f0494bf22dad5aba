// RUN: ns-opt %s --ns-insert-noise=site=tokens | FileCheck %s --check-prefixes=CHECK,TOKENS
// RUN: ns-opt %s --ns-insert-noise=site=block.0 | FileCheck %s --check-prefixes=CHECK,BLOCK0
// RUN: ns-opt %s --ns-insert-noise=site=block.1 | FileCheck %s --check-prefixes=CHECK,BLOCK1
// RUN: not ns-opt %s --ns-insert-noise=site=block.2 2>&1 | FileCheck %s --check-prefix=FEW
// RUN: ns-opt %S/../../Inputs/tiny-vit.mlir --ns-insert-noise=site=block.1 | FileCheck %s --check-prefix=VIT

// A transformer's block is two sums, attention's and the MLP's, of one module; a norm that alone reads the patches belongs to their embedding (Swin). A sum of
// logits (a distilled classifier) is no block.

// CHECK-LABEL: func.func @forward_noised(
// TOKENS: %[[T:.*]] = nn.layer_norm %{{.*}} {nn.layer = "patch_embed.norm"}
// TOKENS-NEXT: ns.read_noise
// TOKENS-NEXT: %[[N:.*]] = ns.inject %[[T]], %{{.*}} site "tokens"
// TOKENS-NEXT: nn.add %[[N]], %{{.*}} : tensor<?x4x8xf32>, tensor<1x4x8xf32>
// BLOCK0: %[[P:.*]] = nn.add %{{.*}}, %{{.*}} : tensor<?x4x8xf32>, tensor<1x4x8xf32>
// BLOCK0-NEXT: ns.read_noise
// BLOCK0-NEXT: ns.inject %[[P]], %{{.*}} site "block.0"
// BLOCK1: nn.layer_norm %{{.*}} {nn.layer = "stage.0.norm2"}
// BLOCK1: %[[S:.*]] = nn.add
// BLOCK1-NEXT: ns.read_noise
// BLOCK1-NEXT: ns.inject %[[S]], %{{.*}} site "block.1"
// BLOCK1-NEXT: nn.layer_norm %{{.*}} {nn.layer = "stage.1.norm1"}
// FEW: error: expected noise site "block.2" to be in the network, but got 2 blocks

// VIT-LABEL: func.func @forward_noised(
// VIT: nn.linear %{{.*}} {nn.layer = "blocks.0.mlp.fc2"}
// VIT-NEXT: %[[R:.*]] = nn.add
// VIT-NEXT: ns.read_noise
// VIT-NEXT: ns.inject %[[R]], %{{.*}} site "block.1"

nn.param @w : tensor<8x3x4x4xf32>
nn.param @pos : tensor<1x4x8xf32>
nn.param @m : tensor<8x8xf32>
nn.param @head : tensor<5x8xf32>

func.func @forward(%image: tensor<?x3x8x8xf32>) -> tensor<?x5xf32> {
  %w = nn.load_param @w : tensor<8x3x4x4xf32>
  %pos = nn.load_param @pos : tensor<1x4x8xf32>
  %m = nn.load_param @m : tensor<8x8xf32>
  %h = nn.load_param @head : tensor<5x8xf32>
  %u = nn.patch_embed %image, %w patch [4, 4] : (tensor<?x3x8x8xf32>, tensor<8x3x4x4xf32>) -> tensor<?x4x8xf32>
  %e = nn.layer_norm %u eps 1.0e-05 {nn.layer = "patch_embed.norm"} : tensor<?x4x8xf32>
  %p = nn.add %e, %pos : tensor<?x4x8xf32>, tensor<1x4x8xf32>
  %n0 = nn.layer_norm %p eps 1.0e-05 {nn.layer = "stage.0.norm1"} : tensor<?x4x8xf32>
  %q0 = nn.linear %n0, %m {nn.layer = "stage.0.attn.q"} : (tensor<?x4x8xf32>, tensor<8x8xf32>) -> tensor<?x4x8xf32>
  %k0 = nn.linear %n0, %m {nn.layer = "stage.0.attn.k"} : (tensor<?x4x8xf32>, tensor<8x8xf32>) -> tensor<?x4x8xf32>
  %a0 = nn.attention %q0, %k0, %n0 heads 2 scale 0.5 {nn.layer = "stage.0.attn"} : (tensor<?x4x8xf32>, tensor<?x4x8xf32>, tensor<?x4x8xf32>) -> tensor<?x4x8xf32>
  %r0 = nn.add %p, %a0 : tensor<?x4x8xf32>, tensor<?x4x8xf32>
  %n1 = nn.layer_norm %r0 eps 1.0e-05 {nn.layer = "stage.0.norm2"} : tensor<?x4x8xf32>
  %f0 = nn.linear %n1, %m {nn.layer = "stage.0.mlp.fc1"} : (tensor<?x4x8xf32>, tensor<8x8xf32>) -> tensor<?x4x8xf32>
  %r1 = nn.add %r0, %f0 : tensor<?x4x8xf32>, tensor<?x4x8xf32>
  %n2 = nn.layer_norm %r1 eps 1.0e-05 {nn.layer = "stage.1.norm1"} : tensor<?x4x8xf32>
  %f1 = nn.linear %n2, %m {nn.layer = "stage.1.mlp.fc1"} : (tensor<?x4x8xf32>, tensor<8x8xf32>) -> tensor<?x4x8xf32>
  %r2 = nn.add %f1, %r1 : tensor<?x4x8xf32>, tensor<?x4x8xf32>
  %y = nn.mean_tokens %r2 : tensor<?x4x8xf32> -> tensor<?x8xf32>
  %z0 = nn.linear %y, %h {nn.layer = "head"} : (tensor<?x8xf32>, tensor<5x8xf32>) -> tensor<?x5xf32>
  %z1 = nn.linear %y, %h {nn.layer = "head_dist"} : (tensor<?x8xf32>, tensor<5x8xf32>) -> tensor<?x5xf32>
  %z = nn.add %z0, %z1 : tensor<?x5xf32>, tensor<?x5xf32>
  return %z : tensor<?x5xf32>
}
