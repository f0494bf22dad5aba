// RUN: ns-opt %s --ns-differentiate | FileCheck %s

// Rules of norms, activations and elementwise ops.

// The input's gradient reads gamma, not beta.
// CHECK-LABEL: func.func @layer_norm_input(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>, %[[G:.*]]: tensor<8xf32>, %[[B:.*]]: tensor<8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: nn.layer_norm_grad %[[DY]], %[[X]], %[[G]] eps 5.000000e-01
// CHECK-NOT: nn.layer_norm_grad_params
// CHECK: return
func.func @layer_norm_input(%x: tensor<4x5x8xf32>, %g: tensor<8xf32>, %b: tensor<8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x5x8xf32> {
  %y = nn.layer_norm %x, %g, %b eps 0.5 : tensor<4x5x8xf32>, tensor<8xf32>, tensor<8xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x5x8xf32>) -> tensor<4x5x8xf32>
  return %grad : tensor<4x5x8xf32>
}

// Gamma alone.
// CHECK-LABEL: func.func @layer_norm_gamma(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>, %[[G:.*]]: tensor<8xf32>, %[[B:.*]]: tensor<8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: %[[DG:.*]], %{{.*}} = nn.layer_norm_grad_params %[[DY]], %[[X]] eps 5.000000e-01
// CHECK-NOT: nn.layer_norm_grad 
// CHECK: return
func.func @layer_norm_gamma(%x: tensor<4x5x8xf32>, %g: tensor<8xf32>, %b: tensor<8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<8xf32> {
  %y = nn.layer_norm %x, %g, %b eps 0.5 : tensor<4x5x8xf32>, tensor<8xf32>, tensor<8xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %g : (tensor<f32>, tensor<8xf32>) -> tensor<8xf32>
  return %grad : tensor<8xf32>
}

// Beta alone.
// CHECK-LABEL: func.func @layer_norm_beta(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>, %[[G:.*]]: tensor<8xf32>, %[[B:.*]]: tensor<8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: %{{.*}}, %[[DB:.*]] = nn.layer_norm_grad_params
// CHECK-NOT: nn.layer_norm_grad 
// CHECK: return
func.func @layer_norm_beta(%x: tensor<4x5x8xf32>, %g: tensor<8xf32>, %b: tensor<8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<8xf32> {
  %y = nn.layer_norm %x, %g, %b eps 0.5 : tensor<4x5x8xf32>, tensor<8xf32>, tensor<8xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %b : (tensor<f32>, tensor<8xf32>) -> tensor<8xf32>
  return %grad : tensor<8xf32>
}

// All three: both parameters from one op.
// CHECK-LABEL: func.func @layer_norm_all(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>, %[[G:.*]]: tensor<8xf32>, %[[B:.*]]: tensor<8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: nn.layer_norm_grad %[[DY]]
// CHECK: nn.layer_norm_grad_params %[[DY]]
// CHECK-NOT: nn.layer_norm_grad_params
// CHECK: return
func.func @layer_norm_all(%x: tensor<4x5x8xf32>, %g: tensor<8xf32>, %b: tensor<8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> (tensor<4x5x8xf32>, tensor<8xf32>, tensor<8xf32>) {
  %y = nn.layer_norm %x, %g, %b eps 0.5 : tensor<4x5x8xf32>, tensor<8xf32>, tensor<8xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad:3 = ns.gradient %s wrt %x, %g, %b : (tensor<f32>, tensor<4x5x8xf32>, tensor<8xf32>, tensor<8xf32>) -> (tensor<4x5x8xf32>, tensor<8xf32>, tensor<8xf32>)
  return %grad#0, %grad#1, %grad#2 : tensor<4x5x8xf32>, tensor<8xf32>, tensor<8xf32>
}

// Without affine parameters.
// CHECK-LABEL: func.func @layer_norm_plain(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: nn.layer_norm_grad %[[DY]], %[[X]] eps
// CHECK: return
func.func @layer_norm_plain(%x: tensor<4x5x8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x5x8xf32> {
  %y = nn.layer_norm %x eps 0.5 : tensor<4x5x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x5x8xf32>) -> tensor<4x5x8xf32>
  return %grad : tensor<4x5x8xf32>
}

// GELU keeps the pre-activation and its form.
// CHECK-LABEL: func.func @gelu(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: nn.gelu_grad %[[DY]], %[[X]] approximate tanh
// CHECK: return
func.func @gelu(%x: tensor<4x5x8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x5x8xf32> {
  %y = nn.gelu %x approximate tanh : tensor<4x5x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x5x8xf32>) -> tensor<4x5x8xf32>
  return %grad : tensor<4x5x8xf32>
}

// Scaling is its own adjoint.
// CHECK-LABEL: func.func @scale(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: nn.scale %[[DY]] by 5.000000e-01
// CHECK: return
func.func @scale(%x: tensor<4x5x8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x5x8xf32> {
  %y = nn.scale %x by 0.5 : tensor<4x5x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x5x8xf32>) -> tensor<4x5x8xf32>
  return %grad : tensor<4x5x8xf32>
}

// A layer scale's input.
// CHECK-LABEL: func.func @layer_scale_input(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>, %[[G:.*]]: tensor<8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: nn.layer_scale %[[DY]], %[[G]]
// CHECK-NOT: nn.layer_scale_grad_gamma
// CHECK: return
func.func @layer_scale_input(%x: tensor<4x5x8xf32>, %g: tensor<8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x5x8xf32> {
  %y = nn.layer_scale %x, %g : tensor<4x5x8xf32>, tensor<8xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x5x8xf32>) -> tensor<4x5x8xf32>
  return %grad : tensor<4x5x8xf32>
}

// A layer scale's gamma.
// CHECK-LABEL: func.func @layer_scale_gamma(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>, %[[G:.*]]: tensor<8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: nn.layer_scale_grad_gamma %[[DY]], %[[X]]
// CHECK: return
func.func @layer_scale_gamma(%x: tensor<4x5x8xf32>, %g: tensor<8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<8xf32> {
  %y = nn.layer_scale %x, %g : tensor<4x5x8xf32>, tensor<8xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %g : (tensor<f32>, tensor<8xf32>) -> tensor<8xf32>
  return %grad : tensor<8xf32>
}

// Equal shapes share the cotangent: no op at all.
// CHECK-LABEL: func.func @add_same(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>, %[[R:.*]]: tensor<4x5x8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: return %[[DY]], %[[DY]]
func.func @add_same(%x: tensor<4x5x8xf32>, %r: tensor<4x5x8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> (tensor<4x5x8xf32>, tensor<4x5x8xf32>) {
  %y = nn.add %x, %r : tensor<4x5x8xf32>, tensor<4x5x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad:2 = ns.gradient %s wrt %x, %r : (tensor<f32>, tensor<4x5x8xf32>, tensor<4x5x8xf32>) -> (tensor<4x5x8xf32>, tensor<4x5x8xf32>)
  return %grad#0, %grad#1 : tensor<4x5x8xf32>, tensor<4x5x8xf32>
}

// What is shared by the batch gets the sum over it.
// CHECK-LABEL: func.func @add_broadcast(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>, %[[R:.*]]: tensor<1x5x8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: nn.sum_batch %[[DY]] : tensor<4x5x8xf32> -> tensor<1x5x8xf32>
// CHECK: return
func.func @add_broadcast(%x: tensor<4x5x8xf32>, %r: tensor<1x5x8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<1x5x8xf32> {
  %y = nn.add %x, %r : tensor<4x5x8xf32>, tensor<1x5x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %r : (tensor<f32>, tensor<1x5x8xf32>) -> tensor<1x5x8xf32>
  return %grad : tensor<1x5x8xf32>
}

// A product keeps the other factor; one shared by the batch is summed over it.
// CHECK-LABEL: func.func @mul(
// CHECK-SAME: %[[X:.*]]: tensor<4x8xf32>, %[[P:.*]]: tensor<1x8xf32>
// CHECK: %[[DY:.*]] = nn.cross_entropy_grad
// CHECK-DAG: %[[DX:.*]] = nn.mul %[[DY]], %[[P]] : tensor<4x8xf32>, tensor<1x8xf32>
// CHECK-DAG: %[[DXP:.*]] = nn.mul %[[DY]], %[[X]] : tensor<4x8xf32>, tensor<4x8xf32>
// CHECK: %[[DP:.*]] = nn.sum_batch %[[DXP]] : tensor<4x8xf32> -> tensor<1x8xf32>
// CHECK: return %[[DX]], %[[DP]]
func.func @mul(%x: tensor<4x8xf32>, %p: tensor<1x8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> (tensor<4x8xf32>, tensor<1x8xf32>) {
  %y = nn.mul %x, %p : tensor<4x8xf32>, tensor<1x8xf32>
  %l = nn.cross_entropy %y, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad:2 = ns.gradient %s wrt %x, %p : (tensor<f32>, tensor<4x8xf32>, tensor<1x8xf32>) -> (tensor<4x8xf32>, tensor<1x8xf32>)
  return %grad#0, %grad#1 : tensor<4x8xf32>, tensor<1x8xf32>
}

// A dropout draws the same mask again.
// CHECK-LABEL: func.func @dropout(
// CHECK-SAME: %[[X:.*]]: tensor<4x8xf32>, %[[SEED:.*]]: tensor<1xi32>
// CHECK: %[[DY:.*]] = nn.cross_entropy_grad
// CHECK: nn.dropout element %[[DY]], %[[SEED]] rate 2.500000e-01 stream 3 : tensor<4x8xf32>, tensor<1xi32>
func.func @dropout(%x: tensor<4x8xf32>, %seed: tensor<1xi32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x8xf32> {
  %y = nn.dropout element %x, %seed rate 0.25 stream 3 : tensor<4x8xf32>, tensor<1xi32>
  %l = nn.cross_entropy %y, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %grad : tensor<4x8xf32>
}
