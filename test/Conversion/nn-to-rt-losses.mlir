// RUN: ns-opt %s --nn-to-rt --mlir-print-local-scope | FileCheck %s

// log(sum of exp(z - max)) - (z[label] - max); the labels repeat where two batches are stacked.
// CHECK-LABEL: func.func @cross_entropy()
func.func @cross_entropy(%z: tensor<8x10xf32> {ns.name = "cross_entropy.z"}, %y: tensor<4xi32> {ns.name = "cross_entropy.y"}) -> (tensor<8xf32> {ns.name = "cross_entropy.loss"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "cross_entropy.loss" : tensor<8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "cross_entropy.y" : tensor<4xi32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "cross_entropy.z" : tensor<8x10xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [8, 1, 10] ins(%[[S2]], %[[S1]] : tensor<8x10xf32>, tensor<4xi32>) into(%[[S0]] : tensor<8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0 mod 4, 0)>] -> [affine_map<(d0, d1, d2) -> (d0, 0)>] : tensor<8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32, %[[X1:.*]]: i32):
  // CHECK-NEXT: %[[E0:.*]] = rt.row_reduce max %[[X0]] : f32
  // CHECK-NEXT: %[[E1:.*]] = arith.subf %[[X0]], %[[E0]] : f32
  // CHECK-NEXT: %[[E2:.*]] = math.exp %[[E1]] : f32
  // CHECK-NEXT: %[[E3:.*]] = rt.row_reduce add %[[E2]] : f32
  // CHECK-NEXT: %[[E4:.*]] = math.log %[[E3]] : f32
  // CHECK-NEXT: %[[E5:.*]] = rt.index affine_map<(d0, d1, d2) -> (d2)> : i32
  // CHECK-NEXT: %[[E6:.*]] = arith.cmpi eq, %[[E5]], %[[X1]] : i32
  // CHECK-NEXT: %[[E7:.*]] = arith.subf %[[X0]], %[[E0]] : f32
  // CHECK-NEXT: %[[E8:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[E9:.*]] = arith.select %[[E6]], %[[E7]], %[[E8]] : f32
  // CHECK-NEXT: %[[E10:.*]] = rt.row_reduce add %[[E9]] : f32
  // CHECK-NEXT: %[[E11:.*]] = arith.subf %[[E4]], %[[E10]] : f32
  // CHECK-NEXT: rt.yield %[[E11]] : f32
  // CHECK-NEXT: }
  %l = nn.cross_entropy %z, %y : (tensor<8x10xf32>, tensor<4xi32>) -> tensor<8xf32>
  return %l : tensor<8xf32>
}

