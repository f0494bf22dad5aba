// RUN: ns-opt %s --ns-differentiate | FileCheck %s

// Rules of linear layers and patches.

// Frozen weights: the input is not kept. The layer's name goes along.
// CHECK-LABEL: func.func @linear_input(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>, %[[W:.*]]: tensor<6x8xf32>, %[[B:.*]]: tensor<6xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: nn.linear_grad_input %[[DY]], %[[W]] {nn.layer = "fc"}
// CHECK-NOT: nn.linear_grad_weight
// CHECK-NOT: nn.sum_rows
// CHECK: return
func.func @linear_input(%x: tensor<4x5x8xf32>, %w: tensor<6x8xf32>, %b: tensor<6xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x5x8xf32> {
  %y = nn.linear %x, %w, %b {nn.layer = "fc"} : (tensor<4x5x8xf32>, tensor<6x8xf32>, tensor<6xf32>) -> tensor<4x5x6xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x6xf32> -> tensor<4x6xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x6xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x5x8xf32>) -> tensor<4x5x8xf32>
  return %grad : tensor<4x5x8xf32>
}

// A trained weight keeps the input; the weight itself is not read.
// CHECK-LABEL: func.func @linear_weight(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>, %[[W:.*]]: tensor<6x8xf32>, %[[B:.*]]: tensor<6xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: nn.linear_grad_weight %[[DY]], %[[X]]
// CHECK-NOT: nn.linear_grad_input
// CHECK-NOT: nn.sum_rows
// CHECK: return
func.func @linear_weight(%x: tensor<4x5x8xf32>, %w: tensor<6x8xf32>, %b: tensor<6xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<6x8xf32> {
  %y = nn.linear %x, %w, %b {nn.layer = "fc"} : (tensor<4x5x8xf32>, tensor<6x8xf32>, tensor<6xf32>) -> tensor<4x5x6xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x6xf32> -> tensor<4x6xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x6xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %w : (tensor<f32>, tensor<6x8xf32>) -> tensor<6x8xf32>
  return %grad : tensor<6x8xf32>
}

// A bias keeps nothing.
// CHECK-LABEL: func.func @linear_bias(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>, %[[W:.*]]: tensor<6x8xf32>, %[[B:.*]]: tensor<6xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: nn.sum_rows %[[DY]]
// CHECK-NOT: nn.linear_grad_input
// CHECK-NOT: nn.linear_grad_weight
// CHECK: return
func.func @linear_bias(%x: tensor<4x5x8xf32>, %w: tensor<6x8xf32>, %b: tensor<6xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<6xf32> {
  %y = nn.linear %x, %w, %b {nn.layer = "fc"} : (tensor<4x5x8xf32>, tensor<6x8xf32>, tensor<6xf32>) -> tensor<4x5x6xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x6xf32> -> tensor<4x6xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x6xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %b : (tensor<f32>, tensor<6xf32>) -> tensor<6xf32>
  return %grad : tensor<6xf32>
}

// All three.
// CHECK-LABEL: func.func @linear_all(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>, %[[W:.*]]: tensor<6x8xf32>, %[[B:.*]]: tensor<6xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: %[[DX:.*]] = nn.linear_grad_input %[[DY]], %[[W]]
// CHECK: %[[DW:.*]] = nn.linear_grad_weight %[[DY]], %[[X]]
// CHECK: %[[DB:.*]] = nn.sum_rows %[[DY]]
// CHECK: return
func.func @linear_all(%x: tensor<4x5x8xf32>, %w: tensor<6x8xf32>, %b: tensor<6xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> (tensor<4x5x8xf32>, tensor<6x8xf32>, tensor<6xf32>) {
  %y = nn.linear %x, %w, %b {nn.layer = "fc"} : (tensor<4x5x8xf32>, tensor<6x8xf32>, tensor<6xf32>) -> tensor<4x5x6xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x6xf32> -> tensor<4x6xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x6xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad:3 = ns.gradient %s wrt %x, %w, %b : (tensor<f32>, tensor<4x5x8xf32>, tensor<6x8xf32>, tensor<6xf32>) -> (tensor<4x5x8xf32>, tensor<6x8xf32>, tensor<6xf32>)
  return %grad#0, %grad#1, %grad#2 : tensor<4x5x8xf32>, tensor<6x8xf32>, tensor<6xf32>
}

// The image's gradient reads the kernel.
// CHECK-LABEL: func.func @patch_embed_image(
// CHECK-SAME: %[[IMAGE:.*]]: tensor<4x3x8x8xf32>, %[[W:.*]]: tensor<8x3x4x4xf32>, %[[B:.*]]: tensor<8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: nn.patch_embed_grad_input %[[DY]], %[[W]] patch [4, 4]
// CHECK-NOT: nn.patch_embed_grad_weight
// CHECK: return
func.func @patch_embed_image(%image: tensor<4x3x8x8xf32>, %w: tensor<8x3x4x4xf32>, %b: tensor<8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x3x8x8xf32> {
  %y = nn.patch_embed %image, %w, %b patch [4, 4] : (tensor<4x3x8x8xf32>, tensor<8x3x4x4xf32>, tensor<8xf32>) -> tensor<4x4x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x4x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %image : (tensor<f32>, tensor<4x3x8x8xf32>) -> tensor<4x3x8x8xf32>
  return %grad : tensor<4x3x8x8xf32>
}

// The kernel's reads the image.
// CHECK-LABEL: func.func @patch_embed_params(
// CHECK-SAME: %[[IMAGE:.*]]: tensor<4x3x8x8xf32>, %[[W:.*]]: tensor<8x3x4x4xf32>, %[[B:.*]]: tensor<8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: nn.patch_embed_grad_weight %[[DY]], %[[IMAGE]] patch [4, 4]
// CHECK: nn.sum_rows %[[DY]]
// CHECK-NOT: nn.patch_embed_grad_input
// CHECK: return
func.func @patch_embed_params(%image: tensor<4x3x8x8xf32>, %w: tensor<8x3x4x4xf32>, %b: tensor<8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> (tensor<8x3x4x4xf32>, tensor<8xf32>) {
  %y = nn.patch_embed %image, %w, %b patch [4, 4] : (tensor<4x3x8x8xf32>, tensor<8x3x4x4xf32>, tensor<8xf32>) -> tensor<4x4x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x4x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad:2 = ns.gradient %s wrt %w, %b : (tensor<f32>, tensor<8x3x4x4xf32>, tensor<8xf32>) -> (tensor<8x3x4x4xf32>, tensor<8xf32>)
  return %grad#0, %grad#1 : tensor<8x3x4x4xf32>, tensor<8xf32>
}

// Normalisation divides by std.
// CHECK-LABEL: func.func @normalize(
// CHECK-SAME: %[[IMAGE:.*]]: tensor<4x3x8x8xf32>, %[[W:.*]]: tensor<8x3x4x4xf32>
// CHECK: %[[DX:.*]] = nn.patch_embed_grad_input
// CHECK: nn.normalize_grad %[[DX]] std [0.5, 0.25, 0.5]
// CHECK: return
func.func @normalize(%image: tensor<4x3x8x8xf32>, %w: tensor<8x3x4x4xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x3x8x8xf32> {
  %x = nn.normalize %image mean [0.5, 0.5, 0.5] std [0.5, 0.25, 0.5] : tensor<4x3x8x8xf32>
  %y = nn.patch_embed %x, %w patch [4, 4] : (tensor<4x3x8x8xf32>, tensor<8x3x4x4xf32>) -> tensor<4x4x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x4x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %image : (tensor<f32>, tensor<4x3x8x8xf32>) -> tensor<4x3x8x8xf32>
  return %grad : tensor<4x3x8x8xf32>
}
