// RUN: ns-opt %s --verify-roundtrip | FileCheck %s

// Every op of the ns dialect, in its assembly form.

nn.param @patch_embed.proj.weight : tensor<64x3x8x8xf32>
// CHECK: ns.basis @patch_basis of @patch_embed.proj.weight patch {cols = 192 : i64, nullity = 128 : i64, rank = 64 : i64, residual = 1.562500e-02 : f64, rows = 64 : i64, sigma_max = 3.000000e+00 : f64, sigma_min = 1.000000e+00 : f64, structural = 128 : i64, structural_residual = 1.562500e-02 : f64, tol = 1.000000e-05 : f64}
ns.basis @patch_basis of @patch_embed.proj.weight patch {cols = 192 : i64, nullity = 128 : i64, rank = 64 : i64, residual = 1.562500e-02 : f64, rows = 64 : i64, sigma_max = 3.000000e+00 : f64, sigma_min = 1.000000e+00 : f64, structural = 128 : i64, structural_residual = 1.562500e-02 : f64, tol = 1.000000e-05 : f64}
// CHECK: ns.noise @noise uniform lim 3.000000e+00 site "tokens" : tensor<1x16x64xf32>
ns.noise @noise uniform lim 3.000000e+00 site "tokens" : tensor<1x16x64xf32>
// CHECK: ns.noise @pixels zero lim 0.000000e+00 site "image" : tensor<1x3x32x32xf32>
ns.noise @pixels zero lim 0.000000e+00 site "image" : tensor<1x3x32x32xf32>

// CHECK-LABEL: func.func @injection
func.func @injection(%u: tensor<?x16x64xf32>, %i: tensor<?x3x32x32xf32>, %p: tensor<1x3x32x32xf32>) {
  // CHECK: ns.read_noise @noise
  %v = ns.read_noise @noise : tensor<1x16x64xf32>
  // CHECK: ns.inject %{{.*}}, %{{.*}} site "tokens"
  %0 = ns.inject %u, %v site "tokens" : tensor<?x16x64xf32>, tensor<1x16x64xf32>
  // CHECK: ns.inject %{{.*}}, %{{.*}} site "image" clip
  %1 = ns.inject %i, %p site "image" clip : tensor<?x3x32x32xf32>, tensor<1x3x32x32xf32>
  // CHECK: ns.clip_grad %{{.*}}, %{{.*}}, %{{.*}}
  %2 = ns.clip_grad %i, %i, %p : tensor<?x3x32x32xf32>, tensor<1x3x32x32xf32>
  // CHECK: ns.sample_norm %{{.*}}
  %3 = ns.sample_norm %u : tensor<?x16x64xf32> -> tensor<?xf32>
  return
}

// CHECK-LABEL: func.func @losses
func.func @losses(%n: tensor<?x10xf32>, %c: tensor<?x10xf32>, %g: tensor<?xf32>, %y: tensor<?xi32>, %w: tensor<?x6xf32>, %beta: tensor<f32>) {
  // CHECK: ns.trades_loss %{{.*}}, %{{.*}}, %{{.*}} : (tensor<?x10xf32>, tensor<?xi32>, tensor<f32>) -> tensor<?xf32>
  %9 = ns.trades_loss %n, %y, %beta : (tensor<?x10xf32>, tensor<?xi32>, tensor<f32>) -> tensor<?xf32>
  // CHECK: ns.trades_loss_grad %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<?xf32>, tensor<?x10xf32>, tensor<?xi32>, tensor<f32>
  %10 = ns.trades_loss_grad %g, %n, %y, %beta : tensor<?xf32>, tensor<?x10xf32>, tensor<?xi32>, tensor<f32>
  // CHECK: ns.attack_loss %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : (tensor<?x10xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x6xf32>) -> tensor<?xf32>
  %7 = ns.attack_loss %n, %y, %y, %w : (tensor<?x10xf32>, tensor<?xi32>, tensor<?xi32>, tensor<?x6xf32>) -> tensor<?xf32>
  // CHECK: ns.attack_loss_grad %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<?xf32>, tensor<?x10xf32>, tensor<?xi32>, tensor<?x6xf32>
  %8 = ns.attack_loss_grad %g, %n, %y, %y, %w : tensor<?xf32>, tensor<?x10xf32>, tensor<?xi32>, tensor<?x6xf32>
  // CHECK: ns.synthesis_loss %{{.*}}, %{{.*}} objective logit_l2sq
  %0 = ns.synthesis_loss %n, %c objective logit_l2sq : tensor<?x10xf32> -> tensor<?xf32>
  // CHECK: ns.synthesis_loss %{{.*}}, %{{.*}} objective logit_l2
  %1 = ns.synthesis_loss %n, %c objective logit_l2 : tensor<?x10xf32> -> tensor<?xf32>
  // CHECK: ns.synthesis_loss_grad %{{.*}}, %{{.*}}, %{{.*}} objective logit_l2sq
  %2 = ns.synthesis_loss_grad %g, %n, %c objective logit_l2sq : tensor<?xf32>, tensor<?x10xf32>
  // CHECK: ns.invariance %{{.*}}, %{{.*}}
  %3, %4, %5, %6 = ns.invariance %n, %c : tensor<?x10xf32> -> tensor<?xf32>
  return
}

