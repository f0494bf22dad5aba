// RUN: ns-opt %s --ns-differentiate | FileCheck %s

// Rules of ops on grids, batch norms and activations.

// All three operands; the geometry goes along.
// CHECK-LABEL: func.func @conv(
// CHECK-SAME: %[[X:.*]]: tensor<4x20x8xf32>, %[[W:.*]]: tensor<8x8x3x3xf32>, %[[B:.*]]: tensor<8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: %[[DX:.*]] = nn.conv_grad_input %[[DY]], %[[W]] grid [4, 5] stride [2, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x10x8xf32>, tensor<8x8x3x3xf32>) -> tensor<4x20x8xf32>
// CHECK: %[[DW:.*]] = nn.conv_grad_weight %[[DY]], %[[X]] grid [4, 5] stride [2, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x10x8xf32>, tensor<4x20x8xf32>) -> tensor<8x8x3x3xf32>
// CHECK: %[[DB:.*]] = nn.sum_rows %[[DY]]
// CHECK: return %[[DX]], %[[DW]], %[[DB]]
func.func @conv(%x: tensor<4x20x8xf32>, %w: tensor<8x8x3x3xf32>, %b: tensor<8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> (tensor<4x20x8xf32>, tensor<8x8x3x3xf32>, tensor<8xf32>) {
  %y = nn.conv %x, %w, %b grid [4, 5] stride [2, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<4x20x8xf32>, tensor<8x8x3x3xf32>, tensor<8xf32>) -> tensor<4x10x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x10x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %g:3 = ns.gradient %s wrt %x, %w, %b : (tensor<f32>, tensor<4x20x8xf32>, tensor<8x8x3x3xf32>, tensor<8xf32>) -> (tensor<4x20x8xf32>, tensor<8x8x3x3xf32>, tensor<8xf32>)
  return %g#0, %g#1, %g#2 : tensor<4x20x8xf32>, tensor<8x8x3x3xf32>, tensor<8xf32>
}

// The weight alone: the cotangent goes no further.
// CHECK-LABEL: func.func @conv_weight(
// CHECK-NOT: nn.conv_grad_input
// CHECK: nn.conv_grad_weight
// CHECK-NOT: nn.sum_rows
// CHECK: return
func.func @conv_weight(%x: tensor<4x20x8xf32>, %w: tensor<8x1x3x3xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<8x1x3x3xf32> {
  %y = nn.conv %x, %w grid [4, 5] stride [1, 1] padding [1, 1] dilation [1, 1] groups 8 : (tensor<4x20x8xf32>, tensor<8x1x3x3xf32>) -> tensor<4x20x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x20x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %g = ns.gradient %s wrt %w : (tensor<f32>, tensor<8x1x3x3xf32>) -> tensor<8x1x3x3xf32>
  return %g : tensor<8x1x3x3xf32>
}

// The pool reads its input again; relu reads its result, the other activations what they were given.
// CHECK-LABEL: func.func @pool_and_activations(
// CHECK-SAME: %[[X:.*]]: tensor<4x20x8xf32>
// CHECK: %[[P:.*]] = nn.max_pool %[[X]]
// CHECK: %[[R:.*]] = nn.activation relu %[[P]]
// CHECK: nn.activation silu %[[R]]
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: %[[DR:.*]] = nn.activation_grad silu %[[DY]], %[[R]]
// CHECK: %[[DP:.*]] = nn.activation_grad relu %[[DR]], %[[R]]
// CHECK: nn.max_pool_grad %[[DP]], %[[X]] grid [4, 5] kernel [2, 2] stride [2, 2] padding [0, 1]
func.func @pool_and_activations(%x: tensor<4x20x8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x20x8xf32> {
  %p = nn.max_pool %x grid [4, 5] kernel [2, 2] stride [2, 2] padding [0, 1] : tensor<4x20x8xf32> -> tensor<4x6x8xf32>
  %r = nn.activation relu %p : tensor<4x6x8xf32>
  %y = nn.activation silu %r : tensor<4x6x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x6x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %g = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x20x8xf32>) -> tensor<4x20x8xf32>
  return %g : tensor<4x20x8xf32>
}

// Running statistics go along and get no gradient.
// CHECK-LABEL: func.func @batch_norm(
// CHECK-SAME: %[[X:.*]]: tensor<4x20x8xf32>, %[[G:.*]]: tensor<8xf32>, %[[B:.*]]: tensor<8xf32>, %[[M:.*]]: tensor<8xf32>, %[[V:.*]]: tensor<8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: nn.batch_norm_grad %[[DY]], %[[X]], %[[G]] running %[[M]], %[[V]] eps 5.000000e-01
// CHECK: nn.batch_norm_grad_params %[[DY]], %[[X]] running %[[M]], %[[V]] eps 5.000000e-01
// CHECK-NOT: nn.batch_norm_grad_params
// CHECK: return
func.func @batch_norm(%x: tensor<4x20x8xf32>, %g: tensor<8xf32>, %b: tensor<8xf32>, %m: tensor<8xf32>, %v: tensor<8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> (tensor<4x20x8xf32>, tensor<8xf32>, tensor<8xf32>) {
  %y = nn.batch_norm %x, %g, %b running %m, %v eps 0.5 : tensor<4x20x8xf32>, tensor<8xf32>, tensor<8xf32>, tensor<8xf32>
  %pool = nn.mean_tokens %y : tensor<4x20x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %d:3 = ns.gradient %s wrt %x, %g, %b : (tensor<f32>, tensor<4x20x8xf32>, tensor<8xf32>, tensor<8xf32>) -> (tensor<4x20x8xf32>, tensor<8xf32>, tensor<8xf32>)
  return %d#0, %d#1, %d#2 : tensor<4x20x8xf32>, tensor<8xf32>, tensor<8xf32>
}

// Beta alone: no gradient of the input, and gamma is not read.
// CHECK-LABEL: func.func @batch_norm_of_batch(
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK-NOT: nn.batch_norm_grad 
// CHECK: %{{.*}}, %[[DB:.*]] = nn.batch_norm_grad_params %[[DY]], %{{.*}} eps 5.000000e-01 : tensor<4x20x8xf32> -> tensor<8xf32>
// CHECK: return %[[DB]]
func.func @batch_norm_of_batch(%x: tensor<4x20x8xf32>, %g: tensor<8xf32>, %b: tensor<8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<8xf32> {
  %y = nn.batch_norm %x, %g, %b eps 0.5 : tensor<4x20x8xf32>, tensor<8xf32>
  %pool = nn.mean_tokens %y : tensor<4x20x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %d = ns.gradient %s wrt %b : (tensor<f32>, tensor<8xf32>) -> tensor<8xf32>
  return %d : tensor<8xf32>
}

// Moves go back the other way: the inverse order on the permuted digits, the opposite shifts.
// CHECK-LABEL: func.func @moves(
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: %[[D4:.*]] = nn.reshape_tokens %[[DY]] : tensor<4x5x8xf32> -> tensor<4x20x2xf32>
// CHECK: %[[D3:.*]] = nn.roll_tokens %[[D4]] grid [4, 5] by [1, -2]
// CHECK: %[[D2:.*]] = nn.permute_tokens %[[D3]] digits [5, 2, 2] order [1, 2, 0]
// CHECK: %[[D1:.*]] = nn.tokens_to_image %[[D2]] : tensor<4x20x2xf32> -> tensor<4x2x4x5xf32>
// CHECK: return %[[D1]]
func.func @moves(%i: tensor<4x2x4x5xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x2x4x5xf32> {
  %t = nn.image_to_tokens %i : tensor<4x2x4x5xf32> -> tensor<4x20x2xf32>
  %p = nn.permute_tokens %t digits [2, 2, 5] order [2, 0, 1] : tensor<4x20x2xf32>
  %r = nn.roll_tokens %p grid [4, 5] by [-1, 2] : tensor<4x20x2xf32>
  %y = nn.reshape_tokens %r : tensor<4x20x2xf32> -> tensor<4x5x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %g = ns.gradient %s wrt %i : (tensor<f32>, tensor<4x2x4x5xf32>) -> tensor<4x2x4x5xf32>
  return %g : tensor<4x2x4x5xf32>
}
