// RUN: ns-opt %s --nn-bind-batch=batch=4 | FileCheck %s

// Arguments, values, results and the function type follow.
// CHECK-LABEL: func.func @rows(%arg0: tensor<4x8xf32>, %arg1: tensor<4xi32>) -> tensor<4xf32>
func.func @rows(%x: tensor<?x8xf32>, %y: tensor<?xi32>) -> tensor<?xf32> {
  // CHECK: nn.gelu %arg0 approximate none : tensor<4x8xf32>
  %0 = nn.gelu %x approximate none : tensor<?x8xf32>
  // CHECK: nn.cross_entropy {{.*}} : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %1 = nn.cross_entropy %0, %y : (tensor<?x8xf32>, tensor<?xi32>) -> tensor<?xf32>
  return %1 : tensor<?xf32>
}

// Two stacked batches are twice as large, and labels are shared.
// CHECK-LABEL: func.func @stacked
func.func @stacked(%x: tensor<?x8xf32>, %y: tensor<?xi32>, %w: tensor<?xf32>) -> tensor<f32> {
  // CHECK: %[[STACK:.*]] = nn.concat_batch %arg0, %arg0 : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<8x8xf32>
  %0 = nn.concat_batch %x, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: nn.cross_entropy %[[STACK]], %arg1 : (tensor<8x8xf32>, tensor<4xi32>) -> tensor<8xf32>
  %1 = nn.cross_entropy %0, %y : (tensor<?x8xf32>, tensor<?xi32>) -> tensor<?xf32>
  // CHECK: nn.weighted_sum {{.*}} : (tensor<8xf32>, tensor<4xf32>) -> tensor<f32>
  %2 = nn.weighted_sum %1, %w : (tensor<?xf32>, tensor<?xf32>) -> tensor<f32>
  return %2 : tensor<f32>
}

// A gradient has the batch of the value it belongs to, not of the loss.
// CHECK-LABEL: func.func @gradient
func.func @gradient(%x: tensor<?x8xf32>, %l: tensor<f32>) -> tensor<?x8xf32> {
  // CHECK: ns.gradient %arg1 wrt %arg0 : (tensor<f32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  %0 = ns.gradient %l wrt %x : (tensor<f32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %0 : tensor<?x8xf32>
}

// A shared tensor gets the batch of the tensor that it is expanded like.
// CHECK-LABEL: func.func @expanded
func.func @expanded(%q: tensor<1x2x8xf32>, %x: tensor<?x5x8xf32>) -> tensor<?x2x8xf32> {
  // CHECK: nn.expand_batch %arg0 like %arg1 : (tensor<1x2x8xf32>, tensor<4x5x8xf32>) -> tensor<4x2x8xf32>
  %0 = nn.expand_batch %q like %x : (tensor<1x2x8xf32>, tensor<?x5x8xf32>) -> tensor<?x2x8xf32>
  return %0 : tensor<?x2x8xf32>
}
