// RUN: ns-opt %s --rt-expand-attention --mlir-print-local-scope | FileCheck %s
// RUN: ns-opt %s --rt-expand-attention="pad-keys=1 keep-keys=17" --mlir-print-local-scope | FileCheck %s --check-prefix=KEPT
// RUN: not ns-opt %s --rt-expand-attention=pad-keys=0 2>&1 | FileCheck %s --check-prefix=PAD
// PAD: error: expected pad-keys to be at least 1, but got 0

// Packed input: one move for q, k and v, 4 images x 2 heads of each, tokens padded from 17 to 24. Its gradient reads the same move.
// CHECK-LABEL: func.func @packed(
// CHECK-SAME: %[[X:.*]]: tensor<4x17x24xf32>, %[[B:.*]]: tensor<24xf32>, %[[D:.*]]: tensor<4x17x8xf32>
// CHECK: %[[X4:.*]] = rt.view %[[X]] offset 0 : tensor<4x17x24xf32> -> tensor<408x4xf32>
// CHECK: %[[B4:.*]] = rt.view %[[B]] offset 0 : tensor<24xf32> -> tensor<6x4xf32>
// CHECK: %[[M:.*]] = rt.fused [576, 1, 4] ins(%[[X4]], %[[B4]] : tensor<408x4xf32>, tensor<6x4xf32>)
// CHECK-SAME: layer = "attn"
// CHECK-SAME: : tensor<24x24x4xf32>
// CHECK-DAG: arith.addf
// CHECK-DAG: arith.select
// CHECK: %[[Q:.*]] = rt.view %[[M]] offset 0 : tensor<24x24x4xf32> -> tensor<8x24x4xf32>
// CHECK: %[[K:.*]] = rt.view %[[M]] offset 768 :
// CHECK: %[[V:.*]] = rt.view %[[M]] offset 1536 :
// CHECK: %[[S:.*]] = rt.gemm [17, 24, 4] %[[Q]], %[[K]] trans_b batch [8, 96, 96] {layer = "attn"} : (tensor<8x24x4xf32>, tensor<8x24x4xf32>) -> tensor<8x17x24xf32>
// CHECK: %[[P:.*]] = rt.fused [136, 1, 24] ins(%[[S]] : tensor<8x17x24xf32>) maps [affine_map<(d0, d1, d2) -> (d0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, d2)>]
// CHECK: rt.row_reduce max
// CHECK: math.exp
// CHECK: rt.row_reduce add
// CHECK: %[[O:.*]] = rt.gemm [17, 4, 24] %[[P]], %[[V]] batch [8, 408, 96]
// CHECK: %[[R:.*]] = rt.fused [136, 1, 4] ins(%[[O]] : tensor<8x17x4xf32>)
// CHECK: rt.view %[[R]] offset 0 : tensor<136x4xf32> -> tensor<4x17x8xf32>
// CHECK: %[[DO:.*]] = rt.fused [136, 1, 4] ins(%{{.*}} : tensor<136x4xf32>) {{.*}} : tensor<8x17x4xf32>
// CHECK: %[[DP:.*]] = rt.gemm [17, 24, 4] %[[DO]], %[[V]] trans_b batch [8, 68, 96]
// CHECK: %[[S2:.*]] = rt.gemm [17, 24, 4] %[[Q]], %[[K]] trans_b
// CHECK: %[[PD:.*]]:2 = rt.fused [136, 1, 24] ins(%[[S2]], %[[DP]] :
// CHECK: %[[DQ:.*]] = rt.gemm [17, 4, 24] %[[PD]]#1, %[[K]] batch [8, 408, 96] {{.*}} -> tensor<8x17x4xf32>
// CHECK: %[[DK:.*]] = rt.gemm [24, 4, 17] %[[PD]]#1 trans_a, %[[Q]] batch [8, 408, 96] {{.*}} -> tensor<8x24x4xf32>
// CHECK: %[[DV:.*]] = rt.gemm [24, 4, 17] %[[PD]]#0 trans_a, %[[DO]] batch [8, 408, 68] {{.*}} -> tensor<8x24x4xf32>
// CHECK: %[[R0:.*]] = rt.fused [136, 1, 4] ins(%[[DQ]] : {{.*}} : tensor<408x4xf32>
// CHECK: %[[R1:.*]] = rt.fused [136, 1, 4] ins(%[[DK]] : {{.*}} into(%[[R0]] :
// CHECK: %[[R2:.*]] = rt.fused [136, 1, 4] ins(%[[DV]] : {{.*}} into(%[[R1]] :
// CHECK: rt.view %[[R2]] offset 0 : tensor<408x4xf32> -> tensor<4x17x24xf32>

