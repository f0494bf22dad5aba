// RUN: ns-opt %s --nn-to-rt --mlir-print-local-scope | FileCheck %s
// RUN: ns-opt %s --nn-to-rt=sum-rows=16 --mlir-print-local-scope | FileCheck %s --check-prefix=BLOCKS
// RUN: ns-opt %s --nn-to-rt=sum-rows=8 --mlir-print-local-scope | FileCheck %s --check-prefix=SMALLER
// RUN: not ns-opt %s --nn-to-rt=sum-rows=-1 2>&1 | FileCheck %s --check-prefix=BAD
// BAD: error: expected sum-rows to be at least 0, but got -1

// Mean, then the mean square of what is left: two passes, no difference of large squares.
nn.param @gamma no_decay : tensor<8xf32>
nn.param @beta no_decay : tensor<8xf32>
// CHECK-LABEL: func.func @layer_norm()
func.func @layer_norm(%x: tensor<4x17x8xf32> {ns.name = "layer_norm.x"}) -> (tensor<4x17x8xf32> {ns.name = "layer_norm.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "layer_norm.y" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot params "beta" : tensor<8xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot params "gamma" : tensor<8xf32>
  // CHECK-NEXT: %[[S3:.*]] = rt.slot io "layer_norm.x" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [68, 1, 8] ins(%[[S3]], %[[S2]], %[[S1]] : tensor<4x17x8xf32>, tensor<8xf32>, tensor<8xf32>) into(%[[S0]] : tensor<4x17x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x17x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32, %[[X1:.*]]: f32, %[[X2:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = rt.row_reduce add %[[X0]] : f32
  // CHECK-NEXT: %[[E1:.*]] = arith.constant 1.250000e-01 : f32
  // CHECK-NEXT: %[[E2:.*]] = arith.mulf %[[E0]], %[[E1]] : f32
  // CHECK-NEXT: %[[E3:.*]] = arith.subf %[[X0]], %[[E2]] : f32
  // CHECK-NEXT: %[[E4:.*]] = arith.constant 1.000000e+00 : f32
  // CHECK-NEXT: %[[E5:.*]] = arith.mulf %[[E3]], %[[E3]] : f32
  // CHECK-NEXT: %[[E6:.*]] = rt.row_reduce add %[[E5]] : f32
  // CHECK-NEXT: %[[E7:.*]] = arith.mulf %[[E6]], %[[E1]] : f32
  // CHECK-NEXT: %[[E8:.*]] = arith.constant 9.99999997E-7 : f32
  // CHECK-NEXT: %[[E9:.*]] = arith.addf %[[E7]], %[[E8]] : f32
  // CHECK-NEXT: %[[E10:.*]] = math.sqrt %[[E9]] : f32
  // CHECK-NEXT: %[[E11:.*]] = arith.divf %[[E4]], %[[E10]] : f32
  // CHECK-NEXT: %[[E12:.*]] = arith.mulf %[[E3]], %[[E11]] : f32
  // CHECK-NEXT: %[[E13:.*]] = math.fma %[[E12]], %[[X1]], %[[X2]] : f32
  // CHECK-NEXT: rt.yield %[[E13]] : f32
  // CHECK-NEXT: }
  %g = nn.load_param @gamma : tensor<8xf32>
  %b = nn.load_param @beta : tensor<8xf32>
  %y = nn.layer_norm %x, %g, %b eps 1.0e-06 : tensor<4x17x8xf32>, tensor<8xf32>, tensor<8xf32>
  return %y : tensor<4x17x8xf32>
}

// A norm over heads sees rows of one head.
nn.param @head_gamma no_decay : tensor<4xf32>
nn.param @head_beta no_decay : tensor<4xf32>
// CHECK-LABEL: func.func @norm_of_heads()
func.func @norm_of_heads(%x: tensor<4x17x8xf32> {ns.name = "norm_of_heads.x"}) -> (tensor<4x17x8xf32> {ns.name = "norm_of_heads.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "norm_of_heads.y" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[V0:.*]] = rt.view %[[S0]] offset 0 : tensor<4x17x8xf32> -> tensor<136x4xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot params "head_beta" : tensor<4xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot params "head_gamma" : tensor<4xf32>
  // CHECK-NEXT: %[[S3:.*]] = rt.slot io "norm_of_heads.x" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.view %[[S3]] offset 0 : tensor<4x17x8xf32> -> tensor<136x4xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [136, 1, 4] ins(%[[V1]], %[[S2]], %[[S1]] : tensor<136x4xf32>, tensor<4xf32>, tensor<4xf32>) into(%[[V0]] : tensor<136x4xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<136x4xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32, %[[X1:.*]]: f32, %[[X2:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = rt.row_reduce add %[[X0]] : f32
  // CHECK-NEXT: %[[E1:.*]] = arith.constant 2.500000e-01 : f32
  // CHECK-NEXT: %[[E2:.*]] = arith.mulf %[[E0]], %[[E1]] : f32
  // CHECK-NEXT: %[[E3:.*]] = arith.subf %[[X0]], %[[E2]] : f32
  // CHECK-NEXT: %[[E4:.*]] = arith.constant 1.000000e+00 : f32
  // CHECK-NEXT: %[[E5:.*]] = arith.mulf %[[E3]], %[[E3]] : f32
  // CHECK-NEXT: %[[E6:.*]] = rt.row_reduce add %[[E5]] : f32
  // CHECK-NEXT: %[[E7:.*]] = arith.mulf %[[E6]], %[[E1]] : f32
  // CHECK-NEXT: %[[E8:.*]] = arith.constant 9.99999997E-7 : f32
  // CHECK-NEXT: %[[E9:.*]] = arith.addf %[[E7]], %[[E8]] : f32
  // CHECK-NEXT: %[[E10:.*]] = math.sqrt %[[E9]] : f32
  // CHECK-NEXT: %[[E11:.*]] = arith.divf %[[E4]], %[[E10]] : f32
  // CHECK-NEXT: %[[E12:.*]] = arith.mulf %[[E3]], %[[E11]] : f32
  // CHECK-NEXT: %[[E13:.*]] = math.fma %[[E12]], %[[X1]], %[[X2]] : f32
  // CHECK-NEXT: rt.yield %[[E13]] : f32
  // CHECK-NEXT: }
  %g = nn.load_param @head_gamma : tensor<4xf32>
  %b = nn.load_param @head_beta : tensor<4xf32>
  %y = nn.layer_norm %x, %g, %b eps 1.0e-06 : tensor<4x17x8xf32>, tensor<4xf32>, tensor<4xf32>
  return %y : tensor<4x17x8xf32>
}

// CHECK-LABEL: func.func @gelu()
func.func @gelu(%x: tensor<4x17x8xf32> {ns.name = "gelu.x"}) -> (tensor<4x17x8xf32> {ns.name = "gelu.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "gelu.y" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "gelu.x" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [68, 1, 8] ins(%[[S1]] : tensor<4x17x8xf32>) into(%[[S0]] : tensor<4x17x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x17x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = arith.constant 5.000000e-01 : f32
  // CHECK-NEXT: %[[E1:.*]] = arith.mulf %[[X0]], %[[E0]] : f32
  // CHECK-NEXT: %[[E2:.*]] = arith.constant -0.707106769 : f32
  // CHECK-NEXT: %[[E3:.*]] = arith.mulf %[[X0]], %[[E2]] : f32
  // CHECK-NEXT: %[[E4:.*]] = math.erfc %[[E3]] : f32
  // CHECK-NEXT: %[[E5:.*]] = arith.mulf %[[E1]], %[[E4]] : f32
  // CHECK-NEXT: rt.yield %[[E5]] : f32
  // CHECK-NEXT: }
  %y = nn.gelu %x approximate none : tensor<4x17x8xf32>
  return %y : tensor<4x17x8xf32>
}

// CHECK-LABEL: func.func @gelu_tanh()
func.func @gelu_tanh(%x: tensor<4x17x8xf32> {ns.name = "gelu_tanh.x"}) -> (tensor<4x17x8xf32> {ns.name = "gelu_tanh.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "gelu_tanh.y" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "gelu_tanh.x" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [68, 1, 8] ins(%[[S1]] : tensor<4x17x8xf32>) into(%[[S0]] : tensor<4x17x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x17x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = arith.constant 5.000000e-01 : f32
  // CHECK-NEXT: %[[E1:.*]] = arith.mulf %[[X0]], %[[E0]] : f32
  // CHECK-NEXT: %[[E2:.*]] = arith.constant 0.797884583 : f32
  // CHECK-NEXT: %[[E3:.*]] = arith.constant 4.471500e-02 : f32
  // CHECK-NEXT: %[[E4:.*]] = arith.mulf %[[X0]], %[[X0]] : f32
  // CHECK-NEXT: %[[E5:.*]] = arith.mulf %[[E4]], %[[X0]] : f32
  // CHECK-NEXT: %[[E6:.*]] = math.fma %[[E3]], %[[E5]], %[[X0]] : f32
  // CHECK-NEXT: %[[E7:.*]] = arith.mulf %[[E2]], %[[E6]] : f32
  // CHECK-NEXT: %[[E8:.*]] = math.tanh %[[E7]] : f32
  // CHECK-NEXT: %[[E9:.*]] = math.fma %[[E1]], %[[E8]], %[[E1]] : f32
  // CHECK-NEXT: rt.yield %[[E9]] : f32
  // CHECK-NEXT: }
  %y = nn.gelu %x approximate tanh : tensor<4x17x8xf32>
  return %y : tensor<4x17x8xf32>
}

// A position embedding is shared by the batch: row r of 68 adds row r mod 17.
nn.param @pos : tensor<1x17x8xf32>
// CHECK-LABEL: func.func @add_shared()
func.func @add_shared(%x: tensor<4x17x8xf32> {ns.name = "add_shared.x"}) -> (tensor<4x17x8xf32> {ns.name = "add_shared.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "add_shared.y" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot params "pos" : tensor<1x17x8xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "add_shared.x" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [68, 1, 8] ins(%[[S2]], %[[S1]] : tensor<4x17x8xf32>, tensor<1x17x8xf32>) into(%[[S0]] : tensor<4x17x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0 mod 17, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x17x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32, %[[X1:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = arith.addf %[[X0]], %[[X1]] : f32
  // CHECK-NEXT: rt.yield %[[E0]] : f32
  // CHECK-NEXT: }
  %p = nn.load_param @pos : tensor<1x17x8xf32>
  %y = nn.add %x, %p : tensor<4x17x8xf32>, tensor<1x17x8xf32>
  return %y : tensor<4x17x8xf32>
}

// A sum over all rows: one partial sum for each image, then their sum in order, whatever the thread count.
// Blocks of rows: the divisor of 68 that is nearest to what was asked for.
// BLOCKS-LABEL: func.func @sum_rows()
// BLOCKS: rt.fused [4, 17, 8]
// SMALLER-LABEL: func.func @sum_rows()
// SMALLER: rt.fused [17, 4, 8] {{.*}} maps [affine_map<(d0, d1, d2) -> (d0 * 4 + d1, d2)>]
// SMALLER: rt.fused [1, 17, 8]
// CHECK-LABEL: func.func @sum_rows()
func.func @sum_rows(%x: tensor<4x17x8xf32> {ns.name = "sum_rows.x"}) -> (tensor<8xf32> {ns.name = "sum_rows.sum"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "sum_rows.sum" : tensor<8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "sum_rows.x" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [4, 17, 8] ins(%[[S1]] : tensor<4x17x8xf32>) maps [affine_map<(d0, d1, d2) -> (d0 * 17 + d1, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X0]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[F1:.*]] = rt.fused [1, 4, 8] ins(%[[F0]] : tensor<4x8xf32>) into(%[[S0]] : tensor<8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d1, d2)>] -> [affine_map<(d0, d1, d2) -> (0, d2)>] : tensor<8xf32> {
  // CHECK-NEXT: ^bb0(%[[X1:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X1]] : f32
  // CHECK-NEXT: }
  %y = nn.sum_rows %x : tensor<4x17x8xf32> -> tensor<8xf32>
  return %y : tensor<8xf32>
}

// A shift of all keys does not change attention: what the keys' gradient adds up to is 0, of a norm's beta as of a bias. The queries'
// gradient has no such rule.
nn.param @key_gamma no_decay : tensor<4xf32>
// CHECK-LABEL: func.func @sums_of_key_gradients()
func.func @sums_of_key_gradients(%dy: tensor<4x17x8xf32> {ns.name = "keys.dy"}, %x: tensor<4x17x8xf32> {ns.name = "keys.x"}) -> (tensor<4xf32> {ns.name = "keys.dgamma"}, tensor<4xf32> {ns.name = "keys.dbeta"}, tensor<8xf32> {ns.name = "keys.dbias"}, tensor<8xf32> {ns.name = "queries.dbias"}) attributes {ns.entry} {
  // CHECK-DAG: %[[GAMMA:.*]] = rt.slot io "keys.dgamma"
  // CHECK-DAG: %[[BETA:.*]] = rt.slot io "keys.dbeta"
  // CHECK-DAG: %[[BIAS:.*]] = rt.slot io "keys.dbias"
  // CHECK-DAG: %[[QUERIES:.*]] = rt.slot io "queries.dbias"
  // CHECK: %[[D:.*]]:3 = rt.attention_grad
  // CHECK: rt.fused [4, 34, 4] {{.*}} : tensor<4x4xf32> {
  // CHECK: rt.fused [1, 4, 4] {{.*}} into(%[[GAMMA]] :
  // CHECK: rt.fused [1, 1, 4] ins() into(%[[BETA]] :
  // CHECK-NEXT: arith.constant 0.000000e+00
  // CHECK-NEXT: rt.yield
  // CHECK: rt.fused [1, 1, 8] ins() into(%[[BIAS]] :
  // CHECK-NEXT: arith.constant 0.000000e+00
  // CHECK-NEXT: rt.yield
  // CHECK: rt.fused [4, 17, 8] ins(%[[D]]#0
  // CHECK: rt.fused [1, 4, 8] {{.*}} into(%[[QUERIES]] :
  %d:3 = nn.attention_grad %dy, %x, %x, %x heads 2 scale 5.000000e-01 : (tensor<4x17x8xf32>, tensor<4x17x8xf32>, tensor<4x17x8xf32>, tensor<4x17x8xf32>) -> (tensor<4x17x8xf32>, tensor<4x17x8xf32>, tensor<4x17x8xf32>)
  %dgamma, %dbeta = nn.layer_norm_grad_params %d#1, %x eps 1.0e-06 : tensor<4x17x8xf32> -> tensor<4xf32>
  %dbias = nn.sum_rows %d#1 : tensor<4x17x8xf32> -> tensor<8xf32>
  %dqueries = nn.sum_rows %d#0 : tensor<4x17x8xf32> -> tensor<8xf32>
  return %dgamma, %dbeta, %dbias, %dqueries : tensor<4xf32>, tensor<4xf32>, tensor<8xf32>, tensor<8xf32>
}
