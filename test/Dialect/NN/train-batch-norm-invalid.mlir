// RUN: ns-opt %s --nn-train-batch-norm --verify-diagnostics
// RUN: not ns-opt %s --nn-train-batch-norm=momentum=1.5 2>&1 | FileCheck %s

// CHECK: error: expected option momentum to be in [0, 1], but got 1.5
nn.param @g no_decay : tensor<8xf32>

func.func @computed_statistics(%x: tensor<?x20x8xf32>, %d: tensor<8xf32>, %a: tensor<f32>) {
  %g = nn.load_param @g : tensor<8xf32>
  %m = nn.scale %g by 2.0 : tensor<8xf32>
  // expected-error @below {{'nn.batch_norm' op expected running statistics to be parameters, but got}}
  %0 = nn.batch_norm %x, %g, %g running %m, %m eps 0.5 : tensor<?x20x8xf32>, tensor<8xf32>, tensor<8xf32>, tensor<8xf32>
  ns.store_grad @g, %d accumulate %a : tensor<8xf32>, tensor<f32>
  return
}
