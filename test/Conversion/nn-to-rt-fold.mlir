// RUN: ns-opt %s --nn-to-rt --mlir-print-local-scope | FileCheck %s
// RUN: ns-opt %s --nn-to-rt --rt-fuse --mlir-print-local-scope | FileCheck %s --check-prefix=FUSED

// Parameters are overwritten in place, the bias before the weight that it reads.
nn.param @w : tensor<16x8xf32>
nn.param @b no_decay : tensor<16xf32>
nn.param @g no_decay : tensor<8xf32>
nn.param @s no_decay : tensor<16xf32>
// CHECK-LABEL: func.func @prepare()
// FUSED-LABEL: func.func @prepare()
func.func @prepare() attributes {ns.entry} {
  // CHECK-DAG: %[[W:.*]] = rt.slot params "w"
  // CHECK-DAG: %[[B:.*]] = rt.slot params "b"
  // CHECK-DAG: %[[G:.*]] = rt.slot params "g"
  // CHECK-DAG: %[[S:.*]] = rt.slot params "s"
  // CHECK: %[[B1:.*]] = rt.fused [16, 1, 8] ins(%[[B]], %[[W]], %[[G]] : {{.*}}) maps [affine_map<(d0, d1, d2) -> (d0, 0)>, affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>] -> [affine_map<(d0, d1, d2) -> (d0, 0)>] : tensor<16xf32>
  // CHECK: rt.row_reduce add
  // CHECK: %[[W1:.*]] = rt.fused [16, 1, 8] ins(%[[W]], %[[G]] : {{.*}}) maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (0, d2)>] -> {{.*}} : tensor<16x8xf32>
  // CHECK: rt.fused [1, 1, 16] ins(%[[B1]], %[[S]] : {{.*}}) into(%[[B]] : tensor<16xf32>) [0]
  // CHECK: rt.fused [16, 1, 8] ins(%[[W1]], %[[S]] : {{.*}}) into(%[[W]] : tensor<16x8xf32>) [0] maps [affine_map<(d0, d1, d2) -> (d0, d2)>, affine_map<(d0, d1, d2) -> (d0, 0)>]

  // Fused, the weight is read and written at the same point, after the bias.
  // FUSED-DAG: %[[W:.*]] = rt.slot params "w"
  // FUSED-DAG: %[[B:.*]] = rt.slot params "b"
  // FUSED: %[[B1:.*]] = rt.fused [16, 1, 8] ins(%[[B]], %[[W]],
  // FUSED: rt.fused [1, 1, 16] ins(%[[B1]], {{.*}} into(%[[B]] :
  // FUSED: rt.fused [16, 1, 8] ins(%[[W]], {{.*}} into(%[[W]] :
  // FUSED-NOT: rt.fused
  %w = nn.load_param @w : tensor<16x8xf32>
  %b = nn.load_param @b : tensor<16xf32>
  %g = nn.load_param @g : tensor<8xf32>
  %s = nn.load_param @s : tensor<16xf32>
  %b1 = nn.fold_norm_bias %b, %w, %g : tensor<16xf32>, tensor<16x8xf32>, tensor<8xf32>
  %w1 = nn.fold_norm_weight %w, %g : tensor<16x8xf32>, tensor<8xf32>
  %b2 = nn.fold_scale_bias %b1, %s : tensor<16xf32>
  %w2 = nn.fold_scale_weight %w1, %s : tensor<16x8xf32>, tensor<16xf32>
  nn.store_param @b, %b2 : tensor<16xf32>
  nn.store_param @w, %w2 : tensor<16x8xf32>
  return
}
