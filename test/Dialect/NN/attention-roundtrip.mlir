// RUN: ns-opt %s --verify-roundtrip | FileCheck %s

// Attention with bias, mask and windows; positions, gates, concatenations, dropout, in their assembly form.

// CHECK-LABEL: func.func @attention
func.func @attention(%p: tensor<?x6x24xf32>, %q: tensor<?x3x8xf32>, %x: tensor<?x6x8xf32>, %b: tensor<2x6x6xf32>, %c: tensor<2x3x6xf32>, %w: tensor<2x3x3xf32>, %m: tensor<1x6x6xf32>) {
  // CHECK: nn.attention %{{.*}} bias %{{.*}} heads 2 scale 5.000000e-01 : (tensor<?x6x24xf32>, tensor<2x6x6xf32>) -> tensor<?x6x8xf32>
  %0 = nn.attention %p bias %b heads 2 scale 5.000000e-01 : (tensor<?x6x24xf32>, tensor<2x6x6xf32>) -> tensor<?x6x8xf32>
  // CHECK: nn.attention %{{.*}} mask %{{.*}} heads 2 scale 5.000000e-01 : (tensor<?x6x24xf32>, tensor<1x6x6xf32>) -> tensor<?x6x8xf32>
  %1 = nn.attention %p mask %m heads 2 scale 5.000000e-01 : (tensor<?x6x24xf32>, tensor<1x6x6xf32>) -> tensor<?x6x8xf32>
  // CHECK: nn.attention %{{.*}}, %{{.*}}, %{{.*}} bias %{{.*}} heads 2 scale 5.000000e-01 : (tensor<?x3x8xf32>, tensor<?x6x8xf32>, tensor<?x6x8xf32>, tensor<2x3x6xf32>) -> tensor<?x3x8xf32>
  %2 = nn.attention %q, %x, %x bias %c heads 2 scale 5.000000e-01 : (tensor<?x3x8xf32>, tensor<?x6x8xf32>, tensor<?x6x8xf32>, tensor<2x3x6xf32>) -> tensor<?x3x8xf32>
  // CHECK: nn.attention %{{.*}} bias %{{.*}} mask %{{.*}} heads 2 scale 5.000000e-01 window 3 : (tensor<?x6x24xf32>, tensor<2x3x3xf32>, tensor<2x3x3xf32>) -> tensor<?x6x8xf32>
  %3 = nn.attention %p bias %w mask %w heads 2 scale 5.000000e-01 window 3 : (tensor<?x6x24xf32>, tensor<2x3x3xf32>, tensor<2x3x3xf32>) -> tensor<?x6x8xf32>
  return
}

// CHECK-LABEL: func.func @positions
func.func @positions(%t: tensor<15x2xf32>, %c: tensor<12x2xf32>, %x: tensor<?x6x8xf32>, %s: tensor<5x4xf32>) {
  // CHECK: nn.relative_bias %{{.*}} grid [2, 3] prefix 0 : tensor<15x2xf32> -> tensor<2x6x6xf32>
  %0 = nn.relative_bias %t grid [2, 3] prefix 0 : tensor<15x2xf32> -> tensor<2x6x6xf32>
  // CHECK: nn.relative_bias %{{.*}} grid [2, 2] prefix 1 : tensor<12x2xf32> -> tensor<2x5x5xf32>
  %1 = nn.relative_bias %c grid [2, 2] prefix 1 : tensor<12x2xf32> -> tensor<2x5x5xf32>
  // CHECK: nn.rotary %{{.*}}, %{{.*}}, %{{.*}} heads 2 prefix 1 : tensor<?x6x8xf32>, tensor<5x4xf32>
  %2 = nn.rotary %x, %s, %s heads 2 prefix 1 : tensor<?x6x8xf32>, tensor<5x4xf32>
  // CHECK: nn.rotary %{{.*}}, %{{.*}}, %{{.*}} heads 2 prefix 1 transposed : tensor<?x6x8xf32>, tensor<5x4xf32>
  %3 = nn.rotary %x, %s, %s heads 2 prefix 1 transposed : tensor<?x6x8xf32>, tensor<5x4xf32>
  return
}