// CHECK-LABEL: func.func @cross_entropy_grad()
func.func @cross_entropy_grad(%g: tensor<4xf32> {ns.name = "cross_entropy_grad.g"}, %z: tensor<4x10xf32> {ns.name = "cross_entropy_grad.z"}, %y: tensor<4xi32> {ns.name = "cross_entropy_grad.y"}) -> (tensor<4x10xf32> {ns.name = "cross_entropy_grad.dz"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "cross_entropy_grad.dz" : tensor<4x10xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "cross_entropy_grad.y" : tensor<4xi32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "cross_entropy_grad.z" : tensor<4x10xf32>
  // CHECK-NEXT: %[[S3:.*]] = rt.slot io "cross_entropy_grad.g" : tensor<4xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [4, 1, 10] ins(%[[S3]], %[[S2]], %[[S1]] : tensor<4xf32>, tensor<4x10xf32>, tensor<4xi32>) into(%[[S0]] : tensor<4x10xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, 0)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0 mod 4, 0)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x10xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32, %[[X1:.*]]: f32, %[[X2:.*]]: i32):
  // CHECK-NEXT: %[[E0:.*]] = rt.row_reduce max %[[X1]] : f32
  // CHECK-NEXT: %[[E1:.*]] = arith.subf %[[X1]], %[[E0]] : f32
  // CHECK-NEXT: %[[E2:.*]] = math.exp %[[E1]] : f32
  // CHECK-NEXT: %[[E3:.*]] = rt.row_reduce add %[[E2]] : f32
  // CHECK-NEXT: %[[E4:.*]] = arith.divf %[[E2]], %[[E3]] : f32
  // CHECK-NEXT: %[[E5:.*]] = rt.index affine_map<(d0, d1, d2) -> (d2)> : i32
  // CHECK-NEXT: %[[E6:.*]] = arith.cmpi eq, %[[E5]], %[[X2]] : i32
  // CHECK-NEXT: %[[E7:.*]] = arith.constant 1.000000e+00 : f32
  // CHECK-NEXT: %[[E8:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[E9:.*]] = arith.select %[[E6]], %[[E7]], %[[E8]] : f32
  // CHECK-NEXT: %[[E10:.*]] = arith.subf %[[E4]], %[[E9]] : f32
  // CHECK-NEXT: %[[E11:.*]] = arith.mulf %[[X0]], %[[E10]] : f32
  // CHECK-NEXT: rt.yield %[[E11]] : f32
  // CHECK-NEXT: }
  %d = nn.cross_entropy_grad %g, %z, %y : (tensor<4xf32>, tensor<4x10xf32>, tensor<4xi32>) -> tensor<4x10xf32>
  return %d : tensor<4x10xf32>
}

// Each of the two stacked batches is weighted alike.
// CHECK-LABEL: func.func @weighted_sum()
func.func @weighted_sum(%l: tensor<8xf32> {ns.name = "weighted_sum.l"}, %w: tensor<4xf32> {ns.name = "weighted_sum.w"}) -> (tensor<f32> {ns.name = "weighted_sum.sum"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "weighted_sum.sum" : tensor<f32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "weighted_sum.w" : tensor<4xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "weighted_sum.l" : tensor<8xf32>
  // CHECK-NEXT: %[[V0:.*]] = rt.view %[[S2]] offset 0 : tensor<8xf32> -> tensor<2x4xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [1, 2, 4] ins(%[[V0]], %[[S1]] : tensor<2x4xf32>, tensor<4xf32>) into(%[[S0]] : tensor<f32>) [0] maps [affine_map<(d0, d1, d2) -> (d1, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (0, 0)>] : tensor<f32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32, %[[X1:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = arith.mulf %[[X0]], %[[X1]] : f32
  // CHECK-NEXT: %[[E1:.*]] = rt.row_reduce add %[[E0]] : f32
  // CHECK-NEXT: rt.yield %[[E1]] : f32
  // CHECK-NEXT: }
  %s = nn.weighted_sum %l, %w : (tensor<8xf32>, tensor<4xf32>) -> tensor<f32>
  return %s : tensor<f32>
}

// CHECK-LABEL: func.func @synthesis_loss()
func.func @synthesis_loss(%a: tensor<4x10xf32> {ns.name = "synthesis_loss.noised"}, %b: tensor<4x10xf32> {ns.name = "synthesis_loss.clean"}) -> (tensor<4xf32> {ns.name = "synthesis_loss.loss"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "synthesis_loss.loss" : tensor<4xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "synthesis_loss.clean" : tensor<4x10xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "synthesis_loss.noised" : tensor<4x10xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [4, 1, 10] ins(%[[S2]], %[[S1]] : tensor<4x10xf32>, tensor<4x10xf32>) into(%[[S0]] : tensor<4xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, 0)>] : tensor<4xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32, %[[X1:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = arith.subf %[[X0]], %[[X1]] : f32
  // CHECK-NEXT: %[[E1:.*]] = arith.mulf %[[E0]], %[[E0]] : f32
  // CHECK-NEXT: %[[E2:.*]] = rt.row_reduce add %[[E1]] : f32
  // CHECK-NEXT: %[[E3:.*]] = math.sqrt %[[E2]] : f32
  // CHECK-NEXT: rt.yield %[[E3]] : f32
  // CHECK-NEXT: }
  %l = ns.synthesis_loss %a, %b objective logit_l2 : tensor<4x10xf32> -> tensor<4xf32>
  return %l : tensor<4xf32>
}

// Rows 0 to 3 are clean logits, rows 4 to 7 those of their adversarial versions: each row reads the pair.
// CHECK-LABEL: func.func @trades_loss()
func.func @trades_loss(%z: tensor<8x10xf32> {ns.name = "trades_loss.z"}, %y: tensor<4xi32> {ns.name = "trades_loss.y"}, %b: tensor<f32> {ns.name = "trades_loss.beta"}) -> (tensor<8xf32> {ns.name = "trades_loss.loss"}) attributes {ns.entry} {
  // CHECK: rt.fused [8, 1, 10] ins(
  // CHECK-SAME: affine_map<(d0, d1, d2) -> (d0 mod 4 + 4, d2)>
  // CHECK-SAME: -> [affine_map<(d0, d1, d2) -> (d0, 0)>] : tensor<8xf32>
  // CHECK: rt.yield
  // CHECK-NOT: rt.fused
  %l = ns.trades_loss %z, %y, %b : (tensor<8x10xf32>, tensor<4xi32>, tensor<f32>) -> tensor<8xf32>
  return %l : tensor<8xf32>
}

// CHECK-LABEL: func.func @trades_loss_grad()
func.func @trades_loss_grad(%g: tensor<8xf32> {ns.name = "trades_loss_grad.g"}, %z: tensor<8x10xf32> {ns.name = "trades_loss_grad.z"}, %y: tensor<4xi32> {ns.name = "trades_loss_grad.y"}, %b: tensor<f32> {ns.name = "trades_loss_grad.beta"}) -> (tensor<8x10xf32> {ns.name = "trades_loss_grad.dz"}) attributes {ns.entry} {
  // CHECK: rt.fused [8, 1, 10] ins(
  // CHECK-SAME: -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<8x10xf32>
  // CHECK: rt.yield
  // CHECK-NOT: rt.fused
  %d = ns.trades_loss_grad %g, %z, %y, %b : tensor<8xf32>, tensor<8x10xf32>, tensor<4xi32>, tensor<f32>
  return %d : tensor<8x10xf32>
}

// CHECK-LABEL: func.func @expand_channels()
func.func @expand_channels(%w: tensor<4x5xf32> {ns.name = "expand_channels.w"}) -> (tensor<4x5x8xf32> {ns.name = "expand_channels.v"}) attributes {ns.entry} {
  // CHECK: rt.fused [20, 1, 8] ins(%{{.*}} : tensor<20x1xf32>)
  // CHECK-SAME: maps [affine_map<(d0, d1, d2) -> (d0, 0)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>]
  %v = ns.expand_channels %w : tensor<4x5xf32> -> tensor<4x5x8xf32>
  return %v : tensor<4x5x8xf32>
}

// CHECK-LABEL: func.func @mean_channels()
func.func @mean_channels(%x: tensor<4x5x8xf32> {ns.name = "mean_channels.x"}) -> (tensor<4x5xf32> {ns.name = "mean_channels.a"}) attributes {ns.entry} {
  // CHECK: rt.fused [20, 1, 8]
  // CHECK-SAME: -> [affine_map<(d0, d1, d2) -> (d0, 0)>]
  // CHECK: %[[SUM:.*]] = rt.row_reduce add
  // CHECK: %[[EIGHTH:.*]] = arith.constant 1.250000e-01
  // CHECK: arith.mulf %[[SUM]], %[[EIGHTH]]
  %a = ns.mean_channels %x : tensor<4x5x8xf32> -> tensor<4x5xf32>
  return %a : tensor<4x5xf32>
}

// The floor is the smallest normal number.
// CHECK-LABEL: func.func @attention_loss()
func.func @attention_loss(%a: tensor<4x5xf32> {ns.name = "attention_loss.a"}) -> (tensor<4xf32> {ns.name = "attention_loss.loss"}) attributes {ns.entry} {
  // CHECK: rt.fused [4, 1, 5]
  // CHECK: arith.constant 1.17549435E-38
  // CHECK: arith.cmpf olt
  // CHECK: math.log
  // CHECK: rt.row_reduce add
  %l = ns.attention_loss %a : tensor<4x5xf32> -> tensor<4xf32>
  return %l : tensor<4xf32>
}

// CHECK-LABEL: func.func @attention_loss_grad()
func.func @attention_loss_grad(%g: tensor<4xf32> {ns.name = "attention_loss_grad.g"}, %a: tensor<4x5xf32> {ns.name = "attention_loss_grad.a"}) -> (tensor<4x5xf32> {ns.name = "attention_loss_grad.da"}) attributes {ns.entry} {
  // CHECK: rt.fused [4, 1, 5]
  // CHECK: arith.divf
  // CHECK: arith.select
  %d = ns.attention_loss_grad %g, %a : tensor<4xf32>, tensor<4x5xf32>
  return %d : tensor<4x5xf32>
}
