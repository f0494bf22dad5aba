// RUN: ns-opt %s --nn-to-rt --mlir-print-local-scope | FileCheck %s
// RUN: ns-opt %s --nn-to-rt --rt-fuse --rt-plan-memory -o %t

// Sign, the ball around the clean image, the pixels' bounds: one program, in place.
// CHECK-LABEL: func.func @ascend_linf()
func.func @ascend_linf(%y: tensor<2x3x8x16xf32> {ns.name = "image"}, %x: tensor<2x3x8x16xf32> {ns.name = "clean_image"}, %d: tensor<2x3x8x16xf32> {ns.name = "image_grad"}, %h: tensor<3xf32> {ns.name = "attack_hyper"}) -> (tensor<2x3x8x16xf32> {ns.name = "image"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "attack_hyper" : tensor<3xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot io "image_grad" : tensor<2x3x8x16xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.slot io "clean_image" : tensor<2x3x8x16xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.slot io "image" : tensor<2x3x8x16xf32>
  // CHECK-NEXT: %[[V4:.*]] = rt.fused [48, 1, 16] ins(%[[V3]], %[[V1]], %[[V0]], %[[V2]], %[[V0]] : tensor<2x3x8x16xf32>, tensor<2x3x8x16xf32>, tensor<3xf32>, tensor<2x3x8x16xf32>, tensor<3xf32>) into(%[[V3]] : tensor<2x3x8x16xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (0, 0)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (1, 0)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x3x8x16xf32> {
  // CHECK-NEXT: ^bb0(%[[V5:.*]]: f32, %[[V6:.*]]: f32, %[[V7:.*]]: f32, %[[V8:.*]]: f32, %[[V9:.*]]: f32):
  // CHECK-NEXT: %[[V10:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[V11:.*]] = arith.cmpf ogt, %[[V6]], %[[V10]] : f32
  // CHECK-NEXT: %[[V12:.*]] = arith.cmpf olt, %[[V6]], %[[V10]] : f32
  // CHECK-NEXT: %[[V13:.*]] = arith.negf %[[V7]] : f32
  // CHECK-NEXT: %[[V14:.*]] = arith.select %[[V12]], %[[V13]], %[[V10]] : f32
  // CHECK-NEXT: %[[V15:.*]] = arith.select %[[V11]], %[[V7]], %[[V14]] : f32
  // CHECK-NEXT: %[[V16:.*]] = arith.addf %[[V5]], %[[V15]] : f32
  // CHECK-NEXT: %[[V17:.*]] = arith.subf %[[V8]], %[[V9]] : f32
  // CHECK-NEXT: %[[V18:.*]] = arith.cmpf olt, %[[V16]], %[[V17]] : f32
  // CHECK-NEXT: %[[V19:.*]] = arith.select %[[V18]], %[[V17]], %[[V16]] : f32
  // CHECK-NEXT: %[[V20:.*]] = arith.addf %[[V8]], %[[V9]] : f32
  // CHECK-NEXT: %[[V21:.*]] = arith.cmpf ogt, %[[V19]], %[[V20]] : f32
  // CHECK-NEXT: %[[V22:.*]] = arith.select %[[V21]], %[[V20]], %[[V19]] : f32
  // CHECK-NEXT: %[[V23:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[V24:.*]] = arith.cmpf olt, %[[V22]], %[[V23]] : f32
  // CHECK-NEXT: %[[V25:.*]] = arith.select %[[V24]], %[[V23]], %[[V22]] : f32
  // CHECK-NEXT: %[[V26:.*]] = arith.constant 1.000000e+00 : f32
  // CHECK-NEXT: %[[V27:.*]] = arith.cmpf ogt, %[[V25]], %[[V26]] : f32
  // CHECK-NEXT: %[[V28:.*]] = arith.select %[[V27]], %[[V26]], %[[V25]] : f32
  // CHECK-NEXT: rt.yield %[[V28]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %r = ns.ascend linf %y, %x, %d, %h : tensor<2x3x8x16xf32>, tensor<3xf32>
  return %r : tensor<2x3x8x16xf32>
}

// Sums over the pixels of a row, then over the rows of an image; y and y - x are computed where they are needed.
// CHECK-LABEL: func.func @ascend_l2()
func.func @ascend_l2(%y: tensor<2x3x8x16xf32> {ns.name = "image"}, %x: tensor<2x3x8x16xf32> {ns.name = "clean_image"}, %d: tensor<2x3x8x16xf32> {ns.name = "image_grad"}, %h: tensor<3xf32> {ns.name = "attack_hyper"}) -> (tensor<2x3x8x16xf32> {ns.name = "image"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "attack_hyper" : tensor<3xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot io "image_grad" : tensor<2x3x8x16xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.slot io "clean_image" : tensor<2x3x8x16xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.slot io "image" : tensor<2x3x8x16xf32>
  // CHECK-NEXT: %[[V4:.*]] = rt.fused [48, 1, 16] ins(%[[V1]] : tensor<2x3x8x16xf32>) maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, 0)>] : tensor<48xf32> {
  // CHECK-NEXT: ^bb0(%[[V5:.*]]: f32):
  // CHECK-NEXT: %[[V6:.*]] = arith.mulf %[[V5]], %[[V5]] : f32
  // CHECK-NEXT: %[[V7:.*]] = rt.row_reduce add %[[V6]] : f32
  // CHECK-NEXT: rt.yield %[[V7]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V5:.*]] = rt.view %[[V4]] offset 0 : tensor<48xf32> -> tensor<2x24xf32>
  // CHECK-NEXT: %[[V6:.*]] = rt.fused [2, 1, 24] ins(%[[V5]] : tensor<2x24xf32>) maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, 0)>] : tensor<2xf32> {
  // CHECK-NEXT: ^bb0(%[[V7:.*]]: f32):
  // CHECK-NEXT: %[[V8:.*]] = rt.row_reduce add %[[V7]] : f32
  // CHECK-NEXT: rt.yield %[[V8]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V7:.*]] = rt.fused [48, 1, 16] ins(%[[V3]], %[[V0]], %[[V6]], %[[V1]], %[[V2]] : tensor<2x3x8x16xf32>, tensor<3xf32>, tensor<2xf32>, tensor<2x3x8x16xf32>, tensor<2x3x8x16xf32>) maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (0, 0)>, affine_map<(d0, d1, d2) -> (d0 floordiv 24, 0)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, 0)>] : tensor<48xf32> {
  // CHECK-NEXT: ^bb0(%[[V8:.*]]: f32, %[[V9:.*]]: f32, %[[V10:.*]]: f32, %[[V11:.*]]: f32, %[[V12:.*]]: f32):
  // CHECK-NEXT: %[[V13:.*]] = math.sqrt %[[V10]] : f32
  // CHECK-NEXT: %[[V14:.*]] = arith.constant 1.000000e-10 : f32
  // CHECK-NEXT: %[[V15:.*]] = arith.addf %[[V13]], %[[V14]] : f32
  // CHECK-NEXT: %[[V16:.*]] = arith.divf %[[V9]], %[[V15]] : f32
  // CHECK-NEXT: %[[V17:.*]] = arith.mulf %[[V16]], %[[V11]] : f32
  // CHECK-NEXT: %[[V18:.*]] = arith.addf %[[V8]], %[[V17]] : f32
  // CHECK-NEXT: %[[V19:.*]] = arith.subf %[[V18]], %[[V12]] : f32
  // CHECK-NEXT: %[[V20:.*]] = arith.mulf %[[V19]], %[[V19]] : f32
  // CHECK-NEXT: %[[V21:.*]] = rt.row_reduce add %[[V20]] : f32
  // CHECK-NEXT: rt.yield %[[V21]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V8:.*]] = rt.view %[[V7]] offset 0 : tensor<48xf32> -> tensor<2x24xf32>
  // CHECK-NEXT: %[[V9:.*]] = rt.fused [2, 1, 24] ins(%[[V8]] : tensor<2x24xf32>) maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, 0)>] : tensor<2xf32> {
  // CHECK-NEXT: ^bb0(%[[V10:.*]]: f32):
  // CHECK-NEXT: %[[V11:.*]] = rt.row_reduce add %[[V10]] : f32
  // CHECK-NEXT: rt.yield %[[V11]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V10:.*]] = rt.fused [48, 1, 16] ins(%[[V9]], %[[V0]], %[[V2]], %[[V3]], %[[V0]], %[[V6]], %[[V1]] : tensor<2xf32>, tensor<3xf32>, tensor<2x3x8x16xf32>, tensor<2x3x8x16xf32>, tensor<3xf32>, tensor<2xf32>, tensor<2x3x8x16xf32>) into(%[[V3]] : tensor<2x3x8x16xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0 floordiv 24, 0)>, affine_map<(d0, d1, d2) -> (1, 0)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (0, 0)>, affine_map<(d0, d1, d2) -> (d0 floordiv 24, 0)>, affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x3x8x16xf32> {
  // CHECK-NEXT: ^bb0(%[[V11:.*]]: f32, %[[V12:.*]]: f32, %[[V13:.*]]: f32, %[[V14:.*]]: f32, %[[V15:.*]]: f32, %[[V16:.*]]: f32, %[[V17:.*]]: f32):
  // CHECK-NEXT: %[[V18:.*]] = math.sqrt %[[V11]] : f32
  // CHECK-NEXT: %[[V19:.*]] = arith.cmpf ogt, %[[V18]], %[[V12]] : f32
  // CHECK-NEXT: %[[V20:.*]] = arith.divf %[[V12]], %[[V18]] : f32
  // CHECK-NEXT: %[[V21:.*]] = math.sqrt %[[V16]] : f32
  // CHECK-NEXT: %[[V22:.*]] = arith.constant 1.000000e-10 : f32
  // CHECK-NEXT: %[[V23:.*]] = arith.addf %[[V21]], %[[V22]] : f32
  // CHECK-NEXT: %[[V24:.*]] = arith.divf %[[V15]], %[[V23]] : f32
  // CHECK-NEXT: %[[V25:.*]] = arith.mulf %[[V24]], %[[V17]] : f32
  // CHECK-NEXT: %[[V26:.*]] = arith.addf %[[V14]], %[[V25]] : f32
  // CHECK-NEXT: %[[V27:.*]] = arith.subf %[[V26]], %[[V13]] : f32
  // CHECK-NEXT: %[[V28:.*]] = arith.mulf %[[V20]], %[[V27]] : f32
  // CHECK-NEXT: %[[V29:.*]] = arith.addf %[[V13]], %[[V28]] : f32
  // CHECK-NEXT: %[[V30:.*]] = arith.select %[[V19]], %[[V29]], %[[V26]] : f32
  // CHECK-NEXT: %[[V31:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[V32:.*]] = arith.cmpf olt, %[[V30]], %[[V31]] : f32
  // CHECK-NEXT: %[[V33:.*]] = arith.select %[[V32]], %[[V31]], %[[V30]] : f32
  // CHECK-NEXT: %[[V34:.*]] = arith.constant 1.000000e+00 : f32
  // CHECK-NEXT: %[[V35:.*]] = arith.cmpf ogt, %[[V33]], %[[V34]] : f32
  // CHECK-NEXT: %[[V36:.*]] = arith.select %[[V35]], %[[V34]], %[[V33]] : f32
  // CHECK-NEXT: rt.yield %[[V36]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %r = ns.ascend l2 %y, %x, %d, %h : tensor<2x3x8x16xf32>, tensor<3xf32>
  return %r : tensor<2x3x8x16xf32>
}

// Its own old value is left out where the decay is 0.
// CHECK-LABEL: func.func @momentum()
func.func @momentum(%d: tensor<2x3x8x16xf32> {ns.name = "image_grad"}, %h: tensor<3xf32> {ns.name = "attack_hyper"}, %m: tensor<2x3x8x16xf32> {ns.name = "momentum"}) -> (tensor<2x3x8x16xf32> {ns.name = "momentum"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "momentum" : tensor<2x3x8x16xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot io "attack_hyper" : tensor<3xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.slot io "image_grad" : tensor<2x3x8x16xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.fused [48, 1, 16] ins(%[[V2]] : tensor<2x3x8x16xf32>) maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, 0)>] : tensor<48xf32> {
  // CHECK-NEXT: ^bb0(%[[V4:.*]]: f32):
  // CHECK-NEXT: %[[V5:.*]] = math.absf %[[V4]] : f32
  // CHECK-NEXT: %[[V6:.*]] = rt.row_reduce add %[[V5]] : f32
  // CHECK-NEXT: rt.yield %[[V6]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V4:.*]] = rt.view %[[V3]] offset 0 : tensor<48xf32> -> tensor<2x24xf32>
  // CHECK-NEXT: %[[V5:.*]] = rt.fused [2, 1, 24] ins(%[[V4]] : tensor<2x24xf32>) maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, 0)>] : tensor<2xf32> {
  // CHECK-NEXT: ^bb0(%[[V6:.*]]: f32):
  // CHECK-NEXT: %[[V7:.*]] = rt.row_reduce add %[[V6]] : f32
  // CHECK-NEXT: rt.yield %[[V7]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V6:.*]] = rt.fused [48, 1, 16] ins(%[[V1]], %[[V0]], %[[V2]], %[[V5]] : tensor<3xf32>, tensor<2x3x8x16xf32>, tensor<2x3x8x16xf32>, tensor<2xf32>) into(%[[V0]] : tensor<2x3x8x16xf32>) [0] maps [affine_map<(d0, d1, d2) -> (2, 0)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0 floordiv 24, 0)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x3x8x16xf32> {
  // CHECK-NEXT: ^bb0(%[[V7:.*]]: f32, %[[V8:.*]]: f32, %[[V9:.*]]: f32, %[[V10:.*]]: f32):
  // CHECK-NEXT: %[[V11:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[V12:.*]] = arith.cmpf oeq, %[[V7]], %[[V11]] : f32
  // CHECK-NEXT: %[[V13:.*]] = arith.mulf %[[V7]], %[[V8]] : f32
  // CHECK-NEXT: %[[V14:.*]] = arith.select %[[V12]], %[[V11]], %[[V13]] : f32
  // CHECK-NEXT: %[[V15:.*]] = arith.constant 3.840000e+02 : f32
  // CHECK-NEXT: %[[V16:.*]] = arith.divf %[[V10]], %[[V15]] : f32
  // CHECK-NEXT: %[[V17:.*]] = arith.constant 1.000000e-30 : f32
  // CHECK-NEXT: %[[V18:.*]] = arith.cmpf olt, %[[V16]], %[[V17]] : f32
  // CHECK-NEXT: %[[V19:.*]] = arith.select %[[V18]], %[[V17]], %[[V16]] : f32
  // CHECK-NEXT: %[[V20:.*]] = arith.divf %[[V9]], %[[V19]] : f32
  // CHECK-NEXT: %[[V21:.*]] = arith.addf %[[V14]], %[[V20]] : f32
  // CHECK-NEXT: rt.yield %[[V21]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %r = ns.momentum %m, %d, %h : tensor<2x3x8x16xf32>, tensor<3xf32>
  return %r : tensor<2x3x8x16xf32>
}

// `a` is read after its new value is made: copied at the end.
// CHECK-LABEL: func.func @read_later()
func.func @read_later(%a: tensor<4x8xf32> {ns.name = "a"}, %b: tensor<4x8xf32> {ns.name = "b"}) -> (tensor<4x8xf32> {ns.name = "a"}, tensor<4x8xf32> {ns.name = "c"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "c" : tensor<4x8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot io "b" : tensor<4x8xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.slot io "a" : tensor<4x8xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.fused [4, 1, 8] ins(%[[V2]], %[[V1]] : tensor<4x8xf32>, tensor<4x8xf32>) maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x8xf32> {
  // CHECK-NEXT: ^bb0(%[[V4:.*]]: f32, %[[V5:.*]]: f32):
  // CHECK-NEXT: %[[V6:.*]] = arith.addf %[[V4]], %[[V5]] : f32
  // CHECK-NEXT: rt.yield %[[V6]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V4:.*]] = rt.fused [4, 1, 8] ins(%[[V2]], %[[V1]] : tensor<4x8xf32>, tensor<4x8xf32>) into(%[[V0]] : tensor<4x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x8xf32> {
  // CHECK-NEXT: ^bb0(%[[V5:.*]]: f32, %[[V6:.*]]: f32):
  // CHECK-NEXT: %[[V7:.*]] = arith.mulf %[[V5]], %[[V6]] : f32
  // CHECK-NEXT: rt.yield %[[V7]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V5:.*]] = rt.fused [4, 1, 8] ins(%[[V3]] : tensor<4x8xf32>) into(%[[V2]] : tensor<4x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x8xf32> {
  // CHECK-NEXT: ^bb0(%[[V6:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V6]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %0 = nn.add %a, %b : tensor<4x8xf32>, tensor<4x8xf32>
  %1 = nn.mul %a, %b : tensor<4x8xf32>, tensor<4x8xf32>
  return %0, %1 : tensor<4x8xf32>, tensor<4x8xf32>
}