// CHECK-LABEL: func.func @tokens
func.func @tokens(%x: tensor<?x6x8xf32>, %p: tensor<1x6x8xf32>, %z: tensor<?x8xf32>, %w: tensor<4x8xf32>, %b: tensor<4xf32>) {
  // CHECK: nn.mul %{{.*}}, %{{.*}} : tensor<?x6x8xf32>, tensor<1x6x8xf32>
  %0 = nn.mul %x, %p : tensor<?x6x8xf32>, tensor<1x6x8xf32>
  // CHECK: nn.concat_channels %{{.*}}, %{{.*}} : (tensor<?x6x8xf32>, tensor<?x6x8xf32>) -> tensor<?x6x16xf32>
  %1 = nn.concat_channels %x, %x : (tensor<?x6x8xf32>, tensor<?x6x8xf32>) -> tensor<?x6x16xf32>
  // CHECK: nn.concat_channels %{{.*}}, %{{.*}}, %{{.*}} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x24xf32>
  %2 = nn.concat_channels %z, %z, %z : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x24xf32>
  // CHECK: nn.concat_rows %{{.*}}, %{{.*}} : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<8x8xf32>
  %3 = nn.concat_rows %w, %w : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<8x8xf32>
  // CHECK: nn.concat_rows %{{.*}}, %{{.*}} : (tensor<4xf32>, tensor<4xf32>) -> tensor<8xf32>
  %4 = nn.concat_rows %b, %b : (tensor<4xf32>, tensor<4xf32>) -> tensor<8xf32>
  // CHECK: nn.expand_batch %{{.*}} like %{{.*}} : (tensor<1x6x8xf32>, tensor<?x6x8xf32>) -> tensor<?x6x8xf32>
  %5 = nn.expand_batch %p like %x : (tensor<1x6x8xf32>, tensor<?x6x8xf32>) -> tensor<?x6x8xf32>
  return
}

// CHECK-LABEL: func.func @dropout
func.func @dropout(%x: tensor<?x6x8xf32>, %s: tensor<1xi32>) {
  // CHECK: nn.dropout element %{{.*}}, %{{.*}} rate 1.000000e-01 stream 3 : tensor<?x6x8xf32>, tensor<1xi32>
  %0 = nn.dropout element %x, %s rate 1.000000e-01 stream 3 : tensor<?x6x8xf32>, tensor<1xi32>
  // CHECK: nn.dropout image %{{.*}}, %{{.*}} rate 1.000000e-01 stream 4 : tensor<?x6x8xf32>, tensor<1xi32>
  %1 = nn.dropout image %x, %s rate 1.000000e-01 stream 4 : tensor<?x6x8xf32>, tensor<1xi32>
  return
}

// CHECK-LABEL: func.func @backward
func.func @backward(%d: tensor<4x6x8xf32>, %p: tensor<4x6x24xf32>, %w: tensor<2x3x3xf32>, %b: tensor<2x6x6xf32>) {
  // CHECK: nn.attention_grad %{{.*}}, %{{.*}} bias %{{.*}} heads 2 scale 5.000000e-01 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x6x6xf32>) -> tensor<4x6x24xf32>
  %0 = nn.attention_grad %d, %p bias %b heads 2 scale 5.000000e-01 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x6x6xf32>) -> tensor<4x6x24xf32>
  // CHECK: nn.attention_grad %{{.*}}, %{{.*}} bias %{{.*}} mask %{{.*}} heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x3x3xf32>, tensor<2x3x3xf32>) -> (tensor<4x6x24xf32>, tensor<2x3x3xf32>)
  %1:2 = nn.attention_grad %d, %p bias %w mask %w heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x3x3xf32>, tensor<2x3x3xf32>) -> (tensor<4x6x24xf32>, tensor<2x3x3xf32>)
  // CHECK: nn.relative_bias_grad %{{.*}} grid [2, 3] prefix 0 : tensor<2x6x6xf32> -> tensor<15x2xf32>
  %2 = nn.relative_bias_grad %b grid [2, 3] prefix 0 : tensor<2x6x6xf32> -> tensor<15x2xf32>
  return
}
