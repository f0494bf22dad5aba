// RUN: ns-opt %s --ns-differentiate | FileCheck %s

// Attention keeps its inputs; one op gives all gradients.

// One packed tensor.
// CHECK-LABEL: func.func @packed(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x24xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: nn.attention_grad %[[DY]], %[[X]] heads 2 scale 5.000000e-01 : (tensor<4x5x8xf32>, tensor<4x5x24xf32>) -> tensor<4x5x24xf32>
// CHECK: return
func.func @packed(%x: tensor<4x5x24xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x5x24xf32> {
  %y = nn.attention %x heads 2 scale 0.5 : (tensor<4x5x24xf32>) -> tensor<4x5x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x5x24xf32>) -> tensor<4x5x24xf32>
  return %grad : tensor<4x5x24xf32>
}

// Query, packed key and value; only the second is wanted.
// CHECK-LABEL: func.func @query_and_packed(
// CHECK-SAME: %[[Q:.*]]: tensor<4x1x8xf32>, %[[KV:.*]]: tensor<4x5x16xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: %[[D:.*]]:2 = nn.attention_grad %[[DY]], %[[Q]], %[[KV]]
// CHECK: return %[[D]]#1
func.func @query_and_packed(%q: tensor<4x1x8xf32>, %kv: tensor<4x5x16xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x5x16xf32> {
  %y = nn.attention %q, %kv heads 2 scale 0.5 : (tensor<4x1x8xf32>, tensor<4x5x16xf32>) -> tensor<4x1x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x1x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %kv : (tensor<f32>, tensor<4x5x16xf32>) -> tensor<4x5x16xf32>
  return %grad : tensor<4x5x16xf32>
}

// Query, key, value.
// CHECK-LABEL: func.func @separate(
// CHECK-SAME: %[[Q:.*]]: tensor<4x5x8xf32>, %[[K:.*]]: tensor<4x5x8xf32>, %[[V:.*]]: tensor<4x5x8xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: %[[D:.*]]:3 = nn.attention_grad %[[DY]], %[[Q]], %[[K]], %[[V]]
// CHECK: return %[[D]]#0, %[[D]]#2
func.func @separate(%q: tensor<4x5x8xf32>, %k: tensor<4x5x8xf32>, %v: tensor<4x5x8xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> (tensor<4x5x8xf32>, tensor<4x5x8xf32>) {
  %y = nn.attention %q, %k, %v heads 2 scale 0.5 : (tensor<4x5x8xf32>, tensor<4x5x8xf32>, tensor<4x5x8xf32>) -> tensor<4x5x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad:2 = ns.gradient %s wrt %q, %v : (tensor<f32>, tensor<4x5x8xf32>, tensor<4x5x8xf32>) -> (tensor<4x5x8xf32>, tensor<4x5x8xf32>)
  return %grad#0, %grad#1 : tensor<4x5x8xf32>, tensor<4x5x8xf32>
}

// The gradient of a bias is a result of its own, where it is wanted; a mask has none.
// CHECK-LABEL: func.func @bias_and_mask(
// CHECK-SAME: %[[X:.*]]: tensor<4x6x24xf32>, %[[B:.*]]: tensor<2x3x3xf32>, %[[M:.*]]: tensor<2x3x3xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: %[[D:.*]]:2 = nn.attention_grad %[[DY]], %[[X]] bias %[[B]] mask %[[M]] heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x3x3xf32>, tensor<2x3x3xf32>) -> (tensor<4x6x24xf32>, tensor<2x3x3xf32>)
// CHECK: return %[[D]]#1
func.func @bias_and_mask(%x: tensor<4x6x24xf32>, %b: tensor<2x3x3xf32>, %m: tensor<2x3x3xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<2x3x3xf32> {
  %y = nn.attention %x bias %b mask %m heads 2 scale 0.5 window 3 : (tensor<4x6x24xf32>, tensor<2x3x3xf32>, tensor<2x3x3xf32>) -> tensor<4x6x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x6x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %b : (tensor<f32>, tensor<2x3x3xf32>) -> tensor<2x3x3xf32>
  return %grad : tensor<2x3x3xf32>
}

// A bias that is not wanted adds no result.
// CHECK-LABEL: func.func @frozen_bias(
// CHECK: nn.attention_grad {{.*}} : (tensor<4x5x8xf32>, tensor<4x5x24xf32>, tensor<2x5x5xf32>) -> tensor<4x5x24xf32>
func.func @frozen_bias(%x: tensor<4x5x24xf32>, %b: tensor<2x5x5xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x5x24xf32> {
  %y = nn.attention %x bias %b heads 2 scale 0.5 : (tensor<4x5x24xf32>, tensor<2x5x5xf32>) -> tensor<4x5x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x5x24xf32>) -> tensor<4x5x24xf32>
  return %grad : tensor<4x5x24xf32>
}

// From the scores down to the table.
// CHECK-LABEL: func.func @table(
// CHECK: %[[D:.*]]:2 = nn.attention_grad
// CHECK: nn.relative_bias_grad %[[D]]#1 grid [2, 2] prefix 1 : tensor<2x5x5xf32> -> tensor<12x2xf32>
func.func @table(%x: tensor<4x5x24xf32>, %t: tensor<12x2xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<12x2xf32> {
  %b = nn.relative_bias %t grid [2, 2] prefix 1 : tensor<12x2xf32> -> tensor<2x5x5xf32>
  %y = nn.attention %x bias %b heads 2 scale 0.5 : (tensor<4x5x24xf32>, tensor<2x5x5xf32>) -> tensor<4x5x8xf32>
  %pool = nn.mean_tokens %y : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %t : (tensor<f32>, tensor<12x2xf32>) -> tensor<12x2xf32>
  return %grad : tensor<12x2xf32>
}

// A rotation's gradient is the transposed one, and that one's the rotation.
// CHECK-LABEL: func.func @rotary(
// CHECK-SAME: %[[X:.*]]: tensor<4x5x8xf32>, %[[SIN:.*]]: tensor<4x4xf32>, %[[COS:.*]]: tensor<4x4xf32>
// CHECK: %[[DY:.*]] = nn.expand_tokens
// CHECK: %[[D:.*]] = nn.rotary %[[DY]], %[[SIN]], %[[COS]] heads 2 prefix 1 : tensor<4x5x8xf32>, tensor<4x4xf32>
// CHECK: nn.rotary %[[D]], %[[SIN]], %[[COS]] heads 2 prefix 1 transposed : tensor<4x5x8xf32>, tensor<4x4xf32>
func.func @rotary(%x: tensor<4x5x8xf32>, %sin: tensor<4x4xf32>, %cos: tensor<4x4xf32>, %labels: tensor<4xi32>, %weights: tensor<4xf32>) -> tensor<4x5x8xf32> {
  %y = nn.rotary %x, %sin, %cos heads 2 prefix 1 : tensor<4x5x8xf32>, tensor<4x4xf32>
  %z = nn.rotary %y, %sin, %cos heads 2 prefix 1 transposed : tensor<4x5x8xf32>, tensor<4x4xf32>
  %pool = nn.mean_tokens %z : tensor<4x5x8xf32> -> tensor<4x8xf32>
  %l = nn.cross_entropy %pool, %labels : (tensor<4x8xf32>, tensor<4xi32>) -> tensor<4xf32>
  %s = nn.weighted_sum %l, %weights : (tensor<4xf32>, tensor<4xf32>) -> tensor<f32>
  %grad = ns.gradient %s wrt %x : (tensor<f32>, tensor<4x5x8xf32>) -> tensor<4x5x8xf32>
  return %grad : tensor<4x5x8xf32>
}
