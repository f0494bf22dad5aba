// RUN: ns-opt %s --nn-to-rt --mlir-print-local-scope | FileCheck %s

// A linear layer is one product with the weight as it lies in memory; its bias is a row program.
nn.param @w : tensor<16x8xf32>
nn.param @b no_decay : tensor<16xf32>
// CHECK-LABEL: func.func @linear()
func.func @linear(%x: tensor<4x17x8xf32> {ns.name = "linear.x"}) -> (tensor<4x17x16xf32> {ns.name = "linear.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "linear.y" : tensor<4x17x16xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot params "b" : tensor<16xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot params "w" : tensor<16x8xf32>
  // CHECK-NEXT: %[[S3:.*]] = rt.slot io "linear.x" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[G0:.*]] = rt.gemm [68, 16, 8] %[[S3]], %[[S2]] trans_b : (tensor<4x17x8xf32>, tensor<16x8xf32>) -> tensor<4x17x16xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [68, 1, 16] ins(%[[G0]], %[[S1]] : tensor<4x17x16xf32>, tensor<16xf32>) into(%[[S0]] : tensor<4x17x16xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x17x16xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32, %[[X1:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = arith.addf %[[X0]], %[[X1]] : f32
  // CHECK-NEXT: rt.yield %[[E0]] : f32
  // CHECK-NEXT: }
  %w = nn.load_param @w : tensor<16x8xf32>
  %b = nn.load_param @b : tensor<16xf32>
  %y = nn.linear %x, %w, %b : (tensor<4x17x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<4x17x16xf32>
  return %y : tensor<4x17x16xf32>
}

// Its two gradients: with the weight not transposed, and over the rows of both.
// CHECK-LABEL: func.func @linear_grad()
func.func @linear_grad(%x: tensor<4x17x8xf32> {ns.name = "linear_grad.x"}, %dy: tensor<4x17x16xf32> {ns.name = "linear_grad.dy"}) -> (tensor<4x17x8xf32> {ns.name = "linear_grad.dx"}, tensor<16x8xf32> {ns.name = "linear_grad.dw"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "linear_grad.dw" : tensor<16x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "linear_grad.dx" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot params "w" : tensor<16x8xf32>
  // CHECK-NEXT: %[[S3:.*]] = rt.slot io "linear_grad.dy" : tensor<4x17x16xf32>
  // CHECK-NEXT: %[[S4:.*]] = rt.slot io "linear_grad.x" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[G0:.*]] = rt.gemm [68, 8, 16] %[[S3]], %[[S2]] into %[[S1]] : (tensor<4x17x16xf32>, tensor<16x8xf32>, tensor<4x17x8xf32>) -> tensor<4x17x8xf32>
  // CHECK-NEXT: %[[G1:.*]] = rt.gemm [16, 8, 68] %[[S3]] trans_a, %[[S4]] into %[[S0]] : (tensor<4x17x16xf32>, tensor<4x17x8xf32>, tensor<16x8xf32>) -> tensor<16x8xf32>
  %w = nn.load_param @w : tensor<16x8xf32>
  %dx = nn.linear_grad_input %dy, %w : (tensor<4x17x16xf32>, tensor<16x8xf32>) -> tensor<4x17x8xf32>
  %dw = nn.linear_grad_weight %dy, %x : (tensor<4x17x16xf32>, tensor<4x17x8xf32>) -> tensor<16x8xf32>
  return %dx, %dw : tensor<4x17x8xf32>, tensor<16x8xf32>
}

// Where only attention reads a layer, its bias is added there.
nn.param @qkv : tensor<24x8xf32>
nn.param @qkv_b no_decay : tensor<24xf32>
// CHECK-LABEL: func.func @attention()
func.func @attention(%x: tensor<4x17x8xf32> {ns.name = "attention.x"}) -> (tensor<4x17x8xf32> {ns.name = "attention.attended"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "attention.attended" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot params "qkv_b" : tensor<24xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot params "qkv" : tensor<24x8xf32>
  // CHECK-NEXT: %[[S3:.*]] = rt.slot io "attention.x" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[G0:.*]] = rt.gemm [68, 24, 8] %[[S3]], %[[S2]] trans_b : (tensor<4x17x8xf32>, tensor<24x8xf32>) -> tensor<4x17x24xf32>
  // CHECK-NEXT: %[[A0:.*]] = rt.attention %[[G0]] bias %[[S1]] heads 2 scale 5.000000e-01 : (tensor<4x17x24xf32>, tensor<24xf32>) -> tensor<4x17x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [68, 1, 8] ins(%[[A0]] : tensor<4x17x8xf32>) into(%[[S0]] : tensor<4x17x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x17x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X0]] : f32
  // CHECK-NEXT: }
  %w = nn.load_param @qkv : tensor<24x8xf32>
  %b = nn.load_param @qkv_b : tensor<24xf32>
  %q = nn.linear %x, %w, %b : (tensor<4x17x8xf32>, tensor<24x8xf32>, tensor<24xf32>) -> tensor<4x17x24xf32>
  %a = nn.attention %q heads 2 scale 0.5 : (tensor<4x17x24xf32>) -> tensor<4x17x8xf32>
  return %a : tensor<4x17x8xf32>
}

// Patches: the normalised pixels as the rows of a matrix, then one product with the kernel as a matrix.
nn.param @kernel : tensor<16x3x4x4xf32>
// CHECK-LABEL: func.func @patch_embed()
func.func @patch_embed(%x: tensor<2x3x8x8xf32> {ns.name = "patch_embed.image"}) -> (tensor<2x4x16xf32> {ns.name = "patch_embed.tokens"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "patch_embed.tokens" : tensor<2x4x16xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot params "kernel" : tensor<16x3x4x4xf32>
  // CHECK-NEXT: %[[V0:.*]] = rt.view %[[S1]] offset 0 : tensor<16x3x4x4xf32> -> tensor<16x48xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "patch_embed.image" : tensor<2x3x8x8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.view %[[S2]] offset 0 : tensor<2x3x8x8xf32> -> tensor<96x4xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [96, 1, 4] ins(%[[V1]] : tensor<96x4xf32>) maps [affine_map<(d0, d1, d2) -> ((((d0 floordiv 48) * 3 + (d0 floordiv 4) mod 3) * 8 + ((d0 floordiv 24) mod 2) * 4 + d0 mod 4) * 2 + (d0 floordiv 12) mod 2, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<96x4xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = rt.index affine_map<(d0, d1, d2) -> ((d0 floordiv 4) mod 3)> : i32
  // CHECK-NEXT: %[[E1:.*]] = arith.constant 0 : i32
  // CHECK-NEXT: %[[E2:.*]] = arith.cmpi eq, %[[E0]], %[[E1]] : i32
  // CHECK-NEXT: %[[E3:.*]] = arith.constant 5.000000e-01 : f32
  // CHECK-NEXT: %[[E4:.*]] = arith.constant 1 : i32
  // CHECK-NEXT: %[[E5:.*]] = arith.cmpi eq, %[[E0]], %[[E4]] : i32
  // CHECK-NEXT: %[[E6:.*]] = arith.constant 2.500000e-01 : f32
  // CHECK-NEXT: %[[E7:.*]] = arith.constant 1.250000e-01 : f32
  // CHECK-NEXT: %[[E8:.*]] = arith.select %[[E5]], %[[E6]], %[[E7]] : f32
  // CHECK-NEXT: %[[E9:.*]] = arith.select %[[E2]], %[[E3]], %[[E8]] : f32
  // CHECK-NEXT: %[[E10:.*]] = arith.subf %[[X0]], %[[E9]] : f32
  // CHECK-NEXT: %[[E11:.*]] = rt.index affine_map<(d0, d1, d2) -> ((d0 floordiv 4) mod 3)> : i32
  // CHECK-NEXT: %[[E12:.*]] = arith.constant 0 : i32
  // CHECK-NEXT: %[[E13:.*]] = arith.cmpi eq, %[[E11]], %[[E12]] : i32
  // CHECK-NEXT: %[[E14:.*]] = arith.constant 5.000000e-01 : f32
  // CHECK-NEXT: %[[E15:.*]] = arith.constant 1 : i32
  // CHECK-NEXT: %[[E16:.*]] = arith.cmpi eq, %[[E11]], %[[E15]] : i32
  // CHECK-NEXT: %[[E17:.*]] = arith.constant 2.500000e-01 : f32
  // CHECK-NEXT: %[[E18:.*]] = arith.constant 1.000000e+00 : f32
  // CHECK-NEXT: %[[E19:.*]] = arith.select %[[E16]], %[[E17]], %[[E18]] : f32
  // CHECK-NEXT: %[[E20:.*]] = arith.select %[[E13]], %[[E14]], %[[E19]] : f32
  // CHECK-NEXT: %[[E21:.*]] = arith.divf %[[E10]], %[[E20]] : f32
  // CHECK-NEXT: rt.yield %[[E21]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[V2:.*]] = rt.view %[[F0]] offset 0 : tensor<96x4xf32> -> tensor<8x48xf32>
  // CHECK-NEXT: %[[G0:.*]] = rt.gemm [8, 16, 48] %[[V2]], %[[V0]] trans_b into %[[S0]] : (tensor<8x48xf32>, tensor<16x48xf32>, tensor<2x4x16xf32>) -> tensor<2x4x16xf32>
  %k = nn.load_param @kernel : tensor<16x3x4x4xf32>
  %n = nn.normalize %x mean [0.5, 0.25, 0.125] std [0.5, 0.25, 1.0] : tensor<2x3x8x8xf32>
  %y = nn.patch_embed %n, %k patch [4, 4] : (tensor<2x3x8x8xf32>, tensor<16x3x4x4xf32>) -> tensor<2x4x16xf32>
  return %y : tensor<2x4x16xf32>
}
