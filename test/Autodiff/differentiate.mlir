// RUN: ns-opt %s --ns-differentiate | FileCheck %s

nn.param @w : tensor<8x8xf32>

// The seed of reverse mode is 1 and needs no op; the request is gone.
// CHECK-LABEL: func.func @seed
// CHECK-SAME: (%[[L:.*]]: tensor<8xf32>, %[[W:.*]]: tensor<4xf32>)
// CHECK: %[[G:.*]] = nn.weighted_sum_grad %[[W]] : (tensor<4xf32>) -> tensor<8xf32>
// CHECK-NEXT: return %[[G]]
func.func @seed(%l: tensor<8xf32>, %w: tensor<4xf32>) -> tensor<8xf32> {
  %s = nn.weighted_sum %l, %w : (tensor<8xf32>, tensor<4xf32>) -> tensor<f32>
  %g = ns.gradient %s wrt %l : (tensor<f32>, tensor<8xf32>) -> tensor<8xf32>
  return %g : tensor<8xf32>
}

// A loss behind the weighted sum has a seed other than 1.
// CHECK-LABEL: func.func @scaled_loss
// CHECK: %[[ONE:.*]] = arith.constant dense<1.000000e+00> : tensor<f32>
// CHECK: %[[S:.*]] = nn.scale %[[ONE]] by 2.000000e+00
// CHECK: nn.weighted_sum_grad %arg1, %[[S]]
func.func @scaled_loss(%l: tensor<4xf32>, %w: tensor<4xf32>) -> tensor<4xf32> {
  %s = nn.weighted_sum %l, %w : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %t = nn.scale %s by 2.0 : tensor<f32>
  %g = ns.gradient %t wrt %l : (tensor<f32>, tensor<4xf32>) -> tensor<4xf32>
  return %g : tensor<4xf32>
}

// A value that is read twice has one accumulator; a value read twice by one op, too.
// CHECK-LABEL: func.func @accumulate
// CHECK: %[[D:.*]] = nn.cross_entropy_grad
// CHECK: %[[DL:.*]] = nn.gelu_grad %[[D]], %arg0
// CHECK: %[[D1:.*]] = nn.add %[[D]], %[[DL]]
// CHECK: return %[[D1]]
func.func @accumulate(%x: tensor<4x8xf32>, %y: tensor<4xi32>, %w: tensor<4xf32>) -> tensor<4x8xf32> {
  %a = nn.gelu %x approximate none : tensor<4x8xf32>
  %z = nn.add %x, %a : tensor<4x8xf32>, tensor<4x8xf32>
  %l = nn.cross_entropy %z, %y : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %w : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %g = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %g : tensor<4x8xf32>
}

// Only what lies between the wanted value and the loss: the branch through %b gets no backward form.
// CHECK-LABEL: func.func @activity
// CHECK: nn.gelu_grad %{{.*}}, %arg0
// CHECK-NOT: nn.gelu_grad
// CHECK: return
func.func @activity(%x: tensor<4x8xf32>, %b: tensor<4x8xf32>, %y: tensor<4xi32>, %w: tensor<4xf32>) -> tensor<4x8xf32> {
  %a = nn.gelu %x approximate none : tensor<4x8xf32>
  %c = nn.gelu %b approximate none : tensor<4x8xf32>
  %z = nn.add %a, %c : tensor<4x8xf32>, tensor<4x8xf32>
  %l = nn.cross_entropy %z, %y : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %w : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %g = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %g : tensor<4x8xf32>
}

// A gradient is stored where it is made, before the rest of the backward pass.
// CHECK-LABEL: func.func @early_store
// CHECK: %[[DW:.*]] = nn.linear_grad_weight
// CHECK-NEXT: ns.store_grad @w, %[[DW]]
// CHECK: nn.gelu_grad
// CHECK: return
func.func @early_store(%x: tensor<4x8xf32>, %y: tensor<4xi32>, %w: tensor<4xf32>, %acc: tensor<f32>) -> tensor<4x8xf32> {
  %a = nn.gelu %x approximate none : tensor<4x8xf32>
  %p = nn.load_param @w : tensor<8x8xf32>
  %z = nn.linear %a, %p : (tensor<4x8xf32>, tensor<8x8xf32>) -> tensor<4x8xf32>
  %l = nn.cross_entropy %z, %y : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %w : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %g:2 = ns.gradient %s wrt %x, %p : (tensor<f32>, tensor<4x8xf32>, tensor<8x8xf32>) -> (tensor<4x8xf32>, tensor<8x8xf32>)
  ns.store_grad @w, %g#1 accumulate %acc : tensor<8x8xf32>, tensor<f32>
  return %g#0 : tensor<4x8xf32>
}

// Several requests in one function.
// CHECK-LABEL: func.func @two_losses
// CHECK-COUNT-2: nn.weighted_sum_grad
// CHECK-NOT: ns.gradient
func.func @two_losses(%l: tensor<4xf32>, %m: tensor<4xf32>, %w: tensor<4xf32>) -> (tensor<4xf32>, tensor<4xf32>) {
  %s = nn.weighted_sum %l, %w : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %g = ns.gradient %s wrt %l : (tensor<f32>, tensor<4xf32>) -> tensor<4xf32>
  %t = nn.weighted_sum %m, %w : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %h = ns.gradient %t wrt %m : (tensor<f32>, tensor<4xf32>) -> tensor<4xf32>
  return %g, %h : tensor<4xf32>, tensor<4xf32>
}

// A wanted value between the loss and another wanted value has its own, complete gradient.
// CHECK-LABEL: func.func @intermediate
// CHECK: %[[DZ:.*]] = nn.cross_entropy_grad
// CHECK: %[[DX:.*]] = nn.gelu_grad %[[DZ]], %arg0
// CHECK: return %[[DX]], %[[DZ]]
func.func @intermediate(%x: tensor<4x8xf32>, %y: tensor<4xi32>, %w: tensor<4xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %z = nn.gelu %x approximate none : tensor<4x8xf32>
  %l = nn.cross_entropy %z, %y : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %w : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %g:2 = ns.gradient %s wrt %x, %z : (tensor<f32>, tensor<4x8xf32>, tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>)
  return %g#0, %g#1 : tensor<4x8xf32>, tensor<4x8xf32>
}
