// RUN: ns-opt %s --nn-to-rt --mlir-print-local-scope | FileCheck %s

nn.param @w : tensor<8x16x3x3xf32>
nn.param @p : tensor<8x16x1x1xf32>
nn.param @d : tensor<16x1x3x3xf32>
nn.param @b : tensor<8xf32>

// Columns of what each window sees, 0 outside the grid; the weight by taps by a transposed read; the bias apart.
// CHECK-LABEL: func.func @conv(
func.func @conv(%x: tensor<2x20x16xf32> {ns.name = "x"}) -> (tensor<2x20x8xf32> {ns.name = "y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "y" : tensor<2x20x8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot params "b" : tensor<8xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.slot params "w" : tensor<8x16x3x3xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.view %[[V2]] offset 0 : tensor<8x16x3x3xf32> -> tensor<1152xf32>
  // CHECK-NEXT: %[[V4:.*]] = rt.slot io "x" : tensor<2x20x16xf32>
  // CHECK-NEXT: %[[V5:.*]] = rt.fused [40, 9, 16] ins(%[[V4]] : tensor<2x20x16xf32>) maps [affine_map<(d0, d1, d2) -> (((d0 floordiv 20) * 4 + ((d0 floordiv 5) mod 4 + d1 floordiv 3 + 3) mod 4) * 5 + (d0 mod 5 + d1 mod 3 + 4) mod 5, d2)>] -> [affine_map<(d0, d1, d2) -> (d0 * 9 + d1, d2)>] : tensor<360x16xf32> {
  // CHECK-NEXT: ^bb0(%[[V6:.*]]: f32):
  // CHECK-NEXT: %[[V7:.*]] = rt.index affine_map<(d0, d1, d2) -> ((d0 floordiv 5) mod 4 + d1 floordiv 3 + 3)> : i32
  // CHECK-NEXT: %[[V8:.*]] = arith.constant 4 : i32
  // CHECK-NEXT: %[[V9:.*]] = arith.cmpi sge, %[[V7]], %[[V8]] : i32
  // CHECK-NEXT: %[[V10:.*]] = arith.constant 8 : i32
  // CHECK-NEXT: %[[V11:.*]] = arith.cmpi slt, %[[V7]], %[[V10]] : i32
  // CHECK-NEXT: %[[V12:.*]] = arith.andi %[[V9]], %[[V11]] : i1
  // CHECK-NEXT: %[[V13:.*]] = rt.index affine_map<(d0, d1, d2) -> (d0 mod 5 + d1 mod 3 + 4)> : i32
  // CHECK-NEXT: %[[V14:.*]] = arith.constant 5 : i32
  // CHECK-NEXT: %[[V15:.*]] = arith.cmpi sge, %[[V13]], %[[V14]] : i32
  // CHECK-NEXT: %[[V16:.*]] = arith.constant 10 : i32
  // CHECK-NEXT: %[[V17:.*]] = arith.cmpi slt, %[[V13]], %[[V16]] : i32
  // CHECK-NEXT: %[[V18:.*]] = arith.andi %[[V15]], %[[V17]] : i1
  // CHECK-NEXT: %[[V19:.*]] = arith.andi %[[V12]], %[[V18]] : i1
  // CHECK-NEXT: %[[V20:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[V21:.*]] = arith.select %[[V19]], %[[V6]], %[[V20]] : f32
  // CHECK-NEXT: rt.yield %[[V21]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V22:.*]] = rt.fused [72, 1, 16] ins(%[[V3]] : tensor<1152xf32>) maps [affine_map<(d0, d1, d2) -> ((d0 floordiv 9) * 144 + d0 mod 9, d2 * 9)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<72x16xf32> {
  // CHECK-NEXT: ^bb0(%[[V23:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V23]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V24:.*]] = rt.gemm [40, 8, 144] %[[V5]], %[[V22]] trans_b : (tensor<360x16xf32>, tensor<72x16xf32>) -> tensor<2x20x8xf32>
  // CHECK-NEXT: %[[V25:.*]] = rt.fused [40, 1, 8] ins(%[[V24]], %[[V1]] : tensor<2x20x8xf32>, tensor<8xf32>) into(%[[V0]] : tensor<2x20x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x20x8xf32> {
  // CHECK-NEXT: ^bb0(%[[V26:.*]]: f32, %[[V27:.*]]: f32):
  // CHECK-NEXT: %[[V28:.*]] = arith.addf %[[V26]], %[[V27]] : f32
  // CHECK-NEXT: rt.yield %[[V28]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %w = nn.load_param @w : tensor<8x16x3x3xf32>
  %b = nn.load_param @b : tensor<8xf32>
  %y = nn.conv %x, %w, %b grid [4, 5] stride [1, 1] padding [1, 1] dilation [1, 1] groups 1 : (tensor<2x20x16xf32>, tensor<8x16x3x3xf32>, tensor<8xf32>) -> tensor<2x20x8xf32>
  return %y : tensor<2x20x8xf32>
}

// Windows of one position: the product alone.
// CHECK-LABEL: func.func @conv_1x1(
func.func @conv_1x1(%x: tensor<2x20x16xf32> {ns.name = "x"}) -> (tensor<2x20x8xf32> {ns.name = "y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "y" : tensor<2x20x8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot params "p" : tensor<8x16x1x1xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.view %[[V1]] offset 0 : tensor<8x16x1x1xf32> -> tensor<8x16xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.slot io "x" : tensor<2x20x16xf32>
  // CHECK-NEXT: %[[V4:.*]] = rt.gemm [40, 8, 16] %[[V3]], %[[V2]] trans_b into %[[V0]] : (tensor<2x20x16xf32>, tensor<8x16xf32>, tensor<2x20x8xf32>) -> tensor<2x20x8xf32>
  // CHECK-NEXT: return
  %w = nn.load_param @p : tensor<8x16x1x1xf32>
  %y = nn.conv %x, %w grid [4, 5] stride [1, 1] padding [0, 0] dilation [1, 1] groups 1 : (tensor<2x20x16xf32>, tensor<8x16x1x1xf32>) -> tensor<2x20x8xf32>
  return %y : tensor<2x20x8xf32>
}

// One program that sums over the taps, by its FLOPs a product.
// CHECK-LABEL: func.func @depthwise(
func.func @depthwise(%x: tensor<2x20x16xf32> {ns.name = "x"}) -> (tensor<2x6x16xf32> {ns.name = "z"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "z" : tensor<2x6x16xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.view %[[V0]] offset 0 : tensor<2x6x16xf32> -> tensor<12x16xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.slot params "d" : tensor<16x1x3x3xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.view %[[V2]] offset 0 : tensor<16x1x3x3xf32> -> tensor<144xf32>
  // CHECK-NEXT: %[[V4:.*]] = rt.slot io "x" : tensor<2x20x16xf32>
  // CHECK-NEXT: %[[V5:.*]] = rt.fused [9, 1, 16] ins(%[[V3]] : tensor<144xf32>) maps [affine_map<(d0, d1, d2) -> ((d0 floordiv 9) * 144 + d0 mod 9, d2 * 9)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<9x16xf32> {
  // CHECK-NEXT: ^bb0(%[[V6:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V6]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V7:.*]] = rt.fused [12, 9, 16] ins(%[[V4]], %[[V5]] : tensor<2x20x16xf32>, tensor<9x16xf32>) into(%[[V1]] : tensor<12x16xf32>) [0] maps [affine_map<(d0, d1, d2) -> (((d0 floordiv 6) * 4 + (((d0 floordiv 3) mod 2) * 2 + d1 floordiv 3 + 3) mod 4) * 5 + ((d0 mod 3) * 2 + d1 mod 3 + 4) mod 5, d2)>, affine_map<(d0, d1, d2) -> (d1, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] {rt.flops = 3456 : i64} : tensor<12x16xf32> {
  // CHECK-NEXT: ^bb0(%[[V8:.*]]: f32, %[[V9:.*]]: f32):
  // CHECK-NEXT: %[[V10:.*]] = rt.index affine_map<(d0, d1, d2) -> (((d0 floordiv 3) mod 2) * 2 + d1 floordiv 3 + 3)> : i32
  // CHECK-NEXT: %[[V11:.*]] = arith.constant 4 : i32
  // CHECK-NEXT: %[[V12:.*]] = arith.cmpi sge, %[[V10]], %[[V11]] : i32
  // CHECK-NEXT: %[[V13:.*]] = arith.constant 8 : i32
  // CHECK-NEXT: %[[V14:.*]] = arith.cmpi slt, %[[V10]], %[[V13]] : i32
  // CHECK-NEXT: %[[V15:.*]] = arith.andi %[[V12]], %[[V14]] : i1
  // CHECK-NEXT: %[[V16:.*]] = rt.index affine_map<(d0, d1, d2) -> ((d0 mod 3) * 2 + d1 mod 3 + 4)> : i32
  // CHECK-NEXT: %[[V17:.*]] = arith.constant 5 : i32
  // CHECK-NEXT: %[[V18:.*]] = arith.cmpi sge, %[[V16]], %[[V17]] : i32
  // CHECK-NEXT: %[[V19:.*]] = arith.constant 10 : i32
  // CHECK-NEXT: %[[V20:.*]] = arith.cmpi slt, %[[V16]], %[[V19]] : i32
  // CHECK-NEXT: %[[V21:.*]] = arith.andi %[[V18]], %[[V20]] : i1
  // CHECK-NEXT: %[[V22:.*]] = arith.andi %[[V15]], %[[V21]] : i1
  // CHECK-NEXT: %[[V23:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[V24:.*]] = arith.select %[[V22]], %[[V8]], %[[V23]] : f32
  // CHECK-NEXT: %[[V25:.*]] = arith.mulf %[[V24]], %[[V9]] : f32
  // CHECK-NEXT: rt.yield %[[V25]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %w = nn.load_param @d : tensor<16x1x3x3xf32>
  %y = nn.conv %x, %w grid [4, 5] stride [2, 2] padding [1, 1] dilation [1, 1] groups 16 : (tensor<2x20x16xf32>, tensor<16x1x3x3xf32>) -> tensor<2x6x16xf32>
  return %y : tensor<2x6x16xf32>
}

// The cotangents of the columns, gathered at each position from the windows that see it: stride 2 leaves those of its parity.
// CHECK-LABEL: func.func @grad_input(
func.func @grad_input(%dy: tensor<2x6x8xf32> {ns.name = "dy"}) -> (tensor<2x20x16xf32> {ns.name = "x"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "x" : tensor<2x20x16xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot params "w" : tensor<8x16x3x3xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.view %[[V1]] offset 0 : tensor<8x16x3x3xf32> -> tensor<1152xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.slot io "dy" : tensor<2x6x8xf32>
  // CHECK-NEXT: %[[V4:.*]] = rt.fused [72, 1, 16] ins(%[[V2]] : tensor<1152xf32>) maps [affine_map<(d0, d1, d2) -> ((d0 floordiv 9) * 144 + d0 mod 9, d2 * 9)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<72x16xf32> {
  // CHECK-NEXT: ^bb0(%[[V5:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V5]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V6:.*]] = rt.gemm [12, 144, 8] %[[V3]], %[[V4]] : (tensor<2x6x8xf32>, tensor<72x16xf32>) -> tensor<108x16xf32>
  // CHECK-NEXT: %[[V7:.*]] = rt.fused [40, 9, 16] ins(%[[V6]] : tensor<108x16xf32>) into(%[[V0]] : tensor<2x20x16xf32>) [0] maps [affine_map<(d0, d1, d2) -> ((((d0 floordiv 20) * 2 + (((d0 floordiv 5) mod 4 - d1 floordiv 3 + 5) floordiv 2) mod 2) * 3 + ((d0 mod 5 - d1 mod 3 + 7) floordiv 2) mod 3) * 9 + d1, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x20x16xf32> {
  // CHECK-NEXT: ^bb0(%[[V8:.*]]: f32):
  // CHECK-NEXT: %[[V9:.*]] = rt.index affine_map<(d0, d1, d2) -> (((d0 floordiv 5) mod 4 - d1 floordiv 3 + 5) floordiv 2)> : i32
  // CHECK-NEXT: %[[V10:.*]] = arith.constant 2 : i32
  // CHECK-NEXT: %[[V11:.*]] = arith.cmpi sge, %[[V9]], %[[V10]] : i32
  // CHECK-NEXT: %[[V12:.*]] = arith.constant 4 : i32
  // CHECK-NEXT: %[[V13:.*]] = arith.cmpi slt, %[[V9]], %[[V12]] : i32
  // CHECK-NEXT: %[[V14:.*]] = arith.andi %[[V11]], %[[V13]] : i1
  // CHECK-NEXT: %[[V15:.*]] = rt.index affine_map<(d0, d1, d2) -> (((d0 floordiv 5) mod 4 - d1 floordiv 3 + 5) mod 2)> : i32
  // CHECK-NEXT: %[[V16:.*]] = arith.constant 0 : i32
  // CHECK-NEXT: %[[V17:.*]] = arith.cmpi sge, %[[V15]], %[[V16]] : i32
  // CHECK-NEXT: %[[V18:.*]] = arith.constant 1 : i32
  // CHECK-NEXT: %[[V19:.*]] = arith.cmpi slt, %[[V15]], %[[V18]] : i32
  // CHECK-NEXT: %[[V20:.*]] = arith.andi %[[V17]], %[[V19]] : i1
  // CHECK-NEXT: %[[V21:.*]] = arith.andi %[[V14]], %[[V20]] : i1
  // CHECK-NEXT: %[[V22:.*]] = rt.index affine_map<(d0, d1, d2) -> ((d0 mod 5 - d1 mod 3 + 7) floordiv 2)> : i32
  // CHECK-NEXT: %[[V23:.*]] = arith.constant 3 : i32
  // CHECK-NEXT: %[[V24:.*]] = arith.cmpi sge, %[[V22]], %[[V23]] : i32
  // CHECK-NEXT: %[[V25:.*]] = arith.constant 6 : i32
  // CHECK-NEXT: %[[V26:.*]] = arith.cmpi slt, %[[V22]], %[[V25]] : i32
  // CHECK-NEXT: %[[V27:.*]] = arith.andi %[[V24]], %[[V26]] : i1
  // CHECK-NEXT: %[[V28:.*]] = rt.index affine_map<(d0, d1, d2) -> ((d0 mod 5 - d1 mod 3 + 7) mod 2)> : i32
  // CHECK-NEXT: %[[V29:.*]] = arith.constant 0 : i32
  // CHECK-NEXT: %[[V30:.*]] = arith.cmpi sge, %[[V28]], %[[V29]] : i32
  // CHECK-NEXT: %[[V31:.*]] = arith.constant 1 : i32
  // CHECK-NEXT: %[[V32:.*]] = arith.cmpi slt, %[[V28]], %[[V31]] : i32
  // CHECK-NEXT: %[[V33:.*]] = arith.andi %[[V30]], %[[V32]] : i1
  // CHECK-NEXT: %[[V34:.*]] = arith.andi %[[V27]], %[[V33]] : i1
  // CHECK-NEXT: %[[V35:.*]] = arith.andi %[[V21]], %[[V34]] : i1
  // CHECK-NEXT: %[[V36:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[V37:.*]] = arith.select %[[V35]], %[[V8]], %[[V36]] : f32
  // CHECK-NEXT: rt.yield %[[V37]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %w = nn.load_param @w : tensor<8x16x3x3xf32>
  %dx = nn.conv_grad_input %dy, %w grid [4, 5] stride [2, 2] padding [1, 1] dilation [1, 1] groups 1 : (tensor<2x6x8xf32>, tensor<8x16x3x3xf32>) -> tensor<2x20x16xf32>
  return %dx : tensor<2x20x16xf32>
}

// Columns again: nothing but the input is kept. Then back to PyTorch's order.
// CHECK-LABEL: func.func @grad_weight(
func.func @grad_weight(%dy: tensor<2x6x8xf32> {ns.name = "dy"}, %x: tensor<2x20x16xf32> {ns.name = "x"}) -> (tensor<8x16x3x3xf32> {ns.name = "dw"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "dw" : tensor<8x16x3x3xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.view %[[V0]] offset 0 : tensor<8x16x3x3xf32> -> tensor<128x9xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.slot io "x" : tensor<2x20x16xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.slot io "dy" : tensor<2x6x8xf32>
  // CHECK-NEXT: %[[V4:.*]] = rt.fused [12, 9, 16] ins(%[[V2]] : tensor<2x20x16xf32>) maps [affine_map<(d0, d1, d2) -> (((d0 floordiv 6) * 4 + (((d0 floordiv 3) mod 2) * 2 + d1 floordiv 3 + 3) mod 4) * 5 + ((d0 mod 3) * 2 + d1 mod 3 + 4) mod 5, d2)>] -> [affine_map<(d0, d1, d2) -> (d0 * 9 + d1, d2)>] : tensor<108x16xf32> {
  // CHECK-NEXT: ^bb0(%[[V5:.*]]: f32):
  // CHECK-NEXT: %[[V6:.*]] = rt.index affine_map<(d0, d1, d2) -> (((d0 floordiv 3) mod 2) * 2 + d1 floordiv 3 + 3)> : i32
  // CHECK-NEXT: %[[V7:.*]] = arith.constant 4 : i32
  // CHECK-NEXT: %[[V8:.*]] = arith.cmpi sge, %[[V6]], %[[V7]] : i32
  // CHECK-NEXT: %[[V9:.*]] = arith.constant 8 : i32
  // CHECK-NEXT: %[[V10:.*]] = arith.cmpi slt, %[[V6]], %[[V9]] : i32
  // CHECK-NEXT: %[[V11:.*]] = arith.andi %[[V8]], %[[V10]] : i1
  // CHECK-NEXT: %[[V12:.*]] = rt.index affine_map<(d0, d1, d2) -> ((d0 mod 3) * 2 + d1 mod 3 + 4)> : i32
  // CHECK-NEXT: %[[V13:.*]] = arith.constant 5 : i32
  // CHECK-NEXT: %[[V14:.*]] = arith.cmpi sge, %[[V12]], %[[V13]] : i32
  // CHECK-NEXT: %[[V15:.*]] = arith.constant 10 : i32
  // CHECK-NEXT: %[[V16:.*]] = arith.cmpi slt, %[[V12]], %[[V15]] : i32
  // CHECK-NEXT: %[[V17:.*]] = arith.andi %[[V14]], %[[V16]] : i1
  // CHECK-NEXT: %[[V18:.*]] = arith.andi %[[V11]], %[[V17]] : i1
  // CHECK-NEXT: %[[V19:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: %[[V20:.*]] = arith.select %[[V18]], %[[V5]], %[[V19]] : f32
  // CHECK-NEXT: rt.yield %[[V20]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V21:.*]] = rt.gemm [8, 144, 12] %[[V3]] trans_a, %[[V4]] : (tensor<2x6x8xf32>, tensor<108x16xf32>) -> tensor<8x144xf32>
  // CHECK-NEXT: %[[V22:.*]] = rt.view %[[V21]] offset 0 : tensor<8x144xf32> -> tensor<1152xf32>
  // CHECK-NEXT: %[[V23:.*]] = rt.fused [128, 1, 9] ins(%[[V22]] : tensor<1152xf32>) into(%[[V1]] : tensor<128x9xf32>) [0] maps [affine_map<(d0, d1, d2) -> ((d0 floordiv 16) * 144 + d0 mod 16, d2 * 16)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<128x9xf32> {
  // CHECK-NEXT: ^bb0(%[[V24:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V24]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %dw = nn.conv_grad_weight %dy, %x grid [4, 5] stride [2, 2] padding [1, 1] dilation [1, 1] groups 1 : (tensor<2x6x8xf32>, tensor<2x20x16xf32>) -> tensor<8x16x3x3xf32>
  return %dw : tensor<8x16x3x3xf32>
}

// The taps as inputs of one program; a NaN wins.
// CHECK-LABEL: func.func @max_pool(
func.func @max_pool(%x: tensor<2x20x16xf32> {ns.name = "x"}) -> (tensor<2x4x16xf32> {ns.name = "q"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "q" : tensor<2x4x16xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot io "x" : tensor<2x20x16xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.fused [8, 1, 16] ins(%[[V1]], %[[V1]], %[[V1]], %[[V1]] : tensor<2x20x16xf32>, tensor<2x20x16xf32>, tensor<2x20x16xf32>, tensor<2x20x16xf32>) into(%[[V0]] : tensor<2x4x16xf32>) [0] maps [affine_map<(d0, d1, d2) -> (((d0 floordiv 4) * 4 + ((d0 floordiv 2) mod 2) * 2 + 1) * 5 + (d0 mod 2) * 2 + 1, d2)>, affine_map<(d0, d1, d2) -> (((d0 floordiv 4) * 4 + ((d0 floordiv 2) mod 2) * 2 + 1) * 5 + (d0 mod 2) * 2, d2)>, affine_map<(d0, d1, d2) -> (((d0 floordiv 4) * 4 + ((d0 floordiv 2) mod 2) * 2) * 5 + (d0 mod 2) * 2 + 1, d2)>, affine_map<(d0, d1, d2) -> (((d0 floordiv 4) * 4 + ((d0 floordiv 2) mod 2) * 2) * 5 + (d0 mod 2) * 2, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x4x16xf32> {
  // CHECK-NEXT: ^bb0(%[[V3:.*]]: f32, %[[V4:.*]]: f32, %[[V5:.*]]: f32, %[[V6:.*]]: f32):
  // CHECK-NEXT: %[[V7:.*]] = arith.cmpf ogt, %[[V5]], %[[V6]] : f32
  // CHECK-NEXT: %[[V8:.*]] = arith.cmpf uno, %[[V5]], %[[V5]] : f32
  // CHECK-NEXT: %[[V9:.*]] = arith.ori %[[V7]], %[[V8]] : i1
  // CHECK-NEXT: %[[V10:.*]] = arith.select %[[V9]], %[[V5]], %[[V6]] : f32
  // CHECK-NEXT: %[[V11:.*]] = arith.cmpf ogt, %[[V4]], %[[V10]] : f32
  // CHECK-NEXT: %[[V12:.*]] = arith.cmpf uno, %[[V4]], %[[V4]] : f32
  // CHECK-NEXT: %[[V13:.*]] = arith.ori %[[V11]], %[[V12]] : i1
  // CHECK-NEXT: %[[V14:.*]] = arith.select %[[V13]], %[[V4]], %[[V10]] : f32
  // CHECK-NEXT: %[[V15:.*]] = arith.cmpf ogt, %[[V3]], %[[V14]] : f32
  // CHECK-NEXT: %[[V16:.*]] = arith.cmpf uno, %[[V3]], %[[V3]] : f32
  // CHECK-NEXT: %[[V17:.*]] = arith.ori %[[V15]], %[[V16]] : i1
  // CHECK-NEXT: %[[V18:.*]] = arith.select %[[V17]], %[[V3]], %[[V14]] : f32
  // CHECK-NEXT: rt.yield %[[V18]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %y = nn.max_pool %x grid [4, 5] kernel [2, 2] stride [2, 2] padding [0, 0] : tensor<2x20x16xf32> -> tensor<2x4x16xf32>
  return %y : tensor<2x4x16xf32>
}

// Three channels: a padded copy, whose lines of a window lie together: 2 taps of 3 channels move at once.
nn.param @s : tensor<8x3x2x2xf32>
// CHECK-LABEL: func.func @few_channels(
func.func @few_channels(%x: tensor<2x20x3xf32> {ns.name = "few"}) -> (tensor<2x6x8xf32> {ns.name = "few.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "few.y" : tensor<2x6x8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.slot params "s" : tensor<8x3x2x2xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.view %[[V1]] offset 0 : tensor<8x3x2x2xf32> -> tensor<96xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.slot io "few" : tensor<2x20x3xf32>
  // CHECK-NEXT: %[[V4:.*]] = rt.view %[[V3]] offset 0 : tensor<2x20x3xf32> -> tensor<8x15xf32>
  // CHECK-NEXT: %[[V5:.*]] = rt.fused [12, 1, 21] ins() maps [] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<12x21xf32> {
  // CHECK-NEXT: %[[V6:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: rt.yield %[[V6]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V7:.*]] = rt.view %[[V5]] offset 0 : tensor<12x21xf32> -> tensor<252xf32>
  // CHECK-NEXT: %[[V8:.*]] = rt.fused [8, 1, 15] ins(%[[V4]] : tensor<8x15xf32>) into(%[[V7]] : tensor<252xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (((d0 floordiv 4) * 6 + d0 mod 4 + 1) * 21 + 3, d2)>] : tensor<252xf32> {
  // CHECK-NEXT: ^bb0(%[[V9:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V9]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V10:.*]] = rt.fused [12, 2, 6] ins(%[[V8]] : tensor<252xf32>) maps [affine_map<(d0, d1, d2) -> (((d0 floordiv 6) * 6 + ((d0 floordiv 3) mod 2) * 2 + d1 * 2) * 21 + (d0 mod 3) * 6, d2)>] -> [affine_map<(d0, d1, d2) -> (d0 * 2 + d1, d2)>] : tensor<24x6xf32> {
  // CHECK-NEXT: ^bb0(%[[V11:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V11]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V12:.*]] = rt.fused [32, 1, 3] ins(%[[V2]] : tensor<96xf32>) maps [affine_map<(d0, d1, d2) -> ((d0 floordiv 4) * 12 + d0 mod 4, d2 * 4)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<32x3xf32> {
  // CHECK-NEXT: ^bb0(%[[V13:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V13]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V14:.*]] = rt.gemm [12, 8, 12] %[[V10]], %[[V12]] trans_b into %[[V0]] : (tensor<24x6xf32>, tensor<32x3xf32>, tensor<2x6x8xf32>) -> tensor<2x6x8xf32>
  // CHECK-NEXT: return
  %w = nn.load_param @s : tensor<8x3x2x2xf32>
  %y = nn.conv %x, %w grid [4, 5] stride [2, 2] padding [1, 1] dilation [2, 1] groups 1 : (tensor<2x20x3xf32>, tensor<8x3x2x2xf32>) -> tensor<2x6x8xf32>
  return %y : tensor<2x6x8xf32>
}

// Its gradient adds the lines up where they lie, one window after the other.
// CHECK-LABEL: func.func @few_channels_grad_input(
func.func @few_channels_grad_input(%dy: tensor<2x6x8xf32> {ns.name = "dy"}) -> (tensor<2x20x3xf32> {ns.name = "few"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[V0:.*]] = rt.slot io "few" : tensor<2x20x3xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.view %[[V0]] offset 0 : tensor<2x20x3xf32> -> tensor<8x15xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.slot params "s" : tensor<8x3x2x2xf32>
  // CHECK-NEXT: %[[V3:.*]] = rt.view %[[V2]] offset 0 : tensor<8x3x2x2xf32> -> tensor<96xf32>
  // CHECK-NEXT: %[[V4:.*]] = rt.slot io "dy" : tensor<2x6x8xf32>
  // CHECK-NEXT: %[[V5:.*]] = rt.fused [32, 1, 3] ins(%[[V3]] : tensor<96xf32>) maps [affine_map<(d0, d1, d2) -> ((d0 floordiv 4) * 12 + d0 mod 4, d2 * 4)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<32x3xf32> {
  // CHECK-NEXT: ^bb0(%[[V6:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V6]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V7:.*]] = rt.gemm [12, 12, 8] %[[V4]], %[[V5]] : (tensor<2x6x8xf32>, tensor<32x3xf32>) -> tensor<48x3xf32>
  // CHECK-NEXT: %[[V8:.*]] = rt.view %[[V7]] offset 0 : tensor<48x3xf32> -> tensor<24x6xf32>
  // CHECK-NEXT: %[[V9:.*]] = rt.fused [12, 1, 21] ins() maps [] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<12x21xf32> {
  // CHECK-NEXT: %[[V10:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: rt.yield %[[V10]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V11:.*]] = rt.view %[[V9]] offset 0 : tensor<12x21xf32> -> tensor<252xf32>
  // CHECK-NEXT: %[[V12:.*]] = rt.fused [2, 12, 6] ins(%[[V11]], %[[V8]] : tensor<252xf32>, tensor<24x6xf32>) into(%[[V11]] : tensor<252xf32>) [0] maps [affine_map<(d0, d1, d2) -> (((d0 + (d1 floordiv 2) floordiv 6) * 6 + (((d1 floordiv 2) floordiv 3) mod 2) * 2 + (d1 mod 2) * 2) * 21 + ((d1 floordiv 2) mod 3) * 6, d2)>, affine_map<(d0, d1, d2) -> (d0 * 12 + d1, d2)>] -> [affine_map<(d0, d1, d2) -> (((d0 + (d1 floordiv 2) floordiv 6) * 6 + (((d1 floordiv 2) floordiv 3) mod 2) * 2 + (d1 mod 2) * 2) * 21 + ((d1 floordiv 2) mod 3) * 6, d2)>] : tensor<252xf32> {
  // CHECK-NEXT: ^bb0(%[[V13:.*]]: f32, %[[V14:.*]]: f32):
  // CHECK-NEXT: %[[V15:.*]] = arith.addf %[[V13]], %[[V14]] : f32
  // CHECK-NEXT: rt.yield %[[V15]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V16:.*]] = rt.fused [8, 1, 15] ins(%[[V12]] : tensor<252xf32>) into(%[[V1]] : tensor<8x15xf32>) [0] maps [affine_map<(d0, d1, d2) -> (((d0 floordiv 4) * 6 + d0 mod 4 + 1) * 21 + 3, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<8x15xf32> {
  // CHECK-NEXT: ^bb0(%[[V17:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[V17]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: return
  %w = nn.load_param @s : tensor<8x3x2x2xf32>
  %dx = nn.conv_grad_input %dy, %w grid [4, 5] stride [2, 2] padding [1, 1] dilation [2, 1] groups 1 : (tensor<2x6x8xf32>, tensor<8x3x2x2xf32>) -> tensor<2x20x3xf32>
  return %dx : tensor<2x20x3xf32>
}
