// REQUIRES: asserts
// RUN: ns-opt %s --nn-fold-frozen --mlir-pass-statistics 2>&1 >/dev/null | FileCheck %s

// CHECK-DAG: 1 norms-folded - Layer norms that lost gamma and beta
// CHECK-DAG: 1 scales-folded - Layer scales that went
nn.param @g no_decay : tensor<8xf32>
nn.param @w : tensor<8x8xf32>
nn.param @c no_decay : tensor<8xf32>
nn.param @s no_decay : tensor<8xf32>
func.func @f(%x: tensor<4x8xf32>) -> tensor<4x8xf32> attributes {ns.entry} {
  %g = nn.load_param @g : tensor<8xf32>
  %w = nn.load_param @w : tensor<8x8xf32>
  %c = nn.load_param @c : tensor<8xf32>
  %s = nn.load_param @s : tensor<8xf32>
  %n = nn.layer_norm %x, %g, %g eps 1.0e-05 : tensor<4x8xf32>, tensor<8xf32>, tensor<8xf32>
  %y = nn.linear %n, %w, %c : (tensor<4x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<4x8xf32>
  %z = nn.layer_scale %y, %s : tensor<4x8xf32>, tensor<8xf32>
  return %z : tensor<4x8xf32>
}
