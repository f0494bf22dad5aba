// RUN: ns-opt %s --ns-differentiate | FileCheck %s

// Rules of selections and concatenations: the adjoint of a range is zeros around it.

// Each prepended token is summed over the batch; the input's tokens come last.
// CHECK-LABEL: func.func @prepend_tokens(
// CHECK-SAME: %[[U:.*]]: tensor<4x3x8xf32>, %[[C:.*]]: tensor<1x1x8xf32>, %[[R:.*]]: tensor<1x2x8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: %[[DC:.*]] = nn.slice_tokens %[[DY]] from 0 : tensor<4x6x8xf32> -> tensor<4x1x8xf32>
// CHECK: nn.sum_batch %[[DC]] : tensor<4x1x8xf32> -> tensor<1x1x8xf32>
// CHECK: %[[DR:.*]] = nn.slice_tokens %[[DY]] from 1 : tensor<4x6x8xf32> -> tensor<4x2x8xf32>
// CHECK: nn.sum_batch %[[DR]] : tensor<4x2x8xf32> -> tensor<1x2x8xf32>
// CHECK: nn.slice_tokens %[[DY]] from 3 : tensor<4x6x8xf32> -> tensor<4x3x8xf32>
// CHECK: return
func.func @prepend_tokens(%u: tensor<4x3x8xf32>, %c: tensor<1x1x8xf32>, %r: tensor<1x2x8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> (tensor<4x3x8xf32>, tensor<1x1x8xf32>, tensor<1x2x8xf32>) {
  %y = nn.prepend_tokens %u, %c, %r : (tensor<4x3x8xf32>, tensor<1x1x8xf32>, tensor<1x2x8xf32>) -> tensor<4x6x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x6x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad:3 = ns.gradient %s wrt %u, %c, %r : (tensor<f32>, tensor<4x3x8xf32>, tensor<1x1x8xf32>, tensor<1x2x8xf32>) -> (tensor<4x3x8xf32>, tensor<1x1x8xf32>, tensor<1x2x8xf32>)
  return %grad#0, %grad#1, %grad#2 : tensor<4x3x8xf32>, tensor<1x1x8xf32>, tensor<1x2x8xf32>
}

// One token.
// CHECK-LABEL: func.func @select_token(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>
// CHECK: nn.scatter_token %{{.*}}[2] : tensor<4x8xf32> -> tensor<4x5x8xf32>
// CHECK: return
func.func @select_token(%x: tensor<4x5x8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x5x8xf32> {
  %y = nn.select_token %x[2] : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %y, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x5x8xf32>) -> tensor<4x5x8xf32>
  return %grad : tensor<4x5x8xf32>
}

// A range of tokens.
// CHECK-LABEL: func.func @slice_tokens(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>
// CHECK: nn.pad_tokens %{{.*}} from 1 : tensor<4x3x8xf32> -> tensor<4x5x8xf32>
// CHECK: return
func.func @slice_tokens(%x: tensor<4x5x8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x5x8xf32> {
  %y = nn.slice_tokens %x from 1 : tensor<4x5x8xf32> -> tensor<4x3x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x3x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x5x8xf32>) -> tensor<4x5x8xf32>
  return %grad : tensor<4x5x8xf32>
}

// A range of channels.
// CHECK-LABEL: func.func @slice_channels(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>
// CHECK: nn.pad_channels %{{.*}} from 2 : tensor<4x5x4xf32> -> tensor<4x5x8xf32>
// CHECK: return
func.func @slice_channels(%x: tensor<4x5x8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x5x8xf32> {
  %y = nn.slice_channels %x from 2 : tensor<4x5x8xf32> -> tensor<4x5x4xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x4xf32> -> tensor<4x4xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x4xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x5x8xf32>) -> tensor<4x5x8xf32>
  return %grad : tensor<4x5x8xf32>
}

// A range of a weight's rows.
// CHECK-LABEL: func.func @slice_rows(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>, %[[W:.*]]: tensor<24x8xf32>
// CHECK: %[[DR:.*]] = nn.linear_grad_weight
// CHECK: nn.pad_rows %[[DR]] from 8 : tensor<16x8xf32> -> tensor<24x8xf32>
// CHECK: return
func.func @slice_rows(%x: tensor<4x5x8xf32>, %w: tensor<24x8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<24x8xf32> {
  %r = nn.slice_rows %w from 8 : tensor<24x8xf32> -> tensor<16x8xf32>
  %y = nn.linear %x, %r : (tensor<4x5x8xf32>, tensor<16x8xf32>) -> tensor<4x5x16xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x16xf32> -> tensor<4x16xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x16xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %w : (tensor<f32>, tensor<24x8xf32>) -> tensor<24x8xf32>
  return %grad : tensor<24x8xf32>
}

// The mean over tokens.
// CHECK-LABEL: func.func @mean_tokens(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>
// CHECK: nn.expand_tokens %{{.*}} : tensor<4x8xf32> -> tensor<4x5x8xf32>
// CHECK: return
func.func @mean_tokens(%x: tensor<4x5x8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x5x8xf32> {
  %y = nn.mean_tokens %x : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %y, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x5x8xf32>) -> tensor<4x5x8xf32>
  return %grad : tensor<4x5x8xf32>
}

// Two stacked batches.
// CHECK-LABEL: func.func @concat_batch(
// CHECK-SAME: %[[A:.*]]: tensor<4x8xf32>, %[[B:.*]]: tensor<4x8xf32>
// CHECK: nn.slice_batch %{{.*}} from 0 : tensor<8x8xf32> -> tensor<4x8xf32>
// CHECK: nn.slice_batch %{{.*}} from 4 : tensor<8x8xf32> -> tensor<4x8xf32>
// CHECK: return
func.func @concat_batch(%a: tensor<4x8xf32>, %b: tensor<4x8xf32>, %labels: tensor<8xi32>, %weights: tensor<8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>) {
  %y = nn.concat_batch %a, %b : (tensor<4x8xf32>, tensor<4x8xf32>) -> tensor<8x8xf32>
  %l = nn.cross_entropy %y, %labels : (tensor<8x8xf32>, tensor<8xi32>) -> tensor<8xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<8xf32>, tensor<8xf32>) -> tensor<f32>
  %grad:2 = ns.gradient %s wrt %a, %b : (tensor<f32>, tensor<4x8xf32>, tensor<4x8xf32>) -> (tensor<4x8xf32>, tensor<4x8xf32>)
  return %grad#0, %grad#1 : tensor<4x8xf32>, tensor<4x8xf32>
}

// Joined channels: each operand's range.
// CHECK-LABEL: func.func @concat_channels(
// CHECK: %[[DY:.*]] = nn.cross_entropy_grad
// CHECK-DAG: nn.slice_channels %[[DY]] from 0 : tensor<4x12xf32> -> tensor<4x8xf32>
// CHECK-DAG: nn.slice_channels %[[DY]] from 8 : tensor<4x12xf32> -> tensor<4x4xf32>
func.func @concat_channels(%a: tensor<4x8xf32>, %b: tensor<4x4xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> (tensor<4x8xf32>, tensor<4x4xf32>) {
  %y = nn.concat_channels %a, %b : (tensor<4x8xf32>, tensor<4x4xf32>) -> tensor<4x12xf32>
  %l = nn.cross_entropy %y, %labels : (tensor<4x12xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad:2 = ns.gradient %s wrt %a, %b : (tensor<f32>, tensor<4x8xf32>, tensor<4x4xf32>) -> (tensor<4x8xf32>, tensor<4x4xf32>)
  return %grad#0, %grad#1 : tensor<4x8xf32>, tensor<4x4xf32>
}

// Joined rows of parameters: only the wanted range.
// CHECK-LABEL: func.func @concat_rows(
// CHECK: %[[DW:.*]] = nn.linear_grad_weight
// CHECK-NOT: nn.slice_rows %[[DW]] from 0
// CHECK: nn.slice_rows %[[DW]] from 8 : tensor<12x8xf32> -> tensor<4x8xf32>
func.func @concat_rows(%x: tensor<4x8xf32>, %a: tensor<8x8xf32>, %b: tensor<4x8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x8xf32> {
  %w = nn.concat_rows %a, %b : (tensor<8x8xf32>, tensor<4x8xf32>) -> tensor<12x8xf32>
  %y = nn.linear %x, %w : (tensor<4x8xf32>, tensor<12x8xf32>) -> tensor<4x12xf32>
  %l = nn.cross_entropy %y, %labels : (tensor<4x12xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %b : (tensor<f32>, tensor<4x8xf32>) -> tensor<4x8xf32>
  return %grad : tensor<4x8xf32>
}

// What every image shares is summed over them; `like` gives a number only.
// CHECK-LABEL: func.func @expand_batch(
// CHECK: %[[DY:.*]] = nn.cross_entropy_grad
// CHECK: %[[DQ:.*]] = nn.sum_batch %[[DY]] : tensor<4x8xf32> -> tensor<1x8xf32>
// CHECK: return %[[DQ]]
func.func @expand_batch(%q: tensor<1x8xf32>, %x: tensor<4x5x8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<1x8xf32> {
  %y = nn.expand_batch %q like %x : (tensor<1x8xf32>, tensor<4x5x8xf32>) -> tensor<4x8xf32>
  %l = nn.cross_entropy %y, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %q : (tensor<f32>, tensor<1x8xf32>) -> tensor<1x8xf32>
  return %grad : tensor<1x8xf32>
}
