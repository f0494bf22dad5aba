// RUN: ns-opt %s --nn-to-rt --mlir-print-local-scope | FileCheck %s

// Attention over windows: what is added to the scores goes along; the bias of the projection is added on the way into scratch.
nn.param @qkv : tensor<24x8xf32>
nn.param @qkv_b no_decay : tensor<24xf32>
nn.param @bias : tensor<2x3x3xf32>
nn.param @mask buffer : tensor<2x3x3xf32>
// CHECK-LABEL: func.func @windows()
func.func @windows(%x: tensor<4x6x8xf32> {ns.name = "windows.x"}) -> (tensor<4x6x8xf32> {ns.name = "windows.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "windows.y" : tensor<4x6x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot params "mask" : tensor<2x3x3xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot params "bias" : tensor<2x3x3xf32>
  // CHECK-NEXT: %[[S3:.*]] = rt.slot params "qkv_b" : tensor<24xf32>
  // CHECK-NEXT: %[[S4:.*]] = rt.slot params "qkv" : tensor<24x8xf32>
  // CHECK-NEXT: %[[S5:.*]] = rt.slot io "windows.x" : tensor<4x6x8xf32>
  // CHECK-NEXT: %[[G0:.*]] = rt.gemm [24, 24, 8] %[[S5]], %[[S4]] trans_b : (tensor<4x6x8xf32>, tensor<24x8xf32>) -> tensor<4x6x24xf32>
  // CHECK-NEXT: %[[A0:.*]] = rt.attention %[[G0]] bias %[[S3]] score_bias %[[S2]] mask %[[S1]] heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x24xf32>, tensor<24xf32>, tensor<2x3x3xf32>, tensor<2x3x3xf32>) -> tensor<4x6x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [24, 1, 8] ins(%[[A0]] : tensor<4x6x8xf32>) into(%[[S0]] : tensor<4x6x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x6x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X0]] : f32
  // CHECK-NEXT: }
  %w = nn.load_param @qkv : tensor<24x8xf32>
  %v = nn.load_param @qkv_b : tensor<24xf32>
  %b = nn.load_param @bias : tensor<2x3x3xf32>
  %m = nn.load_param @mask : tensor<2x3x3xf32>
  %p = nn.linear %x, %w, %v : (tensor<4x6x8xf32>, tensor<24x8xf32>, tensor<24xf32>) -> tensor<4x6x24xf32>
  %y = nn.attention %p bias %b mask %m heads 2 scale 0.5 window 3 : (tensor<4x6x24xf32>, tensor<2x3x3xf32>, tensor<2x3x3xf32>) -> tensor<4x6x8xf32>
  return %y : tensor<4x6x8xf32>
}

// The gradient of the bias: the scores' gradients of 4 images of 2 windows, summed in that order.
// CHECK-LABEL: func.func @gradient_of_bias()
func.func @gradient_of_bias(%d: tensor<4x6x8xf32> {ns.name = "gradient.d"}, %p: tensor<4x6x24xf32> {ns.name = "gradient.p"}, %b: tensor<2x3x3xf32> {ns.name = "gradient.b"}) -> (tensor<4x6x24xf32> {ns.name = "gradient.dp"}, tensor<2x3x3xf32> {ns.name = "gradient.db"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "gradient.db" : tensor<2x3x3xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "gradient.dp" : tensor<4x6x24xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "gradient.b" : tensor<2x3x3xf32>
  // CHECK-NEXT: %[[S3:.*]] = rt.slot io "gradient.p" : tensor<4x6x24xf32>
  // CHECK-NEXT: %[[S4:.*]] = rt.slot io "gradient.d" : tensor<4x6x8xf32>
  // CHECK-NEXT: %[[D0:.*]]:2 = rt.attention_grad %[[S4]], %[[S3]] score_bias %[[S2]] heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x3x3xf32>) -> (tensor<4x6x24xf32>, tensor<8x6x3xf32>)
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [6, 8, 3] ins(%[[D0]]#1 : tensor<8x6x3xf32>) into(%[[S0]] : tensor<2x3x3xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d1 * 6 + d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x3x3xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X0]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[F1:.*]] = rt.fused [24, 1, 24] ins(%[[D0]]#0 : tensor<4x6x24xf32>) into(%[[S1]] : tensor<4x6x24xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x6x24xf32> {
  // CHECK-NEXT: ^bb0(%[[X1:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X1]] : f32
  // CHECK-NEXT: }
  %g:2 = nn.attention_grad %d, %p bias %b heads 2 scale 0.5 window 3 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x3x3xf32>) -> (tensor<4x6x24xf32>, tensor<2x3x3xf32>)
  return %g#0, %g#1 : tensor<4x6x24xf32>, tensor<2x3x3xf32>
}

// A bias that no gradient is wanted of makes no such tensor.
// CHECK-LABEL: func.func @frozen_bias()
func.func @frozen_bias(%d: tensor<4x6x8xf32> {ns.name = "frozen.d"}, %p: tensor<4x6x24xf32> {ns.name = "frozen.p"}, %b: tensor<2x6x6xf32> {ns.name = "frozen.b"}) -> (tensor<4x6x24xf32> {ns.name = "frozen.dp"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "frozen.dp" : tensor<4x6x24xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "frozen.b" : tensor<2x6x6xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "frozen.p" : tensor<4x6x24xf32>
  // CHECK-NEXT: %[[S3:.*]] = rt.slot io "frozen.d" : tensor<4x6x8xf32>
  // CHECK-NEXT: %[[D0:.*]] = rt.attention_grad %[[S3]], %[[S2]] score_bias %[[S1]] heads 2 scale 5.000000e-01 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x6x6xf32>) -> tensor<4x6x24xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [24, 1, 24] ins(%[[D0]] : tensor<4x6x24xf32>) into(%[[S0]] : tensor<4x6x24xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x6x24xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X0]] : f32
  // CHECK-NEXT: }
  %g = nn.attention_grad %d, %p bias %b heads 2 scale 0.5 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x6x6xf32>) -> tensor<4x6x24xf32>
  return %g : tensor<4x6x24xf32>
}

// Relative positions: r = (head, i), k = j; the entry of the table in closed form.
// CHECK-LABEL: func.func @relative()
func.func @relative(%t: tensor<15x2xf32> {ns.name = "relative.t"}) -> (tensor<2x6x6xf32> {ns.name = "relative.b"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "relative.b" : tensor<2x6x6xf32>
  // CHECK-NEXT: %[[V0:.*]] = rt.view %[[S0]] offset 0 : tensor<2x6x6xf32> -> tensor<72xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "relative.t" : tensor<15x2xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.view %[[S1]] offset 0 : tensor<15x2xf32> -> tensor<30xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [12, 6, 1] ins(%[[V1]] : tensor<30xf32>) into(%[[V0]] : tensor<72xf32>) [0] maps [affine_map<(d0, d1, d2) -> ((((d0 mod 6) floordiv 3 - d1 floordiv 3 + 1) * 5 + d0 mod 3 - d1 mod 3 + 2) * 2 + d0 floordiv 6, 0)>] -> [affine_map<(d0, d1, d2) -> (d0 * 6 + d1, 0)>] : tensor<72xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X0]] : f32
  // CHECK-NEXT: }
  %b = nn.relative_bias %t grid [2, 3] prefix 0 : tensor<15x2xf32> -> tensor<2x6x6xf32>
  return %b : tensor<2x6x6xf32>
}

// With a class token: its three entries by selects; the cell of a token wraps, so that no read leaves the table.
// CHECK-LABEL: func.func @relative_prefix()
func.func @relative_prefix(%t: tensor<12x2xf32> {ns.name = "prefix.t"}) -> (tensor<2x5x5xf32> {ns.name = "prefix.b"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "prefix.b" : tensor<2x5x5xf32>
  // CHECK-NEXT: %[[V0:.*]] = rt.view %[[S0]] offset 0 : tensor<2x5x5xf32> -> tensor<50xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "prefix.t" : tensor<12x2xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.view %[[S1]] offset 0 : tensor<12x2xf32> -> tensor<24xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [10, 5, 1] ins(%[[V1]], %[[V1]], %[[V1]], %[[V1]] : tensor<24xf32>, tensor<24xf32>, tensor<24xf32>, tensor<24xf32>) into(%[[V0]] : tensor<50xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0 floordiv 5 + 22, 0)>, affine_map<(d0, d1, d2) -> (d0 floordiv 5 + 18, 0)>, affine_map<(d0, d1, d2) -> (d0 floordiv 5 + 20, 0)>, affine_map<(d0, d1, d2) -> (((((d0 mod 5 + 3) mod 4) floordiv 2 - ((d1 + 3) mod 4) floordiv 2 + 1) * 3 + (d0 mod 5 + 3) mod 2 - (d1 + 3) mod 2 + 1) * 2 + d0 floordiv 5, 0)>] -> [affine_map<(d0, d1, d2) -> (d0 * 5 + d1, 0)>] : tensor<50xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32, %[[X1:.*]]: f32, %[[X2:.*]]: f32, %[[X3:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = rt.index affine_map<(d0, d1, d2) -> (d0 mod 5)> : i32
  // CHECK-NEXT: %[[E1:.*]] = arith.constant 0 : i32
  // CHECK-NEXT: %[[E2:.*]] = arith.cmpi eq, %[[E0]], %[[E1]] : i32
  // CHECK-NEXT: %[[E3:.*]] = rt.index affine_map<(d0, d1, d2) -> (d1)> : i32
  // CHECK-NEXT: %[[E4:.*]] = arith.constant 0 : i32
  // CHECK-NEXT: %[[E5:.*]] = arith.cmpi eq, %[[E3]], %[[E4]] : i32
  // CHECK-NEXT: %[[E6:.*]] = arith.select %[[E5]], %[[X0]], %[[X1]] : f32
  // CHECK-NEXT: %[[E7:.*]] = rt.index affine_map<(d0, d1, d2) -> (d1)> : i32
  // CHECK-NEXT: %[[E8:.*]] = arith.constant 0 : i32
  // CHECK-NEXT: %[[E9:.*]] = arith.cmpi eq, %[[E7]], %[[E8]] : i32
  // CHECK-NEXT: %[[E10:.*]] = arith.select %[[E9]], %[[X2]], %[[X3]] : f32
  // CHECK-NEXT: %[[E11:.*]] = arith.select %[[E2]], %[[E6]], %[[E10]] : f32
  // CHECK-NEXT: rt.yield %[[E11]] : f32
  // CHECK-NEXT: }
  %b = nn.relative_bias %t grid [2, 2] prefix 1 : tensor<12x2xf32> -> tensor<2x5x5xf32>
  return %b : tensor<2x5x5xf32>
}

// Its gradient gathers: sums over the rows of the grid, then over its columns, of the pairs whose partner lies on the grid; then the class token's three entries.
// CHECK-LABEL: func.func @relative_gradient()
func.func @relative_gradient(%d: tensor<2x5x5xf32> {ns.name = "relative_gradient.d"}) -> (tensor<12x2xf32> {ns.name = "relative_gradient.t"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "relative_gradient.t" : tensor<12x2xf32>
  // CHECK-NEXT: %[[V0:.*]] = rt.view %[[S0]] offset 0 : tensor<12x2xf32> -> tensor<24xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "relative_gradient.d" : tensor<2x5x5xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.view %[[S1]] offset 0 : tensor<2x5x5xf32> -> tensor<50xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [12, 2, 2] ins(%[[V1]] : tensor<50xf32>) maps [affine_map<(d0, d1, d2) -> (((d0 floordiv 6) * 5 + d1 * 2 + d0 mod 2 + 1) * 5 + ((d1 - (d0 floordiv 2) mod 3 + 3) mod 2) * 2 + 1, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<12x2xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = rt.index affine_map<(d0, d1, d2) -> (d1 - (d0 floordiv 2) mod 3 + 1)> : i32
  // CHECK-NEXT: %[[E1:.*]] = arith.constant 0 : i32
  // CHECK-NEXT: %[[E2:.*]] = arith.cmpi sge, %[[E0]], %[[E1]] : i32
  // CHECK-NEXT: %[[E3:.*]] = arith.constant 2 : i32
  // CHECK-NEXT: %[[E4:.*]] = arith.cmpi slt, %[[E0]], %[[E3]] : i32
  // CHECK-NEXT: %[[E5:.*]] = arith.andi %[[E2]], %[[E4]] : i1
  // CHECK-NEXT: %[[E6:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[E7:.*]] = arith.select %[[E5]], %[[X0]], %[[E6]] : f32
  // CHECK-NEXT: rt.yield %[[E7]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V2:.*]] = rt.view %[[F0]] offset 0 : tensor<12x2xf32> -> tensor<24xf32>
  // CHECK-NEXT: %[[F1:.*]] = rt.fused [18, 2, 1] ins(%[[V2]] : tensor<24xf32>) maps [affine_map<(d0, d1, d2) -> ((((d0 mod 2) * 3 + (d0 floordiv 2) floordiv 3) * 2 + d1) * 2 + (d1 - (d0 floordiv 2) mod 3 + 3) mod 2, 0)>] -> [affine_map<(d0, d1, d2) -> (d0, 0)>] : tensor<24xf32> {
  // CHECK-NEXT: ^bb0(%[[X1:.*]]: f32):
  // CHECK-NEXT: %[[E8:.*]] = rt.index affine_map<(d0, d1, d2) -> (d1 - (d0 floordiv 2) mod 3 + 1)> : i32
  // CHECK-NEXT: %[[E9:.*]] = arith.constant 0 : i32
  // CHECK-NEXT: %[[E10:.*]] = arith.cmpi sge, %[[E8]], %[[E9]] : i32
  // CHECK-NEXT: %[[E11:.*]] = arith.constant 2 : i32
  // CHECK-NEXT: %[[E12:.*]] = arith.cmpi slt, %[[E8]], %[[E11]] : i32
  // CHECK-NEXT: %[[E13:.*]] = arith.andi %[[E10]], %[[E12]] : i1
  // CHECK-NEXT: %[[E14:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[E15:.*]] = arith.select %[[E13]], %[[X1]], %[[E14]] : f32
  // CHECK-NEXT: rt.yield %[[E15]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[F2:.*]] = rt.fused [6, 4, 1] ins(%[[V1]], %[[V1]], %[[V1]] : tensor<50xf32>, tensor<50xf32>, tensor<50xf32>) into(%[[F1]] : tensor<24xf32>) [0] maps [affine_map<(d0, d1, d2) -> ((d0 mod 2) * 25, 0)>, affine_map<(d0, d1, d2) -> ((d0 mod 2) * 25 + d1 + 1, 0)>, affine_map<(d0, d1, d2) -> ((d0 mod 2) * 25 + (d1 + 1) * 5, 0)>] -> [affine_map<(d0, d1, d2) -> (d0 + 18, 0)>] : tensor<24xf32> {
  // CHECK-NEXT: ^bb0(%[[X2:.*]]: f32, %[[X3:.*]]: f32, %[[X4:.*]]: f32):
  // CHECK-NEXT: %[[E16:.*]] = rt.index affine_map<(d0, d1, d2) -> (d0 floordiv 2)> : i32
  // CHECK-NEXT: %[[E17:.*]] = arith.constant 2 : i32
  // CHECK-NEXT: %[[E18:.*]] = arith.cmpi eq, %[[E16]], %[[E17]] : i32
  // CHECK-NEXT: %[[E19:.*]] = rt.index affine_map<(d0, d1, d2) -> (d1)> : i32
  // CHECK-NEXT: %[[E20:.*]] = arith.constant 0 : i32
  // CHECK-NEXT: %[[E21:.*]] = arith.cmpi eq, %[[E19]], %[[E20]] : i32
  // CHECK-NEXT: %[[E22:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[E23:.*]] = arith.select %[[E21]], %[[X2]], %[[E22]] : f32
  // CHECK-NEXT: %[[E24:.*]] = rt.index affine_map<(d0, d1, d2) -> (d0 floordiv 2)> : i32
  // CHECK-NEXT: %[[E25:.*]] = arith.constant 0 : i32
  // CHECK-NEXT: %[[E26:.*]] = arith.cmpi eq, %[[E24]], %[[E25]] : i32
  // CHECK-NEXT: %[[E27:.*]] = arith.select %[[E26]], %[[X3]], %[[X4]] : f32
  // CHECK-NEXT: %[[E28:.*]] = arith.select %[[E18]], %[[E23]], %[[E27]] : f32
  // CHECK-NEXT: rt.yield %[[E28]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[F3:.*]] = rt.fused [1, 1, 24] ins(%[[F2]] : tensor<24xf32>) into(%[[V0]] : tensor<24xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<24xf32> {
  // CHECK-NEXT: ^bb0(%[[X5:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X5]] : f32
  // CHECK-NEXT: }
  %t = nn.relative_bias_grad %d grid [2, 2] prefix 1 : tensor<2x5x5xf32> -> tensor<12x2xf32>
  return %t : tensor<12x2xf32>
}

// Rows of one head each. The class token's rows read some angle and keep their value.
// CHECK-LABEL: func.func @rotary()
func.func @rotary(%x: tensor<4x5x8xf32> {ns.name = "rotary.x"}, %s: tensor<4x4xf32> {ns.name = "rotary.s"}, %c: tensor<4x4xf32> {ns.name = "rotary.c"}) -> (tensor<4x5x8xf32> {ns.name = "rotary.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "rotary.y" : tensor<4x5x8xf32>
  // CHECK-NEXT: %[[V0:.*]] = rt.view %[[S0]] offset 0 : tensor<4x5x8xf32> -> tensor<40x4xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "rotary.c" : tensor<4x4xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "rotary.s" : tensor<4x4xf32>
  // CHECK-NEXT: %[[S3:.*]] = rt.slot io "rotary.x" : tensor<4x5x8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.view %[[S3]] offset 0 : tensor<4x5x8xf32> -> tensor<40x4xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [40, 1, 4] ins(%[[V1]], %[[S1]], %[[S2]] : tensor<40x4xf32>, tensor<4x4xf32>, tensor<4x4xf32>) into(%[[V0]] : tensor<40x4xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (((d0 floordiv 2) mod 5 + 3) mod 4, d2)>, affine_map<(d0, d1, d2) -> (((d0 floordiv 2) mod 5 + 3) mod 4, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<40x4xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32, %[[X1:.*]]: f32, %[[X2:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = rt.index affine_map<(d0, d1, d2) -> ((d0 floordiv 2) mod 5)> : i32
  // CHECK-NEXT: %[[E1:.*]] = arith.constant 1 : i32
  // CHECK-NEXT: %[[E2:.*]] = arith.cmpi uge, %[[E0]], %[[E1]] : i32
  // CHECK-NEXT: %[[E3:.*]] = rt.swap_pairs %[[X0]] : f32
  // CHECK-NEXT: %[[E4:.*]] = rt.index affine_map<(d0, d1, d2) -> (d2)> : i32
  // CHECK-NEXT: %[[E5:.*]] = arith.constant 1 : i32
  // CHECK-NEXT: %[[E6:.*]] = arith.andi %[[E4]], %[[E5]] : i32
  // CHECK-NEXT: %[[E7:.*]] = arith.constant 0 : i32
  // CHECK-NEXT: %[[E8:.*]] = arith.cmpi ne, %[[E6]], %[[E7]] : i32
  // CHECK-NEXT: %[[E9:.*]] = arith.constant 1.000000e+00 : f32
  // CHECK-NEXT: %[[E10:.*]] = arith.constant -1.000000e+00 : f32
  // CHECK-NEXT: %[[E11:.*]] = arith.select %[[E8]], %[[E9]], %[[E10]] : f32
  // CHECK-NEXT: %[[E12:.*]] = arith.mulf %[[X2]], %[[E11]] : f32
  // CHECK-NEXT: %[[E13:.*]] = arith.mulf %[[E3]], %[[E12]] : f32
  // CHECK-NEXT: %[[E14:.*]] = math.fma %[[X0]], %[[X1]], %[[E13]] : f32
  // CHECK-NEXT: %[[E15:.*]] = arith.select %[[E2]], %[[E14]], %[[X0]] : f32
  // CHECK-NEXT: rt.yield %[[E15]] : f32
  // CHECK-NEXT: }
  %y = nn.rotary %x, %s, %c heads 2 prefix 1 : tensor<4x5x8xf32>, tensor<4x4xf32>
  return %y : tensor<4x5x8xf32>
}

// The transposed map multiplies before it swaps.
// CHECK-LABEL: func.func @rotary_transposed()
func.func @rotary_transposed(%x: tensor<4x5x8xf32> {ns.name = "transposed.x"}, %s: tensor<5x8xf32> {ns.name = "transposed.s"}, %c: tensor<5x8xf32> {ns.name = "transposed.c"}) -> (tensor<4x5x8xf32> {ns.name = "transposed.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "transposed.y" : tensor<4x5x8xf32>
  // CHECK-NEXT: %[[V0:.*]] = rt.view %[[S0]] offset 0 : tensor<4x5x8xf32> -> tensor<20x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "transposed.c" : tensor<5x8xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "transposed.s" : tensor<5x8xf32>
  // CHECK-NEXT: %[[S3:.*]] = rt.slot io "transposed.x" : tensor<4x5x8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.view %[[S3]] offset 0 : tensor<4x5x8xf32> -> tensor<20x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [20, 1, 8] ins(%[[V1]], %[[S1]], %[[S2]] : tensor<20x8xf32>, tensor<5x8xf32>, tensor<5x8xf32>) into(%[[V0]] : tensor<20x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0 mod 5, d2)>, affine_map<(d0, d1, d2) -> (d0 mod 5, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<20x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32, %[[X1:.*]]: f32, %[[X2:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = rt.index affine_map<(d0, d1, d2) -> (d2)> : i32
  // CHECK-NEXT: %[[E1:.*]] = arith.constant 1 : i32
  // CHECK-NEXT: %[[E2:.*]] = arith.andi %[[E0]], %[[E1]] : i32
  // CHECK-NEXT: %[[E3:.*]] = arith.constant 0 : i32
  // CHECK-NEXT: %[[E4:.*]] = arith.cmpi ne, %[[E2]], %[[E3]] : i32
  // CHECK-NEXT: %[[E5:.*]] = arith.constant 1.000000e+00 : f32
  // CHECK-NEXT: %[[E6:.*]] = arith.constant -1.000000e+00 : f32
  // CHECK-NEXT: %[[E7:.*]] = arith.select %[[E4]], %[[E5]], %[[E6]] : f32
  // CHECK-NEXT: %[[E8:.*]] = arith.mulf %[[X2]], %[[E7]] : f32
  // CHECK-NEXT: %[[E9:.*]] = arith.mulf %[[X0]], %[[E8]] : f32
  // CHECK-NEXT: %[[E10:.*]] = rt.swap_pairs %[[E9]] : f32
  // CHECK-NEXT: %[[E11:.*]] = math.fma %[[X0]], %[[X1]], %[[E10]] : f32
  // CHECK-NEXT: rt.yield %[[E11]] : f32
  // CHECK-NEXT: }
  %y = nn.rotary %x, %s, %c heads 1 prefix 0 transposed : tensor<4x5x8xf32>, tensor<5x8xf32>
  return %y : tensor<4x5x8xf32>
}
