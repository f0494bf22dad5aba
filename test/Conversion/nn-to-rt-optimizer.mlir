// RUN: ns-opt %s --nn-to-rt --mlir-print-local-scope | FileCheck %s

// A gradient that a product makes is accumulated by the product; any other by a program that takes what an accumulator of 0 held, NaN too, as 0.
nn.param @w : tensor<16x8xf32>
nn.param @b no_decay : tensor<16xf32>
// CHECK-LABEL: func.func @store_grad()
func.func @store_grad(%x: tensor<4x8xf32> {ns.name = "x"}, %dy: tensor<4x16xf32> {ns.name = "dy"}, %db: tensor<16xf32> {ns.name = "db"}, %acc: tensor<f32> {ns.name = "accumulate"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot state "params.grad:b" : tensor<16xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot state "params.grad:w" : tensor<16x8xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "accumulate" : tensor<f32>
  // CHECK-NEXT: %[[S3:.*]] = rt.slot io "db" : tensor<16xf32>
  // CHECK-NEXT: %[[S4:.*]] = rt.slot io "dy" : tensor<4x16xf32>
  // CHECK-NEXT: %[[S5:.*]] = rt.slot io "x" : tensor<4x8xf32>
  // CHECK-NEXT: %[[G0:.*]] = rt.gemm [16, 8, 4] %[[S4]] trans_a, %[[S5]] into %[[S1]] accumulate %[[S2]] : (tensor<4x16xf32>, tensor<4x8xf32>, tensor<16x8xf32>, tensor<f32>) -> tensor<16x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [1, 1, 16] ins(%[[S3]], %[[S2]], %[[S0]] : tensor<16xf32>, tensor<f32>, tensor<16xf32>) into(%[[S0]] : tensor<16xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (0, 0)>, affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<16xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32, %[[X1:.*]]: f32, %[[X2:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[E1:.*]] = arith.cmpf oeq, %[[X1]], %[[E0]] : f32
  // CHECK-NEXT: %[[E2:.*]] = arith.mulf %[[X1]], %[[X2]] : f32
  // CHECK-NEXT: %[[E3:.*]] = arith.select %[[E1]], %[[E0]], %[[E2]] : f32
  // CHECK-NEXT: %[[E4:.*]] = arith.addf %[[X0]], %[[E3]] : f32
  // CHECK-NEXT: rt.yield %[[E4]] : f32
  // CHECK-NEXT: }
  %dw = nn.linear_grad_weight %dy, %x : (tensor<4x16xf32>, tensor<4x8xf32>) -> tensor<16x8xf32>
  ns.store_grad @w, %dw accumulate %acc : tensor<16x8xf32>, tensor<f32>
  ns.store_grad @b, %db accumulate %acc : tensor<16xf32>, tensor<f32>
  return
}

// A sum over rows takes what the accumulator held along with its first term.
// CHECK-LABEL: func.func @store_sum()
func.func @store_sum(%dy: tensor<4x17x16xf32> {ns.name = "dz"}, %acc: tensor<f32> {ns.name = "accumulate"}) attributes {ns.entry} {
  // CHECK-DAG: %[[DB:.*]] = rt.slot state "params.grad:b" : tensor<16xf32>
  // CHECK-DAG: %[[ACC:.*]] = rt.slot io "accumulate" : tensor<f32>
  // CHECK: %[[P:.*]] = rt.fused [4, 17, 16]
  // CHECK: rt.fused [1, 4, 16] ins(%[[P]], %[[DB]], %[[ACC]] : tensor<4x16xf32>, tensor<16xf32>, tensor<f32>) into(%[[DB]] : tensor<16xf32>) [0]
  // CHECK-NEXT: ^bb0(%[[X:.*]]: f32, %[[OLD:.*]]: f32, %[[FACTOR:.*]]: f32):
  // CHECK-NEXT: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[COUNTS:.*]] = arith.cmpf une, %[[FACTOR]], %[[ZERO]] : f32
  // CHECK: %[[FIRST:.*]] = arith.cmpi eq,
  // CHECK: %[[BOTH:.*]] = arith.andi %[[COUNTS]], %[[FIRST]] : i1
  // CHECK: %[[KEPT:.*]] = arith.select %[[BOTH]], %{{.*}}, %[[ZERO]] : f32
  // CHECK-NEXT: %[[SUM:.*]] = arith.addf %[[X]], %[[KEPT]] : f32
  // CHECK-NEXT: rt.yield %[[SUM]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %db = nn.sum_rows %dy : tensor<4x17x16xf32> -> tensor<16xf32>
  ns.store_grad @b, %db accumulate %acc : tensor<16xf32>, tensor<f32>
  return
}

// One update in place for each group of parameters, all its parameters at once as rows of 1024; only the first decays.
// CHECK-LABEL: func.func @finetune_update()
func.func @finetune_update(%h: tensor<7xf32> {ns.name = "hyper"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot state "params.v:no_decay" : tensor<1024xf32>
  // CHECK-NEXT: %[[V0:.*]] = rt.view %[[S0]] offset 0 : tensor<1024xf32> -> tensor<1x1024xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot state "params.m:no_decay" : tensor<1024xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.view %[[S1]] offset 0 : tensor<1024xf32> -> tensor<1x1024xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot state "params.grad:no_decay" : tensor<1024xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.view %[[S2]] offset 0 : tensor<1024xf32> -> tensor<1x1024xf32>
  // CHECK-NEXT: %[[S3:.*]] = rt.slot params ":no_decay" : tensor<1024xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.view %[[S3]] offset 0 : tensor<1024xf32> -> tensor<1x1024xf32>
  // CHECK-NEXT: %[[S4:.*]] = rt.slot state "params.v:decay" : tensor<1024xf32>
  // CHECK-NEXT: %[[V4:.*]] = rt.view %[[S4]] offset 0 : tensor<1024xf32> -> tensor<1x1024xf32>
  // CHECK-NEXT: %[[S5:.*]] = rt.slot state "params.m:decay" : tensor<1024xf32>
  // CHECK-NEXT: %[[V5:.*]] = rt.view %[[S5]] offset 0 : tensor<1024xf32> -> tensor<1x1024xf32>
  // CHECK-NEXT: %[[S6:.*]] = rt.slot state "params.grad:decay" : tensor<1024xf32>
  // CHECK-NEXT: %[[V6:.*]] = rt.view %[[S6]] offset 0 : tensor<1024xf32> -> tensor<1x1024xf32>
  // CHECK-NEXT: %[[S7:.*]] = rt.slot params ":decay" : tensor<1024xf32>
  // CHECK-NEXT: %[[V7:.*]] = rt.view %[[S7]] offset 0 : tensor<1024xf32> -> tensor<1x1024xf32>
  // CHECK-NEXT: %[[S8:.*]] = rt.slot io "hyper" : tensor<7xf32>
  // CHECK-NEXT: %[[F0:.*]]:3 = rt.fused [1, 1, 1024] ins(%[[V6]], %[[V7]], %[[S8]], %[[S8]], %[[S8]], %[[V5]], %[[S8]], %[[S8]], %[[V4]], %[[S8]], %[[S8]] : tensor<1x1024xf32>, tensor<1x1024xf32>, tensor<7xf32>, tensor<7xf32>, tensor<7xf32>, tensor<1x1024xf32>, tensor<7xf32>, tensor<7xf32>, tensor<1x1024xf32>, tensor<7xf32>, tensor<7xf32>) into(%[[V7]], %[[V5]], %[[V4]] : tensor<1x1024xf32>, tensor<1x1024xf32>, tensor<1x1024xf32>) [0, 1, 2] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (0, 0)>, affine_map<(d0, d1, d2) -> (4, 0)>, affine_map<(d0, d1, d2) -> (5, 0)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (1, 0)>, affine_map<(d0, d1, d2) -> (2, 0)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (6, 0)>, affine_map<(d0, d1, d2) -> (3, 0)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<1x1024xf32>, tensor<1x1024xf32>, tensor<1x1024xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32, %[[X1:.*]]: f32, %[[X2:.*]]: f32, %[[X3:.*]]: f32, %[[X4:.*]]: f32, %[[X5:.*]]: f32, %[[X6:.*]]: f32, %[[X7:.*]]: f32, %[[X8:.*]]: f32, %[[X9:.*]]: f32, %[[X10:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = arith.subf %[[X0]], %[[X0]] : f32
  // CHECK-NEXT: %[[E1:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[E2:.*]] = arith.cmpf oeq, %[[E0]], %[[E1]] : f32
  // CHECK-NEXT: %[[E3:.*]] = arith.constant 1.000000e+00 : f32
  // CHECK-NEXT: %[[E4:.*]] = arith.mulf %[[X2]], %[[X3]] : f32
  // CHECK-NEXT: %[[E5:.*]] = arith.subf %[[E3]], %[[E4]] : f32
  // CHECK-NEXT: %[[E6:.*]] = arith.mulf %[[X1]], %[[E5]] : f32
  // CHECK-NEXT: %[[E7:.*]] = arith.divf %[[X2]], %[[X4]] : f32
  // CHECK-NEXT: %[[E8:.*]] = arith.subf %[[X0]], %[[X5]] : f32
  // CHECK-NEXT: %[[E9:.*]] = arith.subf %[[E3]], %[[X6]] : f32
  // CHECK-NEXT: %[[E10:.*]] = math.fma %[[E8]], %[[E9]], %[[X5]] : f32
  // CHECK-NEXT: %[[E11:.*]] = arith.mulf %[[E7]], %[[E10]] : f32
  // CHECK-NEXT: %[[E12:.*]] = arith.mulf %[[X0]], %[[X0]] : f32
  // CHECK-NEXT: %[[E13:.*]] = arith.subf %[[E3]], %[[X7]] : f32
  // CHECK-NEXT: %[[E14:.*]] = arith.mulf %[[X8]], %[[X7]] : f32
  // CHECK-NEXT: %[[E15:.*]] = math.fma %[[E12]], %[[E13]], %[[E14]] : f32
  // CHECK-NEXT: %[[E16:.*]] = math.sqrt %[[E15]] : f32
  // CHECK-NEXT: %[[E17:.*]] = math.sqrt %[[X9]] : f32
  // CHECK-NEXT: %[[E18:.*]] = arith.divf %[[E16]], %[[E17]] : f32
  // CHECK-NEXT: %[[E19:.*]] = arith.addf %[[E18]], %[[X10]] : f32
  // CHECK-NEXT: %[[E20:.*]] = arith.divf %[[E11]], %[[E19]] : f32
  // CHECK-NEXT: %[[E21:.*]] = arith.subf %[[E6]], %[[E20]] : f32
  // CHECK-NEXT: %[[E22:.*]] = arith.select %[[E2]], %[[E21]], %[[X1]] : f32
  // CHECK-NEXT: %[[E23:.*]] = arith.select %[[E2]], %[[E10]], %[[X5]] : f32
  // CHECK-NEXT: %[[E24:.*]] = arith.select %[[E2]], %[[E15]], %[[X8]] : f32
  // CHECK-NEXT: rt.yield %[[E22]], %[[E23]], %[[E24]] : f32, f32, f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[F1:.*]]:3 = rt.fused [1, 1, 1024] ins(%[[V2]], %[[V3]], %[[S8]], %[[S8]], %[[V1]], %[[S8]], %[[S8]], %[[V0]], %[[S8]], %[[S8]] : tensor<1x1024xf32>, tensor<1x1024xf32>, tensor<7xf32>, tensor<7xf32>, tensor<1x1024xf32>, tensor<7xf32>, tensor<7xf32>, tensor<1x1024xf32>, tensor<7xf32>, tensor<7xf32>) into(%[[V3]], %[[V1]], %[[V0]] : tensor<1x1024xf32>, tensor<1x1024xf32>, tensor<1x1024xf32>) [0, 1, 2] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (0, 0)>, affine_map<(d0, d1, d2) -> (5, 0)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (1, 0)>, affine_map<(d0, d1, d2) -> (2, 0)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (6, 0)>, affine_map<(d0, d1, d2) -> (3, 0)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<1x1024xf32>, tensor<1x1024xf32>, tensor<1x1024xf32> {
  // CHECK-NEXT: ^bb0(%[[X11:.*]]: f32, %[[X12:.*]]: f32, %[[X13:.*]]: f32, %[[X14:.*]]: f32, %[[X15:.*]]: f32, %[[X16:.*]]: f32, %[[X17:.*]]: f32, %[[X18:.*]]: f32, %[[X19:.*]]: f32, %[[X20:.*]]: f32):
  // CHECK-NEXT: %[[E25:.*]] = arith.subf %[[X11]], %[[X11]] : f32
  // CHECK-NEXT: %[[E26:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[E27:.*]] = arith.cmpf oeq, %[[E25]], %[[E26]] : f32
  // CHECK-NEXT: %[[E28:.*]] = arith.divf %[[X13]], %[[X14]] : f32
  // CHECK-NEXT: %[[E29:.*]] = arith.subf %[[X11]], %[[X15]] : f32
  // CHECK-NEXT: %[[E30:.*]] = arith.constant 1.000000e+00 : f32
  // CHECK-NEXT: %[[E31:.*]] = arith.subf %[[E30]], %[[X16]] : f32
  // CHECK-NEXT: %[[E32:.*]] = math.fma %[[E29]], %[[E31]], %[[X15]] : f32
  // CHECK-NEXT: %[[E33:.*]] = arith.mulf %[[E28]], %[[E32]] : f32
  // CHECK-NEXT: %[[E34:.*]] = arith.mulf %[[X11]], %[[X11]] : f32
  // CHECK-NEXT: %[[E35:.*]] = arith.subf %[[E30]], %[[X17]] : f32
  // CHECK-NEXT: %[[E36:.*]] = arith.mulf %[[X18]], %[[X17]] : f32
  // CHECK-NEXT: %[[E37:.*]] = math.fma %[[E34]], %[[E35]], %[[E36]] : f32
  // CHECK-NEXT: %[[E38:.*]] = math.sqrt %[[E37]] : f32
  // CHECK-NEXT: %[[E39:.*]] = math.sqrt %[[X19]] : f32
  // CHECK-NEXT: %[[E40:.*]] = arith.divf %[[E38]], %[[E39]] : f32
  // CHECK-NEXT: %[[E41:.*]] = arith.addf %[[E40]], %[[X20]] : f32
  // CHECK-NEXT: %[[E42:.*]] = arith.divf %[[E33]], %[[E41]] : f32
  // CHECK-NEXT: %[[E43:.*]] = arith.subf %[[X12]], %[[E42]] : f32
  // CHECK-NEXT: %[[E44:.*]] = arith.select %[[E27]], %[[E43]], %[[X12]] : f32
  // CHECK-NEXT: %[[E45:.*]] = arith.select %[[E27]], %[[E32]], %[[X15]] : f32
  // CHECK-NEXT: %[[E46:.*]] = arith.select %[[E27]], %[[E37]], %[[X18]] : f32
  // CHECK-NEXT: rt.yield %[[E44]], %[[E45]], %[[E46]] : f32, f32, f32
  // CHECK-NEXT: }
  ns.adamw_params %h : tensor<7xf32>
  return
}