// With up to 17 keys the scores are computed once. Nothing is padded.
// KEPT-LABEL: func.func @packed(
// KEPT: rt.gemm [17, 17, 4] {{.*}} trans_b
// KEPT: %[[P:.*]] = rt.fused [136, 1, 17]
// KEPT: %[[DP:.*]] = rt.gemm [17, 17, 4] {{.*}} trans_b
// KEPT-NOT: math.exp
// KEPT: %[[DS:.*]] = rt.fused [136, 1, 17] ins(%[[P]], %[[DP]] :
// KEPT: rt.gemm [17, 4, 17] %[[DS]],
// KEPT: rt.gemm [17, 4, 17] %[[DS]] trans_a,
// KEPT: rt.gemm [17, 4, 17] %[[P]] trans_a,
func.func @packed(%x: tensor<4x17x24xf32>, %b: tensor<24xf32>, %d: tensor<4x17x8xf32>) -> (tensor<4x17x8xf32>, tensor<4x17x24xf32>) {
  %0 = rt.attention %x bias %b heads 2 scale 5.000000e-01 {layer = "attn"} : (tensor<4x17x24xf32>, tensor<24xf32>) -> tensor<4x17x8xf32>
  %1 = rt.attention_grad %d, %x bias %b heads 2 scale 5.000000e-01 {layer = "attn"} : (tensor<4x17x8xf32>, tensor<4x17x24xf32>, tensor<24xf32>) -> tensor<4x17x24xf32>
  return %0, %1 : tensor<4x17x8xf32>, tensor<4x17x24xf32>
}

// Queries of their own are not padded: one of each image.
// CHECK-LABEL: func.func @one_query(
// CHECK: rt.fused [8, 1, 4] ins({{.*}} : tensor<8x1x4xf32>
// CHECK: rt.fused [384, 1, 4] ins({{.*}} : tensor<16x24x4xf32>
// CHECK: rt.gemm [1, 24, 4] {{.*}} trans_b batch [8, 4, 96] : {{.*}} -> tensor<8x1x24xf32>
func.func @one_query(%q: tensor<4x1x8xf32>, %kv: tensor<4x17x16xf32>) -> tensor<4x1x8xf32> {
  %0 = rt.attention %q, %kv heads 2 scale 5.000000e-01 : (tensor<4x1x8xf32>, tensor<4x17x16xf32>) -> tensor<4x1x8xf32>
  return %0 : tensor<4x1x8xf32>
}

// A window is an image; bias and mask get rows as wide as the scores', by head and by window.
// CHECK-LABEL: func.func @windows(
// CHECK-SAME: %[[X:.*]]: tensor<4x6x24xf32>, %[[S:.*]]: tensor<2x3x3xf32>, %[[M:.*]]: tensor<2x3x3xf32>
// CHECK: rt.fused [384, 1, 4] ins({{.*}} : tensor<48x8x4xf32>
// CHECK: %[[SP:.*]] = rt.fused [6, 1, 3] ins(%[[S]] : {{.*}} : tensor<2x3x8xf32>
// CHECK: %[[MP:.*]] = rt.fused [6, 1, 3] ins(%[[M]] : {{.*}} : tensor<2x3x8xf32>
// CHECK: rt.gemm [3, 8, 4] {{.*}} batch [16, 32, 32]
// CHECK: rt.fused [48, 1, 8] ins(%{{.*}}, %[[SP]], %[[MP]] : {{.*}} maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (((d0 floordiv 3) mod 2) * 3 + d0 mod 3, d2)>, affine_map<(d0, d1, d2) -> (((d0 floordiv 6) mod 2) * 3 + d0 mod 3, d2)>]
func.func @windows(%x: tensor<4x6x24xf32>, %s: tensor<2x3x3xf32>, %m: tensor<2x3x3xf32>) -> tensor<4x6x8xf32> {
  %0 = rt.attention %x score_bias %s mask %m heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x24xf32>, tensor<2x3x3xf32>, tensor<2x3x3xf32>) -> tensor<4x6x8xf32>
  return %0 : tensor<4x6x8xf32>
}

// The scores' gradient leaves without the padding.
// CHECK-LABEL: func.func @scores_grad(
// CHECK: %[[PD:.*]]:2 = rt.fused [48, 1, 8]
// CHECK: %[[G:.*]] = rt.fused [48, 1, 3] ins(%[[PD]]#1 : tensor<16x3x8xf32>) {{.*}} : tensor<8x6x3xf32>
// CHECK: return %{{.*}}, %[[G]]
func.func @scores_grad(%d: tensor<4x6x8xf32>, %x: tensor<4x6x24xf32>, %s: tensor<2x3x3xf32>) -> (tensor<4x6x24xf32>, tensor<8x6x3xf32>) {
  %0:2 = rt.attention_grad %d, %x score_bias %s heads 2 scale 5.000000e-01 window 3 : (tensor<4x6x8xf32>, tensor<4x6x24xf32>, tensor<2x3x3xf32>) -> (tensor<4x6x24xf32>, tensor<8x6x3xf32>)
  return %0#0, %0#1 : tensor<4x6x24xf32>, tensor<8x6x3xf32>
}

// q, k and v apart: no chain of destinations.
// CHECK-LABEL: func.func @apart(
// CHECK-COUNT-4: rt.fused [{{.*}}, 1, 4]
// CHECK-NOT: into
func.func @apart(%d: tensor<4x17x8xf32>, %q: tensor<4x17x8xf32>, %k: tensor<4x17x8xf32>, %v: tensor<4x17x8xf32>) -> (tensor<4x17x8xf32>, tensor<4x17x8xf32>, tensor<4x17x8xf32>) {
  %0:3 = rt.attention_grad %d, %q, %k, %v heads 2 scale 5.000000e-01 : (tensor<4x17x8xf32>, tensor<4x17x8xf32>, tensor<4x17x8xf32>, tensor<4x17x8xf32>) -> (tensor<4x17x8xf32>, tensor<4x17x8xf32>, tensor<4x17x8xf32>)
  return %0#0, %0#1, %0#2 : tensor<4x17x8xf32>, tensor<4x17x8xf32>, tensor<4x17x8xf32>
}
