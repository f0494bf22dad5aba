// RUN: ns-opt %s --nn-to-rt --mlir-print-local-scope | FileCheck %s

// Normalised on the way; channels are read across the image's planes.
// CHECK-LABEL: func.func @image_to_tokens(
func.func @image_to_tokens(%i: tensor<2x3x4x5xf32> {ns.name = "i"}) -> (tensor<2x20x3xf32> {ns.name = "t"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "t" : tensor<2x20x3xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot io "i" : tensor<2x3x4x5xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.view %[[V1]] offset 0 : tensor<2x3x4x5xf32> -> tensor<120xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.fused [40, 1, 3] ins(%[[V2]] : tensor<120xf32>) into(%[[V0]] : tensor<2x20x3xf32>) [0] maps [affine_map<(d0, d1, d2) -> ((d0 floordiv 20) * 60 + d0 mod 20, d2 * 20)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x20x3xf32> {
  // CHECK-NEXT: ^bb0(%[[V4:.*]]: f32):
  // CHECK-NEXT: %[[V5:.*]] = rt.index affine_map<(d0, d1, d2) -> (d2)> : i32
  // CHECK-NEXT: %[[V6:.*]] = arith.constant 0 : i32
  // CHECK-NEXT: %[[V7:.*]] = arith.cmpi eq, %[[V5]], %[[V6]] : i32
  // CHECK-NEXT: %[[V8:.*]] = arith.constant 5.000000e-01 : f32
  // CHECK-NEXT: %[[V9:.*]] = arith.constant 1 : i32
  // CHECK-NEXT: %[[V10:.*]] = arith.cmpi eq, %[[V5]], %[[V9]] : i32
  // CHECK-NEXT: %[[V11:.*]] = arith.constant 2.500000e-01 : f32
  // CHECK-NEXT: %[[V12:.*]] = arith.constant 5.000000e-01 : f32
  // CHECK-NEXT: %[[V13:.*]] = arith.select %[[V10]], %[[V11]], %[[V12]] : f32
  // CHECK-NEXT: %[[V14:.*]] = arith.select %[[V7]], %[[V8]], %[[V13]] : f32
  // CHECK-NEXT: %[[V15:.*]] = arith.subf %[[V4]], %[[V14]] : f32
  // CHECK-NEXT: %[[V16:.*]] = rt.index affine_map<(d0, d1, d2) -> (d2)> : i32
  // CHECK-NEXT: %[[V17:.*]] = arith.constant 0 : i32
  // CHECK-NEXT: %[[V18:.*]] = arith.cmpi eq, %[[V16]], %[[V17]] : i32
  // CHECK-NEXT: %[[V19:.*]] = arith.constant 5.000000e-01 : f32
  // CHECK-NEXT: %[[V20:.*]] = arith.constant 1 : i32
  // CHECK-NEXT: %[[V21:.*]] = arith.cmpi eq, %[[V16]], %[[V20]] : i32
  // CHECK-NEXT: %[[V22:.*]] = arith.constant 5.000000e-01 : f32
  // CHECK-NEXT: %[[V23:.*]] = arith.constant 2.500000e-01 : f32
  // CHECK-NEXT: %[[V24:.*]] = arith.select %[[V21]], %[[V22]], %[[V23]] : f32
  // CHECK-NEXT: %[[V25:.*]] = arith.select %[[V18]], %[[V19]], %[[V24]] : f32
  // CHECK-NEXT: %[[V26:.*]] = arith.divf %[[V15]], %[[V25]] : f32
  // CHECK-NEXT: rt.yield %[[V26]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %n = nn.normalize %i mean [0.5, 0.25, 0.5] std [0.5, 0.5, 0.25] : tensor<2x3x4x5xf32>
  %t = nn.image_to_tokens %n : tensor<2x3x4x5xf32> -> tensor<2x20x3xf32>
  return %t : tensor<2x20x3xf32>
}

// CHECK-LABEL: func.func @tokens_to_image(
func.func @tokens_to_image(%t: tensor<2x20x3xf32> {ns.name = "t"}) -> (tensor<2x3x4x5xf32> {ns.name = "i"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "i" : tensor<2x3x4x5xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.view %[[V0]] offset 0 : tensor<2x3x4x5xf32> -> tensor<6x20xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.slot io "t" : tensor<2x20x3xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.view %[[V2]] offset 0 : tensor<2x20x3xf32> -> tensor<120xf32>
  // CHECK-NEXT: %[[V4:.*]] = rt.fused [6, 1, 20] ins(%[[V3]] : tensor<120xf32>) into(%[[V1]] : tensor<6x20xf32>) [0] maps [affine_map<(d0, d1, d2) -> ((d0 floordiv 3) * 60 + d0 mod 3, d2 * 3)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<6x20xf32> {
  // CHECK-NEXT: ^bb0(%[[V5:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V5]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %i = nn.tokens_to_image %t : tensor<2x20x3xf32> -> tensor<2x3x4x5xf32>
  return %i : tensor<2x3x4x5xf32>
}

// Windows of 2x5 on a grid of 4x10.
// CHECK-LABEL: func.func @permute_tokens(
func.func @permute_tokens(%x: tensor<2x40x8xf32> {ns.name = "x"}) -> (tensor<2x40x8xf32> {ns.name = "y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "y" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot io "x" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.fused [80, 1, 8] ins(%[[V1]] : tensor<2x40x8xf32>) into(%[[V0]] : tensor<2x40x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> ((d0 floordiv 40) * 40 + d0 mod 5 + ((d0 floordiv 5) mod 2) * 10 + ((d0 floordiv 10) mod 2) * 5 + ((d0 floordiv 20) mod 2) * 20, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x40x8xf32> {
  // CHECK-NEXT: ^bb0(%[[V3:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V3]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %y = nn.permute_tokens %x digits [2, 2, 2, 5] order [0, 2, 1, 3] : tensor<2x40x8xf32>
  return %y : tensor<2x40x8xf32>
}

// A shift back by one is a shift on by the extent less one.
// CHECK-LABEL: func.func @roll_tokens(
func.func @roll_tokens(%x: tensor<2x40x8xf32> {ns.name = "x"}) -> (tensor<2x40x8xf32> {ns.name = "y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "y" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot io "x" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.fused [80, 1, 8] ins(%[[V1]] : tensor<2x40x8xf32>) into(%[[V0]] : tensor<2x40x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (((d0 floordiv 40) * 4 + ((d0 floordiv 10) mod 4 + 1) mod 4) * 10 + (d0 mod 10 + 7) mod 10, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x40x8xf32> {
  // CHECK-NEXT: ^bb0(%[[V3:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V3]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %y = nn.roll_tokens %x grid [4, 10] by [-1, 3] : tensor<2x40x8xf32>
  return %y : tensor<2x40x8xf32>
}

// Costs nothing.
// CHECK-LABEL: func.func @reshape_tokens(
func.func @reshape_tokens(%x: tensor<2x40x8xf32> {ns.name = "x"}) -> (tensor<2x10x32xf32> {ns.name = "z"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "z" : tensor<2x10x32xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot io "x" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.view %[[V1]] offset 0 : tensor<2x40x8xf32> -> tensor<2x10x32xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.fused [20, 1, 32] ins(%[[V2]] : tensor<2x10x32xf32>) into(%[[V0]] : tensor<2x10x32xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x10x32xf32> {
  // CHECK-NEXT: ^bb0(%[[V4:.*]]: f32):
  // CHECK-NEXT: %[[V5:.*]] = arith.constant 2.000000e+00 : f32
  // CHECK-NEXT: %[[V6:.*]] = arith.mulf %[[V4]], %[[V5]] : f32
  // CHECK-NEXT: rt.yield %[[V6]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %r = nn.reshape_tokens %x : tensor<2x40x8xf32> -> tensor<2x10x32xf32>
  %y = nn.scale %r by 2.0 : tensor<2x10x32xf32>
  return %y : tensor<2x10x32xf32>
}

// The running form: scale and shift of each channel by a program of one row, then one operation an element.
// CHECK-LABEL: func.func @batch_norm_running(
func.func @batch_norm_running(%x: tensor<2x40x8xf32> {ns.name = "x"}, %g: tensor<8xf32> {ns.name = "g"}, %m: tensor<8xf32> {ns.name = "m"}) -> (tensor<2x40x8xf32> {ns.name = "y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "y" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot io "m" : tensor<8xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.slot io "g" : tensor<8xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.slot io "x" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V4:.*]]:2 = rt.fused [1, 1, 8] ins(%[[V2]], %[[V1]] : tensor<8xf32>, tensor<8xf32>) maps [affine_map<(d0, d1, d2) -> (0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>] : tensor<8xf32>, tensor<8xf32> {
  // CHECK-NEXT: ^bb0(%[[V5:.*]]: f32, %[[V6:.*]]: f32):
  // CHECK-NEXT: %[[V7:.*]] = arith.constant 1.000000e+00 : f32
  // CHECK-NEXT: %[[V8:.*]] = arith.constant 5.000000e-01 : f32
  // CHECK-NEXT: %[[V9:.*]] = arith.addf %[[V6]], %[[V8]] : f32
  // CHECK-NEXT: %[[V10:.*]] = math.sqrt %[[V9]] : f32
  // CHECK-NEXT: %[[V11:.*]] = arith.divf %[[V7]], %[[V10]] : f32
  // CHECK-NEXT: %[[V12:.*]] = arith.mulf %[[V5]], %[[V11]] : f32
  // CHECK-NEXT: %[[V13:.*]] = arith.mulf %[[V6]], %[[V12]] : f32
  // CHECK-NEXT: %[[V14:.*]] = arith.subf %[[V5]], %[[V13]] : f32
  // CHECK-NEXT: rt.yield %[[V12]], %[[V14]] : f32, f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V15:.*]] = rt.fused [80, 1, 8] ins(%[[V3]], %[[V4]]#0, %[[V4]]#1 : tensor<2x40x8xf32>, tensor<8xf32>, tensor<8xf32>) into(%[[V0]] : tensor<2x40x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x40x8xf32> {
  // CHECK-NEXT: ^bb0(%[[V16:.*]]: f32, %[[V17:.*]]: f32, %[[V18:.*]]: f32):
  // CHECK-NEXT: %[[V19:.*]] = math.fma %[[V16]], %[[V17]], %[[V18]] : f32
  // CHECK-NEXT: rt.yield %[[V19]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %y = nn.batch_norm %x, %g, %g running %m, %m eps 0.5 : tensor<2x40x8xf32>, tensor<8xf32>, tensor<8xf32>, tensor<8xf32>
  return %y : tensor<2x40x8xf32>
}

// The batch form shares its statistics with nn.batch_stats: mean and variance by two passes, each summed over images first.
// CHECK-LABEL: func.func @batch_norm_of_batch(
func.func @batch_norm_of_batch(%x: tensor<2x40x8xf32> {ns.name = "x"}, %g: tensor<8xf32> {ns.name = "g"}) -> (tensor<2x40x8xf32> {ns.name = "y"}, tensor<8xf32> {ns.name = "mean"}, tensor<8xf32> {ns.name = "var"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "var" : tensor<8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot io "mean" : tensor<8xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.slot io "y" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.slot io "g" : tensor<8xf32>
  // CHECK-NEXT: %[[V4:.*]] = rt.slot io "x" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V5:.*]] = rt.fused [2, 40, 8] ins(%[[V4]] : tensor<2x40x8xf32>) maps [affine_map<(d0, d1, d2) -> (d0 * 40 + d1, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x8xf32> {
  // CHECK-NEXT: ^bb0(%[[V6:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V6]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V7:.*]] = rt.fused [1, 2, 8] ins(%[[V5]] : tensor<2x8xf32>) maps [affine_map<(d0, d1, d2) -> (d1, d2)>] -> [affine_map<(d0, d1, d2) -> (0, d2)>] : tensor<8xf32> {
  // CHECK-NEXT: ^bb0(%[[V8:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V8]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V9:.*]] = rt.fused [1, 1, 8] ins(%[[V7]] : tensor<8xf32>) into(%[[V1]] : tensor<8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (0, d2)>] : tensor<8xf32> {
  // CHECK-NEXT: ^bb0(%[[V10:.*]]: f32):
  // CHECK-NEXT: %[[V11:.*]] = arith.constant 1.250000e-02 : f32
  // CHECK-NEXT: %[[V12:.*]] = arith.mulf %[[V10]], %[[V11]] : f32
  // CHECK-NEXT: rt.yield %[[V12]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V13:.*]] = rt.fused [2, 40, 8] ins(%[[V4]], %[[V9]] : tensor<2x40x8xf32>, tensor<8xf32>) maps [affine_map<(d0, d1, d2) -> (d0 * 40 + d1, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x8xf32> {
  // CHECK-NEXT: ^bb0(%[[V14:.*]]: f32, %[[V15:.*]]: f32):
  // CHECK-NEXT: %[[V16:.*]] = arith.subf %[[V14]], %[[V15]] : f32
  // CHECK-NEXT: %[[V17:.*]] = arith.mulf %[[V16]], %[[V16]] : f32
  // CHECK-NEXT: rt.yield %[[V17]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V18:.*]] = rt.fused [1, 2, 8] ins(%[[V13]] : tensor<2x8xf32>) maps [affine_map<(d0, d1, d2) -> (d1, d2)>] -> [affine_map<(d0, d1, d2) -> (0, d2)>] : tensor<8xf32> {
  // CHECK-NEXT: ^bb0(%[[V19:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V19]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V20:.*]] = rt.fused [1, 1, 8] ins(%[[V18]] : tensor<8xf32>) maps [affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (0, d2)>] : tensor<8xf32> {
  // CHECK-NEXT: ^bb0(%[[V21:.*]]: f32):
  // CHECK-NEXT: %[[V22:.*]] = arith.constant 1.250000e-02 : f32
  // CHECK-NEXT: %[[V23:.*]] = arith.mulf %[[V21]], %[[V22]] : f32
  // CHECK-NEXT: rt.yield %[[V23]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V24:.*]]:2 = rt.fused [1, 1, 8] ins(%[[V3]], %[[V20]], %[[V9]] : tensor<8xf32>, tensor<8xf32>, tensor<8xf32>) maps [affine_map<(d0, d1, d2) -> (0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>] : tensor<8xf32>, tensor<8xf32> {
  // CHECK-NEXT: ^bb0(%[[V25:.*]]: f32, %[[V26:.*]]: f32, %[[V27:.*]]: f32):
  // CHECK-NEXT: %[[V28:.*]] = arith.constant 1.000000e+00 : f32
  // CHECK-NEXT: %[[V29:.*]] = arith.constant 5.000000e-01 : f32
  // CHECK-NEXT: %[[V30:.*]] = arith.addf %[[V26]], %[[V29]] : f32
  // CHECK-NEXT: %[[V31:.*]] = math.sqrt %[[V30]] : f32
  // CHECK-NEXT: %[[V32:.*]] = arith.divf %[[V28]], %[[V31]] : f32
  // CHECK-NEXT: %[[V33:.*]] = arith.mulf %[[V25]], %[[V32]] : f32
  // CHECK-NEXT: %[[V34:.*]] = arith.mulf %[[V27]], %[[V33]] : f32
  // CHECK-NEXT: %[[V35:.*]] = arith.subf %[[V25]], %[[V34]] : f32
  // CHECK-NEXT: rt.yield %[[V33]], %[[V35]] : f32, f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V36:.*]] = rt.fused [80, 1, 8] ins(%[[V4]], %[[V24]]#0, %[[V24]]#1 : tensor<2x40x8xf32>, tensor<8xf32>, tensor<8xf32>) into(%[[V2]] : tensor<2x40x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x40x8xf32> {
  // CHECK-NEXT: ^bb0(%[[V37:.*]]: f32, %[[V38:.*]]: f32, %[[V39:.*]]: f32):
  // CHECK-NEXT: %[[V40:.*]] = math.fma %[[V37]], %[[V38]], %[[V39]] : f32
  // CHECK-NEXT: rt.yield %[[V40]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V41:.*]] = rt.fused [1, 1, 8] ins(%[[V20]] : tensor<8xf32>) into(%[[V0]] : tensor<8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (0, d2)>] : tensor<8xf32> {
  // CHECK-NEXT: ^bb0(%[[V42:.*]]: f32):
  // CHECK-NEXT: %[[V43:.*]] = arith.constant 1.01265824 : f32
  // CHECK-NEXT: %[[V44:.*]] = arith.mulf %[[V42]], %[[V43]] : f32
  // CHECK-NEXT: rt.yield %[[V44]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %y = nn.batch_norm %x, %g, %g eps 0.5 : tensor<2x40x8xf32>, tensor<8xf32>
  %m, %v = nn.batch_stats %x : tensor<2x40x8xf32> -> tensor<8xf32>
  return %y, %m, %v : tensor<2x40x8xf32>, tensor<8xf32>, tensor<8xf32>
}

// Running statistics: a scale of the cotangent.
// CHECK-LABEL: func.func @batch_norm_grad(
func.func @batch_norm_grad(%x: tensor<2x40x8xf32> {ns.name = "x"}, %g: tensor<8xf32> {ns.name = "g"}, %m: tensor<8xf32> {ns.name = "m"}) -> (tensor<2x40x8xf32> {ns.name = "y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "y" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot io "m" : tensor<8xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.slot io "g" : tensor<8xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.slot io "x" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V4:.*]] = rt.fused [1, 1, 8] ins(%[[V2]], %[[V1]] : tensor<8xf32>, tensor<8xf32>) maps [affine_map<(d0, d1, d2) -> (0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (0, d2)>] : tensor<8xf32> {
  // CHECK-NEXT: ^bb0(%[[V5:.*]]: f32, %[[V6:.*]]: f32):
  // CHECK-NEXT: %[[V7:.*]] = arith.constant 1.000000e+00 : f32
  // CHECK-NEXT: %[[V8:.*]] = arith.constant 5.000000e-01 : f32
  // CHECK-NEXT: %[[V9:.*]] = arith.addf %[[V6]], %[[V8]] : f32
  // CHECK-NEXT: %[[V10:.*]] = math.sqrt %[[V9]] : f32
  // CHECK-NEXT: %[[V11:.*]] = arith.divf %[[V7]], %[[V10]] : f32
  // CHECK-NEXT: %[[V12:.*]] = arith.mulf %[[V5]], %[[V11]] : f32
  // CHECK-NEXT: rt.yield %[[V12]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V13:.*]] = rt.fused [80, 1, 8] ins(%[[V3]], %[[V4]] : tensor<2x40x8xf32>, tensor<8xf32>) into(%[[V0]] : tensor<2x40x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x40x8xf32> {
  // CHECK-NEXT: ^bb0(%[[V14:.*]]: f32, %[[V15:.*]]: f32):
  // CHECK-NEXT: %[[V16:.*]] = arith.mulf %[[V14]], %[[V15]] : f32
  // CHECK-NEXT: rt.yield %[[V16]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %y = nn.batch_norm_grad %x, %x, %g running %m, %m eps 0.5 : tensor<2x40x8xf32>, tensor<8xf32>, tensor<8xf32>, tensor<8xf32>
  return %y : tensor<2x40x8xf32>
}

// Sums over more than 256 tokens are cut: here 320 into 2 of 160.
// CHECK-LABEL: func.func @long_sums(
func.func @long_sums(%x: tensor<2x320x8xf32> {ns.name = "long"}) -> (tensor<8xf32> {ns.name = "sum"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "sum" : tensor<8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot io "long" : tensor<2x320x8xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.fused [4, 160, 8] ins(%[[V1]] : tensor<2x320x8xf32>) maps [affine_map<(d0, d1, d2) -> (d0 * 160 + d1, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x8xf32> {
  // CHECK-NEXT: ^bb0(%[[V3:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V3]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V4:.*]] = rt.fused [1, 4, 8] ins(%[[V2]] : tensor<4x8xf32>) into(%[[V0]] : tensor<8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d1, d2)>] -> [affine_map<(d0, d1, d2) -> (0, d2)>] : tensor<8xf32> {
  // CHECK-NEXT: ^bb0(%[[V5:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V5]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %y = nn.sum_rows %x : tensor<2x320x8xf32> -> tensor<8xf32>
  return %y : tensor<8xf32>
}

// CHECK-LABEL: func.func @relu(
func.func @relu(%x: tensor<2x40x8xf32> {ns.name = "x"}) -> (tensor<2x40x8xf32> {ns.name = "y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "y" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot io "x" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.fused [80, 1, 8] ins(%[[V1]] : tensor<2x40x8xf32>) into(%[[V0]] : tensor<2x40x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x40x8xf32> {
  // CHECK-NEXT: ^bb0(%[[V3:.*]]: f32):
  // CHECK-NEXT: %[[V4:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[V5:.*]] = arith.cmpf olt, %[[V3]], %[[V4]] : f32
  // CHECK-NEXT: %[[V6:.*]] = arith.select %[[V5]], %[[V4]], %[[V3]] : f32
  // CHECK-NEXT: rt.yield %[[V6]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %y = nn.activation relu %x : tensor<2x40x8xf32>
  return %y : tensor<2x40x8xf32>
}

// CHECK-LABEL: func.func @relu_grad(
func.func @relu_grad(%x: tensor<2x40x8xf32> {ns.name = "x"}, %dy: tensor<2x40x8xf32> {ns.name = "dy"}) -> (tensor<2x40x8xf32> {ns.name = "y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "y" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot io "dy" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.slot io "x" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.fused [80, 1, 8] ins(%[[V2]], %[[V1]] : tensor<2x40x8xf32>, tensor<2x40x8xf32>) into(%[[V0]] : tensor<2x40x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x40x8xf32> {
  // CHECK-NEXT: ^bb0(%[[V4:.*]]: f32, %[[V5:.*]]: f32):
  // CHECK-NEXT: %[[V6:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[V7:.*]] = arith.cmpf ole, %[[V4]], %[[V6]] : f32
  // CHECK-NEXT: %[[V8:.*]] = arith.select %[[V7]], %[[V6]], %[[V5]] : f32
  // CHECK-NEXT: rt.yield %[[V8]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %y = nn.activation_grad relu %dy, %x : tensor<2x40x8xf32>
  return %y : tensor<2x40x8xf32>
}

// CHECK-LABEL: func.func @silu(
func.func @silu(%x: tensor<2x40x8xf32> {ns.name = "x"}) -> (tensor<2x40x8xf32> {ns.name = "y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "y" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot io "x" : tensor<2x40x8xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.fused [80, 1, 8] ins(%[[V1]] : tensor<2x40x8xf32>) into(%[[V0]] : tensor<2x40x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x40x8xf32> {
  // CHECK-NEXT: ^bb0(%[[V3:.*]]: f32):
  // CHECK-NEXT: %[[V4:.*]] = arith.constant 1.000000e+00 : f32
  // CHECK-NEXT: %[[V5:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[V6:.*]] = arith.subf %[[V5]], %[[V3]] : f32
  // CHECK-NEXT: %[[V7:.*]] = math.exp %[[V6]] : f32
  // CHECK-NEXT: %[[V8:.*]] = arith.addf %[[V4]], %[[V7]] : f32
  // CHECK-NEXT: %[[V9:.*]] = arith.divf %[[V4]], %[[V8]] : f32
  // CHECK-NEXT: %[[V10:.*]] = arith.mulf %[[V3]], %[[V9]] : f32
  // CHECK-NEXT: rt.yield %[[V10]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %y = nn.activation silu %x : tensor<2x40x8xf32>
  return %y : tensor<2x40x8xf32>
}
