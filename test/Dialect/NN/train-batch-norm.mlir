// RUN: ns-opt %s --nn-train-batch-norm | FileCheck %s
// RUN: ns-opt %s --nn-train-batch-norm=momentum=0.25 | FileCheck %s --check-prefix=QUARTER

nn.param @g no_decay : tensor<8xf32>
nn.param @mean buffer : tensor<8xf32>
nn.param @var buffer : tensor<8xf32>
nn.param @own.mean buffer : tensor<8xf32>
nn.param @own.var buffer : tensor<8xf32>
ns.noise @noise uniform lim 3.0 site "tokens" : tensor<1x20x8xf32>

// Two passes through one norm: each takes its own statistics, and the running ones follow both, in order; the unbiased variance. The second norm
// has a momentum of its own.
// CHECK-LABEL: func.func @train(
// CHECK-SAME: %[[X:.*]]: tensor<?x20x8xf32>, %[[Y:.*]]: tensor<?x20x8xf32>
// CHECK: %[[G:.*]] = nn.load_param @g
// CHECK: %[[M:.*]] = nn.load_param @mean
// CHECK: %[[V:.*]] = nn.load_param @var
// CHECK: %[[M1:.*]], %[[V1:.*]] = nn.batch_stats %[[X]] : tensor<?x20x8xf32> -> tensor<8xf32>
// CHECK: nn.batch_norm %[[X]], %[[G]], %[[G]] eps 5.000000e-01 : tensor<?x20x8xf32>, tensor<8xf32>
// CHECK: %[[M2:.*]], %[[V2:.*]] = nn.batch_stats %[[Y]] : tensor<?x20x8xf32> -> tensor<8xf32>
// CHECK: nn.batch_norm %[[Y]], %[[G]], %[[G]] eps 5.000000e-01 : tensor<?x20x8xf32>, tensor<8xf32>
// CHECK: ns.store_grad @g
// CHECK: %[[A0:.*]] = nn.scale %[[M]] by 9.000000e-01 : tensor<8xf32>
// CHECK: %[[A1:.*]] = nn.scale %[[M1]] by 1.000000e-01 : tensor<8xf32>
// CHECK: %[[A2:.*]] = nn.add %[[A0]], %[[A1]]
// CHECK: %[[B0:.*]] = nn.scale %[[V]] by 9.000000e-01
// CHECK: %[[B1:.*]] = nn.scale %[[V1]] by 1.000000e-01
// CHECK: %[[B2:.*]] = nn.add %[[B0]], %[[B1]]
// CHECK: %[[C0:.*]] = nn.scale %[[A2]] by 9.000000e-01
// CHECK: %[[C1:.*]] = nn.scale %[[M2]] by 1.000000e-01
// CHECK: %[[C2:.*]] = nn.add %[[C0]], %[[C1]]
// CHECK: nn.scale %{{.*}} by 1.000000e+00
// CHECK: nn.scale %{{.*}} by 0.000000e+00
// CHECK: nn.store_param @mean, %[[C2]] : tensor<8xf32>
// CHECK: nn.store_param @var
// CHECK: nn.store_param @own.mean
// CHECK: nn.store_param @own.var
// CHECK-NEXT: return
// QUARTER-LABEL: func.func @train(
// QUARTER: nn.scale %{{.*}} by 7.500000e-01
// QUARTER: nn.scale %{{.*}} by 2.500000e-01
func.func @train(%x: tensor<?x20x8xf32>, %y: tensor<?x20x8xf32>, %d: tensor<8xf32>, %a: tensor<f32>) {
  %g = nn.load_param @g : tensor<8xf32>
  %m = nn.load_param @mean : tensor<8xf32>
  %v = nn.load_param @var : tensor<8xf32>
  %om = nn.load_param @own.mean : tensor<8xf32>
  %ov = nn.load_param @own.var : tensor<8xf32>
  %0 = nn.batch_norm %x, %g, %g running %m, %v eps 0.5 : tensor<?x20x8xf32>, tensor<8xf32>, tensor<8xf32>, tensor<8xf32>
  %1 = nn.batch_norm %y, %g, %g running %m, %v eps 0.5 : tensor<?x20x8xf32>, tensor<8xf32>, tensor<8xf32>, tensor<8xf32>
  %2 = nn.batch_norm %0, %g, %g running %om, %ov eps 0.5 {nn.momentum = 0.0 : f64} : tensor<?x20x8xf32>, tensor<8xf32>, tensor<8xf32>, tensor<8xf32>
  ns.store_grad @g, %d accumulate %a : tensor<8xf32>, tensor<f32>
  return
}

// The gradient of the noise alone: the network is as it is in evaluation.
// CHECK-LABEL: func.func @synth(
// CHECK: nn.batch_norm %{{.*}}, %{{.*}}, %{{.*}} running %{{.*}}, %{{.*}} eps
// CHECK-NOT: nn.store_param
// CHECK: return
func.func @synth(%x: tensor<?x20x8xf32>, %d: tensor<1x20x8xf32>, %a: tensor<f32>) {
  %g = nn.load_param @g : tensor<8xf32>
  %0 = nn.batch_norm %x, %g, %g running %g, %g eps 0.5 : tensor<?x20x8xf32>, tensor<8xf32>, tensor<8xf32>, tensor<8xf32>
  ns.store_grad @noise, %d accumulate %a : tensor<1x20x8xf32>, tensor<f32>
  return
}
