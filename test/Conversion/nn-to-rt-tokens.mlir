// RUN: ns-opt %s --nn-to-rt --mlir-print-local-scope | FileCheck %s

// The patches go to their rows of a new value, then the class token's rows are written into it.
nn.param @cls no_decay : tensor<1x1x8xf32>
// CHECK-LABEL: func.func @prepend()
func.func @prepend(%x: tensor<4x16x8xf32> {ns.name = "prepend.x"}) -> (tensor<4x17x8xf32> {ns.name = "prepend.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "prepend.y" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot params "cls" : tensor<1x1x8xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "prepend.x" : tensor<4x16x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [64, 1, 8] ins(%[[S2]] : tensor<4x16x8xf32>) maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> ((d0 floordiv 16) * 17 + d0 mod 16 + 1, d2)>] : tensor<4x17x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X0]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[F1:.*]] = rt.fused [4, 1, 8] ins(%[[S1]] : tensor<1x1x8xf32>) into(%[[F0]] : tensor<4x17x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0 * 17, d2)>] : tensor<4x17x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X1:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X1]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[F2:.*]] = rt.fused [68, 1, 8] ins(%[[F1]] : tensor<4x17x8xf32>) into(%[[S0]] : tensor<4x17x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x17x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X2:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X2]] : f32
  // CHECK-NEXT: }
  %c = nn.load_param @cls : tensor<1x1x8xf32>
  %y = nn.prepend_tokens %x, %c : (tensor<4x16x8xf32>, tensor<1x1x8xf32>) -> tensor<4x17x8xf32>
  return %y : tensor<4x17x8xf32>
}

// CHECK-LABEL: func.func @select()
func.func @select(%x: tensor<4x17x8xf32> {ns.name = "select.x"}) -> (tensor<4x8xf32> {ns.name = "select.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "select.y" : tensor<4x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "select.x" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [4, 1, 8] ins(%[[S1]] : tensor<4x17x8xf32>) into(%[[S0]] : tensor<4x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0 * 17 + 3, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X0]] : f32
  // CHECK-NEXT: }
  %y = nn.select_token %x [3] : tensor<4x17x8xf32> -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// Its adjoint: zeros, then the row.
// CHECK-LABEL: func.func @scatter()
func.func @scatter(%x: tensor<4x8xf32> {ns.name = "scatter.x"}) -> (tensor<4x17x8xf32> {ns.name = "scatter.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "scatter.y" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "scatter.x" : tensor<4x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [68, 1, 8] ins() maps [] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x17x8xf32> {
  // CHECK-NEXT: %[[E0:.*]] = arith.constant 0.000000e+00 : f32
  // CHECK-NEXT: rt.yield %[[E0]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[F1:.*]] = rt.fused [4, 1, 8] ins(%[[S1]] : tensor<4x8xf32>) into(%[[F0]] : tensor<4x17x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0 * 17 + 3, d2)>] : tensor<4x17x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X0]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[F2:.*]] = rt.fused [68, 1, 8] ins(%[[F1]] : tensor<4x17x8xf32>) into(%[[S0]] : tensor<4x17x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x17x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X1:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X1]] : f32
  // CHECK-NEXT: }
  %y = nn.scatter_token %x [3] : tensor<4x8xf32> -> tensor<4x17x8xf32>
  return %y : tensor<4x17x8xf32>
}

// Channels are moved as rows as wide as the greatest common divisor allows.
// CHECK-LABEL: func.func @channels()
func.func @channels(%x: tensor<4x17x24xf32> {ns.name = "channels.x"}) -> (tensor<4x17x8xf32> {ns.name = "channels.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "channels.y" : tensor<4x17x8xf32>
  // CHECK-NEXT: %[[V0:.*]] = rt.view %[[S0]] offset 0 : tensor<4x17x8xf32> -> tensor<68x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "channels.x" : tensor<4x17x24xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.view %[[S1]] offset 0 : tensor<4x17x24xf32> -> tensor<204x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [68, 1, 8] ins(%[[V1]] : tensor<204x8xf32>) into(%[[V0]] : tensor<68x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0 * 3 + 2, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<68x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X0]] : f32
  // CHECK-NEXT: }
  %y = nn.slice_channels %x from 16 : tensor<4x17x24xf32> -> tensor<4x17x8xf32>
  return %y : tensor<4x17x8xf32>
}

// Half a batch costs nothing until it must be copied out.
// CHECK-LABEL: func.func @half_batch()
func.func @half_batch(%x: tensor<4x8xf32> {ns.name = "half_batch.x"}) -> (tensor<2x8xf32> {ns.name = "half_batch.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "half_batch.y" : tensor<2x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "half_batch.x" : tensor<4x8xf32>
  // CHECK-NEXT: %[[V0:.*]] = rt.view %[[S1]] offset 16 : tensor<4x8xf32> -> tensor<2x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [2, 1, 8] ins(%[[V0]] : tensor<2x8xf32>) into(%[[S0]] : tensor<2x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<2x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X0]] : f32
  // CHECK-NEXT: }
  %y = nn.slice_batch %x from 2 : tensor<4x8xf32> -> tensor<2x8xf32>
  return %y : tensor<2x8xf32>
}

// CHECK-LABEL: func.func @mean()
func.func @mean(%x: tensor<4x16x8xf32> {ns.name = "mean.x"}) -> (tensor<4x8xf32> {ns.name = "mean.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "mean.y" : tensor<4x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "mean.x" : tensor<4x16x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [4, 16, 8] ins(%[[S1]] : tensor<4x16x8xf32>) into(%[[S0]] : tensor<4x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0 * 16 + d1, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: %[[E0:.*]] = arith.constant 6.250000e-02 : f32
  // CHECK-NEXT: %[[E1:.*]] = arith.mulf %[[X0]], %[[E0]] : f32
  // CHECK-NEXT: rt.yield %[[E1]] : f32
  // CHECK-NEXT: }
  %y = nn.mean_tokens %x : tensor<4x16x8xf32> -> tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}

// Joined channels, as rows as wide as the greatest common divisor of all widths.
// CHECK-LABEL: func.func @join_channels()
func.func @join_channels(%x: tensor<4x5x12xf32> {ns.name = "join_channels.x"}, %y: tensor<4x5x8xf32> {ns.name = "join_channels.y"}) -> (tensor<4x5x20xf32> {ns.name = "join_channels.z"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "join_channels.z" : tensor<4x5x20xf32>
  // CHECK-NEXT: %[[V0:.*]] = rt.view %[[S0]] offset 0 : tensor<4x5x20xf32> -> tensor<100x4xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "join_channels.y" : tensor<4x5x8xf32>
  // CHECK-NEXT: %[[V1:.*]] = rt.view %[[S1]] offset 0 : tensor<4x5x8xf32> -> tensor<40x4xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "join_channels.x" : tensor<4x5x12xf32>
  // CHECK-NEXT: %[[V2:.*]] = rt.view %[[S2]] offset 0 : tensor<4x5x12xf32> -> tensor<60x4xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [60, 1, 4] ins(%[[V2]] : tensor<60x4xf32>) maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> ((d0 floordiv 3) * 5 + d0 mod 3, d2)>] : tensor<100x4xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X0]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[F1:.*]] = rt.fused [40, 1, 4] ins(%[[V1]] : tensor<40x4xf32>) into(%[[F0]] : tensor<100x4xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> ((d0 floordiv 2) * 5 + d0 mod 2 + 3, d2)>] : tensor<100x4xf32> {
  // CHECK-NEXT: ^bb0(%[[X1:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X1]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[F2:.*]] = rt.fused [100, 1, 4] ins(%[[F1]] : tensor<100x4xf32>) into(%[[V0]] : tensor<100x4xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<100x4xf32> {
  // CHECK-NEXT: ^bb0(%[[X2:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X2]] : f32
  // CHECK-NEXT: }
  %z = nn.concat_channels %x, %y : (tensor<4x5x12xf32>, tensor<4x5x8xf32>) -> tensor<4x5x20xf32>
  return %z : tensor<4x5x20xf32>
}

// Joined vectors: each is one row.
// CHECK-LABEL: func.func @join_vectors()
func.func @join_vectors(%x: tensor<4xf32> {ns.name = "join_vectors.x"}, %y: tensor<6xf32> {ns.name = "join_vectors.y"}) -> (tensor<10xf32> {ns.name = "join_vectors.z"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "join_vectors.z" : tensor<10xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "join_vectors.y" : tensor<6xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "join_vectors.x" : tensor<4xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [1, 1, 4] ins(%[[S2]] : tensor<4xf32>) maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<10xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X0]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[F1:.*]] = rt.fused [1, 1, 6] ins(%[[S1]] : tensor<6xf32>) into(%[[F0]] : tensor<10xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0 + 4, d2)>] : tensor<10xf32> {
  // CHECK-NEXT: ^bb0(%[[X1:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X1]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[F2:.*]] = rt.fused [1, 1, 10] ins(%[[F1]] : tensor<10xf32>) into(%[[S0]] : tensor<10xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<10xf32> {
  // CHECK-NEXT: ^bb0(%[[X2:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X2]] : f32
  // CHECK-NEXT: }
  %z = nn.concat_rows %x, %y : (tensor<4xf32>, tensor<6xf32>) -> tensor<10xf32>
  return %z : tensor<10xf32>
}

// Joined matrices.
// CHECK-LABEL: func.func @join_rows()
func.func @join_rows(%x: tensor<4x8xf32> {ns.name = "join_rows.x"}, %y: tensor<6x8xf32> {ns.name = "join_rows.y"}) -> (tensor<10x8xf32> {ns.name = "join_rows.z"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "join_rows.z" : tensor<10x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "join_rows.y" : tensor<6x8xf32>
  // CHECK-NEXT: %[[S2:.*]] = rt.slot io "join_rows.x" : tensor<4x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [4, 1, 8] ins(%[[S2]] : tensor<4x8xf32>) maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<10x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X0]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[F1:.*]] = rt.fused [6, 1, 8] ins(%[[S1]] : tensor<6x8xf32>) into(%[[F0]] : tensor<10x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0 + 4, d2)>] : tensor<10x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X1:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X1]] : f32
  // CHECK-NEXT: }
  // CHECK-NEXT: %[[F2:.*]] = rt.fused [10, 1, 8] ins(%[[F1]] : tensor<10x8xf32>) into(%[[S0]] : tensor<10x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<10x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X2:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X2]] : f32
  // CHECK-NEXT: }
  %z = nn.concat_rows %x, %y : (tensor<4x8xf32>, tensor<6x8xf32>) -> tensor<10x8xf32>
  return %z : tensor<10x8xf32>
}

// One tensor for every image.
// CHECK-LABEL: func.func @every_image()
func.func @every_image(%q: tensor<1x2x8xf32> {ns.name = "every_image.q"}, %x: tensor<4x5x8xf32> {ns.name = "every_image.x"}) -> (tensor<4x2x8xf32> {ns.name = "every_image.y"}) attributes {ns.entry} {
  // CHECK-NEXT: %[[S0:.*]] = rt.slot io "every_image.y" : tensor<4x2x8xf32>
  // CHECK-NEXT: %[[S1:.*]] = rt.slot io "every_image.q" : tensor<1x2x8xf32>
  // CHECK-NEXT: %[[F0:.*]] = rt.fused [8, 1, 8] ins(%[[S1]] : tensor<1x2x8xf32>) into(%[[S0]] : tensor<4x2x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0 mod 2, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>] : tensor<4x2x8xf32> {
  // CHECK-NEXT: ^bb0(%[[X0:.*]]: f32):
  // CHECK-NEXT: rt.yield %[[X0]] : f32
  // CHECK-NEXT: }
  %y = nn.expand_batch %q like %x : (tensor<1x2x8xf32>, tensor<4x5x8xf32>) -> tensor<4x2x8xf32>
  return %y : tensor<4x2x8xf32>
}
