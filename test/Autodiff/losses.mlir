// RUN: ns-opt %s --ns-differentiate | FileCheck %s

// Cross-entropy keeps logits and labels; stacked rows share labels and weights.
// CHECK-LABEL: func.func @cross_entropy(
// CHECK-SAME: %[[Z:.*]]: tensor<8x5xf32>, %[[Y:.*]]: tensor<4xi32>, %[[W:.*]]: tensor<4xf32>)
// CHECK: %[[DL:.*]] = nn.weighted_sum_grad %[[W]] : (tensor<4xf32>) -> tensor<8xf32>
// CHECK: nn.cross_entropy_grad %[[DL]], %[[Z]], %[[Y]] : (tensor<8xf32>, tensor<8x5xf32>, tensor<4xi32>) -> tensor<8x5xf32>
func.func @cross_entropy(%z: tensor<8x5xf32>, %y: tensor<4xi32>, %w: tensor<4xf32>) -> tensor<8x5xf32> {
  %l = nn.cross_entropy %z, %y : (tensor<8x5xf32>, tensor<4xi32>) -> tensor<8xf32>
  %s = nn.weighted_sum %l, %w : (tensor<8xf32>, tensor<4xf32>) -> tensor<f32>
  %g = ns.gradient %s wrt %z : (tensor<f32>, tensor<8x5xf32>) -> tensor<8x5xf32>
  return %g : tensor<8x5xf32>
}
