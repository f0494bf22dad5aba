// RUN: ns-opt %s --nn-recompute | FileCheck %s

nn.param @g : tensor<8xf32>
nn.param @b : tensor<8xf32>
nn.param @w : tensor<16x8xf32>
nn.param @v : tensor<8x16xf32>

// The norm and the GELU are made again right before the products that read them; forward keeps its own.
// CHECK-LABEL: func.func @mlp(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>, %[[DY:.*]]: tensor<4x5x8xf32>)
// CHECK: %[[N:.*]] = nn.layer_norm %[[X]]
// CHECK: %[[H:.*]] = nn.linear %[[N]]
// CHECK: %[[A:.*]] = nn.gelu %[[H]]
// CHECK: nn.linear %[[A]]
// CHECK: %[[A2:.*]] = nn.gelu %[[H]] approximate none {nn.recomputed}
// CHECK-NEXT: nn.linear_grad_weight %[[DY]], %[[A2]]
// CHECK: %[[DH:.*]] = nn.gelu_grad
// CHECK: %[[N2:.*]] = nn.layer_norm %[[X]]{{.*}} {nn.recomputed}
// CHECK-NEXT: nn.linear_grad_weight %[[DH]], %[[N2]]
func.func @mlp(%x: tensor<4x5x8xf32>, %dy: tensor<4x5x8xf32>) -> (tensor<4x5x8xf32>, tensor<8x16xf32>, tensor<16x8xf32>, tensor<4x5x8xf32>) {
  %g = nn.load_param @g : tensor<8xf32>
  %b = nn.load_param @b : tensor<8xf32>
  %w = nn.load_param @w : tensor<16x8xf32>
  %v = nn.load_param @v : tensor<8x16xf32>
  %n = nn.layer_norm %x, %g, %b eps 1.0e-06 : tensor<4x5x8xf32>, tensor<8xf32>, tensor<8xf32>
  %h = nn.linear %n, %w : (tensor<4x5x8xf32>, tensor<16x8xf32>) -> tensor<4x5x16xf32>
  %a = nn.gelu %h approximate none : tensor<4x5x16xf32>
  %y = nn.linear %a, %v : (tensor<4x5x16xf32>, tensor<8x16xf32>) -> tensor<4x5x8xf32>
  %dv = nn.linear_grad_weight %dy, %a : (tensor<4x5x8xf32>, tensor<4x5x16xf32>) -> tensor<8x16xf32>
  %da = nn.linear_grad_input %dy, %v : (tensor<4x5x8xf32>, tensor<8x16xf32>) -> tensor<4x5x16xf32>
  %dh = nn.gelu_grad %da, %h approximate none : tensor<4x5x16xf32>
  %dw = nn.linear_grad_weight %dh, %n : (tensor<4x5x16xf32>, tensor<4x5x8xf32>) -> tensor<16x8xf32>
  %dn = nn.linear_grad_input %dh, %w : (tensor<4x5x16xf32>, tensor<16x8xf32>) -> tensor<4x5x8xf32>
  %dx = nn.layer_norm_grad %dn, %x, %g eps 1.0e-06 : tensor<4x5x8xf32>, tensor<8xf32>
  return %y, %dv, %dw, %dx : tensor<4x5x8xf32>, tensor<8x16xf32>, tensor<16x8xf32>, tensor<4x5x8xf32>
}

// Nothing in backward reads the norm's input: the input would be kept in place of the result.
// CHECK-LABEL: func.func @first_layer(
// CHECK: %[[N:.*]] = nn.layer_norm
// CHECK: nn.linear %[[N]]
// CHECK-NOT: nn.layer_norm
// CHECK: nn.linear_grad_weight %{{.*}}, %[[N]]
func.func @first_layer(%x: tensor<4x5x8xf32>, %dy: tensor<4x5x16xf32>) -> (tensor<4x5x16xf32>, tensor<16x8xf32>) {
  %w = nn.load_param @w : tensor<16x8xf32>
  %n = nn.layer_norm %x eps 1.0e-06 : tensor<4x5x8xf32>
  %y = nn.linear %n, %w : (tensor<4x5x8xf32>, tensor<16x8xf32>) -> tensor<4x5x16xf32>
  %dw = nn.linear_grad_weight %dy, %n : (tensor<4x5x16xf32>, tensor<4x5x8xf32>) -> tensor<16x8xf32>
  return %y, %dw : tensor<4x5x16xf32>, tensor<16x8xf32>
}
