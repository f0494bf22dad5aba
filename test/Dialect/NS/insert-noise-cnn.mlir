// RUN: ns-opt %s --ns-insert-noise=site=stem | FileCheck %s --check-prefixes=CHECK,STEM
// RUN: ns-opt %s --ns-insert-noise | FileCheck %s --check-prefixes=CHECK,STEM
// RUN: ns-opt %s --ns-insert-noise=site=block.0 | FileCheck %s --check-prefixes=CHECK,BLOCK0
// RUN: ns-opt %s --ns-insert-noise=site=block.1 | FileCheck %s --check-prefixes=CHECK,BLOCK1
// RUN: ns-opt %s --ns-insert-noise=site=block.2 | FileCheck %s --check-prefixes=CHECK,BLOCK2
// RUN: not ns-opt %s --ns-insert-noise=site=block.3 2>&1 | FileCheck %s --check-prefix=FEW
// RUN: not ns-opt %s --ns-insert-noise=site=tokens 2>&1 | FileCheck %s --check-prefix=TOKENS

// Sites of a residual CNN: a stem of convolution, norm, activation and pool, three blocks of one sum each, the second with a convolution on its skip, the
// third of the same stage as the second. Its activations are on the trunk, too.

// STEM: ns.noise @noise uniform lim 3.000000e+00 site "stem" : tensor<1x4x8xf32>
// BLOCK0: site "block.0" : tensor<1x4x8xf32>
// BLOCK1: site "block.1" : tensor<1x4x8xf32>
// BLOCK2: site "block.2" : tensor<1x4x4xf32>

// CHECK-LABEL: func.func @forward_noised(
// STEM: %[[POOL:.*]] = nn.max_pool
// STEM-NEXT: ns.read_noise
// STEM-NEXT: %[[N:.*]] = ns.inject %[[POOL]], %{{.*}} site "stem"
// STEM: nn.conv %[[N]]
// STEM: nn.add %{{.*}}, %[[N]]
// BLOCK0: %[[POOL:.*]] = nn.max_pool
// BLOCK0-NEXT: ns.read_noise
// BLOCK0-NEXT: ns.inject %[[POOL]]
// BLOCK1: nn.add
// BLOCK1-NEXT: %[[R:.*]] = nn.activation relu
// BLOCK1-NEXT: ns.read_noise
// BLOCK1-NEXT: %[[N:.*]] = ns.inject %[[R]]
// BLOCK1: nn.conv %[[N]]
// BLOCK1: nn.conv %[[N]]
// BLOCK2: nn.add
// BLOCK2: nn.add
// BLOCK2-NEXT: %[[R:.*]] = nn.activation relu
// BLOCK2-NEXT: ns.read_noise
// BLOCK2-NEXT: ns.inject %[[R]]

// FEW: error: expected noise site "block.3" to be in the network, but got 3 blocks
// TOKENS: error: expected noise site "tokens" to be one nn.patch_embed, but got 0

nn.param @w0 : tensor<8x3x3x3xf32>
nn.param @w1 : tensor<8x8x1x1xf32>
nn.param @w2 : tensor<4x8x1x1xf32>
nn.param @w3 : tensor<4x4x1x1xf32>
nn.param @g : tensor<8xf32>
nn.param @head : tensor<5x4xf32>

func.func @forward(%image: tensor<?x3x8x8xf32>) -> tensor<?x5xf32> {
  %w0 = nn.load_param @w0 : tensor<8x3x3x3xf32>
  %w1 = nn.load_param @w1 : tensor<8x8x1x1xf32>
  %w2 = nn.load_param @w2 : tensor<4x8x1x1xf32>
  %w3 = nn.load_param @w3 : tensor<4x4x1x1xf32>
  %g = nn.load_param @g : tensor<8xf32>
  %h = nn.load_param @head : tensor<5x4xf32>
  %t = nn.image_to_tokens %image : tensor<?x3x8x8xf32> -> tensor<?x64x3xf32>
  %c = nn.conv %t, %w0 grid [8, 8] stride [2, 2] padding [1, 1] dilation [1, 1] groups 1 {nn.layer = "conv1"} : (tensor<?x64x3xf32>, tensor<8x3x3x3xf32>) -> tensor<?x16x8xf32>
  %n = nn.batch_norm %c, %g, %g running %g, %g eps 1.0e-05 {nn.layer = "bn1"} : tensor<?x16x8xf32>, tensor<8xf32>, tensor<8xf32>, tensor<8xf32>
  %a = nn.activation relu %n {nn.layer = "act1"} : tensor<?x16x8xf32>
  %p = nn.max_pool %a grid [4, 4] kernel [2, 2] stride [2, 2] padding [0, 0] {nn.layer = "maxpool"} : tensor<?x16x8xf32> -> tensor<?x4x8xf32>
  %c1 = nn.conv %p, %w1 grid [2, 2] stride [1, 1] padding [0, 0] dilation [1, 1] groups 1 {nn.layer = "layer1.0.conv1"} : (tensor<?x4x8xf32>, tensor<8x8x1x1xf32>) -> tensor<?x4x8xf32>
  %s1 = nn.add %c1, %p : tensor<?x4x8xf32>, tensor<?x4x8xf32>
  %r1 = nn.activation relu %s1 {nn.layer = "layer1.0.act2"} : tensor<?x4x8xf32>
  %c2 = nn.conv %r1, %w2 grid [2, 2] stride [1, 1] padding [0, 0] dilation [1, 1] groups 1 {nn.layer = "layer2.0.conv1"} : (tensor<?x4x8xf32>, tensor<4x8x1x1xf32>) -> tensor<?x4x4xf32>
  %d2 = nn.conv %r1, %w2 grid [2, 2] stride [1, 1] padding [0, 0] dilation [1, 1] groups 1 {nn.layer = "layer2.0.downsample.0"} : (tensor<?x4x8xf32>, tensor<4x8x1x1xf32>) -> tensor<?x4x4xf32>
  %s2 = nn.add %c2, %d2 : tensor<?x4x4xf32>, tensor<?x4x4xf32>
  %r2 = nn.activation relu %s2 {nn.layer = "layer2.0.act2"} : tensor<?x4x4xf32>
  %c3 = nn.conv %r2, %w3 grid [2, 2] stride [1, 1] padding [0, 0] dilation [1, 1] groups 1 {nn.layer = "layer2.1.conv1"} : (tensor<?x4x4xf32>, tensor<4x4x1x1xf32>) -> tensor<?x4x4xf32>
  %s3 = nn.add %c3, %r2 : tensor<?x4x4xf32>, tensor<?x4x4xf32>
  %m = nn.mean_tokens %s3 : tensor<?x4x4xf32> -> tensor<?x4xf32>
  %z = nn.linear %m, %h : (tensor<?x4xf32>, tensor<5x4xf32>) -> tensor<?x5xf32>
  return %z : tensor<?x5xf32>
}
