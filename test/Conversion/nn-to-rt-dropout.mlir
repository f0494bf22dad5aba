// RUN: ns-opt %s --nn-to-rt --mlir-print-local-scope | FileCheck %s

// The draw (docs/abi.md) of each element: a key of seed and stream, mixed with the element's index, against rate * 2^32.
// CHECK-LABEL: func.func @elements()
func.func @elements(%x: tensor<4x6x8xf32> {ns.name = "elements.x"}, %s: tensor<1xi32> {ns.name = "elements.s"}) -> (tensor<4x6x8xf32> {ns.name = "elements.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "elements.y" : tensor<4x6x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "elements.s" : tensor<1xi32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "elements.x" : tensor<4x6x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [24, 1, 8] ins(%[[S1]], %[[S2]] : tensor<1xi32>, tensor<4x6x8xf32>) into(%[[S0]] : tensor<4x6x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (0, 0)>, affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x6x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: i32, %[[X1:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = rt.index affine_map<(d0, d1, d2) -> (d0)> : i32
  // CHECK-NEXT: %[[E1:.*]] = arith.constant 8 : i32
  // CHECK-NEXT: %[[E2:.*]] = arith.muli %[[E0]], %[[E1]] : i32
  // CHECK-NEXT: %[[E3:.*]] = rt.index affine_map<(d0, d1, d2) -> (d2)> : i32
  // CHECK-NEXT: %[[E4:.*]] = arith.addi %[[E2]], %[[E3]] : i32
  // CHECK-NEXT: %[[E5:.*]] = arith.constant 1013904242 : i32
  // CHECK-NEXT: %[[E6:.*]] = arith.addi %[[X0]], %[[E5]] : i32
  // CHECK-NEXT: %[[E7:.*]] = arith.constant 16 : i32
  // CHECK-NEXT: %[[E8:.*]] = arith.shrui %[[E6]], %[[E7]] : i32
  // CHECK-NEXT: %[[E9:.*]] = arith.xori %[[E6]], %[[E8]] : i32
  // CHECK-NEXT: %[[E10:.*]] = arith.constant -2048144789 : i32
  // CHECK-NEXT: %[[E11:.*]] = arith.muli %[[E9]], %[[E10]] : i32
  // CHECK-NEXT: %[[E12:.*]] = arith.constant 13 : i32
  // CHECK-NEXT: %[[E13:.*]] = arith.shrui %[[E11]], %[[E12]] : i32
  // CHECK-NEXT: %[[E14:.*]] = arith.xori %[[E11]], %[[E13]] : i32
  // CHECK-NEXT: %[[E15:.*]] = arith.constant -1028477387 : i32
  // CHECK-NEXT: %[[E16:.*]] = arith.muli %[[E14]], %[[E15]] : i32
  // CHECK-NEXT: %[[E17:.*]] = arith.constant 16 : i32
  // CHECK-NEXT: %[[E18:.*]] = arith.shrui %[[E16]], %[[E17]] : i32
  // CHECK-NEXT: %[[E19:.*]] = arith.xori %[[E16]], %[[E18]] : i32
  // CHECK-NEXT: %[[E20:.*]] = arith.xori %[[E4]], %[[E19]] : i32
  // CHECK-NEXT: %[[E21:.*]] = arith.constant 16 : i32
  // CHECK-NEXT: %[[E22:.*]] = arith.shrui %[[E20]], %[[E21]] : i32
  // CHECK-NEXT: %[[E23:.*]] = arith.xori %[[E20]], %[[E22]] : i32
  // CHECK-NEXT: %[[E24:.*]] = arith.constant -2048144789 : i32
  // CHECK-NEXT: %[[E25:.*]] = arith.muli %[[E23]], %[[E24]] : i32
  // CHECK-NEXT: %[[E26:.*]] = arith.constant 13 : i32
  // CHECK-NEXT: %[[E27:.*]] = arith.shrui %[[E25]], %[[E26]] : i32
  // CHECK-NEXT: %[[E28:.*]] = arith.xori %[[E25]], %[[E27]] : i32
  // CHECK-NEXT: %[[E29:.*]] = arith.constant -1028477387 : i32
  // CHECK-NEXT: %[[E30:.*]] = arith.muli %[[E28]], %[[E29]] : i32
  // CHECK-NEXT: %[[E31:.*]] = arith.constant 16 : i32
  // CHECK-NEXT: %[[E32:.*]] = arith.shrui %[[E30]], %[[E31]] : i32
  // CHECK-NEXT: %[[E33:.*]] = arith.xori %[[E30]], %[[E32]] : i32
  // CHECK-NEXT: %[[E34:.*]] = arith.addi %[[E33]], %[[E19]] : i32
  // CHECK-NEXT: %[[E35:.*]] = arith.constant 16 : i32
  // CHECK-NEXT: %[[E36:.*]] = arith.shrui %[[E34]], %[[E35]] : i32
  // CHECK-NEXT: %[[E37:.*]] = arith.xori %[[E34]], %[[E36]] : i32
  // CHECK-NEXT: %[[E38:.*]] = arith.constant -2048144789 : i32
  // CHECK-NEXT: %[[E39:.*]] = arith.muli %[[E37]], %[[E38]] : i32
  // CHECK-NEXT: %[[E40:.*]] = arith.constant 13 : i32
  // CHECK-NEXT: %[[E41:.*]] = arith.shrui %[[E39]], %[[E40]] : i32
  // CHECK-NEXT: %[[E42:.*]] = arith.xori %[[E39]], %[[E41]] : i32
  // CHECK-NEXT: %[[E43:.*]] = arith.constant -1028477387 : i32
  // CHECK-NEXT: %[[E44:.*]] = arith.muli %[[E42]], %[[E43]] : i32
  // CHECK-NEXT: %[[E45:.*]] = arith.constant 16 : i32
  // CHECK-NEXT: %[[E46:.*]] = arith.shrui %[[E44]], %[[E45]] : i32
  // CHECK-NEXT: %[[E47:.*]] = arith.xori %[[E44]], %[[E46]] : i32
  // CHECK-NEXT: %[[E48:.*]] = arith.constant 1073741824 : i32
  // CHECK-NEXT: %[[E49:.*]] = arith.cmpi uge, %[[E47]], %[[E48]] : i32
  // CHECK-NEXT: %[[E50:.*]] = arith.constant 1.33333337 : f32
  // CHECK-NEXT: %[[E51:.*]] = arith.mulf %[[X1]], %[[E50]] : f32
  // CHECK-NEXT: %[[E52:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[E53:.*]] = arith.select %[[E49]], %[[E51]], %[[E52]] : f32
  // CHECK-NEXT: rt.yield %[[E53]] : f32
  // CHECK-NEXT: }
  %y = nn.dropout element %x, %s rate 0.25 stream 1 : tensor<4x6x8xf32>, tensor<1xi32>
  return %y : tensor<4x6x8xf32>
}

// Of each image: the index is that of the image.
// CHECK-LABEL: func.func @images()
func.func @images(%x: tensor<4x6x8xf32> {ns.name = "images.x"}, %s: tensor<1xi32> {ns.name = "images.s"}) -> (tensor<4x6x8xf32> {ns.name = "images.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "images.y" : tensor<4x6x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "images.s" : tensor<1xi32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "images.x" : tensor<4x6x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [24, 1, 8] ins(%[[S1]], %[[S2]] : tensor<1xi32>, tensor<4x6x8xf32>) into(%[[S0]] : tensor<4x6x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (0, 0)>, affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x6x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: i32, %[[X1:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = rt.index affine_map<(d0, d1, d2) -> (d0 floordiv 6)> : i32
  // CHECK-NEXT: %[[E1:.*]] = arith.constant -1640531527 : i32
  // CHECK-NEXT: %[[E2:.*]] = arith.addi %[[X0]], %[[E1]] : i32
  // CHECK-NEXT: %[[E3:.*]] = arith.constant 16 : i32
  // CHECK-NEXT: %[[E4:.*]] = arith.shrui %[[E2]], %[[E3]] : i32
  // CHECK-NEXT: %[[E5:.*]] = arith.xori %[[E2]], %[[E4]] : i32
  // CHECK-NEXT: %[[E6:.*]] = arith.constant -2048144789 : i32
  // CHECK-NEXT: %[[E7:.*]] = arith.muli %[[E5]], %[[E6]] : i32
  // CHECK-NEXT: %[[E8:.*]] = arith.constant 13 : i32
  // CHECK-NEXT: %[[E9:.*]] = arith.shrui %[[E7]], %[[E8]] : i32
  // CHECK-NEXT: %[[E10:.*]] = arith.xori %[[E7]], %[[E9]] : i32
  // CHECK-NEXT: %[[E11:.*]] = arith.constant -1028477387 : i32
  // CHECK-NEXT: %[[E12:.*]] = arith.muli %[[E10]], %[[E11]] : i32
  // CHECK-NEXT: %[[E13:.*]] = arith.constant 16 : i32
  // CHECK-NEXT: %[[E14:.*]] = arith.shrui %[[E12]], %[[E13]] : i32
  // CHECK-NEXT: %[[E15:.*]] = arith.xori %[[E12]], %[[E14]] : i32
  // CHECK-NEXT: %[[E16:.*]] = arith.xori %[[E0]], %[[E15]] : i32
  // CHECK-NEXT: %[[E17:.*]] = arith.constant 16 : i32
  // CHECK-NEXT: %[[E18:.*]] = arith.shrui %[[E16]], %[[E17]] : i32
  // CHECK-NEXT: %[[E19:.*]] = arith.xori %[[E16]], %[[E18]] : i32
  // CHECK-NEXT: %[[E20:.*]] = arith.constant -2048144789 : i32
  // CHECK-NEXT: %[[E21:.*]] = arith.muli %[[E19]], %[[E20]] : i32
  // CHECK-NEXT: %[[E22:.*]] = arith.constant 13 : i32
  // CHECK-NEXT: %[[E23:.*]] = arith.shrui %[[E21]], %[[E22]] : i32
  // CHECK-NEXT: %[[E24:.*]] = arith.xori %[[E21]], %[[E23]] : i32
  // CHECK-NEXT: %[[E25:.*]] = arith.constant -1028477387 : i32
  // CHECK-NEXT: %[[E26:.*]] = arith.muli %[[E24]], %[[E25]] : i32
  // CHECK-NEXT: %[[E27:.*]] = arith.constant 16 : i32
  // CHECK-NEXT: %[[E28:.*]] = arith.shrui %[[E26]], %[[E27]] : i32
  // CHECK-NEXT: %[[E29:.*]] = arith.xori %[[E26]], %[[E28]] : i32
  // CHECK-NEXT: %[[E30:.*]] = arith.addi %[[E29]], %[[E15]] : i32
  // CHECK-NEXT: %[[E31:.*]] = arith.constant 16 : i32
  // CHECK-NEXT: %[[E32:.*]] = arith.shrui %[[E30]], %[[E31]] : i32
  // CHECK-NEXT: %[[E33:.*]] = arith.xori %[[E30]], %[[E32]] : i32
  // CHECK-NEXT: %[[E34:.*]] = arith.constant -2048144789 : i32
  // CHECK-NEXT: %[[E35:.*]] = arith.muli %[[E33]], %[[E34]] : i32
  // CHECK-NEXT: %[[E36:.*]] = arith.constant 13 : i32
  // CHECK-NEXT: %[[E37:.*]] = arith.shrui %[[E35]], %[[E36]] : i32
  // CHECK-NEXT: %[[E38:.*]] = arith.xori %[[E35]], %[[E37]] : i32
  // CHECK-NEXT: %[[E39:.*]] = arith.constant -1028477387 : i32
  // CHECK-NEXT: %[[E40:.*]] = arith.muli %[[E38]], %[[E39]] : i32
  // CHECK-NEXT: %[[E41:.*]] = arith.constant 16 : i32
  // CHECK-NEXT: %[[E42:.*]] = arith.shrui %[[E40]], %[[E41]] : i32
  // CHECK-NEXT: %[[E43:.*]] = arith.xori %[[E40]], %[[E42]] : i32
  // CHECK-NEXT: %[[E44:.*]] = arith.constant 1073741824 : i32
  // CHECK-NEXT: %[[E45:.*]] = arith.cmpi uge, %[[E43]], %[[E44]] : i32
  // CHECK-NEXT: %[[E46:.*]] = arith.constant 1.33333337 : f32
  // CHECK-NEXT: %[[E47:.*]] = arith.mulf %[[X1]], %[[E46]] : f32
  // CHECK-NEXT: %[[E48:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[E49:.*]] = arith.select %[[E45]], %[[E47]], %[[E48]] : f32
  // CHECK-NEXT: rt.yield %[[E49]] : f32
  // CHECK-NEXT: }
  %y = nn.dropout image %x, %s rate 0.25 stream 0 : tensor<4x6x8xf32>, tensor<1xi32>
  return %y : tensor<4x6x8xf32>
}
