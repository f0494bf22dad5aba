// RUN: ns-opt %s --nn-set-precision=precision=f64 | FileCheck %s
// RUN: ns-opt %s --nn-set-precision | FileCheck %s --check-prefix=SAME
// RUN: ns-opt %s --nn-set-precision=precision=bf16 | FileCheck %s --check-prefix=SAME

// CHECK: nn.param @w : tensor<8x8xf64>
// SAME: nn.param @w : tensor<8x8xf32>
nn.param @w : tensor<8x8xf32>
// CHECK: ns.noise @noise uniform lim 3.000000e+00 site "tokens" : tensor<1x8x8xf64>
ns.noise @noise uniform lim 3.0 site "tokens" : tensor<1x8x8xf32>

// Labels stay integers; factors and eps are f64 already and stay as they are.
// CHECK-LABEL: func.func @f(%arg0: tensor<?x8xf64>, %arg1: tensor<?xi32>) -> tensor<?xf64>
func.func @f(%x: tensor<?x8xf32>, %y: tensor<?xi32>) -> tensor<?xf32> {
  // CHECK: nn.load_param @w : tensor<8x8xf64>
  %w = nn.load_param @w : tensor<8x8xf32>
  // CHECK: nn.linear {{.*}} -> tensor<?x8xf64>
  %0 = nn.linear %x, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  // CHECK: nn.scale {{.*}} by 1.000000e-01 : tensor<?x8xf64>
  %1 = nn.scale %0 by 1.0e-01 : tensor<?x8xf32>
  %2 = nn.cross_entropy %1, %y : (tensor<?x8xf32>, tensor<?xi32>) -> tensor<?xf32>
  return %2 : tensor<?xf32>
}