// CHECK-LABEL: func.func @attack_steps
func.func @attack_steps(%y: tensor<?x3x8x8xf32>, %x: tensor<?x3x8x8xf32>, %g: tensor<?x3x8x8xf32>, %h: tensor<3xf32>) {
  // CHECK: %[[D:.*]] = ns.momentum %{{.*}}, %{{.*}}, %{{.*}} : tensor<?x3x8x8xf32>, tensor<3xf32>
  %d = ns.momentum %g, %g, %h : tensor<?x3x8x8xf32>, tensor<3xf32>
  // CHECK: ns.ascend linf %{{.*}}, %{{.*}}, %[[D]], %{{.*}} : tensor<?x3x8x8xf32>, tensor<3xf32>
  %0 = ns.ascend linf %y, %x, %d, %h : tensor<?x3x8x8xf32>, tensor<3xf32>
  // CHECK: ns.ascend l2 %{{.*}}, %{{.*}}, %{{.*}}, %{{.*}} : tensor<?x3x8x8xf32>, tensor<3xf32>
  %1 = ns.ascend l2 %y, %x, %g, %h : tensor<?x3x8x8xf32>, tensor<3xf32>
  return
}

// CHECK-LABEL: func.func @attention
func.func @attention(%w: tensor<?x17xf32>, %g: tensor<?xf32>) {
  // CHECK: ns.expand_channels %{{.*}} : tensor<?x17xf32> -> tensor<?x17x64xf32>
  %0 = ns.expand_channels %w : tensor<?x17xf32> -> tensor<?x17x64xf32>
  // CHECK: ns.mean_channels %{{.*}} : tensor<?x17x64xf32> -> tensor<?x17xf32>
  %1 = ns.mean_channels %0 : tensor<?x17x64xf32> -> tensor<?x17xf32>
  // CHECK: ns.attention_loss %{{.*}} : tensor<?x17xf32> -> tensor<?xf32>
  %2 = ns.attention_loss %1 : tensor<?x17xf32> -> tensor<?xf32>
  // CHECK: ns.attention_loss_grad %{{.*}}, %{{.*}} : tensor<?xf32>, tensor<?x17xf32>
  %3 = ns.attention_loss_grad %g, %1 : tensor<?xf32>, tensor<?x17xf32>
  return
}

// CHECK-LABEL: func.func @training
func.func @training(%l: tensor<f32>, %acc: tensor<f32>, %h: tensor<7xf32>, %k: tensor<9xf32>) {
  // CHECK: ns.read_noise @noise
  %v = ns.read_noise @noise : tensor<1x16x64xf32>
  // CHECK: ns.gradient %{{.*}} wrt %{{.*}}
  %g = ns.gradient %l wrt %v : (tensor<f32>, tensor<1x16x64xf32>) -> tensor<1x16x64xf32>
  // CHECK: ns.store_grad @noise, %{{.*}} accumulate %{{.*}}
  ns.store_grad @noise, %g accumulate %acc : tensor<1x16x64xf32>, tensor<f32>
  // CHECK: ns.adamw_params %{{.*}}
  ns.adamw_params %h : tensor<7xf32>
  // CHECK: ns.adamw_noise @noise, %{{.*}}
  %n = ns.adamw_noise @noise, %k : tensor<9xf32> -> tensor<f32>
  return
}
